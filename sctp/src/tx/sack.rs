//! Processing of SACKs (RFC 9260 §6.2.1, §6.3.2, §7.2).
//!
//! The work is proportional to the chunks that a SACK newly acknowledges or reneges on, and to its
//! blocks.

use std::time::Instant;

use super::queue::SILLY_WINDOW;
use super::{Acknowledged, Sent, SentState, Tx};
use crate::limits::{MAX_GAP_BLOCKS, MAX_PATHS, RENEGE_ALLOWANCE};
use crate::packet::Sack;
use crate::path::Path;
use crate::seq::{self, Tsn};

/// What a path had in flight before an acknowledgement: bytes, and the lowest TSN.
#[derive(Debug, Default)]
struct Before {
    flights: [usize; MAX_PATHS],
    earliest: [Option<Tsn>; MAX_PATHS],
}

impl Tx {
    /// Takes a SACK.
    ///
    /// # Errors
    /// It is impossible, e.g. acknowledges a TSN that was never sent: the association is to be
    /// aborted.
    pub(crate) fn handle_sack(
        &mut self,
        sack: &Sack<'_>,
        paths: &mut [Path],
        now: Instant,
        max_burst: usize,
    ) -> Result<Option<Acknowledged>, &'static str> {
        let cumulative = seq::widen(sack.cumulative, self.base - 1);
        if cumulative < self.base - 1 {
            return Ok(None);
        }
        let truncated = self.read_blocks(sack, cumulative)?;
        let before = self.before(paths);
        let mut outcome = Acknowledged::default();
        self.advance(cumulative, paths, now, &mut outcome);
        self.apply_gaps(truncated, paths, now, &mut outcome)?;
        self.window = (sack.window as usize).saturating_sub(self.in_flight);
        self.shut = (sack.window as usize) < SILLY_WINDOW;

        self.conclude(cumulative, paths, &before, &outcome, now, max_burst);
        Ok(Some(outcome))
    }

    /// Takes the cumulative TSN of a SHUTDOWN, which has neither gap blocks nor a window (§9.2,
    /// §3.3.8).
    pub(crate) fn handle_cumulative(
        &mut self,
        cumulative: u32,
        paths: &mut [Path],
        now: Instant,
        max_burst: usize,
    ) -> Result<Option<Acknowledged>, &'static str> {
        let cumulative = seq::widen(cumulative, self.base - 1);
        if cumulative < self.base {
            return Ok(None);
        }
        if cumulative >= self.next_tsn() {
            return Err("acknowledged what was never sent");
        }
        let before = self.before(paths);
        let in_flight = self.in_flight;
        let mut outcome = Acknowledged::default();
        self.advance(cumulative, paths, now, &mut outcome);
        // A SHUTDOWN has no window: the last one holds, of which so much is free again.
        self.window += in_flight - self.in_flight;
        self.conclude(cumulative, paths, &before, &outcome, now, max_burst);
        Ok(Some(outcome))
    }

    /// What [`conclude`](Self::conclude) compares with.
    fn before(&self, paths: &mut [Path]) -> Before {
        let mut before = Before::default();
        for (at, path) in paths.iter_mut().enumerate() {
            before.flights[at] = path.flight;
            if path.t3.is_some() {
                before.earliest[at] = self.earliest(path, at);
            }
        }
        before
    }

    /// What follows for congestion windows, lost packets and timers when data has been
    /// acknowledged, by a SACK or a SHUTDOWN.
    fn conclude(
        &mut self,
        cumulative: Tsn,
        paths: &mut [Path],
        before: &Before,
        outcome: &Acknowledged,
        now: Instant,
        max_burst: usize,
    ) {
        if self.recovery.is_some_and(|exit| cumulative >= exit) {
            self.recovery = None;
            self.fast = false;
        }
        for (at, path) in paths.iter_mut().enumerate() {
            let bytes = outcome.bytes[at];
            if bytes > 0 {
                let chunk = path.chunk();
                if self.recovery.is_none() {
                    path.congestion.acknowledged(
                        bytes,
                        before.flights[at],
                        chunk,
                        max_burst * chunk,
                    );
                }
                path.refill(bytes, max_burst);
            }
        }
        self.find_lost(paths, outcome);
        for (at, path) in paths.iter_mut().enumerate() {
            self.manage_t3(path, at, before.earliest[at], now);
        }
    }

    /// Puts the blocks, as ranges of TSNs, into `spare`. True if there were more than are read.
    fn read_blocks(&mut self, sack: &Sack<'_>, cumulative: Tsn) -> Result<bool, &'static str> {
        let next = self.next_tsn();
        if cumulative >= next {
            return Err("acknowledged what was never sent");
        }
        self.spare.clear();
        for block in sack.blocks().take(MAX_GAP_BLOCKS) {
            let (start, end) = (
                cumulative + u64::from(block.start),
                cumulative + u64::from(block.end),
            );
            if block.start == 0 || end < start {
                return Err("sent impossible gap blocks");
            }
            if end >= next {
                return Err("acknowledged what was never sent");
            }
            match self.spare.last_mut() {
                Some((first, _)) if start < *first => return Err("sent unordered gap blocks"),
                Some((_, last)) if start <= *last + 1 => *last = end.max(*last),
                _ => self.spare.push((start, end)),
            }
        }
        Ok(sack.blocks().len() > MAX_GAP_BLOCKS)
    }

    /// Moves the cumulative point.
    fn advance(
        &mut self,
        cumulative: Tsn,
        paths: &mut [Path],
        now: Instant,
        outcome: &mut Acknowledged,
    ) {
        while self.base <= cumulative {
            let Some(sent) = self.ring.pop_front() else {
                break;
            };
            let tsn = self.base;
            self.base += 1;
            self.reneged = self.reneged.saturating_sub(4);
            match sent.state {
                SentState::InFlight => {
                    self.in_flight -= sent.payload.len();
                    credit(tsn, &sent, true, paths, now, outcome);
                }
                SentState::Lost => {
                    self.lost.remove(&tsn);
                    credit(tsn, &sent, false, paths, now, outcome);
                }
                SentState::Acknowledged => {}
            }
            self.buffered -= sent.payload.len();
            if sent.end && !sent.unordered {
                self.queue.delivered(sent.stream);
            }
        }
    }

    /// Compares the blocks with those of the last SACK and handles the differences.
    fn apply_gaps(
        &mut self,
        truncated: bool,
        paths: &mut [Path],
        now: Instant,
        outcome: &mut Acknowledged,
    ) -> Result<(), &'static str> {
        let (old, mut new) = (
            std::mem::take(&mut self.gaps),
            std::mem::take(&mut self.spare),
        );
        let floor = self.base;
        if truncated {
            // TSNs beyond the blocks that were read keep their state.
            let read = new.last().map_or(floor, |&(_, end)| end + 1);
            new.extend(
                old.iter()
                    .filter(|range| range.1 >= read)
                    .map(|&(start, end)| (start.max(read), end)),
            );
        }
        for_difference(&new, &old, floor, |tsn| {
            self.acknowledge(tsn, paths, now, outcome)
        });
        let mut taken_back = 0;
        for_difference(&old, &new, floor, |tsn| {
            taken_back += 1;
            self.take_back(tsn, paths, now);
        });
        self.gaps = new;
        self.spare = old;
        self.reneged += taken_back;
        if self.reneged > RENEGE_ALLOWANCE {
            return Err("reneged on too many TSNs");
        }
        Ok(())
    }

    /// A gap block newly covers this chunk.
    fn acknowledge(
        &mut self,
        tsn: Tsn,
        paths: &mut [Path],
        now: Instant,
        outcome: &mut Acknowledged,
    ) {
        let index = self.index(tsn);
        let Some(sent) = self.ring.get_mut(index) else {
            return;
        };
        match sent.state {
            SentState::InFlight => {
                self.in_flight -= sent.payload.len();
                credit(tsn, sent, true, paths, now, outcome);
            }
            SentState::Lost => {
                self.lost.remove(&tsn);
                credit(tsn, sent, false, paths, now, outcome);
            }
            SentState::Acknowledged => {}
        }
        sent.state = SentState::Acknowledged;
    }

    /// The peer has reneged on a chunk: it no longer acknowledges it (§6.2.1 D iii).
    fn take_back(&mut self, tsn: Tsn, paths: &mut [Path], now: Instant) {
        let index = self.index(tsn);
        let Some(sent) = self.ring.get_mut(index) else {
            return;
        };
        if sent.state != SentState::Acknowledged {
            return;
        }
        sent.state = SentState::InFlight;
        sent.transmissions = sent.transmissions.max(2);
        self.in_flight += sent.payload.len();
        let path = &mut paths[usize::from(sent.path)];
        path.flight += sent.size();
        path.resent.push_back((tsn, sent.serial));
        path.t3.get_or_insert(now + path.rtt.rto());
    }

    /// Marks as lost what was sent before three acknowledged packets of the same path, and enters
    /// fast recovery (§7.2.4).
    fn find_lost(&mut self, paths: &mut [Path], outcome: &Acknowledged) {
        let mut entered = false;
        for (at, path) in paths.iter_mut().enumerate() {
            if outcome.bytes[at] == 0 {
                continue;
            }
            let threshold = path.highest.iter().map(|&(tsn, _)| tsn).min().unwrap_or(0);
            let mut found = false;
            while let Some(&tsn) = path.fresh.front() {
                if tsn >= threshold {
                    break;
                }
                path.fresh.pop_front();
                found |= self.mark_lost(tsn, path, at, None);
            }
            if found && self.recovery.is_none() {
                entered = true;
                let chunk = path.chunk();
                path.congestion.lost(chunk);
            }
        }
        if entered {
            self.recovery = Some(self.next_tsn() - 1);
            self.fast = true;
        }
    }

    /// Rules R2 and R3 of §6.3.2.
    fn manage_t3(&self, path: &mut Path, at: usize, before: Option<Tsn>, now: Instant) {
        if path.flight == 0 {
            path.t3 = None;
            path.t3_deferred = false;
            if self.ring.is_empty() {
                path.congestion.drained();
            }
        } else if path.t3.is_some() && self.earliest(path, at) != before {
            path.t3 = Some(now + path.rtt.rto());
            path.t3_deferred = false;
        }
    }
}

/// Counts a newly acknowledged chunk for the path on which it was last sent.
fn credit(
    tsn: Tsn,
    sent: &Sent,
    in_flight: bool,
    paths: &mut [Path],
    now: Instant,
    outcome: &mut Acknowledged,
) {
    let at = usize::from(sent.path);
    let path = &mut paths[at];
    if in_flight {
        path.flight -= sent.size();
    }
    outcome.bytes[at] += sent.size();
    if sent.transmissions > 1 {
        return;
    }
    // A chunk sent before the timer expired does not show that the path works now.
    outcome.unambiguous[at] |= in_flight;
    note_highest(&mut path.highest, tsn, sent.serial);
    if let Some((timed, at)) = path.timed
        && timed == tsn
    {
        path.timed = None;
        path.measured(now.saturating_duration_since(at));
    }
}

/// Keeps the three highest TSNs of different packets.
fn note_highest(highest: &mut [(Tsn, u32); 3], tsn: Tsn, serial: u32) {
    if let Some(entry) = highest
        .iter_mut()
        .find(|entry| entry.1 == serial && entry.0 != 0)
    {
        entry.0 = entry.0.max(tsn);
    } else if let Some(lowest) = highest.iter_mut().min_by_key(|entry| entry.0)
        && lowest.0 < tsn
    {
        *lowest = (tsn, serial);
    }
}

/// Visits the TSNs from `floor` on that are in `a` and not in `b`, both sorted and disjoint.
fn for_difference(a: &[(Tsn, Tsn)], b: &[(Tsn, Tsn)], floor: Tsn, mut visit: impl FnMut(Tsn)) {
    let mut others = b.iter().copied().peekable();
    for &(start, end) in a {
        let mut tsn = start.max(floor);
        while tsn <= end {
            match others.peek() {
                Some(&(_, last)) if last < tsn => {
                    others.next();
                }
                Some(&(first, last)) if first <= tsn => tsn = last + 1,
                Some(&(first, _)) => {
                    let stop = end.min(first - 1);
                    (tsn..=stop).for_each(&mut visit);
                    tsn = stop + 1;
                }
                None => {
                    (tsn..=end).for_each(&mut visit);
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges(set: &BTreeSet<Tsn>) -> Vec<(Tsn, Tsn)> {
        let mut out: Vec<(Tsn, Tsn)> = Vec::new();
        for &tsn in set {
            match out.last_mut() {
                Some((_, end)) if *end + 1 == tsn => *end = tsn,
                _ => out.push((tsn, tsn)),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn differences_of_ranges_are_those_of_sets(
            a in prop::collection::btree_set(1u64..80, 0..60),
            b in prop::collection::btree_set(1u64..80, 0..60),
            floor in 1u64..80,
        ) {
            let mut seen = Vec::new();
            for_difference(&ranges(&a), &ranges(&b), floor, |tsn| seen.push(tsn));
            let expected: Vec<Tsn> = a.difference(&b).copied().filter(|&tsn| tsn >= floor).collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn the_third_highest_packet_is_the_threshold() {
        let mut highest = [(0, 0); 3];
        for (tsn, serial) in [(10, 1), (11, 1), (12, 2)] {
            note_highest(&mut highest, tsn, serial);
        }
        assert_eq!(
            highest.iter().map(|entry| entry.0).min(),
            Some(0),
            "two packets are not enough"
        );
        note_highest(&mut highest, 20, 3);
        assert_eq!(highest.iter().map(|entry| entry.0).min(), Some(11));
        note_highest(&mut highest, 5, 4);
        assert_eq!(
            highest.iter().map(|entry| entry.0).min(),
            Some(11),
            "an older one changes nothing"
        );
    }
}
