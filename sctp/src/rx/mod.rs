//! The receiving half: received TSNs, messages made of them, and acknowledgements (RFC 9260 §6.2,
//! §6.6, §6.7).

mod order;
mod ranges;
mod reassembly;
mod window;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use order::Order;
use ranges::Ranges;
use reassembly::{Before, Complete, Neighbours, Reassembly};
use window::Window;

use crate::config::Config;
use crate::event::Message;
use crate::limits::{FRAGMENT_OVERHEAD, MAX_DUPLICATES, MAX_TSN_AHEAD, WINDOW_SLACK};
use crate::packet::{Data, GapBlock};
use crate::seq::{self, Tsn};

#[derive(Debug)]
pub(crate) struct Rx {
    /// The last TSN in sequence.
    cumulative: Tsn,
    /// TSNs above it.
    ranges: Ranges,
    reassembly: Reassembly,
    order: Order,
    /// Whole messages for the application.
    ready: VecDeque<Complete>,
    /// Bytes buffered, overhead included.
    buffered: usize,
    window: Window,
    /// The window that the last SACK advertised.
    advertised: usize,
    duplicates: Vec<u32>,
    ack: Ack,
    inbound: u16,
    delay: Duration,
    frequency: u32,
}

/// Whether and when the next SACK is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ack {
    /// No data has arrived: the first is acknowledged at once (§5.1).
    First,
    None,
    /// This many packets have not been acknowledged.
    Delayed {
        packets: u32,
        deadline: Instant,
    },
    Now,
}

/// What became of a DATA chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    New,
    Duplicate,
    /// There was no room for it.
    Dropped,
    /// It was acknowledged and discarded: no such stream (§6.5).
    InvalidStream,
}

impl Rx {
    /// For a peer whose first TSN is `initial` and that may send on `inbound` streams.
    pub(crate) fn new(initial: u32, inbound: u16, config: &Config) -> Self {
        Self {
            cumulative: seq::initial(initial) - 1,
            ranges: Ranges::default(),
            reassembly: Reassembly::new(config.max_message),
            order: Order::new(inbound),
            ready: VecDeque::new(),
            buffered: 0,
            window: Window::new(
                config.receive_window as usize,
                config.max_receive_window as usize,
            ),
            advertised: config.receive_window as usize,
            duplicates: Vec::new(),
            ack: Ack::First,
            inbound,
            delay: config.sack_delay,
            frequency: config.sack_frequency,
        }
    }

    /// Takes a DATA chunk, which is not empty.
    ///
    /// # Errors
    /// A protocol violation: the association is to be aborted.
    pub(crate) fn handle_data(&mut self, data: &Data<'_>) -> Result<Received, &'static str> {
        let tsn = seq::widen(data.tsn, self.cumulative);
        if tsn <= self.cumulative || self.ranges.contains(tsn) {
            if self.duplicates.len() < MAX_DUPLICATES {
                self.duplicates.push(data.tsn);
            }
            return Ok(Received::Duplicate);
        }
        if tsn > self.cumulative + MAX_TSN_AHEAD || !self.has_room(tsn, data.payload.len()) {
            return Ok(Received::Dropped);
        }
        let next = tsn == self.cumulative + 1;
        if next {
            // Never refused for want of ranges: it needs none, and a sender whose window is one
            // packet sends nothing else.
            self.cumulative = tsn;
        } else if !self.ranges.insert(tsn) {
            return Ok(Received::Dropped);
        }
        let result = if data.stream >= self.inbound {
            Received::InvalidStream
        } else {
            let neighbours = Neighbours {
                before: match next {
                    true => Before::InSequence,
                    false if self.ranges.contains(tsn - 1) => Before::Received,
                    false => Before::Missing,
                },
                after: self.ranges.contains(tsn + 1),
            };
            let (charge, complete) = self.reassembly.insert(tsn, data, neighbours)?;
            self.buffered += charge;
            if let Some(complete) = complete {
                self.order.deliver(complete, &mut self.ready)?;
            }
            Received::New
        };
        self.cumulative = self.ranges.absorb(self.cumulative);
        if self.ranges.is_empty() && self.order.is_waiting() {
            // All TSNs up to here have arrived, so no earlier message of that stream is missing.
            return Err("skipped a stream sequence number");
        }
        Ok(result)
    }

    /// After a packet with data: decides when to acknowledge it. `urgent` if one of its chunks was
    /// dropped, was for an invalid stream, or had the I bit; `fresh` if one was new.
    pub(crate) fn packet_done(&mut self, urgent: bool, fresh: bool, now: Instant) {
        let gaps = !self.ranges.is_empty();
        let at_once = urgent || !fresh || gaps || !self.duplicates.is_empty();
        self.ack = match self.ack {
            _ if at_once => Ack::Now,
            Ack::First | Ack::Now => Ack::Now,
            Ack::None if self.frequency <= 1 => Ack::Now,
            Ack::None => Ack::Delayed {
                packets: 1,
                deadline: now + self.delay,
            },
            Ack::Delayed { packets, .. } if packets + 1 >= self.frequency => Ack::Now,
            Ack::Delayed { packets, deadline } => Ack::Delayed {
                packets: packets + 1,
                deadline,
            },
        };
    }

    /// The next whole message.
    pub(crate) fn recv(&mut self) -> Option<Message> {
        let Complete {
            message, charge, ..
        } = self.ready.pop_front()?;
        self.buffered -= charge;
        self.window.consumed(message.payload.len());
        // A window update is sent when a quarter of the window has become free (§6.2).
        let gain = self.available().saturating_sub(self.advertised);
        if gain >= self.window.size() / 4 && self.ack != Ack::First {
            self.ack = Ack::Now;
        }
        Some(message)
    }

    pub(crate) fn is_readable(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The messages that have not been read, when the association ends.
    pub(crate) fn into_ready(self) -> VecDeque<Message> {
        self.ready
            .into_iter()
            .map(|complete| complete.message)
            .collect()
    }

    /// The last TSN in sequence, as on the wire.
    pub(crate) fn cumulative(&self) -> u32 {
        seq::wire_of(self.cumulative)
    }

    /// Whether TSNs are missing below one that has arrived.
    pub(crate) fn has_gaps(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Whether duplicates are waiting to be reported.
    pub(crate) fn has_duplicates(&self) -> bool {
        !self.duplicates.is_empty()
    }

    /// Whether a SACK is to be sent by itself now.
    pub(crate) fn ack_due(&self) -> bool {
        self.ack == Ack::Now
    }

    /// Whether a SACK should be bundled with data that is sent.
    pub(crate) fn ack_pending(&self) -> bool {
        matches!(self.ack, Ack::Now | Ack::Delayed { .. })
    }

    /// Makes the next SACK due.
    pub(crate) fn ack_now(&mut self) {
        self.ack = Ack::Now;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.ack {
            Ack::Delayed { deadline, .. } => Some(deadline),
            Ack::First | Ack::None | Ack::Now => None,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.ack = Ack::Now;
        }
    }

    /// Adapts the window to the rate at which the application reads. `rtt` is the shortest measured
    /// round-trip time.
    pub(crate) fn adapt_window(&mut self, rtt: Duration, now: Instant) {
        self.window.adapt(rtt, now);
    }

    /// Cumulative TSN and window of the next SACK.
    pub(crate) fn acknowledgement(&self) -> (u32, u32) {
        let available = self.available();
        // A window smaller than a packet would cause tiny segments (silly window syndrome, §6.2).
        let sensible = if available < crate::limits::BASE_MTU.min(self.window.size() / 2) {
            0
        } else {
            available
        };
        (
            self.cumulative(),
            u32::try_from(sensible).unwrap_or(u32::MAX),
        )
    }

    /// The gap blocks of the next SACK.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = GapBlock> + '_ {
        let cumulative = self.cumulative;
        // No TSN is accepted whose offset does not fit 16 bits.
        let offset = move |tsn: Tsn| u16::try_from(tsn - cumulative).unwrap_or(u16::MAX);
        self.ranges.iter().map(move |(start, end)| GapBlock {
            start: offset(start),
            end: offset(end),
        })
    }

    /// Duplicates to be listed in the next SACK.
    pub(crate) fn duplicates(&self) -> &[u32] {
        &self.duplicates
    }

    /// A SACK was sent.
    pub(crate) fn acknowledged(&mut self) {
        self.ack = Ack::None;
        self.duplicates.clear();
        self.advertised = self.available();
    }

    fn available(&self) -> usize {
        self.window.size().saturating_sub(self.buffered)
    }

    /// Whether a chunk may be buffered. One that fills a gap may exceed the window somewhat; the
    /// next one in sequence always may while the application has nothing to read, since otherwise
    /// no message could ever be completed.
    fn has_room(&self, tsn: Tsn, len: usize) -> bool {
        let needed = self.buffered + len + FRAGMENT_OVERHEAD;
        let size = self.window.size();
        if needed <= size {
            return true;
        }
        let Some(highest) = self.ranges.highest() else {
            return self.buffered == 0 || self.ready.is_empty();
        };
        if tsn > highest {
            return false;
        }
        needed <= size + WINDOW_SLACK || (tsn == self.cumulative + 1 && self.ready.is_empty())
    }
}

#[cfg(test)]
mod tests;
