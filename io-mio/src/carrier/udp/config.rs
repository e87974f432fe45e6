//! How SCTP over UDP is set up.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use towpath_sctp::{Config, Endpoint, EndpointConfig, UDP_PORT};

use super::link_faults::LinkFaults;
use crate::limits;

/// How SCTP over UDP is set up.
///
/// The defaults are those of [`KernelConfig`](crate::carrier::kernel::KernelConfig), chosen for a
/// fast failover.
#[derive(Debug, Clone)]
pub struct UdpConfig {
    /// The peer's UDP port, for outgoing associations.
    pub peer_port: u16,
    /// The local UDP port, for outgoing associations; 0, the default, is a random one, which an
    /// attacker who forges packets has to guess.
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
    /// Consecutive timeouts, for each confirmed path, after which the association is lost.
    pub association_max_retransmissions: u32,
    /// Delay of an acknowledgement.
    pub sack_delay: Duration,
    /// Maximum concurrent associations; further peers are refused.
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
            // Large enough that the peer's window and the queue are the limits.
            send_buffer: default.max_receive_window as usize + 2 * limits::SEND_QUEUE_HARD,
            max_message: limits::MAX_MESSAGE,
            rto_initial: self.rto_initial,
            rto_min: self.rto_min,
            rto_max: self.rto_max,
            max_init_retransmits: limits::INIT_ATTEMPTS.into(),
            association_max_retrans: self.association_max_retransmissions,
            path_max_retrans: self.path_max_retransmissions,
            potentially_failed_retrans: limits::POTENTIALLY_FAILED_RETRANS.into(),
            heartbeat_interval: self.heartbeat,
            sack_delay: self.sack_delay,
            max_mtu: self.max_packet,
            shutdown_guard: limits::SHUTDOWN_GUARD,
            ..default
        }
    }

    pub(super) fn endpoint(
        &self,
        listen: Option<u16>,
        addresses: Vec<SocketAddr>,
    ) -> io::Result<Endpoint> {
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
