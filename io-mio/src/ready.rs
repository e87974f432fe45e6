//! What has something to do, each queued once.

use std::collections::{BTreeSet, VecDeque};

/// Keys in the order in which they became ready. Inserting one that is queued changes nothing,
/// until it has been popped.
#[derive(Debug)]
pub(crate) struct ReadyQueue<K> {
    order: VecDeque<K>,
    queued: BTreeSet<K>,
}

impl<K: Copy + Ord> ReadyQueue<K> {
    /// Appends a key unless it is queued. Says whether it was appended.
    pub(crate) fn insert(&mut self, key: K) -> bool {
        let new = self.queued.insert(key);
        if new {
            self.order.push_back(key);
        }
        new
    }

    /// Takes out the key that has been ready for longest.
    pub(crate) fn pop(&mut self) -> Option<K> {
        let key = self.order.pop_front()?;
        self.queued.remove(&key);
        Some(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl<K> Default for ReadyQueue<K> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            queued: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_queued_once_until_it_is_popped() {
        let mut queue = ReadyQueue::default();
        assert_eq!([2, 1, 2].map(|key| queue.insert(key)), [true, true, false]);
        assert_eq!((queue.len(), queue.pop()), (2, Some(2)));
        assert!(queue.insert(2), "it may become ready again");
        assert_eq!(
            [queue.pop(), queue.pop(), queue.pop()],
            [Some(1), Some(2), None]
        );
        assert!(queue.is_empty());
    }
}
