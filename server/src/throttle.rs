//! Slows down password guessing, without locking anyone out.
//!
//! Two rules. Guesses at one user from one network come one after another, with a pause between
//! them that grows with each failure: an attempt during the pause is refused, is told when the
//! pause is over, and changes nothing. Failures of a network (an IPv4 address or an IPv6 /64), of
//! the IPv6 /48 around it, and, loosely, of a user over all networks delay the attempts that
//! follow, each in its own session: attempts do not queue behind each other, so the wait of a user
//! in a network that guesses is at most [`THROTTLE_LONGEST`](limits::THROTTLE_LONGEST). Sessions
//! that have not logged in are bounded for each network ([`admission`](super::admission)), and with
//! them the guesses that wait in parallel. Logins by key are never delayed. Every table is bounded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::admission::{Network, Site};
use super::limits;

/// Failures of one user, network, or pair of both.
#[derive(Debug, Clone, Copy)]
struct Failures {
    /// Attempts that failed; in the table of pairs, also those under way.
    count: u32,
    /// When the last of them was counted.
    last: Instant,
}

/// A bounded count of failures by key.
#[derive(Debug)]
struct Table<K> {
    entries: BTreeMap<K, Failures>,
    free: u32,
    longest: Duration,
}

impl<K: Ord + Clone> Table<K> {
    fn new(free: u32, longest: Duration) -> Self {
        Self {
            entries: BTreeMap::new(),
            free,
            longest,
        }
    }

    /// How much of the pause after the last failure is left.
    fn wait(&self, key: &K, now: Instant) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |entry| {
            let due = entry.last + pause(entry.count, self.free, self.longest);
            due.saturating_duration_since(now)
        })
    }

    /// Counts a failure, or an attempt that may become one.
    fn count(&mut self, key: &K, at: Instant) {
        self.make_room(key, at);
        let entry = self
            .entries
            .entry(key.clone())
            .or_insert(Failures { count: 0, last: at });
        if forgotten(entry, at) {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = entry.last.max(at);
    }

    fn make_room(&mut self, key: &K, now: Instant) {
        if self.entries.len() < limits::THROTTLE_ENTRIES || self.entries.contains_key(key) {
            return;
        }
        self.entries.retain(|_, entry| !forgotten(entry, now));
        if self.entries.len() >= limits::THROTTLE_ENTRIES {
            // Full of recent entries: drops the one with the fewest failures.
            let mildest = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| (entry.count, entry.last));
            if let Some(key) = mildest.map(|(key, _)| key.clone()) {
                self.entries.remove(&key);
            }
        }
    }
}

fn forgotten(entry: &Failures, now: Instant) -> bool {
    now.saturating_duration_since(entry.last) >= limits::THROTTLE_MEMORY
}

/// How long the pause after the `count`th failure is.
fn pause(count: u32, free: u32, longest: Duration) -> Duration {
    match count.checked_sub(free + 1) {
        None => Duration::ZERO,
        Some(doublings) => (limits::THROTTLE_FIRST * (1 << doublings.min(16))).min(longest),
    }
}

/// An attempt refused without a check: another one for this user from this network came too shortly
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Time from which an attempt is checked again.
    pub(crate) retry_after: Duration,
}

/// The attempts of all sessions of a server.
#[derive(Debug)]
pub(crate) struct Throttle {
    pairs: Table<(String, Network)>,
    networks: Table<Network>,
    sites: Table<Site>,
    users: Table<String>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl Throttle {
    /// No attempts counted.
    pub(crate) fn new() -> Self {
        Self {
            pairs: Table::new(limits::THROTTLE_FREE, limits::THROTTLE_LONGEST),
            networks: Table::new(limits::THROTTLE_FREE_NETWORK, limits::THROTTLE_LONGEST),
            sites: Table::new(limits::THROTTLE_FREE_SITE, limits::THROTTLE_LONGEST),
            users: Table::new(limits::THROTTLE_FREE_USER, limits::THROTTLE_LONGEST_USER),
        }
    }

    /// Begins an attempt with a password, and says how long it has to wait in its session before it
    /// is looked at; the same for known and unknown users. [`failed`](Self::failed) or
    /// [`succeeded`](Self::succeeded) follows.
    ///
    /// # Errors
    /// [`TooMany`] during the pause of this user and network. Such an attempt is not counted.
    pub(crate) fn begin(
        &mut self,
        user: &str,
        network: Network,
        now: Instant,
    ) -> Result<Duration, TooMany> {
        let pair = (user.to_owned(), network);
        let retry_after = self.pairs.wait(&pair, now);
        if !retry_after.is_zero() {
            return Err(TooMany { retry_after });
        }
        let site = network.site().map(|site| self.sites.wait(&site, now));
        let delay = self
            .networks
            .wait(&network, now)
            .max(site.unwrap_or_default())
            .max(self.users.wait(&pair.0, now));
        // The pause of the pair begins when the attempt is looked at.
        self.pairs.count(&pair, now + delay);
        Ok(delay)
    }

    /// Counts an attempt that failed.
    pub(crate) fn failed(&mut self, user: &str, network: Network, now: Instant) {
        self.networks.count(&network, now);
        if let Some(site) = network.site() {
            self.sites.count(&site, now);
        }
        self.users.count(&user.to_owned(), now);
    }

    /// A right password clears what was counted for this user from this network; not what others
    /// did.
    pub(crate) fn succeeded(&mut self, user: &str, network: Network) {
        self.pairs.entries.remove(&(user.to_owned(), network));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    fn net(last: u8) -> Network {
        Network::from(Some(IpAddr::from([10, 0, 0, last])))
    }

    /// An attempt with a wrong password that is looked at as soon as it may be.
    fn fail(throttle: &mut Throttle, user: &str, network: Network, now: Instant) -> Duration {
        let delay = throttle.begin(user, network, now).unwrap();
        throttle.failed(user, network, now + delay);
        delay
    }

    #[test]
    fn guesses_at_one_user_pause_ever_longer_and_are_forgotten() {
        let mut throttle = Throttle::new();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let pause = match throttle.begin("alice", net(1), now) {
                Ok(_) => Duration::ZERO,
                Err(TooMany { retry_after }) => retry_after,
            };
            now += pause;
            if !pause.is_zero() {
                assert_eq!(throttle.begin("alice", net(1), now), Ok(Duration::ZERO));
            }
            pauses.push(pause);
        }
        let free = limits::THROTTLE_FREE as usize + 1;
        assert!(pauses[..free].iter().all(Duration::is_zero), "{pauses:?}");
        assert_eq!(pauses[free], limits::THROTTLE_FIRST);
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&limits::THROTTLE_LONGEST));
        now += limits::THROTTLE_MEMORY;
        assert_eq!(throttle.begin("alice", net(1), now), Ok(Duration::ZERO));
        assert_eq!(throttle.begin("alice", net(1), now), Ok(Duration::ZERO));
    }

    #[test]
    fn of_many_guesses_at_once_a_few_are_looked_at_and_the_others_change_nothing() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        let taken = (0..2_001)
            .filter(|_| throttle.begin("alice", net(1), now).is_ok())
            .count();
        assert_eq!(taken, limits::THROTTLE_FREE as usize + 1);
        let refused = throttle.begin("alice", net(1), now).unwrap_err();
        assert_eq!(refused.retry_after, limits::THROTTLE_FIRST);
        assert!(
            throttle
                .begin("alice", net(1), now + refused.retry_after)
                .is_ok()
        );
    }

    #[test]
    fn an_honest_user_behind_a_network_that_guesses_waits_no_longer_than_the_bound() {
        let mut throttle = Throttle::new();
        let mut now = Instant::now();
        for attempt in 0..2_001 {
            let user = format!("user{}", attempt % 60);
            if throttle.begin(&user, net(1), now).is_ok() {
                throttle.failed(&user, net(1), now);
            }
            now += Duration::from_millis(2);
        }
        let delay = throttle.begin("honest", net(1), now).unwrap();
        assert!(
            !delay.is_zero() && delay <= limits::THROTTLE_LONGEST,
            "{delay:?}"
        );
    }

    #[test]
    fn attempts_of_a_network_wait_side_by_side() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for i in 0..60 {
            throttle.failed(&format!("user{i}"), net(1), now);
        }
        for i in 0..60 {
            let delay = throttle.begin(&format!("other{i}"), net(1), now);
            assert_eq!(delay, Ok(limits::THROTTLE_LONGEST));
        }
        assert_eq!(throttle.begin("other", net(2), now), Ok(Duration::ZERO));
        let later = now + limits::THROTTLE_LONGEST;
        assert_eq!(throttle.begin("honest", net(1), later), Ok(Duration::ZERO));
    }

    #[test]
    fn a_site_is_bounded_as_well_as_its_networks() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        let network = |subnet: u128| {
            let address = (0x2001_0db8_0007_u128 << 80) | (subnet << 64) | 1;
            Network::from(Some(IpAddr::V6(Ipv6Addr::from_bits(address))))
        };
        for subnet in 0..u128::from(limits::THROTTLE_FREE_SITE) {
            let delay = fail(
                &mut throttle,
                &format!("user{subnet}"),
                network(subnet),
                now,
            );
            assert!(delay.is_zero(), "{subnet}: {delay:?}");
        }
        let _free = fail(&mut throttle, "another", network(1_000), now);
        let delay = throttle.begin("fresh", network(1_001), now).unwrap();
        assert!(!delay.is_zero());
        let elsewhere = Network::from(Some("2001:db8:8::1".parse().unwrap()));
        assert_eq!(throttle.begin("fresh", elsewhere, now), Ok(Duration::ZERO));
    }

    #[test]
    fn a_stranger_cannot_keep_a_user_out() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for host in 2..250 {
            for _ in 0..20 {
                if throttle.begin("alice", net(host), now).is_ok() {
                    throttle.failed("alice", net(host), now);
                }
            }
        }
        let delay = throttle.begin("alice", net(1), now).unwrap();
        assert!(!delay.is_zero() && delay <= limits::THROTTLE_LONGEST_USER);
    }

    #[test]
    fn users_behind_one_address_do_not_slow_each_other_by_succeeding() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        let users: Vec<String> = (0..1_000).map(|i| format!("user{i}")).collect();
        for user in &users {
            assert_eq!(throttle.begin(user, net(1), now), Ok(Duration::ZERO));
        }
        for user in &users {
            throttle.succeeded(user, net(1));
        }
        assert!(throttle.pairs.entries.is_empty());
    }

    #[test]
    fn tables_stay_bounded_and_keep_the_worst() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        while throttle.begin("alice", net(1), now).is_ok() {}
        for i in 0..limits::THROTTLE_ENTRIES as u32 + 50 {
            throttle
                .pairs
                .count(&(format!("u{i}"), Network::V4(i)), now);
        }
        assert_eq!(throttle.pairs.entries.len(), limits::THROTTLE_ENTRIES);
        assert!(throttle.begin("alice", net(1), now).is_err());
    }

    #[test]
    fn success_clears_the_own_count_only() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        for host in [1, 2] {
            while throttle.begin("alice", net(host), now).is_ok() {}
        }
        throttle.succeeded("alice", net(1));
        assert!(throttle.begin("alice", net(1), now).is_ok());
        assert!(throttle.begin("alice", net(2), now).is_err());
    }
}
