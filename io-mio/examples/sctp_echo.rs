//! Echoes each message on its own stream, over the kernel's SCTP or SCTP in user space over UDP.
//!
//! ```text
//! cargo run --example sctp_echo -- server --local 10.0.0.1 --local 10.0.1.1
//! cargo run --example sctp_echo -- client 10.0.0.1 10.0.1.1 --messages 1000 --length 65536
//! ```
//!
//! The server runs until it is interrupted. The client sends its messages, compares what comes
//! back, prints how long it took and the paths, and fails if anything is missing or different.

mod common;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Parser, Subcommand};
use common::{Ends, Outcome, describe, driver};
use towpath_io_mio::limits::MAX_MESSAGE;
use towpath_io_mio::{Inbound, Session, Ticket, Transmit};

/// SCTP echo server and client
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Echo until interrupted
    Server {
        #[command(flatten)]
        ends: Ends,
    },
    /// Send messages and compare what comes back
    Client {
        /// The server's addresses
        #[arg(required = true)]
        remotes: Vec<IpAddr>,
        /// Number of messages
        #[arg(long, default_value_t = 100)]
        messages: usize,
        /// Bytes of each message
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=MAX_MESSAGE as i64))]
        length: u32,
        /// Number of streams
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
        streams: u16,
        /// Pause between two messages, in milliseconds
        #[arg(long, default_value_t = 0)]
        pause: u64,
        /// End with an abort instead of a shutdown
        #[arg(long)]
        abort: bool,
        /// Time limit in seconds
        #[arg(long, default_value_t = 60)]
        timeout: u64,
        #[command(flatten)]
        ends: Ends,
    },
}

fn main() -> Outcome {
    match Cli::parse().command {
        Command::Server { ends } => serve(&ends),
        Command::Client {
            remotes,
            messages,
            length,
            streams,
            pause,
            abort,
            timeout,
            ends,
        } => {
            let mut client = Client::new(
                messages,
                length as usize,
                streams,
                Duration::from_millis(pause),
            );
            client.abort = abort;
            call(&ends, &remotes, client, Duration::from_secs(timeout))
        }
    }
}

fn serve(ends: &Ends) -> Outcome {
    let mut driver = driver::<Echo>()?;
    let (carrier, place) = ends.listen()?;
    driver.add_carrier(carrier)?;
    println!("listening on {place}");
    let mut accept = |peer: towpath_io_mio::Peer| {
        println!("{peer}: connected");
        Some(Echo::new(peer.to_string()))
    };
    driver.run(&mut accept, &mut |_| false)?;
    Ok(())
}

fn call(ends: &Ends, remotes: &[IpAddr], client: Client, timeout: Duration) -> Outcome {
    let mut driver = driver::<Client>()?;
    let carrier = driver.add_carrier(ends.client()?)?;
    let (start, abort) = (Instant::now(), client.abort);
    let id = driver.connect(carrier, &ends.remotes(remotes), client)?;
    let mut paths = Vec::new();
    driver.run(&mut |_| None, &mut |driver| {
        let now = driver.paths(id);
        if !now.is_empty() {
            paths = now;
        }
        let complete = driver.session(id).is_some_and(Client::is_complete);
        driver.is_over(id) || complete && abort || start.elapsed() >= timeout
    })?;
    let client = driver.take_session(id).ok_or("the session is gone")?;
    for path in &paths {
        println!("{}", describe(path));
    }
    println!(
        "{} of {} messages of {} bytes came back in {:.3?}",
        client.received,
        client.messages,
        client.length,
        start.elapsed()
    );
    if client.is_complete() {
        Ok(())
    } else {
        Err(client.verdict().into())
    }
}

/// Bytes queued for a peer that does not read; then no more is read from it.
const BACKLOG: usize = 1024 * 1024;

/// The server's side of one association.
struct Echo {
    peer: String,
    waiting: VecDeque<Transmit>,
    bytes: usize,
    echoed: usize,
    streams: u16,
    closed: bool,
}

impl Echo {
    fn new(peer: String) -> Self {
        Self {
            peer,
            waiting: VecDeque::new(),
            bytes: 0,
            echoed: 0,
            streams: 0,
            closed: false,
        }
    }
}

impl Session for Echo {
    type Job = ();
    type Output = ();

    fn handle_inbound(&mut self, inbound: Inbound, _now: Instant) {
        match inbound {
            Inbound::Up { streams } => self.streams = streams,
            Inbound::Message { stream, .. } if stream >= self.streams => {
                println!("{}: stream {stream} cannot be used to reply", self.peer);
                self.closed = true;
            }
            Inbound::Message { stream, payload } => {
                self.bytes += payload.len();
                self.echoed += 1;
                self.waiting.push_back(Transmit {
                    stream,
                    payload: payload.freeze(),
                });
            }
            Inbound::PathChanged(path) => println!("{}: path {}", self.peer, describe(&path)),
            Inbound::PeerClosed | Inbound::Lost(_) => {
                println!("{}: {inbound:?} after {} messages", self.peer, self.echoed);
                self.closed = true;
            }
        }
    }

    fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit> {
        let next = self.waiting.pop_front()?;
        self.bytes -= next.payload.len();
        Some(next)
    }

    fn wants_read(&self) -> bool {
        self.bytes < BACKLOG
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn handle_output(&mut self, _ticket: Ticket, (): (), _now: Instant) {}

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_job(&mut self) -> Option<(Ticket, ())> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// The client's side.
struct Client {
    messages: usize,
    length: usize,
    streams: u16,
    pause: Duration,
    sent: usize,
    received: usize,
    /// The message that each stream should bring back next.
    expected: Vec<usize>,
    next: Option<Instant>,
    trouble: Option<String>,
    /// Do not close when all is done, so that the caller can abort.
    abort: bool,
    closed: bool,
}

impl Client {
    fn new(messages: usize, length: usize, streams: u16, pause: Duration) -> Self {
        Self {
            messages,
            length,
            streams,
            pause,
            sent: 0,
            received: 0,
            expected: Vec::new(),
            next: None,
            trouble: None,
            abort: false,
            closed: false,
        }
    }

    fn is_complete(&self) -> bool {
        self.received == self.messages && self.trouble.is_none()
    }

    fn verdict(&self) -> String {
        self.trouble
            .clone()
            .unwrap_or_else(|| "messages are missing".to_owned())
    }

    /// Compares a message with the one that its stream should bring back next.
    fn check(&mut self, stream: u16, payload: &[u8]) {
        let Some(number) = self.expected.get(usize::from(stream)).copied() else {
            self.trouble = Some(format!("a message came on stream {stream}"));
            self.closed = true;
            return;
        };
        if payload != self.content(number) {
            self.trouble = Some(format!("message {number} came back changed"));
            self.closed = true;
            return;
        }
        self.expected[usize::from(stream)] += usize::from(self.streams);
        self.received += 1;
        self.closed |= self.received == self.messages && !self.abort;
    }

    /// Message `number`: its bytes tell which one it is.
    fn content(&self, number: usize) -> Bytes {
        (0..self.length)
            .map(|at| (at.wrapping_mul(31) ^ number ^ (at >> 8)) as u8)
            .collect()
    }
}

impl Session for Client {
    type Job = ();
    type Output = ();

    fn handle_inbound(&mut self, inbound: Inbound, now: Instant) {
        match inbound {
            Inbound::Up { streams } => {
                self.streams = self.streams.min(streams);
                self.expected = (0..usize::from(self.streams)).collect();
                self.next = Some(now);
            }
            Inbound::Message { stream, payload } => self.check(stream, &payload),
            Inbound::PathChanged(path) => println!("path {}", describe(&path)),
            Inbound::PeerClosed | Inbound::Lost(_) => {
                if self.received < self.messages {
                    self.trouble = Some(format!("the association ended: {inbound:?}"));
                }
                self.closed = true;
            }
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.sent == self.messages || self.next? > now {
            return None;
        }
        if !self.pause.is_zero() {
            self.next = Some(now + self.pause);
        }
        let number = self.sent;
        self.sent += 1;
        Some(Transmit {
            // Fewer streams than 2^16.
            stream: (number % usize::from(self.streams)) as u16,
            payload: self.content(number),
        })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next
            .filter(|_| self.sent < self.messages && !self.pause.is_zero())
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
