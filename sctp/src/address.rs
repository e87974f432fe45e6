//! Which addresses may be used, and which form paths (RFC 9260 §5.1.2, §8.4).

use std::net::{IpAddr, SocketAddr};

use crate::event::PathId;
use crate::packet::InitAddresses;

/// Scope of an address. A peer that is reached in a wide scope may not list addresses of a narrower
/// one: they would mean other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Loopback,
    Link,
    Site,
    Global,
}

/// The scope of a unicast address; none for addresses to which nothing may be sent.
pub(crate) fn scope(address: IpAddr) -> Option<Scope> {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let octets = v4.octets();
            if v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || octets[0] == 0
                || octets[0] >= 240
            {
                None
            } else if v4.is_loopback() {
                Some(Scope::Loopback)
            } else if v4.is_link_local() {
                Some(Scope::Link)
            } else if v4.is_private() || (octets[0] == 100 && octets[1] & 0xc0 == 64) {
                // RFC 1918, and the shared space of carriers (RFC 6598).
                Some(Scope::Site)
            } else {
                Some(Scope::Global)
            }
        }
        IpAddr::V6(v6) => {
            if v6.is_unspecified() || v6.is_multicast() {
                None
            } else if v6.is_loopback() {
                Some(Scope::Loopback)
            } else if v6.is_unicast_link_local() {
                Some(Scope::Link)
            } else if v6.is_unique_local() {
                Some(Scope::Site)
            } else {
                Some(Scope::Global)
            }
        }
    }
}

/// Whether an address that a peer at `source` lists may be used: its scope is at least as wide.
pub(crate) fn acceptable(address: IpAddr, source: IpAddr) -> bool {
    matches!((scope(address), scope(source)), (Some(named), Some(from)) if named >= from)
}

/// How many leading bits two addresses share, none across families: an estimate of which of our
/// addresses is on the same network as which of the peer's.
fn common_prefix(a: IpAddr, b: IpAddr) -> Option<u32> {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some((u32::from(a) ^ u32::from(b)).leading_zeros()),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some((u128::from(a) ^ u128::from(b)).leading_zeros()),
        _ => None,
    }
}

/// All pairs of ours and the peer's addresses of one family: each of the peer's with our nearest
/// first, so that the most likely pairs come before the least likely.
pub(crate) fn pairs(locals: &[SocketAddr], remotes: &[SocketAddr]) -> Vec<PathId> {
    let ranked: Vec<Vec<SocketAddr>> = remotes
        .iter()
        .map(|remote| {
            let mut fitting: Vec<(u32, SocketAddr)> = locals
                .iter()
                .filter_map(|local| Some((affinity(*local, *remote)?, *local)))
                .collect();
            fitting.sort_by_key(|&(affinity, _)| std::cmp::Reverse(affinity));
            fitting.into_iter().map(|(_, local)| local).collect()
        })
        .collect();
    let mut out = Vec::new();
    for round in 0..locals.len() {
        for (remote, fitting) in remotes.iter().zip(&ranked) {
            if let Some(&local) = fitting.get(round) {
                out.push(PathId::new(local, *remote));
            }
        }
    }
    out
}

/// The one of our addresses that is most likely on the same network as a remote one.
pub(crate) fn nearest(locals: &[SocketAddr], remote: SocketAddr) -> Option<SocketAddr> {
    locals
        .iter()
        .copied()
        .filter(|&local| affinity(local, remote).is_some())
        .max_by_key(|&local| affinity(local, remote))
}

/// How likely two addresses are on one network, as a rank; none if they cannot form a path.
fn affinity(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let PathId { local, remote } = PathId::new(local, remote);
    // A wildcard socket suits any remote of its family; loopback addresses reach only each other.
    if local.ip().is_unspecified() {
        return (local.is_ipv4() == remote.is_ipv4()).then_some(1);
    }
    if local.ip().is_loopback() != remote.ip().is_loopback() {
        return None;
    }
    common_prefix(local.ip(), remote.ip())
}

/// Our own addresses to be listed in an INIT or INIT ACK on a path: those with the same UDP port
/// and of a scope that the peer can use. Empty if the path's own is the only one.
pub(crate) fn advertised(locals: &[SocketAddr], path: PathId) -> Vec<IpAddr> {
    let fitting = |local: &&SocketAddr| {
        local.port() == path.local.port() && acceptable(local.ip(), path.remote.ip())
    };
    let mut listed: InitAddresses = [path.local.ip()]
        .into_iter()
        .filter(|ip| !ip.is_unspecified())
        .collect();
    locals
        .iter()
        .filter(fitting)
        .for_each(|local| listed.push(local.ip().to_canonical()));
    if listed.len() > 1 {
        listed.to_vec()
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_may_list_addresses_of_their_own_scope_or_wider() {
        let accept = |address: &str, source: &str| {
            acceptable(address.parse().unwrap(), source.parse().unwrap())
        };
        for never in [
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "239.1.1.1",
            "0.1.2.3",
            "250.0.0.1",
            "::",
            "ff02::1",
        ] {
            assert!(!accept(never, "127.0.0.1"), "{never}");
        }
        assert!(accept("127.0.0.2", "127.0.0.1"));
        assert!(accept("10.0.0.1", "127.0.0.1"));
        assert!(!accept("127.0.0.1", "10.0.0.1"));
        assert!(!accept("::ffff:127.0.0.1", "10.0.0.1"));
        assert!(!accept("10.0.0.1", "8.8.8.8"));
        assert!(!accept("169.254.0.1", "192.168.0.1"));
        assert!(accept("8.8.8.8", "10.0.0.1"));
        assert!(!accept("fe80::1", "2001:db8::1"));
        assert!(accept("fd00::1", "fd00::2"));
        assert!(!accept("::1", "fd00::2"));
    }
}
