//! How the kernel's SCTP is set up.

use std::time::Duration;

use crate::limits;

/// How the kernel's SCTP is set up.
///
/// The defaults are chosen for a fast failover: the first timeout of a path moves the traffic to
/// another one (RFC 7829), and heartbeats detect within seconds which paths work.
#[derive(Debug, Clone)]
pub struct KernelConfig {
    /// Streams each way.
    pub streams: u16,
    /// Lower bound of the retransmission timeout; must exceed the peer's SACK delay (RFC 9260
    /// §6.3.1).
    pub rto_min: Duration,
    /// Retransmission timeout before the first measurement.
    pub rto_initial: Duration,
    /// Upper bound of the retransmission timeout.
    pub rto_max: Duration,
    /// Heartbeat interval of a path, to which the kernel adds its RTO.
    pub heartbeat: Duration,
    /// Consecutive timeouts after which a path is inactive.
    pub path_max_retransmissions: u16,
    /// Consecutive timeouts on all paths after which the association is lost.
    pub association_max_retransmissions: u16,
    /// Delay of an acknowledgement.
    pub sack_delay: Duration,
    /// Send and receive buffer in bytes, each.
    pub buffer: usize,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            streams: limits::STREAMS,
            rto_min: limits::RTO_MIN,
            rto_initial: limits::RTO_INITIAL,
            rto_max: limits::RTO_MAX,
            heartbeat: limits::HEARTBEAT,
            path_max_retransmissions: limits::PATH_MAX_RETRANSMISSIONS,
            association_max_retransmissions: limits::ASSOCIATION_MAX_RETRANSMISSIONS,
            sack_delay: limits::SACK_DELAY,
            buffer: limits::KERNEL_BUFFER,
        }
    }
}
