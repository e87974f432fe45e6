//! Delivery in the order of each stream (RFC 9260 §6.6).

use std::collections::{BTreeMap, VecDeque};

use super::reassembly::Complete;
use crate::seq;

#[derive(Debug)]
pub(crate) struct Order {
    /// The next stream sequence number of each stream.
    next: Vec<u16>,
    /// Complete messages that wait for an earlier one, by stream and stream sequence number.
    waiting: BTreeMap<(u16, u16), Complete>,
}

impl Order {
    pub(crate) fn new(streams: u16) -> Self {
        Self {
            next: vec![0; usize::from(streams)],
            waiting: BTreeMap::new(),
        }
    }

    /// Whether messages wait for an earlier one.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Delivers a complete message and those that waited for it, or keeps it until the earlier ones
    /// have arrived. Its stream is a valid one.
    pub(crate) fn deliver(
        &mut self,
        complete: Complete,
        ready: &mut VecDeque<Complete>,
    ) -> Result<(), &'static str> {
        if complete.message.unordered {
            ready.push_back(complete);
            return Ok(());
        }
        let stream = complete.message.stream;
        let Some(next) = self.next.get_mut(usize::from(stream)) else {
            return Ok(());
        };
        if seq::ssn_before(complete.ssn, *next) {
            return Err("repeated a stream sequence number");
        }
        if complete.ssn != *next {
            return match self.waiting.insert((stream, complete.ssn), complete) {
                None => Ok(()),
                Some(_) => Err("repeated a stream sequence number"),
            };
        }
        ready.push_back(complete);
        *next = next.wrapping_add(1);
        if !self.waiting.is_empty() {
            while let Some(complete) = self.waiting.remove(&(stream, *next)) {
                ready.push_back(complete);
                *next = next.wrapping_add(1);
            }
        }
        Ok(())
    }
}
