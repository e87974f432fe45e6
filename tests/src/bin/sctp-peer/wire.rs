//! An endpoint on UDP sockets, one for each network.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use towpath_sctp::packet::Packet;
use towpath_sctp::{
    AssociationHandle, CloseReason, Config, Endpoint, EndpointConfig, Event, Message, PathId,
    SendError, Transmit,
};

use crate::cli::{Cli, Role};

/// Datagrams read from one socket before time and timers are looked at again.
const BATCH: usize = 256;
/// For the socket's buffers: a window's worth.
const SOCKET_BUFFER: usize = 4 << 20;
/// The longest wait for datagrams.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// An endpoint and its sockets.
pub(crate) struct Wire {
    pub(crate) endpoint: Endpoint,
    sockets: Vec<(SocketAddr, UdpSocket)>,
    buffer: Vec<u8>,
    show: bool,
    start: Instant,
}

impl Wire {
    pub(crate) fn new(cli: &Cli) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for ip in &cli.local {
            let address = SocketAddr::from((*ip, cli.udp));
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
            setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER)?;
            sockets.push((address, socket));
        }
        let config = EndpointConfig {
            listen: (cli.role == Role::Server).then_some(cli.port),
            addresses: sockets.iter().map(|(address, _)| *address).collect(),
            association: Config {
                streams: 1024,
                // These sockets would fragment a probe that is too large instead of losing it.
                initial_mtu: 1_452,
                max_mtu: 1_452,
                heartbeat_interval: Duration::from_secs(1),
                ..Config::default()
            },
            ..EndpointConfig::default()
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let now = Instant::now();
        Ok(Self {
            endpoint: Endpoint::new(config, seed, now),
            sockets,
            buffer: Vec::new(),
            show: cli.show,
            start: now,
        })
    }

    /// Sends what there is to send, waits for a datagram or a deadline, takes it in.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        self.flush()?;
        let deadline = self.endpoint.poll_timeout();
        let wait = deadline.map_or(LONGEST_WAIT, |at| {
            at.saturating_duration_since(Instant::now())
                .min(LONGEST_WAIT)
        });
        // Rounded up: a deadline is not to be met early, over and over.
        let millis = u16::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        let mut readable: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        poll(&mut readable, PollTimeout::from(millis))?;
        for at in 0..self.sockets.len() {
            self.receive(at)?;
        }
        self.endpoint.handle_timeout(Instant::now());
        self.flush()
    }

    fn receive(&mut self, at: usize) -> io::Result<()> {
        let (local, socket) = &self.sockets[at];
        let mut datagram = [0; 65_536];
        let now = Instant::now();
        for _ in 0..BATCH {
            match socket.recv_from(&mut datagram) {
                Ok((length, remote)) => {
                    let path = PathId::new(*local, remote);
                    if self.show {
                        show(self.start, "<-", path, &datagram[..length]);
                    }
                    self.endpoint
                        .handle_datagram(path, &datagram[..length], now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An answer of the network to something sent before: a dead path says so itself.
                Err(error) if is_path_error(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(transmit) = self.endpoint.poll_transmit(now, &mut buffer) {
            let Transmit {
                path, segment_size, ..
            } = transmit;
            let socket = self
                .sockets
                .iter()
                .find(|(address, _)| *address == path.local);
            let Some((_, socket)) = socket else {
                return Err(io::Error::other(format!("no socket for {path}")));
            };
            for packet in buffer.chunks(segment_size) {
                if self.show {
                    show(self.start, "->", path, packet);
                }
                match socket.send_to(packet, path.remote) {
                    Ok(_) => {}
                    // Lost, as on any network; it is sent again.
                    Err(error)
                        if error.kind() == io::ErrorKind::WouldBlock || is_path_error(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Whether the message was taken; if not, it comes again later.
    pub(crate) fn send(
        &mut self,
        handle: AssociationHandle,
        message: Message,
    ) -> io::Result<Option<Message>> {
        match self.endpoint.send(handle, message) {
            Ok(()) => Ok(None),
            Err(SendError::Full(message)) => Ok(Some(message)),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }
}

fn is_path_error(error: &io::Error) -> bool {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionRefused | HostUnreachable | NetworkDown | NetworkUnreachable | AddrNotAvailable
    )
}

fn show(start: Instant, way: &str, path: PathId, packet: &[u8]) {
    let time = start.elapsed();
    match Packet::parse(packet) {
        Ok(packet) => println!("{time:>10.3?} {way} {path}: {packet}"),
        Err(error) => println!("{time:>10.3?} {way} {path}: {error}"),
    }
}

/// Says what happened to an association in the words of the other peer.
pub(crate) fn say(event: &Event) {
    match event {
        Event::Connected {
            outbound, inbound, ..
        } => println!("up in={inbound} out={outbound}"),
        Event::PathChanged { path, state } => println!("path {path} state={state:?}"),
        Event::PeerClosing => println!("shutdown begun by the peer"),
        Event::Closed(CloseReason::Shutdown) => println!("shutdown complete"),
        Event::Closed(reason) => println!("lost {reason}"),
        _ => {}
    }
}
