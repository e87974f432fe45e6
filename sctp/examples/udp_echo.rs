//! An event loop in a hundred lines: SCTP over plain UDP sockets, echoing each message on its own
//! stream.
//!
//! ```sh
//! cargo run -p towpath-sctp --example udp_echo -- listen 127.0.0.1:9899 127.0.0.2:9899
//! cargo run -p towpath-sctp --example udp_echo -- connect 127.0.0.1:9899,127.0.0.2:9899 127.0.0.3:0 127.0.0.4:0
//! ```
//! `listen` takes the addresses to serve on, `connect` the server's addresses and then one's own.
//! Try what happens when one of them is cut:
//! `iptables -A INPUT -d 127.0.0.1 -p udp --dport 9899 -j DROP`. A carrier for real use would wait
//! for readiness instead of sleeping, and use segmentation offload.
#![expect(
    clippy::disallowed_methods,
    reason = "an example has to get its clock from somewhere"
)]

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use towpath_sctp::{AssociationHandle, Config, Endpoint, EndpointConfig, Event, PathId, SendError};

const PORT: u16 = 9_260;
const MESSAGES: u32 = 2_000;
const MESSAGE: usize = 16_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["listen", ref locals @ ..] if !locals.is_empty() => Loop::new(locals, Some(PORT))?.serve(),
        ["connect", remotes, ref locals @ ..] if !locals.is_empty() => {
            let remotes: Vec<SocketAddr> = remotes
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            Loop::new(locals, None)?.call(&remotes)
        }
        _ => Err("usage: udp_echo listen LOCAL… | connect REMOTE[,REMOTE…] LOCAL…".into()),
    }
}

/// An endpoint and its sockets.
struct Loop {
    endpoint: Endpoint,
    sockets: Vec<(SocketAddr, UdpSocket)>,
    buffer: Vec<u8>,
}

impl Loop {
    fn new(locals: &[&str], listen: Option<u16>) -> Result<Self, Box<dyn std::error::Error>> {
        let mut sockets = Vec::new();
        for local in locals {
            let socket = UdpSocket::bind(local)?;
            socket.set_nonblocking(true)?;
            sockets.push((socket.local_addr()?, socket));
        }
        let config = EndpointConfig {
            listen,
            addresses: sockets.iter().map(|(address, _)| *address).collect(),
            // Without segmentation offload a train is sent packet by packet: short ones spare the
            // receive buffers.
            association: Config {
                max_burst: 8,
                ..Config::default()
            },
            ..EndpointConfig::default()
        };
        let seed = std::array::from_fn(|_| entropy());
        let endpoint = Endpoint::new(config, seed, Instant::now());
        Ok(Self {
            endpoint,
            sockets,
            buffer: Vec::new(),
        })
    }

    /// One turn: receive, let time pass, send.
    fn turn(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let mut datagram = [0; 65_536];
        let mut idle = true;
        for (local, socket) in &self.sockets {
            for _ in 0..64 {
                match socket.recv_from(&mut datagram) {
                    Ok((len, remote)) => {
                        idle = false;
                        self.endpoint.handle_datagram(
                            PathId::new(*local, remote),
                            &datagram[..len],
                            now,
                        );
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // What ICMP has to say of a peer is not trusted.
                    Err(_) => {}
                }
            }
        }
        self.endpoint.handle_timeout(now);
        while let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.buffer) {
            idle = false;
            let socket = self
                .sockets
                .iter()
                .find(|(local, _)| *local == transmit.path.local);
            if let Some((_, socket)) = socket {
                for packet in self.buffer.chunks(transmit.segment_size) {
                    // What cannot be sent is lost, and repeated in time.
                    if socket.send_to(packet, transmit.path.remote).is_err() {
                        break;
                    }
                }
            }
        }
        if idle {
            let until = self
                .endpoint
                .poll_timeout()
                .map_or(Duration::MAX, |at| at.saturating_duration_since(now));
            std::thread::sleep(until.min(Duration::from_micros(500)));
        }
        Ok(())
    }

    fn serve(mut self) -> Result<(), Box<dyn std::error::Error>> {
        println!(
            "listening on {:?}",
            self.sockets
                .iter()
                .map(|(address, _)| address)
                .collect::<Vec<_>>()
        );
        let mut waiting: Vec<(AssociationHandle, u16, u32, Bytes)> = Vec::new();
        loop {
            self.turn()?;
            while let Some((handle, event)) = self.endpoint.poll_event() {
                if event != Event::Readable {
                    println!("{handle}: {event:?}");
                }
                match event {
                    Event::Closed(_) => waiting.retain(|(waits, ..)| *waits != handle),
                    Event::Readable => {
                        while let Some(message) = self.endpoint.recv(handle) {
                            waiting.push((
                                handle,
                                message.stream,
                                message.ppid,
                                message.payload.freeze(),
                            ));
                        }
                    }
                    _ => {}
                }
            }
            waiting = std::mem::take(&mut waiting)
                .into_iter()
                .filter_map(|(handle, stream, ppid, payload)| {
                    match self.endpoint.send(handle, stream, payload, true, ppid) {
                        Err(SendError::Full(payload)) => Some((handle, stream, ppid, payload)),
                        _ => None,
                    }
                })
                .collect();
        }
    }

    fn call(mut self, remotes: &[SocketAddr]) -> Result<(), Box<dyn std::error::Error>> {
        let handle = self.endpoint.connect(remotes, PORT, Instant::now())?;
        let (mut sent, mut received, mut stall) = (0, 0, Duration::ZERO);
        let (mut streams, mut closing) = (0, false);
        let mut heard = Instant::now();
        let start = heard;
        loop {
            self.turn()?;
            while let Some((_, event)) = self.endpoint.poll_event() {
                if event != Event::Readable {
                    println!("{:>9.3?} {event:?}", start.elapsed());
                }
                match event {
                    Event::Connected { outbound, .. } => streams = u32::from(outbound),
                    Event::Closed(_) => {
                        println!(
                            "{received} of {MESSAGES} messages echoed in {:?}, longest wait {stall:?}",
                            start.elapsed()
                        );
                        return if received == MESSAGES {
                            Ok(())
                        } else {
                            Err("not all came back".into())
                        };
                    }
                    _ => {}
                }
            }
            while streams > 0 && sent < MESSAGES {
                let payload = Bytes::from(vec![sent as u8; MESSAGE]);
                match self
                    .endpoint
                    .send(handle, (sent % streams) as u16, payload, true, sent)
                {
                    Ok(()) => sent += 1,
                    Err(SendError::Full(_)) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            while let Some(message) = self.endpoint.recv(handle) {
                let expected = message.ppid as u8;
                if message.payload.len() != MESSAGE
                    || message.payload.iter().any(|&byte| byte != expected)
                {
                    return Err("a message came back altered".into());
                }
                received += 1;
                stall = stall.max(heard.elapsed());
                heard = Instant::now();
            }
            if received == MESSAGES && !closing {
                closing = true;
                for path in self.endpoint.paths(handle) {
                    println!(
                        "{}: {:?}, srtt {:?}, cwnd {}, mtu {}",
                        path.path, path.state, path.srtt, path.cwnd, path.mtu
                    );
                }
                self.endpoint.shutdown(handle, Instant::now())?;
            }
        }
    }
}

/// Some randomness from the standard library: enough for an example, not for tags that must not be
/// guessed.
fn entropy() -> u8 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now()) as u8
}
