//! Places for sessions: one network gets only a share of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Where a peer is: an IPv4 address, an IPv6 /64, or this host itself.
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
    fn from(address: Option<IpAddr>) -> Self {
        match address.map(|a| a.to_canonical()) {
            Some(IpAddr::V4(a)) => Self::V4(a.to_bits()),
            Some(IpAddr::V6(a)) => Self::V6((a.to_bits() >> 64) as u64),
            None => Self::Local,
        }
    }
}

/// The sessions of each network, bounded.
#[derive(Debug)]
pub struct Places {
    taken: Mutex<BTreeMap<Network, usize>>,
    most: usize,
}

/// One session's place; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    network: Network,
}

impl Places {
    /// At most `most` places for each network; peers without an address are not counted.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::new(BTreeMap::new()),
            most,
        })
    }

    /// A place for a peer at `address`, unless its network has its share.
    #[must_use]
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let network = Network::from(address);
        // The map holds counts only, changed in one step: after a panic elsewhere it is still
        // right.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(network).or_default();
        if *count >= self.most && network != Network::Local {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place {
            places: Arc::clone(self),
            network,
        })
    }
}

impl Place {
    /// The network that the place is counted for.
    pub fn network(&self) -> Network {
        self.network
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self
            .places
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_does_not_take_all() {
        let places = Places::new(3);
        let a = Some(IpAddr::from([10, 0, 0, 1]));
        let b = Some(IpAddr::from([10, 0, 0, 2]));
        let held: Vec<Place> = (0..3).filter_map(|_| places.take(a)).collect();
        assert_eq!(held.len(), 3);
        assert!(places.take(a).is_none());
        assert!(places.take(b).is_some());
        drop(held);
        assert!(places.take(a).is_some());
        assert!(places.taken.lock().unwrap().is_empty());
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
