//! Measures throughput and the longest stall between two hosts, over the kernel's SCTP or SCTP in
//! user space over UDP.
//!
//! ```text
//! cargo run --release --example sctp_perf -- server
//! cargo run --release --example sctp_perf -- client 10.0.0.1 10.0.1.1 --seconds 10
//! ```
//!
//! The client sends as fast as it can, and prints its throughput and the state of its paths every
//! second. The server prints its throughput and the longest time without data, for example after a
//! network interface was disconnected.

mod common;

use std::cell::Cell;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Parser, Subcommand};
use common::{Ends, Outcome, describe, driver};
use towpath_io_mio::limits::MAX_MESSAGE;
use towpath_io_mio::{Inbound, Session, Ticket, Transmit};

/// SCTP throughput and longest stall
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Receive until interrupted
    Server {
        /// End after one association
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        ends: Ends,
    },
    /// Send
    Client {
        /// The server's addresses
        #[arg(required = true)]
        remotes: Vec<IpAddr>,
        /// Duration in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Bytes of each message
        #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=MAX_MESSAGE as i64))]
        length: u32,
        /// Number of streams
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
        streams: u16,
        #[command(flatten)]
        ends: Ends,
    },
}

/// Interval between two lines of statistics.
const TICK: Duration = Duration::from_secs(1);

fn main() -> Outcome {
    match Cli::parse().command {
        Command::Server { once, ends } => serve(&ends, once),
        Command::Client {
            remotes,
            seconds,
            length,
            streams,
            ends,
        } => send(
            &ends,
            &remotes,
            Source::new(length as usize, streams, Duration::from_secs(seconds)),
        ),
    }
}

fn serve(ends: &Ends, once: bool) -> Outcome {
    let mut driver = driver::<Sink>()?;
    let (carrier, place) = ends.listen()?;
    driver.add_carrier(carrier)?;
    println!("listening on {place}");
    let served = Cell::new(false);
    let mut accept = |peer: towpath_io_mio::Peer| {
        println!("{peer}: connected");
        served.set(true);
        Some(Sink::new(peer.to_string()))
    };
    driver.run(&mut accept, &mut |driver| {
        once && served.get() && driver.active_sessions() == 0
    })?;
    Ok(())
}

fn send(ends: &Ends, remotes: &[IpAddr], source: Source) -> Outcome {
    let mut driver = driver::<Source>()?;
    let carrier = driver.add_carrier(ends.client()?)?;
    let start = Instant::now();
    let id = driver.connect(carrier, &ends.remotes(remotes), source)?;
    let (mut shown, mut before) = (start, 0);
    while !driver.is_over(id) {
        driver.turn(&mut |_| None, Some(TICK.saturating_sub(shown.elapsed())))?;
        if shown.elapsed() < TICK {
            continue;
        }
        let sent = driver.session(id).map_or(before, |source| source.bytes);
        println!(
            "{:4.0?} s: {} out",
            start.elapsed().as_secs_f64(),
            rate(sent - before, shown.elapsed())
        );
        for path in driver.paths(id) {
            println!("        {}", describe(&path));
        }
        (shown, before) = (Instant::now(), sent);
    }
    driver.run(&mut |_| None, &mut |_| true)?;
    let source = driver.take_session(id).ok_or("the session is gone")?;
    println!(
        "{} bytes in {:.3?}: {}",
        source.bytes,
        start.elapsed(),
        rate(source.bytes, start.elapsed())
    );
    match source.trouble {
        None => Ok(()),
        Some(change) => Err(format!("the association ended: {change:?}").into()),
    }
}

fn rate(bytes: u64, time: Duration) -> String {
    format!(
        "{:.1} MB/s",
        bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9)
    )
}

/// Sends for a given time.
struct Source {
    payload: Bytes,
    streams: u16,
    span: Duration,
    end: Option<Instant>,
    next: u16,
    bytes: u64,
    trouble: Option<Inbound>,
    closed: bool,
}

impl Source {
    fn new(length: usize, streams: u16, span: Duration) -> Self {
        Self {
            payload: Bytes::from(vec![0x5a; length]),
            streams,
            span,
            end: None,
            next: 0,
            bytes: 0,
            trouble: None,
            closed: false,
        }
    }
}

impl Session for Source {
    type Job = ();
    type Output = ();

    fn handle_inbound(&mut self, inbound: Inbound, now: Instant) {
        match inbound {
            Inbound::Up { streams } => {
                self.streams = self.streams.min(streams);
                self.end = Some(now + self.span);
            }
            Inbound::Message { .. } | Inbound::PathChanged(_) => {}
            Inbound::PeerClosed | Inbound::Lost(_) => {
                self.trouble = Some(inbound);
                self.closed = true;
            }
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {
        self.closed = true;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.end.filter(|_| !self.closed)
    }

    fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit> {
        if self.end.is_none() || self.closed {
            return None;
        }
        self.next = (self.next + 1) % self.streams;
        self.bytes += self.payload.len() as u64;
        Some(Transmit {
            stream: self.next,
            payload: self.payload.clone(),
        })
    }

    fn wants_read(&self) -> bool {
        true
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn handle_output(&mut self, _ticket: Ticket, (): (), _now: Instant) {}

    fn poll_job(&mut self) -> Option<(Ticket, ())> {
        None
    }
}

/// Counts what arrives.
struct Sink {
    peer: String,
    all: Statistics,
    tick: Statistics,
    due: Option<Instant>,
    last: Option<Instant>,
    closed: bool,
}

/// Bytes since a moment, and the longest time without any.
#[derive(Default)]
struct Statistics {
    since: Option<Instant>,
    bytes: u64,
    stall: Duration,
}

impl Statistics {
    fn add(&mut self, bytes: usize, gap: Duration, now: Instant) {
        self.since.get_or_insert(now);
        self.bytes += bytes as u64;
        self.stall = self.stall.max(gap);
    }

    fn show(&self, now: Instant) -> String {
        let time = self.since.map_or(Duration::ZERO, |since| now - since);
        format!(
            "{} in, longest stall {:.1?}",
            rate(self.bytes, time),
            self.stall
        )
    }
}

impl Sink {
    fn new(peer: String) -> Self {
        Self {
            peer,
            all: Statistics::default(),
            tick: Statistics::default(),
            due: None,
            last: None,
            closed: false,
        }
    }
}

impl Session for Sink {
    type Job = ();
    type Output = ();

    fn handle_inbound(&mut self, inbound: Inbound, now: Instant) {
        match inbound {
            Inbound::Up { .. } => self.due = Some(now + TICK),
            Inbound::Message { payload, .. } => {
                let gap = self.last.map_or(Duration::ZERO, |last| now - last);
                self.last = Some(now);
                self.all.add(payload.len(), gap, now);
                self.tick.add(payload.len(), gap, now);
            }
            Inbound::PathChanged(path) => println!("{}: path {}", self.peer, describe(&path)),
            Inbound::PeerClosed | Inbound::Lost(_) => {
                let end = self.last.unwrap_or(now);
                println!(
                    "{}: {inbound:?}; {} bytes, {}",
                    self.peer,
                    self.all.bytes,
                    self.all.show(end)
                );
                self.closed = true;
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let waiting = self.last.map_or(Duration::ZERO, |last| now - last);
        self.tick.stall = self.tick.stall.max(waiting);
        println!("{}: {}", self.peer, self.tick.show(now));
        self.tick = Statistics {
            since: Some(now),
            ..Statistics::default()
        };
        self.due = Some(now + TICK);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due.filter(|_| !self.closed)
    }

    fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit> {
        None
    }

    fn wants_read(&self) -> bool {
        true
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn handle_output(&mut self, _ticket: Ticket, (): (), _now: Instant) {}

    fn poll_job(&mut self) -> Option<(Ticket, ())> {
        None
    }
}
