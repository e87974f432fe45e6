//! SCTP in user space over UDP (RFC 6951): no kernel module, no privilege.
//!
//! One [`towpath_sctp::Endpoint`] runs over a few UDP sockets. A server has one socket for each
//! address that it listens on, and replies from the address that the peer used. A client has one
//! for each of its interfaces that reaches the peer, bound to the device, so that a host with two
//! interfaces has two paths to a server with one address.

mod association;
mod carrier;
mod config;
mod endpoint;
mod failures;
mod interfaces;
mod link_faults;
mod socket;
mod sockets;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

pub use config::UdpConfig;
use endpoint::Role;
pub use endpoint::UdpSctp;
pub use link_faults::LinkFaults;
use sockets::Sockets;
pub use towpath_sctp::UDP_PORT;

use crate::limits::MAX_ADDRESSES;

/// Listens on these UDP addresses, which share one port (0: any), for associations to the SCTP
/// port `port`.
///
/// # Errors
/// No or too many addresses, different ports, one that cannot be bound, or no random numbers.
pub fn listen(addresses: &[SocketAddr], port: u16, config: &UdpConfig) -> io::Result<UdpSctp> {
    if port == 0 {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "SCTP has no port 0",
        ));
    }
    let sockets = Sockets::listen(addresses, config.segmentation)?;
    let advertised = advertised_addresses(&sockets.addresses())?;
    let endpoint = config.endpoint(Some(port), advertised)?;
    Ok(UdpSctp::new(
        config,
        endpoint,
        sockets,
        Role::Server { port },
    ))
}

/// A carrier for outgoing associations, from these addresses (their ports are ignored), or from all
/// interfaces if there are none. Sockets are opened when a peer needs them.
///
/// # Errors
/// Too many addresses, or no random numbers.
pub fn client(locals: &[SocketAddr], config: &UdpConfig) -> io::Result<UdpSctp> {
    if locals.len() > MAX_ADDRESSES {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "too many addresses",
        ));
    }
    let endpoint = config.endpoint(None, Vec::new())?;
    let role = Role::Client {
        chosen: locals.iter().map(SocketAddr::ip).collect(),
        scan: None,
    };
    let sockets = Sockets::new(config.local_port, config.segmentation);
    Ok(UdpSctp::new(config, endpoint, sockets, role))
}

/// The addresses that are advertised to peers: for a socket on all addresses those of the
/// interfaces, so that a peer that knows one learns the others.
fn advertised_addresses(bound: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let mut out = Vec::new();
    for address in bound {
        out.push(*address);
        if !address.ip().is_unspecified() {
            continue;
        }
        for host in interfaces::all()? {
            let (ip, port) = (host.address.ip(), address.port());
            if ip.is_ipv4() == address.is_ipv4() && !ip.is_loopback() {
                out.push(SocketAddr::new(ip, port));
            }
        }
    }
    Ok(out)
}
