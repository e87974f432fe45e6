//! Shared by both examples: the transport and its flags, and a loop without jobs.
#![allow(
    clippy::allow_attributes,
    reason = "each example uses another part, and one may use all"
)]
#![allow(dead_code, reason = "each example uses another part")]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use towpath_io_mio::carrier::kernel::{self, KernelConfig};
use towpath_io_mio::carrier::udp::{self, UDP_PORT, UdpConfig};
use towpath_io_mio::{Carrier, Driver, Execute, LoopConfig, PathInfo, Session};

/// The result of an example's `main`; the error is printed.
pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// Which SCTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The kernel's.
    Kernel,
    /// In user space, over UDP.
    Udp,
}

/// Where to listen, or where to connect from.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ends {
    /// Which SCTP
    #[arg(long, value_enum, default_value = "udp")]
    pub(crate) transport: Kind,
    /// A local address; may be repeated [default: all]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) local: Vec<IpAddr>,
    /// The server's SCTP port
    #[arg(long, default_value_t = 9260)]
    pub(crate) port: u16,
    /// The local UDP port [default: 9899 for a server, a random one for a client]
    #[arg(long)]
    pub(crate) udp_port: Option<u16>,
    /// The server's UDP port
    #[arg(long, default_value_t = UDP_PORT)]
    pub(crate) peer_udp_port: u16,
    /// Segment trains of packets in the process instead of the kernel (no GSO)
    #[arg(long)]
    pub(crate) no_gso: bool,
    /// The largest SCTP packet to probe for over UDP, in bytes
    #[arg(long, default_value_t = UdpConfig::default().max_packet)]
    pub(crate) max_packet: usize,
}

impl Ends {
    fn udp(&self) -> UdpConfig {
        UdpConfig {
            peer_port: self.peer_udp_port,
            local_port: self.udp_port.unwrap_or(0),
            segmentation: !self.no_gso,
            max_packet: self.max_packet,
            ..UdpConfig::default()
        }
    }

    /// A carrier that listens, and a description of where.
    pub(crate) fn listen(&self) -> Result<(Box<dyn Carrier>, String), Box<dyn Error>> {
        let locals = match self.local.as_slice() {
            [] => &[IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            locals => locals,
        };
        let with = |port| -> Vec<SocketAddr> {
            locals.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
        };
        Ok(match self.transport {
            Kind::Kernel => {
                let carrier = kernel::listen(&with(self.port), &KernelConfig::default())?;
                let shown = list(&carrier.local_addresses());
                (Box::new(carrier), shown)
            }
            Kind::Udp => {
                let port = self.udp_port.unwrap_or(UDP_PORT);
                let carrier = udp::listen(&with(port), self.port, &self.udp())?;
                let shown = format!(
                    "SCTP port {} over UDP {}",
                    self.port,
                    list(&carrier.udp_addresses())
                );
                (Box::new(carrier), shown)
            }
        })
    }

    /// A carrier for outgoing associations.
    pub(crate) fn client(&self) -> Result<Box<dyn Carrier>, Box<dyn Error>> {
        let locals: Vec<_> = self
            .local
            .iter()
            .map(|ip| SocketAddr::new(*ip, 0))
            .collect();
        Ok(match self.transport {
            Kind::Kernel => Box::new(kernel::client(&locals, &KernelConfig::default())?),
            Kind::Udp => Box::new(udp::client(&locals, &self.udp())?),
        })
    }

    /// The server's addresses with its SCTP port.
    pub(crate) fn remotes(&self, addresses: &[IpAddr]) -> Vec<SocketAddr> {
        addresses
            .iter()
            .map(|ip| SocketAddr::new(*ip, self.port))
            .collect()
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    shown.join(", ")
}

/// The examples have no jobs.
pub(crate) struct NoWork;

impl Execute for NoWork {
    type Job = ();
    type Output = ();

    fn execute(&self, (): ()) {}
}

pub(crate) fn driver<S: Session<Job = (), Output = ()>>() -> std::io::Result<Driver<S>> {
    let config = LoopConfig {
        workers: 1,
        ..LoopConfig::default()
    };
    Driver::new(config, Arc::new(NoWork))
}

/// One line for a path.
pub(crate) fn describe(path: &PathInfo) -> String {
    let local = path
        .local
        .map_or_else(|| "*".to_owned(), |local| local.to_string());
    format!(
        "{local} → {}: {}{}, srtt {:.1?}, rto {:.0?}, cwnd {} kB, mtu {}",
        path.remote,
        path.state,
        if path.primary { ", primary" } else { "" },
        path.srtt,
        path.rto,
        path.cwnd / 1000,
        path.mtu
    )
}
