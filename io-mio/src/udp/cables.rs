//! A switch for an endpoint's addresses, to show and to test what happens when one goes silent.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The cables of an endpoint's own addresses: while one is unplugged, nothing comes in or goes out
/// there, and nobody is told, as with a dead link.
///
/// Clones are the same cables. See [`UdpConfig::cables`](super::UdpConfig::cables).
#[derive(Debug, Clone, Default)]
pub struct Cables(Arc<Mutex<BTreeMap<IpAddr, Cable>>>);

#[derive(Debug, Default)]
struct Cable {
    unplugged: bool,
    /// Bytes in both directions.
    carried: u64,
}

impl Cables {
    /// Silences a local address.
    pub fn unplug(&self, address: IpAddr) {
        self.lock().entry(address).or_default().unplugged = true;
    }

    /// Lets it carry again.
    pub fn plug(&self, address: IpAddr) {
        self.lock().entry(address).or_default().unplugged = false;
    }

    /// The local address that has carried most since the last call, if any has carried anything.
    #[must_use]
    pub fn take_busiest(&self) -> Option<IpAddr> {
        let mut cables = self.lock();
        let busiest = cables
            .iter()
            .filter(|(_, cable)| cable.carried > 0)
            .max_by_key(|(_, cable)| cable.carried)
            .map(|(address, _)| *address);
        for cable in cables.values_mut() {
            cable.carried = 0;
        }
        busiest
    }

    /// Whether `bytes` pass at a local address; those that do are counted.
    pub(super) fn carry(&self, address: IpAddr, bytes: usize) -> bool {
        let mut cables = self.lock();
        let cable = cables.entry(address).or_default();
        if !cable.unplugged {
            cable.carried += bytes as u64;
        }
        !cable.unplugged
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Cable>> {
        // Flags and counts only: right whatever happened to another holder.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unplugged_address_carries_nothing_and_the_busiest_is_known() {
        let cables = Cables::default();
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(cables.take_busiest(), None);
        assert!(cables.carry(a, 10) && cables.carry(b, 20));
        assert_eq!(cables.take_busiest(), Some(b));
        cables.unplug(b);
        assert!(cables.carry(a, 1) && !cables.carry(b, 1000));
        assert_eq!(cables.take_busiest(), Some(a));
        cables.plug(b);
        assert!(cables.carry(b, 1));
    }
}
