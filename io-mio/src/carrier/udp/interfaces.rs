//! Which addresses the host has, and which of them reach a peer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};

/// A network interface; one that is removed and added again has another index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) index: u32,
}

/// A local address to send from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Local {
    /// Port 0; link-local addresses have their scope.
    pub(super) address: SocketAddr,
    /// The interface that has it.
    pub(super) device: Option<Device>,
    /// The address with its host part cleared: one address for each network is enough.
    network: Option<IpAddr>,
}

impl Local {
    /// An address by itself.
    pub(super) fn at(address: SocketAddr) -> Self {
        Self {
            address,
            device: None,
            network: None,
        }
    }

    /// An address chosen by the user.
    pub(super) fn chosen(address: IpAddr, hosts: &[Self]) -> Self {
        let known = hosts.iter().find(|local| local.address.ip() == address);
        known
            .cloned()
            .unwrap_or(Self::at(SocketAddr::new(address, 0)))
    }

    /// Whether packets from here may reach `remote`, judging by the addresses alone.
    pub(super) fn reaches(&self, remote: SocketAddr) -> bool {
        let (ours, theirs) = (self.address.ip(), remote.ip());
        if ours.is_ipv4() != theirs.is_ipv4()
            || ours.is_loopback() != theirs.is_loopback()
            || is_link_local(ours) != is_link_local(theirs)
        {
            return false;
        }
        match (self.address, remote) {
            (SocketAddr::V6(ours), SocketAddr::V6(theirs)) => {
                theirs.scope_id() == 0
                    || ours.scope_id() == 0
                    || ours.scope_id() == theirs.scope_id()
            }
            _ => true,
        }
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// The addresses of all interfaces that are up and have a link.
///
/// # Errors
/// Those of `getifaddrs`.
pub(super) fn all() -> io::Result<Vec<Local>> {
    let running = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let mut out: Vec<Local> = Vec::new();
    for interface in getifaddrs()? {
        if !interface.flags.contains(running) {
            continue;
        }
        if let Some(local) = read(&interface) {
            out.push(local);
        }
    }
    Ok(out)
}

fn read(interface: &InterfaceAddress) -> Option<Local> {
    // An interface that is gone again is not used.
    let index = if_nametoindex(interface.interface_name.as_str()).ok()?;
    let address = interface.address.as_ref()?;
    let mask = interface.netmask.as_ref();
    let (address, network) = if let Some(v4) = address.as_sockaddr_in() {
        let ip = v4.ip();
        let mask = mask
            .and_then(|mask| mask.as_sockaddr_in())
            .map_or(u32::MAX, |mask| u32::from(mask.ip()));
        let network = Ipv4Addr::from(u32::from(ip) & mask);
        (SocketAddr::new(ip.into(), 0), IpAddr::V4(network))
    } else if let Some(v6) = address.as_sockaddr_in6() {
        let ip = v6.ip();
        let mask = mask
            .and_then(|mask| mask.as_sockaddr_in6())
            .map_or(u128::MAX, |mask| u128::from(mask.ip()));
        let network = Ipv6Addr::from(u128::from(ip) & mask);
        let scope = if ip.is_unicast_link_local() { index } else { 0 };
        (
            SocketAddrV6::new(ip, 0, 0, scope).into(),
            IpAddr::V6(network),
        )
    } else {
        return None;
    };
    let name = interface.interface_name.clone();
    Some(Local {
        address,
        device: Some(Device { name, index }),
        network: Some(network),
    })
}

/// The addresses from which at least one of the peer's can be reached: those that were chosen, or
/// one for each interface and network of the host's.
///
/// To a peer on this very host, packets go through the loopback interface whatever their address:
/// then no device is named.
pub(super) fn towards(hosts: &[Local], chosen: &[IpAddr], remotes: &[SocketAddr]) -> Vec<Local> {
    let is_ours = |ip: IpAddr| hosts.iter().any(|local| local.address.ip() == ip);
    let at_home = remotes.iter().any(|remote| is_ours(remote.ip()));
    let mut out: Vec<Local> = Vec::new();
    if chosen.is_empty() {
        for local in hosts {
            let same =
                |other: &Local| other.device == local.device && other.network == local.network;
            if remotes.iter().any(|remote| local.reaches(*remote)) && !out.iter().any(same) {
                out.push(local.clone());
            }
        }
    } else {
        out.extend(chosen.iter().map(|address| Local::chosen(*address, hosts)));
        out.retain(|local| remotes.iter().any(|remote| local.reaches(*remote)));
    }
    for local in &mut out {
        if at_home || local.address.ip().is_loopback() {
            local.device = None;
        }
    }
    out
}

/// The address from which the routing table would reach `remote`; none if it has no route.
pub(super) fn preferred(remote: SocketAddr) -> Option<IpAddr> {
    let any = if remote.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    // Connecting a UDP socket looks the route up and sends nothing.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(address: &str, device: &str, network: &str) -> Local {
        Local {
            address: SocketAddr::new(address.parse().unwrap(), 0),
            device: Some(Device {
                name: device.to_owned(),
                index: 1,
            }),
            network: Some(network.parse().unwrap()),
        }
    }

    fn used(hosts: &[Local], remotes: &[&str]) -> Vec<(String, bool)> {
        let remotes: Vec<_> = remotes
            .iter()
            .map(|remote| remote.parse().unwrap())
            .collect();
        towards(hosts, &[], &remotes)
            .iter()
            .map(|local| (local.address.ip().to_string(), local.device.is_some()))
            .collect()
    }

    #[test]
    fn each_interface_and_network_is_used_once_and_only_towards_what_it_reaches() {
        let hosts = [
            local("127.0.0.1", "lo", "127.0.0.0"),
            local("::1", "lo", "::1"),
            local("192.168.1.5", "wlan0", "192.168.1.0"),
            local("192.168.1.6", "wlan0", "192.168.1.0"),
            local("10.0.0.5", "eth0", "10.0.0.0"),
            local("2001:db8::5", "eth0", "2001:db8::"),
            local("fe80::5", "eth0", "fe80::"),
            local("169.254.3.4", "eth1", "169.254.0.0"),
        ];
        let named = |list: &[(&str, bool)]| -> Vec<(String, bool)> {
            list.iter()
                .map(|(ip, device)| ((*ip).to_owned(), *device))
                .collect()
        };
        assert_eq!(
            used(&hosts, &["203.0.113.7:9899"]),
            named(&[("192.168.1.5", true), ("10.0.0.5", true)])
        );
        assert_eq!(
            used(&hosts, &["127.0.0.2:9899"]),
            named(&[("127.0.0.1", false)])
        );
        assert_eq!(
            used(&hosts, &["[2001:db8::9]:9899"]),
            named(&[("2001:db8::5", true)])
        );
        assert_eq!(
            used(&hosts, &["[fe80::9]:9899"]),
            named(&[("fe80::5", true)])
        );
        // A peer on this host is reached through loopback.
        assert_eq!(
            used(&hosts, &["10.0.0.5:9899"]),
            named(&[("192.168.1.5", false), ("10.0.0.5", false)])
        );
    }

    #[test]
    fn this_host_has_a_loopback_interface_and_a_route_to_itself() {
        let hosts = all().unwrap();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(
            hosts.iter().any(|local| local.address.ip() == loopback),
            "{hosts:?}"
        );
        assert_eq!(preferred("127.0.0.1:1".parse().unwrap()), Some(loopback));
        let chosen = ["127.0.0.7", "127.0.0.8", "203.0.113.7"].map(|ip| ip.parse().unwrap());
        let used = towards(&hosts, &chosen, &["127.0.0.1:9".parse().unwrap()]);
        let expected = ["127.0.0.7:0", "127.0.0.8:0"].map(|at| Local::at(at.parse().unwrap()));
        assert_eq!(used, expected);
    }
}
