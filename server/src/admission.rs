//! Admission of sessions: a bound on the sessions of one network.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Where a peer is: an IPv4 address, an IPv6 /64, or this host itself.
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

/// The IPv6 /48 around a network: what one customer of a provider commonly holds.
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
}

/// Counts the sessions of each network, up to a limit.
#[derive(Debug)]
pub(crate) struct SessionQuota {
    sessions: Mutex<BTreeMap<Network, usize>>,
    limit: usize,
}

/// The admission of one session; dropping it releases it.
#[derive(Debug)]
pub(crate) struct Permit {
    quota: Arc<SessionQuota>,
    network: Network,
}

impl SessionQuota {
    /// At most `limit` sessions for each network; peers without an address are not limited.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            sessions: Mutex::new(BTreeMap::new()),
            limit,
        })
    }

    /// Admits a peer at `address`, unless its network has as many sessions as it may have.
    #[must_use]
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Permit> {
        let network = Network::from(address);
        // The map holds counts only, changed in one step: after a panic elsewhere it is still
        // right.
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sessions.entry(network).or_default();
        if *count >= self.limit && network != Network::Local {
            return None;
        }
        *count += 1;
        drop(sessions);
        Some(Permit {
            quota: Arc::clone(self),
            network,
        })
    }
}

impl Permit {
    /// The network that the session is counted for.
    pub(crate) fn network(&self) -> Network {
        self.network
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut sessions = self
            .quota
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sessions.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_does_not_take_all() {
        let quota = SessionQuota::new(3);
        let a = Some(IpAddr::from([10, 0, 0, 1]));
        let b = Some(IpAddr::from([10, 0, 0, 2]));
        let held: Vec<Permit> = (0..3).filter_map(|_| quota.admit(a)).collect();
        assert_eq!(held.len(), 3);
        assert!(quota.admit(a).is_none());
        assert!(quota.admit(b).is_some());
        drop(held);
        assert!(quota.admit(a).is_some());
        assert!(quota.sessions.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_an_ipv6_prefix() {
        let network = |text: &str| Network::from(Some(text.parse().unwrap()));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_eq!(Network::from(None), Network::Local);
    }
}
