//! Admission of sessions: a quota before the login and a quota of users.
//!
//! A session before its login is called a stranger. Strangers have a quota of their own, so they
//! cannot use up that of users. A stranger is evicted for a new session when its network has
//! reached its limit, or when the quota is used up: then the oldest stranger of the network with
//! most of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use towpath_protocol::signed::UserId;

use super::limits;

/// The network of a peer: an IPv4 address, an IPv6 /64, or this host itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Network {
    /// An IPv4 address (also one mapped into IPv6).
    V4(u32),
    /// The upper 64 bits of an IPv6 address.
    V6(u64),
    /// A peer without an address.
    Local,
}

impl From<Option<IpAddr>> for Network {
    fn from(address: Option<IpAddr>) -> Self {
        match address.map(|a| a.to_canonical()) {
            Some(IpAddr::V4(a)) => Self::V4(a.to_bits()),
            Some(IpAddr::V6(a)) => Self::V6((a.to_bits() >> 64) as u64),
            None => Self::Local,
        }
    }
}

/// The IPv6 /48 around a network: commonly assigned to one customer of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site(u64);

impl Network {
    /// The site that an IPv6 network belongs to.
    #[must_use]
    pub(crate) fn site(self) -> Option<Site> {
        match self {
            Self::V6(network) => Some(Site(network >> 16)),
            Self::V4(_) | Self::Local => None,
        }
    }

    fn group(self) -> Group {
        self.site().map_or(Group::Network(self), Group::Site)
    }
}

/// Unit of counting when the quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Network(Network),
    Site(Site),
}

/// Identifier of a session within its [`Admission`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionNumber(u64);

/// The quota is used up: the peer may try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

#[derive(Debug, Clone, Copy)]
struct Stranger {
    network: Network,
    since: Instant,
}

/// The admitted sessions; sans-IO.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Oldest first, since numbers increase.
    strangers: BTreeMap<SessionNumber, Stranger>,
    users: BTreeMap<SessionNumber, UserId>,
    next: u64,
    max_users: usize,
}

impl Admission {
    /// A quota of `max_users` logged-in sessions, beside that of strangers
    /// ([`limits::STRANGERS`]).
    #[must_use]
    pub(crate) fn new(max_users: usize) -> Self {
        Self {
            strangers: BTreeMap::new(),
            users: BTreeMap::new(),
            next: 0,
            max_users,
        }
    }

    /// Admits a stranger, and returns the session that is evicted for it.
    ///
    /// # Errors
    /// [`Busy`] when the peer's network has reached its limit, and none of its strangers has had
    /// the time to log in ([`limits::STRANGER_TIME`]).
    pub(crate) fn admit(
        &mut self,
        network: Network,
        now: Instant,
    ) -> Result<(SessionNumber, Option<SessionNumber>), Busy> {
        let yields = self.yielding(network, now)?;
        if let Some(number) = yields {
            self.strangers.remove(&number);
        }
        let number = SessionNumber(self.next);
        self.next += 1;
        let stranger = Stranger {
            network,
            since: now,
        };
        self.strangers.insert(number, stranger);
        Ok((number, yields))
    }

    fn yielding(&self, network: Network, now: Instant) -> Result<Option<SessionNumber>, Busy> {
        let own = |stranger: &Stranger| stranger.network == network;
        let near = |stranger: &Stranger| stranger.network.group() == network.group();
        let had_time = |stranger: &Stranger| {
            now.saturating_duration_since(stranger.since) >= limits::STRANGER_TIME
        };
        if network != Network::Local {
            if self.count(own) >= limits::STRANGERS_NETWORK {
                return self.oldest(|s| own(s) && had_time(s)).map(Some).ok_or(Busy);
            }
            if network.site().is_some() && self.count(near) >= limits::STRANGERS_SITE {
                return self
                    .oldest(|s| near(s) && had_time(s))
                    .map(Some)
                    .ok_or(Busy);
            }
        }
        if self.strangers.len() < limits::STRANGERS {
            return Ok(None);
        }
        let mut groups: BTreeMap<Group, (usize, SessionNumber)> = BTreeMap::new();
        for (number, stranger) in &self.strangers {
            let group = groups.entry(stranger.network.group());
            group.or_insert((0, *number)).0 += 1;
        }
        let held = |(count, oldest): &(usize, SessionNumber)| (*count, Reverse(*oldest));
        let fullest = groups.values().copied().max_by_key(held);
        let own_count = groups.get(&network.group()).map_or(0, |group| group.0);
        match fullest {
            Some((count, number)) if count > own_count => Ok(Some(number)),
            _ => self
                .oldest(|s| near(s) && had_time(s))
                .map(Some)
                .ok_or(Busy),
        }
    }

    fn count(&self, which: impl Fn(&Stranger) -> bool) -> usize {
        self.strangers.values().filter(|s| which(s)).count()
    }

    fn oldest(&self, which: impl Fn(&Stranger) -> bool) -> Option<SessionNumber> {
        let mut found = self.strangers.iter().filter(|(_, s)| which(s));
        found.next().map(|(number, _)| *number)
    }

    /// Moves a stranger that has logged in to the quota of users.
    ///
    /// # Errors
    /// [`Busy`] when the quota, or that of one user, is used up, or when the stranger was evicted
    /// meanwhile.
    pub(crate) fn log_in(&mut self, number: SessionNumber, user: UserId) -> Result<(), Busy> {
        let of_user = self.users.values().filter(|uid| **uid == user).count();
        let share = (self.max_users / limits::USER_SHARE).max(1);
        if self.users.len() >= self.max_users || of_user >= share {
            return Err(Busy);
        }
        self.strangers.remove(&number).ok_or(Busy)?;
        self.users.insert(number, user);
        Ok(())
    }

    /// Releases an ended session.
    pub(crate) fn release(&mut self, number: SessionNumber) {
        self.strangers.remove(&number);
        self.users.remove(&number);
    }
}

/// The admission of all sessions of a server.
#[derive(Debug)]
pub(crate) struct SessionQuota(Mutex<Shared>);

#[derive(Debug)]
struct Shared {
    admission: Admission,
    /// Set when a session was evicted.
    revoked: BTreeMap<SessionNumber, Arc<AtomicBool>>,
}

/// The admission of one session; dropping it releases it.
#[derive(Debug)]
pub(crate) struct Permit {
    quota: Arc<SessionQuota>,
    number: SessionNumber,
    network: Network,
    revoked: Arc<AtomicBool>,
}

impl SessionQuota {
    /// At most `max_users` sessions that are logged in, beside the strangers.
    pub(crate) fn new(max_users: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Shared {
            admission: Admission::new(max_users),
            revoked: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Every change is one step: after a panic elsewhere the tables are still consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a peer at `address` as a stranger; another stranger may be evicted for it.
    ///
    /// # Errors
    /// [`Busy`] as for [`Admission::admit`].
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Permit, Busy> {
        let network = Network::from(address);
        let mut shared = self.lock();
        let (number, yields) = shared.admission.admit(network, now)?;
        if let Some(revoked) = yields.and_then(|number| shared.revoked.remove(&number)) {
            revoked.store(true, Ordering::Relaxed);
        }
        let revoked = Arc::new(AtomicBool::new(false));
        shared.revoked.insert(number, Arc::clone(&revoked));
        drop(shared);
        Ok(Permit {
            quota: Arc::clone(self),
            number,
            network,
            revoked,
        })
    }
}

impl Permit {
    /// The network that the session is counted for.
    pub(crate) fn network(&self) -> Network {
        self.network
    }

    /// Moves to the quota of users; on failure the permit is revoked.
    ///
    /// # Errors
    /// [`Busy`] as for [`Admission::log_in`].
    pub(crate) fn log_in(&self, user: UserId) -> Result<(), Busy> {
        let taken = self.quota.lock().admission.log_in(self.number, user);
        if taken.is_err() {
            self.revoked.store(true, Ordering::Relaxed);
        }
        taken
    }

    /// Whether the session was evicted and must end.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut shared = self.quota.lock();
        shared.admission.release(self.number);
        shared.revoked.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn uid(byte: u8) -> UserId {
        UserId::from_bytes([byte; 16])
    }

    #[test]
    fn strangers_of_a_few_hosts_keep_nobody_out() {
        let mut admission = Admission::new(1_024);
        let mut now = Instant::now();
        for _ in 0..256 {
            for host in 1..=4 {
                let _busy = admission.admit(Network::V4(host), now);
            }
        }
        for host in 1..=4 {
            let held = admission.count(|s| s.network == Network::V4(host));
            assert_eq!(held, limits::STRANGERS_NETWORK);
        }
        // Other hosts are admitted at once, and a new session from one of these after some time.
        for host in 10..500 {
            let (number, _) = admission.admit(Network::V4(host), now).unwrap();
            admission.log_in(number, uid((host % 200) as u8)).unwrap();
        }
        assert_eq!(admission.admit(Network::V4(1), now), Err(Busy));
        now += limits::STRANGER_TIME;
        let (number, yields) = admission.admit(Network::V4(1), now).unwrap();
        assert!(yields.is_some());
        admission.log_in(number, uid(3)).unwrap();
    }

    #[test]
    fn a_hundred_clients_behind_one_nat_get_in_when_those_turned_away_try_again() {
        let mut admission = Admission::new(1_024);
        let mut now = Instant::now();
        let mut waiting: Vec<u8> = (0..100).collect();
        for _ in 0..2 {
            let mut turned_away = Vec::new();
            let mut inside = Vec::new();
            for client in waiting {
                match admission.admit(Network::V4(1), now) {
                    Ok((number, None)) => inside.push((number, client)),
                    Ok((_, Some(_))) => panic!("an honest client lost its place"),
                    Err(Busy) => turned_away.push(client),
                }
            }
            now += Duration::from_millis(500);
            for (number, client) in inside {
                admission.log_in(number, uid(client)).unwrap();
            }
            waiting = turned_away;
        }
        assert_eq!((waiting.len(), admission.users.len()), (0, 100));
    }

    #[test]
    fn the_oldest_stranger_of_the_fullest_network_yields() {
        let mut admission = Admission::new(1_024);
        let now = Instant::now();
        let fullest = admission.admit(Network::V4(1), now).unwrap().0;
        let _second = admission.admit(Network::V4(1), now).unwrap();
        for host in 2..limits::STRANGERS as u32 {
            let _filler = admission.admit(Network::V4(host), now).unwrap();
        }
        let (_, yields) = admission.admit(Network::V4(0), now).unwrap();
        assert_eq!(yields, Some(fullest));
    }

    #[test]
    fn a_site_holds_no_more_than_its_share() {
        let mut admission = Admission::new(1_024);
        let now = Instant::now();
        for subnet in 0..1_000 {
            let _busy = admission.admit(Network::V6(0x2001_0db8_0007_0000 | subnet), now);
        }
        assert_eq!(admission.strangers.len(), limits::STRANGERS_SITE);
    }

    #[test]
    fn one_user_does_not_take_all_places() {
        let mut admission = Admission::new(8);
        let now = Instant::now();
        let mut log_in = |byte: u8| {
            let (number, _) = admission.admit(Network::V4(byte.into()), now).unwrap();
            let taken = admission.log_in(number, uid(byte));
            admission.strangers.clear();
            taken
        };
        assert_eq!(
            [log_in(1), log_in(1), log_in(1)],
            [Ok(()), Ok(()), Err(Busy)]
        );
        assert_eq!(log_in(2), Ok(()));
    }

    #[test]
    fn a_permit_is_revoked_when_its_place_goes_to_another_and_released_when_dropped() {
        let quota = SessionQuota::new(8);
        let now = Instant::now();
        let address = Some(IpAddr::from([10, 0, 0, 1]));
        let held: Vec<Permit> = (0..limits::STRANGERS_NETWORK)
            .map(|_| quota.admit(address, now).unwrap())
            .collect();
        assert!(quota.admit(address, now).is_err());
        let later = quota.admit(address, now + limits::STRANGER_TIME).unwrap();
        let revoked = held.iter().filter(|permit| permit.is_revoked()).count();
        assert!(held[0].is_revoked() && revoked == 1 && !later.is_revoked());
        drop((held, later));
        assert!(quota.lock().admission.strangers.is_empty());
        assert!(quota.lock().revoked.is_empty());
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_an_ipv6_prefix() {
        let network = |text: &str| Network::from(Some(text.parse().unwrap()));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_eq!(Network::from(None), Network::Local);
    }

    /// A step of the model test: a session starts, logs in or ends, or time passes.
    #[derive(Debug, Clone)]
    enum Step {
        Come(u32),
        LogIn(usize, u8),
        Leave(usize),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..12_u32).prop_map(Step::Come),
            1 => (0..700_usize, 0..4_u8).prop_map(|(at, user)| Step::LogIn(at, user)),
            1 => (0..700_usize).prop_map(Step::Leave),
            1 => (0..3_000_u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Against a list of admitted sessions: the limits hold, and the evicted session is the
        /// oldest of the network with most of them.
        #[test]
        fn as_a_list_of_everybody_inside(steps in prop::collection::vec(step(), 1..1_500)) {
            let mut admission = Admission::new(16);
            let mut now = Instant::now();
            let mut inside: Vec<(SessionNumber, u32, Instant)> = Vec::new();
            let mut users: Vec<(SessionNumber, u8)> = Vec::new();
            for step in steps {
                match step {
                    Step::Come(host) => {
                        let held = |host| inside.iter().filter(|s| s.1 == host).count();
                        let own_full = held(host) >= limits::STRANGERS_NETWORK;
                        let all_full = inside.len() >= limits::STRANGERS;
                        let most = inside.iter().map(|s| held(s.1)).max().unwrap_or(0);
                        let of_own = own_full || held(host) == most;
                        let expected = if !own_full && !all_full {
                            Ok(None)
                        } else if of_own {
                            let had_time = |s: &&(SessionNumber, u32, Instant)| {
                                s.1 == host && now - s.2 >= limits::STRANGER_TIME
                            };
                            inside.iter().find(had_time).map(|s| Some(s.0)).ok_or(Busy)
                        } else {
                            Ok(inside.iter().find(|s| held(s.1) == most).map(|s| s.0))
                        };
                        let found = admission.admit(Network::V4(host), now);
                        prop_assert_eq!(found.map(|(_, yields)| yields), expected);
                        if let Ok((number, yields)) = found {
                            inside.retain(|s| Some(s.0) != yields);
                            inside.push((number, host, now));
                        }
                    }
                    Step::LogIn(at, user) => {
                        let Some(&(number, ..)) = inside.get(at) else { continue };
                        let of_user = users.iter().filter(|s| s.1 == user).count();
                        let room = users.len() < 16 && of_user < 16 / limits::USER_SHARE;
                        prop_assert_eq!(admission.log_in(number, uid(user)).is_ok(), room);
                        if room {
                            inside.remove(at);
                            users.push((number, user));
                        }
                    }
                    Step::Leave(at) => {
                        if at < inside.len() {
                            admission.release(inside.remove(at).0);
                        } else if let Some((number, _)) = users.pop() {
                            admission.release(number);
                        }
                    }
                    Step::Pass(millis) => now += Duration::from_millis(millis),
                }
                prop_assert!(admission.strangers.len() <= limits::STRANGERS);
                prop_assert_eq!(admission.strangers.len(), inside.len());
                prop_assert_eq!(admission.users.len(), users.len());
            }
        }
    }
}
