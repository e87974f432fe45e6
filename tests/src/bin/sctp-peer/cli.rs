//! The command line, the same as that of `tests/peers/usrsctp_peer.c`.

use std::net::Ipv4Addr;

use clap::{Parser, ValueEnum};

/// Below 20 bytes a message has no room for what tells it from others.
const MIN_MESSAGE: u64 = 20;

#[derive(Parser)]
#[command(about = "Echo server, or client that checks the echoes, over SCTP in UDP")]
pub(crate) struct Cli {
    pub(crate) role: Role,
    /// Own address, once for each network
    #[arg(long, required = true)]
    pub(crate) local: Vec<Ipv4Addr>,
    /// The server's address, once for each network
    #[arg(long)]
    pub(crate) peer: Vec<Ipv4Addr>,
    /// SCTP port of the server
    #[arg(long, default_value_t = 9260)]
    pub(crate) port: u16,
    /// Own UDP port
    #[arg(long, default_value_t = 9899)]
    pub(crate) udp: u16,
    /// The server's UDP port
    #[arg(long, default_value_t = 9899)]
    pub(crate) peer_udp: u16,
    /// Messages to send
    #[arg(long, default_value_t = 1000)]
    pub(crate) messages: u64,
    /// Bytes of each
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(MIN_MESSAGE..=262_144))]
    pub(crate) size: u64,
    /// Streams that they go over in turn
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) streams: u64,
    /// Messages under way at once
    #[arg(long, default_value_t = 32)]
    pub(crate) window: u64,
    /// How a client ends the association
    #[arg(long, default_value = "shutdown")]
    pub(crate) end: End,
    /// A server aborts each association after this many messages
    #[arg(long)]
    pub(crate) abort_after: Option<u64>,
    /// A server shuts each association down after this many messages
    #[arg(long)]
    pub(crate) shutdown_after: Option<u64>,
    /// Print each packet
    #[arg(long)]
    pub(crate) show: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Server,
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum End {
    Shutdown,
    Abort,
}
