//! SCTP in user space over UDP (RFC 6951): no kernel module, no privilege.
//!
//! One [`towpath_sctp::Endpoint`] runs over a few UDP sockets. A server has one socket for each
//! address that it listens at, and replies from the address that was spoken to. A client has one
//! for each of its interfaces that reaches the peer, bound to the device: so a host with two
//! interfaces has two paths to a server with one address.

mod association;
mod carrier;
mod interfaces;
mod link_faults;
mod socket;
mod sockets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use association::Association;
pub use link_faults::LinkFaults;
use socket::ReceiveBuffers;
use sockets::Sockets;
pub use towpath_sctp::UDP_PORT;
use towpath_sctp::{AssociationHandle, Config, Endpoint, EndpointConfig};

use crate::carrier::{AssociationId, CarrierEvent};
use crate::limits;
use crate::ready::ReadyQueue;

/// How SCTP over UDP is set up.
///
/// The defaults are those of [`KernelConfig`](crate::carrier::kernel::KernelConfig), made for losing a path
/// without losing time.
#[derive(Debug, Clone)]
pub struct UdpConfig {
    /// The peer's UDP port, for outgoing associations.
    pub peer_port: u16,
    /// Our own UDP port, for outgoing associations; 0, the default, is a random one, which a forger
    /// has to guess.
    pub local_port: u16,
    /// Streams each way.
    pub streams: u16,
    /// Lower bound of the retransmission timeout; must exceed the peer's SACK delay (RFC 9260
    /// §6.3.1).
    pub rto_min: Duration,
    /// Retransmission timeout before the first measurement.
    pub rto_initial: Duration,
    /// Upper bound of the retransmission timeout.
    pub rto_max: Duration,
    /// Heartbeat interval of a path, to which its RTO is added.
    pub heartbeat: Duration,
    /// Consecutive timeouts after which a path is inactive.
    pub path_max_retransmissions: u32,
    /// Consecutive timeouts, for each proven path, after which the association is lost.
    pub association_max_retransmissions: u32,
    /// Delay of an acknowledgement.
    pub sack_delay: Duration,
    /// Associations at once; further peers are refused.
    pub max_associations: usize,
    /// The largest SCTP packet that is tried, in bytes; probing finds what a path carries.
    pub max_packet: usize,
    /// Whether the kernel or the device cuts trains of packets (GSO), where it can.
    pub segmentation: bool,
    /// Drops packets at chosen local addresses, for demonstrations and tests; never set in
    /// production.
    pub link_faults: Option<LinkFaults>,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            peer_port: UDP_PORT,
            local_port: 0,
            streams: limits::STREAMS,
            rto_min: limits::RTO_MIN,
            rto_initial: limits::RTO_INITIAL,
            rto_max: limits::RTO_MAX,
            heartbeat: limits::HEARTBEAT,
            path_max_retransmissions: limits::PATH_MAX_RETRANSMISSIONS.into(),
            association_max_retransmissions: limits::UDP_ASSOCIATION_MAX_RETRANSMISSIONS,
            sack_delay: limits::SACK_DELAY,
            max_associations: limits::UDP_MAX_ASSOCIATIONS,
            max_packet: towpath_sctp::limits::MAX_MTU,
            segmentation: true,
            link_faults: None,
        }
    }
}

impl UdpConfig {
    fn association(&self) -> Config {
        let default = Config::default();
        Config {
            streams: self.streams,
            max_inbound_streams: self.streams,
            // Never the bound before the peer's window and the queue are.
            send_buffer: default.max_receive_window as usize + 2 * limits::SEND_QUEUE_HARD,
            max_message: limits::MAX_MESSAGE,
            rto_initial: self.rto_initial,
            rto_min: self.rto_min,
            rto_max: self.rto_max,
            max_init_retransmits: limits::INIT_ATTEMPTS.into(),
            association_max_retrans: self.association_max_retransmissions,
            path_max_retrans: self.path_max_retransmissions,
            potentially_failed_retrans: limits::SUSPECT_AFTER.into(),
            heartbeat_interval: self.heartbeat,
            sack_delay: self.sack_delay,
            max_mtu: self.max_packet,
            shutdown_guard: limits::SHUTDOWN_GUARD,
            ..default
        }
    }

    fn endpoint(&self, listen: Option<u16>, addresses: Vec<SocketAddr>) -> io::Result<Endpoint> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let config = EndpointConfig {
            listen,
            addresses,
            max_associations: self.max_associations,
            association: self.association(),
            ..EndpointConfig::default()
        };
        Ok(Endpoint::new(config, seed, Instant::now()))
    }
}

/// Listens at these UDP addresses, which share one port (0: any), for associations to the SCTP
/// port `port`.
///
/// # Errors
/// No or too many addresses, different ports, one that cannot be bound, or no randomness to be
/// had.
pub fn listen(addresses: &[SocketAddr], port: u16, config: &UdpConfig) -> io::Result<UdpSctp> {
    if port == 0 {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "SCTP has no port 0",
        ));
    }
    let sockets = Sockets::listen(addresses, config.segmentation)?;
    let told = told_to_peers(&sockets.addresses())?;
    let endpoint = config.endpoint(Some(port), told)?;
    Ok(UdpSctp::new(
        config,
        endpoint,
        sockets,
        Role::Server { port },
    ))
}

/// Makes an endpoint for outgoing associations, from these addresses (their ports do not
/// matter), or from all interfaces if there are none. Sockets are opened as peers need them.
///
/// # Errors
/// Too many addresses, or no randomness to be had.
pub fn client(locals: &[SocketAddr], config: &UdpConfig) -> io::Result<UdpSctp> {
    if locals.len() > limits::MAX_ADDRESSES {
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

/// An endpoint of SCTP over UDP; see the [module](self).
///
/// As for any carrier, the addresses to connect to have SCTP ports; the peer's UDP port is in the
/// configuration.
pub struct UdpSctp {
    config: UdpConfig,
    endpoint: Endpoint,
    sockets: Sockets,
    role: Role,
    associations: BTreeMap<AssociationId, Association>,
    ids: BTreeMap<AssociationHandle, AssociationId>,
    next: u64,
    /// Associations whose sessions wait until less is queued.
    crowded: BTreeSet<AssociationId>,
    /// Peers that were accepted and associations that are closed.
    events: VecDeque<(AssociationId, CarrierEvent)>,
    ready: ReadyQueue<AssociationId>,
    buffers: ReceiveBuffers,
    train: Vec<u8>,
    /// The latest moment that was heard of: the endpoint's time never goes back.
    clock: Instant,
}

enum Role {
    Server {
        port: u16,
    },
    Client {
        /// Local addresses chosen by a person; none means those of all interfaces.
        chosen: Vec<IpAddr>,
        /// When to look for new interfaces; none without associations.
        scan: Option<Instant>,
    },
}

impl UdpSctp {
    fn new(config: &UdpConfig, endpoint: Endpoint, sockets: Sockets, role: Role) -> Self {
        Self {
            config: config.clone(),
            endpoint,
            sockets,
            role,
            associations: BTreeMap::new(),
            ids: BTreeMap::new(),
            next: 0,
            crowded: BTreeSet::new(),
            events: VecDeque::new(),
            ready: ReadyQueue::default(),
            buffers: ReceiveBuffers::new(),
            train: Vec::new(),
            clock: Instant::now(),
        }
    }

    /// The UDP addresses of the sockets that are open, with the ports really bound.
    #[must_use]
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        self.sockets.addresses()
    }
}

/// The addresses at which peers may find us: for a socket on all addresses those of the interfaces,
/// so that a peer that knows one learns the others.
fn told_to_peers(bound: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
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
