//! Messages from fragments (RFC 9260 §6.9).
//!
//! Fragments of one message have consecutive TSNs, so neighbouring TSNs belong together unless one
//! of them ends or begins a message. Each run of neighbours is one entry; a fragment that is next
//! in sequence is appended to its message's buffer, one that arrives early is kept apart until the
//! message is complete.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::event::Message;
use crate::limits::FRAGMENT_OVERHEAD;
use crate::packet::Data;
use crate::seq::Tsn;

const TOO_LONG: &str = "sent a message that is too long";

#[derive(Debug)]
pub(crate) struct Reassembly {
    /// Runs of fragments by their first TSN. None is a complete message.
    runs: BTreeMap<Tsn, Run>,
    max_message: usize,
    /// Length of the last message with several fragments: the best guess at the next one's.
    hint: usize,
}

/// A complete message and the bytes charged for it.
#[derive(Debug)]
pub(crate) struct Complete {
    pub(crate) message: Message,
    pub(crate) ssn: u16,
    pub(crate) charge: usize,
}

/// Which TSNs beside a fragment's own have been received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neighbours {
    pub(crate) before: Before,
    /// Whether the TSN after it has been received.
    pub(crate) after: bool,
}

/// What has been received before a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Not the TSN before it.
    Missing,
    /// The TSN before it, but not all TSNs up to there.
    Received,
    /// All TSNs up to it: it moves the cumulative point.
    InSequence,
}

#[derive(Debug)]
struct Run {
    last: Tsn,
    begins: bool,
    ends: bool,
    stream: u16,
    ssn: u16,
    unordered: bool,
    ppid: u32,
    len: usize,
    charge: usize,
    pieces: VecDeque<BytesMut>,
}

impl Run {
    fn of(&self, data: &Data<'_>) -> bool {
        self.stream == data.stream
            && self.unordered == data.unordered
            && (self.unordered || self.ssn == data.ssn)
    }

    /// Joins two neighbouring runs; the shorter list of pieces moves.
    fn join(mut self, mut right: Self) -> Self {
        if self.pieces.len() < right.pieces.len() {
            while let Some(piece) = self.pieces.pop_back() {
                right.pieces.push_front(piece);
            }
            std::mem::swap(&mut self.pieces, &mut right.pieces);
        } else {
            self.pieces.append(&mut right.pieces);
        }
        Self {
            last: right.last,
            ends: right.ends,
            len: self.len + right.len,
            charge: self.charge + right.charge,
            ..self
        }
    }

    fn complete(mut self) -> Complete {
        let mut payload = self.pieces.pop_front().unwrap_or_default();
        if !self.pieces.is_empty() {
            payload.reserve(self.len - payload.len());
            self.pieces
                .iter()
                .for_each(|piece| payload.extend_from_slice(piece));
        }
        let message = Message {
            stream: self.stream,
            ppid: self.ppid,
            unordered: self.unordered,
            payload: payload.freeze(),
        };
        Complete {
            message,
            ssn: self.ssn,
            charge: self.charge,
        }
    }
}

impl Reassembly {
    pub(crate) fn new(max_message: usize) -> Self {
        Self {
            runs: BTreeMap::new(),
            max_message,
            hint: 0,
        }
    }

    /// Takes a fragment. Gives the bytes charged for it, and the message if it is complete.
    pub(crate) fn insert(
        &mut self,
        tsn: Tsn,
        data: &Data<'_>,
        neighbours: Neighbours,
    ) -> Result<(usize, Option<Complete>), &'static str> {
        let Neighbours { before, after } = neighbours;
        let next = before == Before::InSequence;
        if next
            && !after
            && !data.begin
            && !data.end
            && let Some((_, run)) = self.runs.range_mut(..tsn).next_back()
            && run.last + 1 == tsn
            && !run.ends
            && run.of(data)
        {
            // The usual case: one more fragment in sequence.
            let charge = append(run, tsn, data, next);
            let fits = run.len <= self.max_message;
            return if fits {
                Ok((charge, None))
            } else {
                Err(TOO_LONG)
            };
        }
        let left = self
            .runs
            .range(..tsn)
            .next_back()
            .filter(|(_, run)| run.last + 1 == tsn)
            .map(|(&first, _)| first);
        let right = after && self.runs.contains_key(&(tsn + 1));
        self.check(tsn, data, neighbours, left, right)?;

        let overhead = data.payload.len() + FRAGMENT_OVERHEAD;
        if data.begin && data.end {
            let message = Message {
                stream: data.stream,
                ppid: data.ppid,
                unordered: data.unordered,
                payload: Bytes::copy_from_slice(data.payload),
            };
            return Ok((
                overhead,
                Some(Complete {
                    message,
                    ssn: data.ssn,
                    charge: overhead,
                }),
            ));
        }
        let (first, charge, mut run) = match left {
            Some(first) if !data.begin => {
                // It is there: `left` was found in the map.
                let Some(mut run) = self.runs.remove(&first) else {
                    return Ok((0, None));
                };
                let charge = append(&mut run, tsn, data, next);
                (first, charge, run)
            }
            _ => (tsn, overhead, self.start(tsn, data, next)),
        };
        if right
            && !data.end
            && let Some(follower) = self.runs.remove(&(tsn + 1))
        {
            run = run.join(follower);
        }
        if run.len > self.max_message {
            return Err(TOO_LONG);
        }
        if run.begins && run.ends {
            self.hint = run.len;
            return Ok((charge, Some(run.complete())));
        }
        self.runs.insert(first, run);
        Ok((charge, None))
    }

    /// Whether a fragment fits its neighbours: beginnings follow ends, and what lies between
    /// belongs together.
    fn check(
        &self,
        tsn: Tsn,
        data: &Data<'_>,
        neighbours: Neighbours,
        left: Option<Tsn>,
        right: bool,
    ) -> Result<(), &'static str> {
        const BROKEN: &str = "sent fragments that do not belong together";
        let unfinished = left
            .and_then(|first| self.runs.get(&first))
            .filter(|run| !run.ends);
        let fits = match (unfinished, neighbours.before != Before::Missing) {
            (Some(run), _) => !data.begin && run.of(data),
            (None, true) => data.begin,
            (None, false) => true,
        };
        let follower = right
            .then(|| self.runs.get(&(tsn + 1)))
            .flatten()
            .filter(|run| !run.begins);
        let fits_right = match (follower, neighbours.after) {
            (Some(run), _) => !data.end && run.of(data),
            (None, true) => data.end,
            (None, false) => true,
        };
        if fits && fits_right {
            Ok(())
        } else {
            Err(BROKEN)
        }
    }

    fn start(&self, tsn: Tsn, data: &Data<'_>, next: bool) -> Run {
        // Only the message in sequence gets memory in advance, so that this happens once at a time.
        let len = data.payload.len();
        let capacity = match next && data.begin {
            true if self.hint > len => self.hint,
            true => 2 * len,
            false => len,
        };
        let mut piece = BytesMut::with_capacity(capacity);
        piece.extend_from_slice(data.payload);
        Run {
            last: tsn,
            begins: data.begin,
            ends: data.end,
            stream: data.stream,
            ssn: data.ssn,
            unordered: data.unordered,
            ppid: data.ppid,
            len: data.payload.len(),
            charge: data.payload.len() + FRAGMENT_OVERHEAD,
            pieces: VecDeque::from([piece]),
        }
    }
}

/// Appends a fragment to the run that it follows and gives the bytes charged for it.
fn append(run: &mut Run, tsn: Tsn, data: &Data<'_>, next: bool) -> usize {
    let in_place = run.pieces.back_mut().filter(|_| next);
    let charge = match in_place {
        Some(piece) => {
            piece.extend_from_slice(data.payload);
            data.payload.len()
        }
        None => {
            run.pieces.push_back(BytesMut::from(data.payload));
            data.payload.len() + FRAGMENT_OVERHEAD
        }
    };
    run.last = tsn;
    run.ends = data.end;
    run.len += data.payload.len();
    run.charge += charge;
    charge
}
