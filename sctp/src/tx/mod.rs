//! The sending half: queued messages, chunks in flight, lost chunks (RFC 9260 §6.1, §7.2.4).

mod queue;
mod sack;
mod scheduler;

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use queue::{Fragment, SILLY_WINDOW, SendQueue};
use scheduler::RoundRobin;

use crate::event::Message;
use crate::limits::{MAX_OUTSTANDING, MAX_PATHS};
use crate::packet::{DATA_HEADER, Data, padded};
use crate::path::{Path, PathIndex};
use crate::seq::{self, Tsn};

/// Chunks sent and not acknowledged cumulatively, as a ring indexed by TSN, and messages not yet
/// sent.
#[derive(Debug)]
pub(crate) struct Tx {
    pub(crate) queue: SendQueue,
    /// The TSN of the ring's first chunk: one above the cumulative point.
    base: Tsn,
    ring: VecDeque<Sent>,
    /// Chunks to be retransmitted.
    lost: BTreeSet<Tsn>,
    /// Ranges above the cumulative point that the last SACK acknowledged, both ends included, and
    /// memory for those of the next one.
    gaps: Vec<(Tsn, Tsn)>,
    spare: Vec<(Tsn, Tsn)>,
    /// User bytes in flight.
    in_flight: usize,
    /// User bytes queued or not acknowledged cumulatively.
    buffered: usize,
    /// The peer's last advertised window, less what was in flight then and what was sent since.
    window: usize,
    /// Whether the last advertised window was (nearly) zero.
    shut: bool,
    /// TSN whose acknowledgement ends fast recovery (§7.2.4).
    recovery: Option<Tsn>,
    /// Whether one packet may be retransmitted regardless of the congestion window.
    fast: bool,
    /// Number of the last packet with data, by which chunks of one packet are recognised.
    serial: u32,
    /// TSNs that the peer reneged on, less four for each that it acknowledged cumulatively.
    reneged: u64,
}

#[derive(Debug)]
struct Sent {
    payload: Bytes,
    ppid: u32,
    serial: u32,
    stream: u16,
    ssn: u16,
    path: u8,
    transmissions: u8,
    unordered: bool,
    begin: bool,
    end: bool,
    state: SentState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SentState {
    InFlight,
    /// Acknowledged by a gap block, on which the peer may renege.
    Acknowledged,
    /// In `lost`.
    Lost,
}

impl Sent {
    /// Bytes that count against the congestion window: the chunk with header and padding.
    fn size(&self) -> usize {
        DATA_HEADER + padded(self.payload.len())
    }

    fn chunk(&self, tsn: Tsn) -> Data<'_> {
        Data {
            tsn: seq::wire_of(tsn),
            stream: self.stream,
            ssn: self.ssn,
            ppid: self.ppid,
            unordered: self.unordered,
            begin: self.begin,
            end: self.end,
            immediate: false,
            payload: &self.payload,
        }
    }
}

/// What a SACK acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// Newly acknowledged bytes of each path, chunk headers and padding included.
    pub(crate) bytes: [usize; MAX_PATHS],
    /// Whether one of the chunks had been sent once only, and was not marked as lost.
    pub(crate) unambiguous: [bool; MAX_PATHS],
}

impl Tx {
    pub(crate) fn new(initial: u32, window: u32) -> Self {
        Self {
            queue: SendQueue::new(RoundRobin::default()),
            base: seq::initial(initial),
            ring: VecDeque::new(),
            lost: BTreeSet::new(),
            gaps: Vec::new(),
            spare: Vec::new(),
            in_flight: 0,
            buffered: 0,
            window: window as usize,
            shut: false,
            recovery: None,
            fast: false,
            serial: 0,
            reneged: 0,
        }
    }

    /// Sets the peer's window, which is known only after this was created.
    pub(crate) fn set_window(&mut self, window: u32) {
        self.window = window as usize;
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, message: Message) {
        let Message {
            stream,
            ppid,
            unordered,
            payload,
        } = message;
        self.buffered += payload.len();
        self.queue.push(stream, payload, !unordered, ppid);
    }

    /// User bytes that have not been acknowledged cumulatively.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether everything has been acknowledged cumulatively.
    pub(crate) fn is_drained(&self) -> bool {
        self.ring.is_empty() && self.queue.is_empty()
    }

    /// Whether something sent has not been acknowledged cumulatively.
    pub(crate) fn is_outstanding(&self) -> bool {
        !self.ring.is_empty()
    }

    /// The TSN that the next new chunk gets.
    pub(crate) fn next_tsn(&self) -> Tsn {
        self.base + self.ring.len() as u64
    }

    /// Whether chunks wait to be retransmitted.
    pub(crate) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Whether the packet that fast retransmit sends at once is due.
    pub(crate) fn fast_retransmit(&self) -> bool {
        self.fast && self.has_lost()
    }

    /// Bytes that the first lost chunk takes in a packet.
    pub(crate) fn lost_size(&self) -> Option<usize> {
        self.lost
            .first()
            .map(|&tsn| self.ring[self.index(tsn)].size())
    }

    /// A timer expired: ends fast recovery.
    pub(crate) fn abandon_recovery(&mut self) {
        self.recovery = None;
        self.fast = false;
    }

    /// The path on which the first lost chunk was last sent.
    pub(crate) fn lost_path(&self) -> Option<PathIndex> {
        self.lost
            .first()
            .map(|&tsn| usize::from(self.ring[self.index(tsn)].path))
    }

    /// Whether new data waits only for the peer's window, with nothing in flight whose
    /// acknowledgement could open it.
    pub(crate) fn window_blocked(&self) -> bool {
        !self.queue.is_empty() && self.ring.is_empty() && self.window < SILLY_WINDOW
    }

    /// Whether the peer's window takes no further new data until it is opened.
    pub(crate) fn window_used(&self) -> bool {
        self.lost.is_empty() && self.window < SILLY_WINDOW
    }

    /// Whether the peer's window is (nearly) zero, so that an unacknowledged probe of it is no sign
    /// of failure (§6.1 A).
    pub(crate) fn is_shut(&self) -> bool {
        self.shut
    }

    /// Starts a packet that carries data and numbers it.
    pub(crate) fn begin_packet(&mut self) {
        self.serial = self.serial.wrapping_add(1);
    }

    /// Retransmits the first lost chunk, by passing it to `write`, if it fits `room` bytes. True if
    /// there was one and it fitted.
    pub(crate) fn resend(
        &mut self,
        paths: &mut [Path],
        to: PathIndex,
        room: usize,
        write: impl FnOnce(&Data<'_>),
    ) -> bool {
        let Some(&tsn) = self.lost.first() else {
            return false;
        };
        let index = self.index(tsn);
        let serial = self.serial;
        let sent = &mut self.ring[index];
        let size = sent.size();
        if size > room {
            return false;
        }
        write(&sent.chunk(tsn));
        sent.state = SentState::InFlight;
        // There are fewer than 256 paths; of the number of transmissions only 1 or more matters.
        sent.path = u8::try_from(to).unwrap_or(u8::MAX);
        sent.transmissions = sent.transmissions.saturating_add(1);
        sent.serial = serial;
        let len = sent.payload.len();
        self.in_flight += len;
        self.window = self.window.saturating_sub(len);
        self.lost.remove(&tsn);
        for path in paths.iter_mut() {
            // Karn: an acknowledgement from here on may be for either transmission (rule C5).
            if path.timed.is_some_and(|(timed, _)| timed >= tsn) {
                path.timed = None;
            }
        }
        let path = &mut paths[to];
        path.flight += size;
        path.burst = path.burst.saturating_sub(size);
        path.resent.push_back((tsn, serial));
        path.counters.retransmissions += 1;
        true
    }

    /// The packet that fast retransmit may send beyond the congestion window has been sent.
    pub(crate) fn fast_retransmitted(&mut self) {
        self.fast = false;
    }

    /// Sends the next new chunk, cut for `room` bytes of packet, by passing it to `write`. With
    /// `probe`, the peer's window is ignored.
    pub(crate) fn send_new(
        &mut self,
        path: &mut Path,
        to: PathIndex,
        room: usize,
        probe: bool,
        now: Instant,
        write: impl FnOnce(&Data<'_>),
    ) -> bool {
        if self.ring.len() >= MAX_OUTSTANDING {
            return false;
        }
        let window = if probe { usize::MAX } else { self.window };
        let Some(fragment) = self.queue.fragment(room, window) else {
            return false;
        };
        let Fragment {
            payload,
            stream,
            ssn,
            ppid,
            unordered,
            begin,
            end,
        } = fragment;
        let tsn = self.next_tsn();
        let sent = Sent {
            payload,
            ppid,
            serial: self.serial,
            stream,
            ssn,
            path: u8::try_from(to).unwrap_or(u8::MAX),
            transmissions: 1,
            unordered,
            begin,
            end,
            state: SentState::InFlight,
        };
        write(&sent.chunk(tsn));
        let (len, size) = (sent.payload.len(), sent.size());
        self.ring.push_back(sent);
        self.in_flight += len;
        self.window = self.window.saturating_sub(len);
        path.flight += size;
        path.burst = path.burst.saturating_sub(size);
        path.fresh.push_back(tsn);
        if path.timed.is_none() {
            path.timed = Some((tsn, now));
        }
        true
    }

    /// Marks everything in flight on a path as lost: its timer expired (§6.3.3 E3), or a NAT has
    /// changed the peer's port.
    pub(crate) fn mark_path_lost(&mut self, path: &mut Path, at: PathIndex) {
        while let Some(tsn) = path.fresh.pop_front() {
            self.mark_lost(tsn, path, at, None);
        }
        while let Some((tsn, serial)) = path.resent.pop_front() {
            self.mark_lost(tsn, path, at, Some(serial));
        }
        path.timed = None;
    }

    /// The lowest TSN in flight on a path. Removes entries that are not in flight there any more.
    fn earliest(&self, path: &mut Path, at: PathIndex) -> Option<Tsn> {
        while path
            .fresh
            .front()
            .is_some_and(|&tsn| !self.is_in_flight(tsn, at, None))
        {
            path.fresh.pop_front();
        }
        while path
            .resent
            .front()
            .is_some_and(|&(tsn, serial)| !self.is_in_flight(tsn, at, Some(serial)))
        {
            path.resent.pop_front();
        }
        let resent = path.resent.front().map(|&(tsn, _)| tsn);
        path.fresh.front().copied().into_iter().chain(resent).min()
    }

    /// Whether the transmission of a chunk on a path (the first, or that with a serial) is still in
    /// flight.
    fn is_in_flight(&self, tsn: Tsn, at: PathIndex, serial: Option<u32>) -> bool {
        tsn >= self.base
            && self.ring.get(self.index(tsn)).is_some_and(|sent| {
                sent.state == SentState::InFlight
                    && usize::from(sent.path) == at
                    && match serial {
                        None => sent.transmissions == 1,
                        Some(serial) => sent.serial == serial,
                    }
            })
    }

    fn mark_lost(&mut self, tsn: Tsn, path: &mut Path, at: PathIndex, serial: Option<u32>) -> bool {
        if !self.is_in_flight(tsn, at, serial) {
            return false;
        }
        let index = self.index(tsn);
        let sent = &mut self.ring[index];
        sent.state = SentState::Lost;
        let (len, size) = (sent.payload.len(), sent.size());
        self.lost.insert(tsn);
        self.in_flight -= len;
        self.window += len;
        path.flight -= size;
        true
    }

    /// Where a TSN is in the ring. Never called with one below `base`; one above the ring is not
    /// found there.
    fn index(&self, tsn: Tsn) -> usize {
        usize::try_from(tsn - self.base).unwrap_or(usize::MAX)
    }
}
