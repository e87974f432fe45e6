//! Slows down password guessing, without locking anyone out.
//!
//! Failures are counted for (user, network), for the network over all users, and, loosely, for the user over all
//! networks; each table is bounded. A network is an IPv4 address or an IPv6 /64. Logins by key are never delayed, so
//! nobody can keep an administrator out by failing in their name.

use super::limits;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Where an attempt comes from: an IPv4 address, an IPv6 /64, or this host itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// An IPv4 address (also one mapped into IPv6).
    V4(u32),
    /// The upper 64 bits of an IPv6 address.
    V6(u64),
    /// A peer without an address.
    Local,
}

impl From<Option<IpAddr>> for Network {
    fn from(address: Option<IpAddr>) -> Network {
        match address.map(|a| a.to_canonical()) {
            Some(IpAddr::V4(a)) => Network::V4(a.to_bits()),
            Some(IpAddr::V6(a)) => Network::V6((a.to_bits() >> 64) as u64),
            None => Network::Local,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// A bounded count of failures by key.
#[derive(Debug)]
struct Table<K> {
    failures: BTreeMap<K, Failures>,
    free: u32,
    longest: Duration,
}

impl<K: Ord + Clone> Table<K> {
    fn new(free: u32, longest: Duration) -> Table<K> {
        Table {
            failures: BTreeMap::new(),
            free,
            longest,
        }
    }

    fn delay(&self, key: &K, now: Instant) -> Duration {
        let Some(failures) = self.failures.get(key) else {
            return Duration::ZERO;
        };
        let since = now.saturating_duration_since(failures.last);
        if failures.count <= self.free || since >= limits::THROTTLE_MEMORY {
            return Duration::ZERO;
        }
        let doublings = (failures.count - self.free - 1).min(16);
        let full = (limits::THROTTLE_FIRST * (1 << doublings)).min(self.longest);
        full.saturating_sub(since)
    }

    fn failed(&mut self, key: K, now: Instant) {
        let fresh = |f: &Failures| now.saturating_duration_since(f.last) < limits::THROTTLE_MEMORY;
        if self.failures.len() >= limits::THROTTLE_ENTRIES && !self.failures.contains_key(&key) {
            self.failures.retain(|_, f| fresh(f));
            if self.failures.len() >= limits::THROTTLE_ENTRIES {
                // Full of fresh entries: forget the one with the fewest failures, the least dangerous.
                let mildest = self.failures.iter().min_by_key(|(_, f)| (f.count, f.last));
                if let Some(key) = mildest.map(|(key, _)| key.clone()) {
                    self.failures.remove(&key);
                }
            }
        }
        let entry = self.failures.entry(key).or_insert(Failures {
            count: 0,
            last: now,
        });
        if !fresh(entry) {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
    }
}

/// The failures of all sessions of a server.
#[derive(Debug)]
pub struct Throttle {
    pairs: Table<(String, Network)>,
    networks: Table<Network>,
    users: Table<String>,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle::new()
    }
}

impl Throttle {
    /// Nobody has failed yet.
    pub fn new() -> Throttle {
        Throttle {
            pairs: Table::new(limits::THROTTLE_FREE, limits::THROTTLE_LONGEST),
            networks: Table::new(limits::THROTTLE_FREE_NETWORK, limits::THROTTLE_LONGEST),
            users: Table::new(limits::THROTTLE_FREE_USER, limits::THROTTLE_LONGEST_USER),
        }
    }

    /// How long an attempt with a password has to wait before it is looked at.
    ///
    /// The same for known and unknown users.
    #[must_use]
    pub fn delay(&self, user: &str, network: Network, now: Instant) -> Duration {
        let pair = self.pairs.delay(&(user.to_owned(), network), now);
        let all = self.networks.delay(&network, now);
        let user = self.users.delay(&user.to_owned(), now);
        pair.max(all).max(user)
    }

    /// Counts a failed attempt.
    pub fn failed(&mut self, user: &str, network: Network, now: Instant) {
        self.pairs.failed((user.to_owned(), network), now);
        self.networks.failed(network, now);
        self.users.failed(user.to_owned(), now);
    }

    /// A right password clears what was counted for this user from this network; not what others did.
    pub fn succeeded(&mut self, user: &str, network: Network) {
        self.pairs.failures.remove(&(user.to_owned(), network));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(last: u8) -> Network {
        Network::from(Some(IpAddr::from([10, 0, 0, last])))
    }

    #[test]
    fn delays_grow_and_are_forgotten() {
        let mut throttle = Throttle::new();
        let mut now = Instant::now();
        assert_eq!(throttle.delay("alice", net(1), now), Duration::ZERO);
        let mut before = Duration::ZERO;
        for attempt in 0..12 {
            throttle.failed("alice", net(1), now);
            let delay = throttle.delay("alice", net(1), now);
            if attempt < 2 {
                assert_eq!(delay, Duration::ZERO);
            } else {
                assert!(delay >= before && delay <= limits::THROTTLE_LONGEST);
                before = delay;
            }
        }
        assert_eq!(before, limits::THROTTLE_LONGEST);
        now += limits::THROTTLE_MEMORY;
        assert_eq!(throttle.delay("alice", net(1), now), Duration::ZERO);
    }

    #[test]
    fn waiting_pays_the_delay_off() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for _ in 0..4 {
            throttle.failed("alice", net(1), now);
        }
        let delay = throttle.delay("alice", net(1), now);
        assert!(delay > Duration::ZERO);
        assert_eq!(throttle.delay("alice", net(1), now + delay), Duration::ZERO);
    }

    #[test]
    fn a_stranger_cannot_keep_a_user_out() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for _ in 0..1000 {
            throttle.failed("alice", net(66), now);
        }
        assert!(throttle.delay("alice", net(1), now) <= limits::THROTTLE_LONGEST_USER);
        assert_eq!(
            throttle.delay("alice", net(66), now),
            limits::THROTTLE_LONGEST
        );
    }

    #[test]
    fn trying_many_names_from_one_network_is_slowed() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for i in 0..100 {
            throttle.failed(&format!("user{i}"), net(66), now);
        }
        assert_eq!(
            throttle.delay("fresh", net(66), now),
            limits::THROTTLE_LONGEST
        );
        assert_eq!(throttle.delay("fresh", net(1), now), Duration::ZERO);
    }

    #[test]
    fn the_lower_half_of_an_ipv6_address_does_not_matter() {
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::ffff:1".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(Network::from(Some(a)), Network::from(Some(b)));
        assert_eq!(Network::from(Some(mapped)), net(1));
    }

    #[test]
    fn tables_stay_bounded_and_keep_the_worst() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for _ in 0..30 {
            throttle.failed("alice", net(1), now);
        }
        for i in 0..limits::THROTTLE_ENTRIES as u32 + 50 {
            throttle
                .pairs
                .failed((format!("u{i}"), Network::V4(i)), now);
        }
        assert_eq!(throttle.pairs.failures.len(), limits::THROTTLE_ENTRIES);
        assert_eq!(
            throttle.delay("alice", net(1), now),
            limits::THROTTLE_LONGEST
        );
    }

    #[test]
    fn success_clears_the_own_count_only() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for _ in 0..6 {
            throttle.failed("alice", net(1), now);
            throttle.failed("alice", net(2), now);
        }
        throttle.succeeded("alice", net(1));
        assert_eq!(throttle.delay("alice", net(1), now), Duration::ZERO);
        assert!(throttle.delay("alice", net(2), now) > Duration::ZERO);
    }
}
