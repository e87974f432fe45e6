//! Against usrsctp, over real UDP sockets on loopback: set-up, transfer, failover, shutdown and
//! abort, both ways.
//!
//! usrsctp takes an INIT ACK from no loopback address but 127.0.0.1, so that is the first that it
//! calls.
//!
//! Needs a C compiler and Debian's `libusrsctp-dev`. Without them the tests say so and pass, unless
//! `TOWPATH_USRSCTP=require` is set.
#![expect(clippy::disallowed_methods, reason = "real sockets want real time")]

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use towpath_sctp::{
    AssociationHandle, CloseReason, Config, Endpoint, EndpointConfig, Event, Message, PathId,
    SendError,
};

const PORT: u16 = 9_260;
const MESSAGE: usize = 16_000;
const LIMIT: Duration = Duration::from_secs(30);

/// The C peer, compiled once; none if that cannot be done here.
fn peer() -> Option<&'static PathBuf> {
    static PEER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let peer = PEER.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/usrsctp/peer.c");
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("usrsctp-peer");
        let compiled = Command::new("cc")
            .args(["-O1", "-Wall", "-Werror", "-o"])
            .arg(&target)
            .args([source, "-lusrsctp", "-lpthread"])
            .stderr(Stdio::null())
            .status();
        compiled
            .is_ok_and(|status| status.success())
            .then_some(target)
    });
    if peer.is_none() {
        assert!(
            std::env::var("TOWPATH_USRSCTP").is_err(),
            "usrsctp is required and its peer does not compile"
        );
        eprintln!("skipped: install libusrsctp-dev and a C compiler");
    }
    peer.as_ref()
}

/// The C peer at work.
struct Usrsctp {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Usrsctp {
    fn start(arguments: &[&str]) -> Option<Self> {
        let mut child = Command::new(peer()?)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the peer starts");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut peer = Self { child, lines };
        if arguments[0] == "listen" {
            assert_eq!(peer.line(), "ready");
        }
        Some(peer)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("its output is text");
        line.trim_end().to_owned()
    }
}

impl Drop for Usrsctp {
    fn drop(&mut self) {
        // It may have ended by itself.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            eprintln!("the peer cannot be waited for");
        }
    }
}

/// Our side: an endpoint, its sockets, one of which may be cut.
struct Host {
    endpoint: Endpoint,
    sockets: Vec<(SocketAddr, UdpSocket)>,
    cut: Option<SocketAddr>,
    handle: Option<AssociationHandle>,
    closed: Option<CloseReason>,
    buffer: Vec<u8>,
}

impl Host {
    fn new(locals: &[&str], listen: Option<u16>) -> Self {
        let sockets: Vec<(SocketAddr, UdpSocket)> = locals
            .iter()
            .map(|local| {
                let socket = UdpSocket::bind(local).expect("the address is free");
                socket
                    .set_nonblocking(true)
                    .expect("sockets can be made non-blocking");
                (socket.local_addr().expect("it is bound"), socket)
            })
            .collect();
        let config = EndpointConfig {
            listen,
            addresses: sockets.iter().map(|(address, _)| *address).collect(),
            // Small enough for socket buffers of the default size.
            association: Config {
                max_mtu: 8_972,
                max_burst: 8,
                ..Config::default()
            },
            ..EndpointConfig::default()
        };
        let endpoint = Endpoint::new(config, [std::process::id() as u8; 32], Instant::now());
        Self {
            endpoint,
            sockets,
            cut: None,
            handle: None,
            closed: None,
            buffer: Vec::new(),
        }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        let mut datagram = [0; 65_536];
        let mut idle = true;
        for (local, socket) in &self.sockets {
            loop {
                match socket.recv_from(&mut datagram) {
                    Ok((len, remote)) if self.cut != Some(*local) => {
                        idle = false;
                        self.endpoint.handle_datagram(
                            PathId::new(*local, remote),
                            &datagram[..len],
                            now,
                        );
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    _ => {}
                }
            }
        }
        self.endpoint.handle_timeout(now);
        while let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.buffer) {
            idle = false;
            if self.cut == Some(transmit.path.local) {
                continue;
            }
            let socket = self
                .sockets
                .iter()
                .find(|(local, _)| *local == transmit.path.local);
            let (_, socket) = socket.expect("paths begin at our sockets");
            for packet in self.buffer.chunks(transmit.segment_size) {
                // What cannot be sent is lost like any other packet.
                if socket.send_to(packet, transmit.path.remote).is_err() {
                    break;
                }
            }
        }
        while let Some((handle, event)) = self.endpoint.poll_event() {
            match event {
                Event::Connected { .. } => self.handle = Some(handle),
                Event::Closed(reason) => self.closed = Some(reason),
                _ => {}
            }
        }
        if idle {
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < LIMIT, "{what} takes too long");
            self.turn();
        }
    }

    /// Sends messages and takes their echoes; cuts an address when a third has come back. Gives the
    /// longest wait.
    fn converse(&mut self, count: u32, cut: Option<SocketAddr>) -> Duration {
        self.until("set-up", |host| host.handle.is_some());
        let handle = self.handle.expect("up");
        let (mut sent, mut received) = (0u32, 0u32);
        let (mut heard, mut stall) = (Instant::now(), Duration::ZERO);
        self.until("the transfer", |host| {
            while sent < count {
                let message = Message {
                    ppid: sent,
                    ..Message::new((sent % 10) as u16, vec![sent as u8; MESSAGE])
                };
                match host.endpoint.send(handle, message) {
                    Ok(()) => sent += 1,
                    Err(SendError::Full(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            while let Some(message) = host.endpoint.recv(handle) {
                assert_eq!(message.payload.len(), MESSAGE);
                assert!(
                    message
                        .payload
                        .iter()
                        .all(|&byte| byte == message.ppid as u8)
                );
                received += 1;
                stall = stall.max(heard.elapsed());
                heard = Instant::now();
            }
            if received > count / 3 {
                host.cut = cut;
            }
            received == count
        });
        stall
    }

    /// Echoes until the peer has ended; cuts an address after so many messages.
    fn echo(&mut self, cut: Option<(u32, SocketAddr)>) -> CloseReason {
        let mut waiting = Vec::new();
        let mut echoed = 0;
        self.until("the transfer", |host| {
            if let Some(handle) = host.handle {
                while let Some(message) = host.endpoint.recv(handle) {
                    waiting.push(message);
                    echoed += 1;
                }
                waiting.retain(|message: &Message| {
                    matches!(
                        host.endpoint.send(handle, message.clone()),
                        Err(SendError::Full(_))
                    )
                });
            }
            if let Some((_, address)) = cut.filter(|(after, _)| echoed >= *after) {
                host.cut = Some(address);
            }
            host.closed.is_some()
        });
        self.closed.take().expect("closed")
    }
}

#[test]
fn we_call_usrsctp_and_shut_down() {
    let Some(mut peer) = Usrsctp::start(&["listen", "19901", "19801", "127.0.0.1"]) else {
        return;
    };
    let mut host = Host::new(&["127.0.1.3:19801"], None);
    let remote: SocketAddr = "127.0.0.1:19901".parse().expect("an address");
    host.endpoint
        .connect(&[remote], PORT, Instant::now())
        .expect("begins");
    host.converse(500, None);
    let handle = host.handle.expect("up");
    host.endpoint
        .shutdown(handle, Instant::now())
        .expect("known");
    host.until("the shutdown", |host| host.closed.is_some());
    assert_eq!(host.closed, Some(CloseReason::Shutdown));
    assert_eq!(peer.line(), "echoed 500 messages, closed");
}

#[test]
fn we_call_usrsctp_and_abort() {
    let Some(mut peer) = Usrsctp::start(&["listen", "19902", "19802", "127.0.0.1"]) else {
        return;
    };
    let mut host = Host::new(&["127.0.1.3:19802"], None);
    let remote: SocketAddr = "127.0.0.1:19902".parse().expect("an address");
    host.endpoint
        .connect(&[remote], PORT, Instant::now())
        .expect("begins");
    host.converse(20, None);
    let handle = host.handle.expect("up");
    host.endpoint
        .abort(handle, b"enough", Instant::now())
        .expect("known");
    host.until("the abort", |host| host.closed.is_some());
    assert_eq!(peer.line(), "echoed 20 messages, reset");
}

#[test]
fn we_call_usrsctp_over_two_paths_and_one_fails() {
    let Some(mut peer) = Usrsctp::start(&["listen", "19903", "19803", "127.0.0.1"]) else {
        return;
    };
    let mut host = Host::new(&["127.0.1.3:19803", "127.0.1.4:19803"], None);
    let remote: SocketAddr = "127.0.0.1:19903".parse().expect("an address");
    host.endpoint
        .connect(&[remote], PORT, Instant::now())
        .expect("begins");
    let first = host.sockets[0].0;
    let stall = host.converse(3_000, Some(first));
    assert_eq!(host.cut, Some(first), "cut in mid-transfer");
    println!("usrsctp echoes over two paths, one fails: the longest wait is {stall:?}");
    assert!(stall < Duration::from_secs(3), "{stall:?}");
    let handle = host.handle.expect("up");
    host.endpoint
        .shutdown(handle, Instant::now())
        .expect("known");
    host.until("the shutdown", |host| host.closed.is_some());
    assert_eq!(host.closed, Some(CloseReason::Shutdown));
    assert_eq!(peer.line(), "echoed 3000 messages, closed");
}

#[test]
fn usrsctp_calls_us_and_shuts_down() {
    let mut host = Host::new(&["127.0.0.1:19804"], Some(PORT));
    let arguments = ["connect", "19904", "19804", "shutdown", "500", "127.0.0.1"];
    let Some(mut peer) = Usrsctp::start(&arguments) else {
        return;
    };
    assert_eq!(host.echo(None), CloseReason::Shutdown);
    assert_eq!(peer.line(), "echoed 500 messages, closed");
}

#[test]
fn usrsctp_calls_us_and_aborts() {
    let mut host = Host::new(&["127.0.0.1:19805"], Some(PORT));
    let arguments = ["connect", "19905", "19805", "abort", "20", "127.0.0.1"];
    let Some(mut peer) = Usrsctp::start(&arguments) else {
        return;
    };
    assert!(matches!(host.echo(None), CloseReason::AbortedByPeer { .. }));
    assert_eq!(peer.line(), "echoed 20 messages, reset");
}

#[test]
fn usrsctp_calls_us_over_two_paths_and_one_fails() {
    let mut host = Host::new(&["127.0.0.1:19806", "127.0.0.2:19806"], Some(PORT));
    let arguments = [
        "connect",
        "19906",
        "19806",
        "shutdown",
        "3000",
        "127.0.0.1",
        "127.0.0.2",
    ];
    let Some(mut peer) = Usrsctp::start(&arguments) else {
        return;
    };
    let first = host.sockets[0].0;
    assert_eq!(host.echo(Some((1_000, first))), CloseReason::Shutdown);
    assert_eq!(host.cut, Some(first), "cut in mid-transfer");
    assert_eq!(peer.line(), "echoed 3000 messages, closed");
}
