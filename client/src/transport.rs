//! Which transport carries the connection: the one place that chooses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use towpath_io_mio::carrier::kernel::{self, KernelConfig};
use towpath_io_mio::carrier::udp::{self, UdpConfig};
use towpath_io_mio::carrier::unix;
use towpath_io_mio::{Carrier, PathInfo};

use crate::cli::{Common, TransportChoice};
use crate::exit::{Exit, Failure};
use crate::url::Url;

/// A carrier and where it is to connect to.
pub struct Route {
    /// The carrier.
    pub carrier: Box<dyn Carrier>,
    /// Its name, for figures.
    pub name: &'static str,
    /// The server's addresses.
    pub remotes: Vec<SocketAddr>,
    /// The same for messages.
    pub shown: String,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Route({} to {})", self.name, self.shown)
    }
}

/// Chooses the carriers, to be tried in this order, and resolves the server's addresses.
///
/// # Errors
/// A [`Failure`] with [`Exit::Unreachable`] when a host has no address or there is no such carrier
/// here.
pub fn routes(common: &Common, server: &Url) -> Result<Vec<Route>, Failure> {
    if let Some(path) = &common.unix {
        return Ok(vec![test_route(path)]);
    }
    let remotes = server.resolve()?;
    let locals: Vec<SocketAddr> = common
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
            carrier: udp_carrier(&locals, common.udp_port)?,
            name: "udp",
            remotes: remotes.clone(),
            shown: format!("{shown} over UDP port {}", common.udp_port),
        })
    };
    match common.transport {
        TransportChoice::Kernel => Ok(vec![by_kernel()?]),
        TransportChoice::Udp => Ok(vec![by_udp()?]),
        TransportChoice::Auto if kernel::supported().is_ok() => Ok(vec![by_kernel()?, by_udp()?]),
        TransportChoice::Auto => Ok(vec![by_udp()?]),
    }
}

fn kernel_carrier(locals: &[SocketAddr]) -> Result<Box<dyn Carrier>, Failure> {
    kernel::supported().map_err(|e| {
        Failure::new(
            Exit::Unreachable,
            format!("{e}; `modprobe sctp` loads the module, and --transport udp needs none"),
        )
    })?;
    let carrier = kernel::client(locals, &KernelConfig::default());
    Ok(Box::new(carrier.map_err(|e| no_socket(&e))?))
}

fn udp_carrier(locals: &[SocketAddr], peer_port: u16) -> Result<Box<dyn Carrier>, Failure> {
    let config = UdpConfig {
        peer_port,
        ..UdpConfig::default()
    };
    let carrier = udp::client(locals, &config);
    Ok(Box::new(carrier.map_err(|e| no_socket(&e))?))
}

fn no_socket(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Unreachable, format!("cannot open a socket: {error}"))
}

/// The addresses are those of nobody: the socket's path decides.
fn test_route(path: &Path) -> Route {
    Route {
        carrier: Box::new(unix::client(path)),
        name: "unix",
        remotes: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1)],
        shown: path.display().to_string(),
    }
}

/// Carrier and paths as `--stats` shows them:
/// `transport=kernel paths=10.0.0.1:9260(active,primary),…`.
#[must_use]
pub fn link_text(name: &str, paths: &[PathInfo]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| {
            format!(
                "{}({}{})",
                path.remote,
                path.state,
                if path.primary { ",primary" } else { "" }
            )
        })
        .collect();
    let paths = if paths.is_empty() {
        "-".to_owned()
    } else {
        paths.join(",")
    };
    format!("transport={name} paths={paths}")
}
