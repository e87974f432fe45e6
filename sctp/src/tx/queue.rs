//! Messages that wait to be sent, cut into fragments when a packet has room (RFC 9260 §6.5, §6.6,
//! §6.9).

use std::collections::VecDeque;

use bytes::Bytes;

use super::scheduler::{RoundRobin, Scheduler};
use crate::limits::{MAX_STREAM_BACKLOG, MIN_FRAGMENT};
use crate::packet::DATA_HEADER;

/// The smallest part of the peer's window that is used for a fragment (silly window syndrome, §6.1
/// A).
pub(super) const SILLY_WINDOW: usize = 1_024;

#[derive(Debug)]
pub(crate) struct SendQueue<S = RoundRobin> {
    scheduler: S,
    /// Grown as streams are used.
    streams: Vec<OutStream>,
    /// The stream whose first message is under way: without interleaving it must be finished
    /// first.
    current: Option<u16>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct OutStream {
    messages: VecDeque<Outgoing>,
    next_ssn: u16,
    /// Ordered messages begun and not wholly acknowledged.
    backlog: u32,
}

#[derive(Debug)]
struct Outgoing {
    payload: Bytes,
    begun: bool,
    ordered: bool,
    ppid: u32,
}

/// A piece of a message, to become a DATA chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) payload: Bytes,
    pub(crate) stream: u16,
    pub(crate) ssn: u16,
    pub(crate) ppid: u32,
    pub(crate) unordered: bool,
    pub(crate) begin: bool,
    pub(crate) end: bool,
}

impl<S: Scheduler> SendQueue<S> {
    pub(crate) fn new(scheduler: S) -> Self {
        Self {
            scheduler,
            streams: Vec::new(),
            current: None,
            bytes: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes of messages, or of what is left of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a message, which is not empty.
    pub(crate) fn push(&mut self, stream: u16, payload: Bytes, ordered: bool, ppid: u32) {
        let index = usize::from(stream);
        if index >= self.streams.len() {
            self.streams.resize_with(index + 1, OutStream::default);
        }
        self.bytes += payload.len();
        let messages = &mut self.streams[index].messages;
        messages.push_back(Outgoing {
            payload,
            begun: false,
            ordered,
            ppid,
        });
        if messages.len() == 1 && self.current != Some(stream) {
            self.scheduler.ready(stream);
        }
    }

    /// Cuts the next fragment for `room` bytes of packet (chunk header included) and `window` bytes
    /// of the peer's receive window. None if nothing is waiting or nothing sensible fits.
    pub(crate) fn fragment(&mut self, room: usize, window: usize) -> Option<Fragment> {
        let stream = self.pick()?;
        let out = &mut self.streams[usize::from(stream)];
        let message = out.messages.front_mut()?;
        let room = room.checked_sub(DATA_HEADER)? & !3;
        let len = message.payload.len();
        let len = if len <= room {
            len
        } else if room >= MIN_FRAGMENT {
            room
        } else {
            return None;
        };
        let len = if len <= window {
            len
        } else if window >= SILLY_WINDOW {
            len.min(window & !3)
        } else {
            return None;
        };
        let begin = !message.begun;
        if begin && message.ordered {
            out.backlog += 1;
        }
        message.begun = true;
        let payload = message.payload.split_to(len);
        let end = message.payload.is_empty();
        let fragment = Fragment {
            payload,
            stream,
            ssn: if message.ordered { out.next_ssn } else { 0 },
            ppid: message.ppid,
            unordered: !message.ordered,
            begin,
            end,
        };
        if end {
            if message.ordered {
                out.next_ssn = out.next_ssn.wrapping_add(1);
            }
            out.messages.pop_front();
            self.current = None;
            if !out.messages.is_empty() {
                self.scheduler.ready(stream);
            }
        }
        self.bytes -= len;
        Some(fragment)
    }

    /// The last fragment of an ordered message has been acknowledged cumulatively.
    pub(crate) fn delivered(&mut self, stream: u16) {
        if let Some(out) = self.streams.get_mut(usize::from(stream)) {
            out.backlog = out.backlog.saturating_sub(1);
        }
    }

    fn pick(&mut self) -> Option<u16> {
        if self.current.is_none() {
            for _ in 0..self.scheduler.len() {
                let stream = self.scheduler.pick()?;
                let out = &self.streams[usize::from(stream)];
                let ordered = out.messages.front().is_some_and(|message| message.ordered);
                if ordered && out.backlog >= MAX_STREAM_BACKLOG {
                    self.scheduler.ready(stream);
                    continue;
                }
                self.current = Some(stream);
                break;
            }
        }
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> SendQueue {
        SendQueue::new(RoundRobin::default())
    }

    #[test]
    fn messages_are_cut_to_the_room_and_streams_take_turns() {
        let mut queue = queue();
        queue.push(1, Bytes::from(vec![1; 300]), true, 7);
        queue.push(1, Bytes::from(vec![2; 10]), true, 7);
        queue.push(2, Bytes::from(vec![3; 10]), true, 8);
        let mut seen = Vec::new();
        while let Some(fragment) = queue.fragment(DATA_HEADER + 203, usize::MAX) {
            seen.push((
                fragment.stream,
                fragment.ssn,
                fragment.begin,
                fragment.end,
                fragment.payload.len(),
            ));
        }
        assert_eq!(
            seen,
            [
                (1, 0, true, false, 200),
                (1, 0, false, true, 100),
                (2, 0, true, true, 10),
                (1, 1, true, true, 10),
            ]
        );
        assert!(queue.is_empty());
    }

    #[test]
    fn unordered_messages_do_not_count_in_the_sequence() {
        let mut queue = queue();
        for ordered in [true, false, true] {
            queue.push(0, Bytes::from_static(b"x"), ordered, 0);
        }
        let cut = std::iter::from_fn(|| queue.fragment(1_000, 1_000));
        let seen: Vec<_> = cut
            .map(|fragment| (fragment.unordered, fragment.ssn))
            .collect();
        assert_eq!(seen, [(false, 0), (true, 0), (false, 1)]);
    }

    #[test]
    fn tiny_segments_are_not_sent() {
        let mut queue = queue();
        queue.push(0, Bytes::from(vec![0; 5_000]), true, 0);
        assert_eq!(
            queue.fragment(DATA_HEADER + MIN_FRAGMENT - 1, usize::MAX),
            None
        );
        assert_eq!(queue.fragment(1_400, SILLY_WINDOW - 1), None);
        assert_eq!(
            queue
                .fragment(1_400, SILLY_WINDOW + 2)
                .map(|fragment| fragment.payload.len()),
            Some(SILLY_WINDOW)
        );
        assert_eq!(queue.bytes, 5_000 - SILLY_WINDOW);
    }

    #[test]
    fn a_streams_backlog_stays_within_half_the_sequence_space() {
        let mut queue = queue();
        for _ in 0..=MAX_STREAM_BACKLOG {
            queue.push(0, Bytes::from_static(b"x"), true, 0);
        }
        queue.push(1, Bytes::from_static(b"y"), true, 0);
        let cut = std::iter::from_fn(|| queue.fragment(100, 100)).count();
        assert_eq!(
            cut,
            MAX_STREAM_BACKLOG as usize + 1,
            "the other stream is not held up"
        );
        queue.delivered(0);
        assert_eq!(
            queue.fragment(100, 100).map(|fragment| fragment.stream),
            Some(0)
        );
    }
}
