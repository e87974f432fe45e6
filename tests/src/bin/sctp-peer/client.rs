//! The client that checks the echoes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use towpath_sctp::{AssociationHandle, CloseReason, Event, Message};

use crate::cli::{Cli, End};
use crate::wire::{Wire, say};

/// Sends messages and checks their echoes.
pub(crate) struct Client {
    wire: Wire,
    handle: AssociationHandle,
    messages: u64,
    size: usize,
    streams: u64,
    window: u64,
    end: End,
    sent: u64,
    waiting: Option<Message>,
    received: u64,
    /// Number of the next echo on each stream.
    next: BTreeMap<u16, u64>,
    start: Instant,
    last: Instant,
    longest: Duration,
}

impl Client {
    pub(crate) fn new(mut wire: Wire, cli: &Cli) -> io::Result<Self> {
        let now = Instant::now();
        let remotes: Vec<SocketAddr> = cli
            .peer
            .iter()
            .map(|ip| SocketAddr::from((*ip, cli.peer_udp)))
            .collect();
        let handle = wire
            .endpoint
            .connect(&remotes, cli.port, now)
            .map_err(io::Error::other)?;
        Ok(Self {
            wire,
            handle,
            messages: cli.messages,
            size: usize::try_from(cli.size).map_err(io::Error::other)?,
            streams: cli.streams,
            window: cli.window,
            end: cli.end,
            sent: 0,
            waiting: None,
            received: 0,
            next: BTreeMap::new(),
            start: now,
            last: now,
            longest: Duration::ZERO,
        })
    }

    pub(crate) fn run(mut self) -> io::Result<bool> {
        let mut up = false;
        let closed = loop {
            self.wire.turn()?;
            let mut closed = None;
            while let Some((_, event)) = self.wire.endpoint.poll_event() {
                say(&event);
                match event {
                    Event::Connected { .. } => {
                        up = true;
                        self.start = Instant::now();
                        self.last = self.start;
                    }
                    Event::Closed(reason) => closed = Some(reason),
                    _ => {}
                }
            }
            while let Some(message) = self.wire.endpoint.recv(self.handle) {
                if !self.take(&message) {
                    return Ok(false);
                }
            }
            if let Some(reason) = closed {
                break reason;
            }
            if up {
                self.feed()?;
            }
        };
        let asked_for = match self.end {
            End::Shutdown => CloseReason::Shutdown,
            End::Abort => CloseReason::Aborted,
        };
        // An abort's packet is still to go.
        self.wire.flush()?;
        let good = self.received == self.messages && closed == asked_for;
        println!(
            "end {}",
            match (good, self.end) {
                (true, End::Shutdown) => "shut down",
                (true, End::Abort) => "aborted",
                (false, _) => "failed",
            }
        );
        Ok(good)
    }

    fn feed(&mut self) -> io::Result<()> {
        while self.waiting.is_some()
            || (self.sent < self.messages && self.sent < self.received + self.window)
        {
            let message = self.waiting.take().unwrap_or_else(|| {
                let stream = u16::try_from(self.sent % self.streams).unwrap_or(u16::MAX);
                let payload = content(self.size, stream, self.sent);
                self.sent += 1;
                Message {
                    ppid: 42,
                    ..Message::new(stream, payload)
                }
            });
            if let Some(message) = self.wire.send(self.handle, message)? {
                self.waiting = Some(message);
                break;
            }
        }
        Ok(())
    }

    /// Whether an echo is what was sent, and in its turn.
    fn take(&mut self, message: &Message) -> bool {
        let now = Instant::now();
        self.longest = self.longest.max(now - self.last);
        self.last = now;
        let first = u64::from(message.stream);
        let number = self.next.entry(message.stream).or_insert(first);
        let expected = content(self.size, message.stream, *number);
        if first >= self.streams || message.payload[..] != expected[..] || message.ppid != 42 {
            println!(
                "error: echo {} on stream {first} with {} bytes is not what was sent",
                self.received,
                message.payload.len()
            );
            return false;
        }
        *number += self.streams;
        if self.received.is_multiple_of(self.messages / 10 + 1) {
            println!("progress {}", self.received);
        }
        self.received += 1;
        if self.received == self.messages {
            for path in self.wire.endpoint.paths(self.handle) {
                println!(
                    "statistics {} state={:?} srtt_us={} rto_ms={} cwnd={} sent={} received={} retransmissions={} timeouts={}",
                    path.path,
                    path.state,
                    path.srtt.unwrap_or_default().as_micros(),
                    path.rto.as_millis(),
                    path.cwnd,
                    path.bytes_sent,
                    path.bytes_received,
                    path.retransmissions,
                    path.timeouts
                );
            }
            println!(
                "done messages={} bytes={} seconds={:.3} longest_stall_ms={}",
                self.received,
                self.received * self.size as u64,
                self.start.elapsed().as_secs_f64(),
                self.longest.as_millis()
            );
            let ended = match self.end {
                End::Shutdown => self.wire.endpoint.shutdown(self.handle, now),
                End::Abort => self.wire.endpoint.abort(self.handle, b"enough", now),
            };
            if let Err(error) = ended {
                println!("error: {error}");
                return false;
            }
        }
        true
    }
}

/// A message that differs from every other one, and each part of it from the others.
fn content(size: usize, stream: u16, number: u64) -> Vec<u8> {
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(stream) << 48);
    let mut bytes = Vec::with_capacity(size + 8);
    bytes.extend_from_slice(&u32::from(stream).to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
