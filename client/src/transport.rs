//! The choice of the transport.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use towpath_io_mio::Carrier;
use towpath_io_mio::carrier::kernel::{self, KernelConfig};
use towpath_io_mio::carrier::udp::{self, UdpConfig};
use towpath_io_mio::carrier::unix;

use crate::error::{Error, ErrorKind};
use crate::url::Url;

/// The transport of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Transport {
    /// The kernel's SCTP if available and the server answers, else SCTP in user space
    #[default]
    Auto,
    /// SCTP of the kernel.
    Kernel,
    /// SCTP in user space, over UDP.
    Udp,
}

/// Options about the route to the server.
#[derive(Clone, Debug)]
pub(crate) struct RouteOptions {
    pub(crate) transport: Transport,
    /// The server's UDP port, for SCTP in user space.
    pub(crate) udp_port: u16,
    /// Local addresses to use; all when empty.
    pub(crate) bind: Vec<IpAddr>,
    /// The socket of a test server, instead of a network.
    pub(crate) unix: Option<PathBuf>,
}

/// A carrier and the addresses to connect to.
pub(crate) struct Route {
    /// The carrier.
    pub(crate) carrier: Box<dyn Carrier>,
    /// Name of the transport in statistics.
    pub(crate) name: &'static str,
    /// The server's addresses.
    pub(crate) remotes: Vec<SocketAddr>,
    /// The server's addresses, as text for messages.
    pub(crate) shown: String,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Route({} to {})", self.name, self.shown)
    }
}

/// Chooses the carriers, to be tried in this order, and resolves the server's addresses.
///
/// # Errors
/// An [`Error`] with [`ErrorKind::Unreachable`] when a host has no address or the carrier is not
/// available.
pub(crate) fn routes(server: &Url, options: &RouteOptions) -> Result<Vec<Route>, Error> {
    if let Some(path) = &options.unix {
        return Ok(vec![test_route(path)]);
    }
    let remotes = server.resolve()?;
    let locals: Vec<SocketAddr> = options
        .bind
        .iter()
        .map(|ip| SocketAddr::new(*ip, 0))
        .collect();
    let shown: Vec<String> = remotes.iter().map(ToString::to_string).collect();
    let shown = shown.join(", ");
    let by_kernel = || {
        Ok(Route {
            carrier: kernel_carrier(&locals)?,
            name: "kernel",
            remotes: remotes.clone(),
            shown: shown.clone(),
        })
    };
    let by_udp = || {
        Ok(Route {
            carrier: udp_carrier(&locals, options.udp_port)?,
            name: "udp",
            remotes: remotes.clone(),
            shown: format!("{shown} over UDP port {}", options.udp_port),
        })
    };
    match options.transport {
        Transport::Kernel => Ok(vec![by_kernel()?]),
        Transport::Udp => Ok(vec![by_udp()?]),
        Transport::Auto if kernel::supported().is_ok() => Ok(vec![by_kernel()?, by_udp()?]),
        Transport::Auto => Ok(vec![by_udp()?]),
    }
}

fn kernel_carrier(locals: &[SocketAddr]) -> Result<Box<dyn Carrier>, Error> {
    kernel::supported().map_err(|e| {
        Error::new(
            ErrorKind::Unreachable,
            format!("{e}; `modprobe sctp` loads the module, and --transport udp needs none"),
        )
    })?;
    let carrier = kernel::client(locals, &KernelConfig::default());
    Ok(Box::new(carrier.map_err(|e| no_socket(&e))?))
}

fn udp_carrier(locals: &[SocketAddr], peer_port: u16) -> Result<Box<dyn Carrier>, Error> {
    let config = UdpConfig {
        peer_port,
        ..UdpConfig::default()
    };
    let carrier = udp::client(locals, &config);
    Ok(Box::new(carrier.map_err(|e| no_socket(&e))?))
}

fn no_socket(error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("cannot open a socket: {error}"),
    )
}

/// The addresses are unused: the socket's path decides.
fn test_route(path: &Path) -> Route {
    Route {
        carrier: Box::new(unix::client(path)),
        name: "unix",
        remotes: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1)],
        shown: path.display().to_string(),
    }
}
