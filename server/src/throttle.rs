//! Slows down password guessing, without locking anyone out.
//!
//! Attempts are counted, as they begin, for (user, network), for the network over all users, and,
//! loosely, for the user over all networks; each table is bounded. A network is an IPv4 address or
//! an IPv6 /64. Logins by key are never delayed, so nobody can keep an administrator out by failing
//! in their name.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::admission::Network;
use super::limits;

/// What one user, network or pair of both has done.
#[derive(Debug, Clone, Copy)]
struct Attempts {
    /// Attempts that failed or are under way.
    count: u32,
    /// When the next attempt is looked at.
    free_at: Instant,
}

/// A bounded count of attempts by key.
#[derive(Debug)]
struct Table<K> {
    attempts: BTreeMap<K, Attempts>,
    free: u32,
    longest: Duration,
}

impl<K: Ord + Clone> Table<K> {
    fn new(free: u32, longest: Duration) -> Self {
        Self {
            attempts: BTreeMap::new(),
            free,
            longest,
        }
    }

    /// Counts an attempt, and says when it may be looked at.
    fn begin(&mut self, key: &K, now: Instant) -> Instant {
        self.make_room(key, now);
        let (free, longest) = (self.free, self.longest);
        let entry = self.attempts.entry(key.clone()).or_insert(Attempts {
            count: 0,
            free_at: now,
        });
        if forgotten(entry, now) {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        let at = entry.free_at.max(now);
        entry.free_at = at + pause(entry.count, free, longest);
        at
    }

    /// Takes back an attempt that succeeded.
    fn succeeded(&mut self, key: &K) {
        if let Some(entry) = self.attempts.get_mut(key) {
            entry.count = entry.count.saturating_sub(1);
        }
    }

    fn make_room(&mut self, key: &K, now: Instant) {
        if self.attempts.len() < limits::THROTTLE_ENTRIES || self.attempts.contains_key(key) {
            return;
        }
        self.attempts.retain(|_, entry| !forgotten(entry, now));
        if self.attempts.len() >= limits::THROTTLE_ENTRIES {
            // Full of fresh entries: forget the one with the fewest attempts, the least dangerous.
            let mildest = self
                .attempts
                .iter()
                .min_by_key(|(_, entry)| (entry.count, entry.free_at));
            if let Some(key) = mildest.map(|(key, _)| key.clone()) {
                self.attempts.remove(&key);
            }
        }
    }
}

fn forgotten(entry: &Attempts, now: Instant) -> bool {
    now.saturating_duration_since(entry.free_at) >= limits::THROTTLE_MEMORY
}

/// How long the attempt after the `count`th has to wait.
fn pause(count: u32, free: u32, longest: Duration) -> Duration {
    match count.checked_sub(free + 1) {
        None => Duration::ZERO,
        Some(doublings) => (limits::THROTTLE_FIRST * (1 << doublings.min(16))).min(longest),
    }
}

/// The attempts of all sessions of a server.
#[derive(Debug)]
pub struct Throttle {
    pairs: Table<(String, Network)>,
    networks: Table<Network>,
    users: Table<String>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl Throttle {
    /// Nobody has tried yet.
    pub fn new() -> Self {
        Self {
            pairs: Table::new(limits::THROTTLE_FREE, limits::THROTTLE_LONGEST),
            networks: Table::new(limits::THROTTLE_FREE_NETWORK, limits::THROTTLE_LONGEST),
            users: Table::new(limits::THROTTLE_FREE_USER, limits::THROTTLE_LONGEST_USER),
        }
    }

    /// Counts an attempt with a password, and says how long it has to wait before it is looked at;
    /// the same for known and unknown users.
    ///
    /// Attempts from one network queue up behind each other, so opening many connections gains
    /// nothing. For a user over all networks there is one pause, not a queue: else strangers could
    /// fill it.
    #[must_use]
    pub fn begin(&mut self, user: &str, network: Network, now: Instant) -> Duration {
        let pair = self.pairs.begin(&(user.to_owned(), network), now);
        let all = self.networks.begin(&network, now);
        let user = self.users.begin(&user.to_owned(), now);
        let user = user.min(now + limits::THROTTLE_LONGEST_USER);
        pair.max(all).max(user).saturating_duration_since(now)
    }

    /// A right password takes its own attempt back, and clears what was counted for this user from
    /// this network; not what others did.
    pub fn succeeded(&mut self, user: &str, network: Network) {
        self.pairs.attempts.remove(&(user.to_owned(), network));
        self.networks.succeeded(&network);
        self.users.succeeded(&user.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn net(last: u8) -> Network {
        Network::from(Some(IpAddr::from([10, 0, 0, last])))
    }

    #[test]
    fn delays_grow_and_are_forgotten() {
        let mut throttle = Throttle::new();
        let mut now = Instant::now();
        let mut before = Duration::ZERO;
        for attempt in 0..12 {
            let delay = throttle.begin("alice", net(1), now);
            assert!(delay >= before && delay <= limits::THROTTLE_LONGEST);
            assert_eq!(delay.is_zero(), attempt < 3, "{attempt}: {delay:?}");
            before = delay;
            now += delay;
        }
        assert_eq!(before, limits::THROTTLE_LONGEST);
        now += limits::THROTTLE_LONGEST + limits::THROTTLE_MEMORY;
        assert!(throttle.begin("alice", net(1), now).is_zero());
    }

    #[test]
    fn many_connections_at_once_queue_up() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        let delays: Vec<Duration> = (0..20)
            .map(|_| throttle.begin("alice", net(1), now))
            .collect();
        assert!(delays.is_sorted());
        let last = delays.last().copied().unwrap_or_default();
        assert!(last > limits::THROTTLE_LONGEST * 10, "{last:?}");
    }

    #[test]
    fn waiting_pays_the_delay_off() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for _ in 0..3 {
            assert!(throttle.begin("alice", net(1), now).is_zero());
        }
        let later = now + limits::THROTTLE_FIRST;
        assert!(throttle.begin("alice", net(1), later).is_zero());
        assert!(!throttle.begin("alice", net(1), later).is_zero());
    }

    #[test]
    fn a_stranger_cannot_keep_a_user_out() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for host in 2..250 {
            for _ in 0..20 {
                let _delay = throttle.begin("alice", net(host), now);
            }
        }
        assert!(throttle.begin("alice", net(1), now) <= limits::THROTTLE_LONGEST_USER);
        assert!(throttle.begin("alice", net(66), now) > limits::THROTTLE_LONGEST);
    }

    #[test]
    fn trying_many_names_from_one_network_is_slowed() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for i in 0..100 {
            let _delay = throttle.begin(&format!("user{i}"), net(66), now);
        }
        assert!(throttle.begin("fresh", net(66), now) > limits::THROTTLE_LONGEST);
        assert!(throttle.begin("fresh", net(1), now).is_zero());
    }

    #[test]
    fn users_behind_one_address_do_not_slow_each_other_by_succeeding() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for i in 0..1000 {
            let user = format!("user{i}");
            assert!(throttle.begin(&user, net(1), now).is_zero());
            throttle.succeeded(&user, net(1));
        }
    }

    #[test]
    fn tables_stay_bounded_and_keep_the_worst() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for _ in 0..30 {
            let _delay = throttle.begin("alice", net(1), now);
        }
        for i in 0..limits::THROTTLE_ENTRIES as u32 + 50 {
            let key = (format!("u{i}"), Network::V4(i));
            assert_eq!(throttle.pairs.begin(&key, now), now);
        }
        assert_eq!(throttle.pairs.attempts.len(), limits::THROTTLE_ENTRIES);
        assert!(throttle.begin("alice", net(1), now) > limits::THROTTLE_LONGEST);
    }

    #[test]
    fn success_clears_the_own_count_only() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for _ in 0..6 {
            let _delay = throttle.begin("alice", net(1), now);
            let _delay = throttle.begin("alice", net(2), now);
        }
        throttle.succeeded("alice", net(1));
        assert!(throttle.begin("alice", net(1), now).is_zero());
        assert!(!throttle.begin("alice", net(2), now).is_zero());
    }
}
