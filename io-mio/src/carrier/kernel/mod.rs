//! The kernel's SCTP: one non-blocking one-to-one socket for each association.

mod layout;
mod network;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use network::Kernel;

use crate::carrier::per_socket::{Endpoint, carrier_by_endpoint};
use crate::{limits, sys};

/// How the kernel's SCTP is set up.
///
/// The defaults are made for losing a path without losing time: the first timeout of a path moves
/// the traffic to another one (RFC 7829), and heartbeats find out within seconds which paths work.
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

/// Whether this kernel has SCTP that we may use.
///
/// # Errors
/// Says why not, in words for a person.
pub fn supported() -> io::Result<()> {
    let Err(error) = sys::socket(libc::AF_INET) else {
        return Ok(());
    };
    let why = match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT | libc::EAFNOSUPPORT) => {
            "this kernel has no SCTP, or its module `sctp` is not loaded"
        }
        Some(libc::EACCES | libc::EPERM) => "this process may not use SCTP sockets",
        _ => "SCTP sockets do not work here",
    };
    Err(io::Error::new(error.kind(), format!("{why} ({error})")))
}

/// An endpoint of the kernel's SCTP; see the [module](self).
pub struct KernelSctp(Endpoint<Kernel>);

impl KernelSctp {
    /// Listens on these addresses, which share one port (0: any). Unspecified addresses stand
    /// alone.
    ///
    /// # Errors
    /// No SCTP, no or too many addresses, different ports, or an address that cannot be bound.
    pub fn listen(addresses: &[SocketAddr], config: &KernelConfig) -> io::Result<Self> {
        let kernel = Kernel::new(Vec::new(), config);
        let listener = kernel.listen(addresses)?;
        Ok(Self(Endpoint::new(kernel, vec![listener])))
    }

    /// Makes an endpoint for outgoing associations, bound to these addresses, or to all if there
    /// are none.
    ///
    /// # Errors
    /// No SCTP, or too many addresses.
    pub fn client(locals: &[SocketAddr], config: &KernelConfig) -> io::Result<Self> {
        supported()?;
        if locals.len() > limits::MAX_ADDRESSES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many addresses",
            ));
        }
        Ok(Self(Endpoint::new(
            Kernel::new(locals.to_vec(), config),
            Vec::new(),
        )))
    }
}

carrier_by_endpoint!(KernelSctp);
