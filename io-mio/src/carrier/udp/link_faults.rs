//! A switch for each local address of an endpoint, for demonstrations and tests of a path failure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Faults injected at an endpoint's own addresses: while an address is cut, every packet from and
/// to it is dropped without a report, as on a dead link.
///
/// Clones share their state. See [`UdpConfig::link_faults`](super::UdpConfig::link_faults).
#[derive(Debug, Clone, Default)]
pub struct LinkFaults(Arc<Mutex<BTreeMap<IpAddr, Link>>>);

#[derive(Debug, Default)]
struct Link {
    is_cut: bool,
    /// Bytes that passed, in both directions.
    passed: u64,
}

impl LinkFaults {
    /// Drops every packet from and to a local address from now on.
    pub fn cut(&self, address: IpAddr) {
        self.lock().entry(address).or_default().is_cut = true;
    }

    /// Lets packets pass again.
    pub fn restore(&self, address: IpAddr) {
        self.lock().entry(address).or_default().is_cut = false;
    }

    /// The local address that passed the most bytes since the last call; `None` if none passed any.
    #[must_use]
    pub fn take_busiest(&self) -> Option<IpAddr> {
        let mut links = self.lock();
        let busiest = links
            .iter()
            .filter(|(_, link)| link.passed > 0)
            .max_by_key(|(_, link)| link.passed)
            .map(|(address, _)| *address);
        for link in links.values_mut() {
            link.passed = 0;
        }
        busiest
    }

    /// Whether a packet of this many bytes passes at a local address; those that do are counted.
    pub(super) fn passes(&self, address: IpAddr, bytes: usize) -> bool {
        let mut links = self.lock();
        let link = links.entry(address).or_default();
        if !link.is_cut {
            link.passed += bytes as u64;
        }
        !link.is_cut
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Link>> {
        // Flags and counts only: valid whatever happened to another holder.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_passes_at_a_cut_address_and_the_busiest_is_known() {
        let faults = LinkFaults::default();
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(faults.take_busiest(), None);
        assert!(faults.passes(a, 10) && faults.passes(b, 20));
        assert_eq!(faults.take_busiest(), Some(b));
        faults.cut(b);
        assert!(faults.passes(a, 1) && !faults.passes(b, 1000));
        assert_eq!(faults.take_busiest(), Some(a));
        faults.restore(b);
        assert!(faults.passes(b, 1));
    }
}
