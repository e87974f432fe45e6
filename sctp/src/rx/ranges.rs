//! A set of TSNs as ranges.

use std::collections::BTreeMap;

use crate::limits::MAX_RECEIVED_RANGES;
use crate::seq::Tsn;

/// Received TSNs above the cumulative point: first to last of each range, ranges never touching.
#[derive(Debug, Default)]
pub(crate) struct Ranges(BTreeMap<Tsn, Tsn>);

impl Ranges {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, tsn: Tsn) -> bool {
        !self.0.is_empty()
            && self
                .0
                .range(..=tsn)
                .next_back()
                .is_some_and(|(_, &last)| last >= tsn)
    }

    pub(crate) fn highest(&self) -> Option<Tsn> {
        self.0.last_key_value().map(|(_, &last)| last)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Tsn, Tsn)> + '_ {
        self.0.iter().map(|(&first, &last)| (first, last))
    }

    /// Adds a TSN that is not in the set. Refuses one that would make too many ranges.
    pub(crate) fn insert(&mut self, tsn: Tsn) -> bool {
        let after = self.0.get(&(tsn + 1)).copied();
        let before = self
            .0
            .range_mut(..tsn)
            .next_back()
            .filter(|(_, last)| **last + 1 == tsn);
        match (before, after) {
            (Some((_, last)), Some(end)) => {
                *last = end;
                self.0.remove(&(tsn + 1));
            }
            (Some((_, last)), None) => *last = tsn,
            (None, Some(end)) => {
                self.0.remove(&(tsn + 1));
                self.0.insert(tsn, end);
            }
            (None, None) => {
                if self.0.len() >= MAX_RECEIVED_RANGES {
                    return false;
                }
                self.0.insert(tsn, tsn);
            }
        }
        true
    }

    /// Removes the range that directly follows `cumulative`, if any, and gives the new cumulative
    /// point.
    pub(crate) fn absorb(&mut self, cumulative: Tsn) -> Tsn {
        if self.0.is_empty() {
            return cumulative;
        }
        self.0.remove(&(cumulative + 1)).unwrap_or(cumulative)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_a_set(tsns in prop::collection::vec(1u64..100, 0..100)) {
            let (mut ranges, mut naive, mut cumulative) = (Ranges::default(), BTreeSet::new(), 0);
            for tsn in tsns {
                if tsn <= cumulative || !naive.insert(tsn) {
                    continue;
                }
                prop_assert!(!ranges.contains(tsn));
                prop_assert!(ranges.insert(tsn));
                cumulative = ranges.absorb(cumulative);
                naive.retain(|&tsn| tsn > cumulative);
                prop_assert!(!naive.contains(&(cumulative + 1)));
                let listed: Vec<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
                prop_assert_eq!(listed, naive.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.highest(), naive.last().copied());
            }
        }
    }

    #[test]
    fn isolated_tsns_are_bounded() {
        let mut ranges = Ranges::default();
        for n in 0..MAX_RECEIVED_RANGES as u64 {
            assert!(ranges.insert(2 * n + 2));
        }
        assert!(!ranges.insert(1_000_000));
        assert!(ranges.insert(3), "one that joins two ranges is accepted");
        assert!(ranges.insert(1_000_000));
    }
}
