//! `towpath-sctp` over plain sockets with the command line of `tests/peers/usrsctp_peer.c`, so that
//! each can stand on either side of the other.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use towpath_sctp::packet::Packet;
use towpath_sctp::{
    AssociationHandle, CloseReason, Config, Endpoint, EndpointConfig, Event, Message, PathId,
    SendError, Transmit,
};

/// Below 20 bytes a message has no room for what tells it from others.
const MIN_MESSAGE: u64 = 20;
/// Datagrams read from one socket before time and timers are looked at again.
const BATCH: usize = 256;
/// For the socket's buffers: a window's worth.
const SOCKET_BUFFER: usize = 4 << 20;
/// The library's own limit on silence; a case has its own.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Parser)]
#[command(about = "Echo server, or client that checks the echoes, over SCTP in UDP")]
struct Cli {
    role: Role,
    /// Own address, once for each network
    #[arg(long, required = true)]
    local: Vec<Ipv4Addr>,
    /// The server's address, once for each network
    #[arg(long)]
    peer: Vec<Ipv4Addr>,
    /// SCTP port of the server
    #[arg(long, default_value_t = 9260)]
    port: u16,
    /// Own UDP port
    #[arg(long, default_value_t = 9899)]
    udp: u16,
    /// The server's UDP port
    #[arg(long, default_value_t = 9899)]
    peer_udp: u16,
    /// Messages to send
    #[arg(long, default_value_t = 1000)]
    messages: u64,
    /// Bytes of each
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(MIN_MESSAGE..=262_144))]
    size: u64,
    /// Streams that they go over in turn
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1024))]
    streams: u64,
    /// Messages under way at once
    #[arg(long, default_value_t = 32)]
    window: u64,
    /// How a client ends the association
    #[arg(long, default_value = "shutdown")]
    end: End,
    /// A server aborts each association after this many messages
    #[arg(long)]
    abort_after: Option<u64>,
    /// A server shuts each association down after this many messages
    #[arg(long)]
    shutdown_after: Option<u64>,
    /// Print each packet
    #[arg(long)]
    show: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Server,
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum End {
    Shutdown,
    Abort,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.role {
        Role::Server => Wire::new(&cli).and_then(|wire| Server::new(wire, &cli).run()),
        Role::Client => Wire::new(&cli).and_then(|wire| Client::new(wire, &cli)?.run()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error {error}");
            ExitCode::FAILURE
        }
    }
}

/// An endpoint and its sockets.
struct Wire {
    endpoint: Endpoint,
    sockets: Vec<(SocketAddr, UdpSocket)>,
    buffer: Vec<u8>,
    show: bool,
    start: Instant,
}

impl Wire {
    fn new(cli: &Cli) -> io::Result<Self> {
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
    fn turn(&mut self) -> io::Result<()> {
        self.flush()?;
        let deadline = self.endpoint.poll_timeout();
        let wait = deadline.map_or(PATIENCE, |at| {
            at.saturating_duration_since(Instant::now()).min(PATIENCE)
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

    fn flush(&mut self) -> io::Result<()> {
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
    fn send(&mut self, handle: AssociationHandle, message: Message) -> io::Result<Option<Message>> {
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
fn say(event: &Event) {
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

struct Server {
    wire: Wire,
    abort_after: Option<u64>,
    shutdown_after: Option<u64>,
    /// Echoes that wait for room, and how many have gone.
    associations: BTreeMap<AssociationHandle, (VecDeque<Message>, u64)>,
}

impl Server {
    fn new(wire: Wire, cli: &Cli) -> Self {
        Self {
            wire,
            abort_after: cli.abort_after,
            shutdown_after: cli.shutdown_after,
            associations: BTreeMap::new(),
        }
    }

    fn run(mut self) -> io::Result<bool> {
        println!("ready");
        loop {
            self.wire.turn()?;
            while let Some((handle, event)) = self.wire.endpoint.poll_event() {
                say(&event);
                match event {
                    Event::Connected { .. } => {
                        self.associations.insert(handle, (VecDeque::new(), 0));
                    }
                    Event::Closed(_) => {
                        if let Some((_, echoed)) = self.associations.remove(&handle) {
                            println!("end after {echoed} messages");
                        }
                    }
                    _ => {}
                }
            }
            let handles: Vec<_> = self.associations.keys().copied().collect();
            for handle in handles {
                self.echo(handle)?;
            }
        }
    }

    fn echo(&mut self, handle: AssociationHandle) -> io::Result<()> {
        let Some((waiting, echoed)) = self.associations.get_mut(&handle) else {
            return Ok(());
        };
        loop {
            let next = waiting
                .pop_front()
                .or_else(|| self.wire.endpoint.recv(handle));
            let Some(message) = next else {
                return Ok(());
            };
            // It ends at its own wish or the peer's while messages are still on their way here.
            if self.shutdown_after.is_some_and(|after| *echoed >= after) {
                continue;
            }
            if let Some(message) = self.wire.send(handle, message)? {
                waiting.push_front(message);
                return Ok(());
            }
            *echoed += 1;
            let now = Instant::now();
            let ended = if Some(*echoed) == self.abort_after {
                self.wire.endpoint.abort(handle, b"enough", now)
            } else if Some(*echoed) == self.shutdown_after {
                self.wire.endpoint.shutdown(handle, now)
            } else {
                continue;
            };
            ended.map_err(io::Error::other)?;
            if self.abort_after.is_some() {
                return Ok(());
            }
        }
    }
}

struct Client {
    wire: Wire,
    handle: AssociationHandle,
    messages: u64,
    size: usize,
    streams: u64,
    window: u64,
    end: End,
    sent: u64,
    waiting: Option<Message>,
    received: u64,
    /// Number of the next echo on each stream.
    next: BTreeMap<u16, u64>,
    start: Instant,
    last: Instant,
    longest: Duration,
}

impl Client {
    fn new(mut wire: Wire, cli: &Cli) -> io::Result<Self> {
        let now = Instant::now();
        let remotes: Vec<SocketAddr> = cli
            .peer
            .iter()
            .map(|ip| SocketAddr::from((*ip, cli.peer_udp)))
            .collect();
        let handle = wire
            .endpoint
            .connect(&remotes, cli.port, now)
            .map_err(io::Error::other)?;
        Ok(Self {
            wire,
            handle,
            messages: cli.messages,
            size: usize::try_from(cli.size).map_err(io::Error::other)?,
            streams: cli.streams,
            window: cli.window,
            end: cli.end,
            sent: 0,
            waiting: None,
            received: 0,
            next: BTreeMap::new(),
            start: now,
            last: now,
            longest: Duration::ZERO,
        })
    }

    fn run(mut self) -> io::Result<bool> {
        let mut up = false;
        let closed = loop {
            self.wire.turn()?;
            let mut closed = None;
            while let Some((_, event)) = self.wire.endpoint.poll_event() {
                say(&event);
                match event {
                    Event::Connected { .. } => {
                        up = true;
                        self.start = Instant::now();
                        self.last = self.start;
                    }
                    Event::Closed(reason) => closed = Some(reason),
                    _ => {}
                }
            }
            while let Some(message) = self.wire.endpoint.recv(self.handle) {
                if !self.take(&message) {
                    return Ok(false);
                }
            }
            if let Some(reason) = closed {
                break reason;
            }
            if up {
                self.feed()?;
            }
        };
        let asked_for = match self.end {
            End::Shutdown => CloseReason::Shutdown,
            End::Abort => CloseReason::Aborted,
        };
        // An abort's packet is still to go.
        self.wire.flush()?;
        let good = self.received == self.messages && closed == asked_for;
        println!(
            "end {}",
            match (good, self.end) {
                (true, End::Shutdown) => "shut down",
                (true, End::Abort) => "aborted",
                (false, _) => "failed",
            }
        );
        Ok(good)
    }

    fn feed(&mut self) -> io::Result<()> {
        while self.waiting.is_some()
            || (self.sent < self.messages && self.sent < self.received + self.window)
        {
            let message = self.waiting.take().unwrap_or_else(|| {
                let stream = u16::try_from(self.sent % self.streams).unwrap_or(u16::MAX);
                let payload = content(self.size, stream, self.sent);
                self.sent += 1;
                Message {
                    ppid: 42,
                    ..Message::new(stream, payload)
                }
            });
            if let Some(message) = self.wire.send(self.handle, message)? {
                self.waiting = Some(message);
                break;
            }
        }
        Ok(())
    }

    /// Whether an echo is what was sent, and in its turn.
    fn take(&mut self, message: &Message) -> bool {
        let now = Instant::now();
        self.longest = self.longest.max(now - self.last);
        self.last = now;
        let first = u64::from(message.stream);
        let number = self.next.entry(message.stream).or_insert(first);
        let expected = content(self.size, message.stream, *number);
        if first >= self.streams || message.payload[..] != expected[..] || message.ppid != 42 {
            println!(
                "error: echo {} on stream {first} with {} bytes is not what was sent",
                self.received,
                message.payload.len()
            );
            return false;
        }
        *number += self.streams;
        if self.received.is_multiple_of(self.messages / 10 + 1) {
            println!("progress {}", self.received);
        }
        self.received += 1;
        if self.received == self.messages {
            for path in self.wire.endpoint.paths(self.handle) {
                println!(
                    "figures {} state={:?} srtt_us={} rto_ms={} cwnd={} sent={} received={} retransmissions={} timeouts={}",
                    path.path,
                    path.state,
                    path.srtt.unwrap_or_default().as_micros(),
                    path.rto.as_millis(),
                    path.cwnd,
                    path.bytes_sent,
                    path.bytes_received,
                    path.retransmissions,
                    path.timeouts
                );
            }
            println!(
                "done messages={} bytes={} seconds={:.3} longest_stall_ms={}",
                self.received,
                self.received * self.size as u64,
                self.start.elapsed().as_secs_f64(),
                self.longest.as_millis()
            );
            let ended = match self.end {
                End::Shutdown => self.wire.endpoint.shutdown(self.handle, now),
                End::Abort => self.wire.endpoint.abort(self.handle, b"enough", now),
            };
            if let Err(error) = ended {
                println!("error: {error}");
                return false;
            }
        }
        true
    }
}

/// A message that differs from every other one, and each part of it from the others.
fn content(size: usize, stream: u16, number: u64) -> Vec<u8> {
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(stream) << 48);
    let mut bytes = Vec::with_capacity(size + 8);
    bytes.extend_from_slice(&u32::from(stream).to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
