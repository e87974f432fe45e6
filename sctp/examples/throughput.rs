//! What a byte costs: two endpoints in one thread, memory to memory, no sockets.
//!
//! ```sh
//! cargo run --release -p towpath-sctp --example throughput [MEGABYTES]
//! ```
//! Both ends' work is counted: cutting, checksums, acknowledging, putting together.
#![expect(
    clippy::disallowed_methods,
    reason = "an example has to get its clock from somewhere"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use towpath_sctp::{AssociationHandle, Config, Endpoint, EndpointConfig, Event, PathId, SendError};

const PORT: u16 = 9_260;
/// A record of the file transfer protocol above.
const MESSAGE: usize = 65_553;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let megabytes: usize = std::env::args()
        .nth(1)
        .map_or(Ok(500), |argument| argument.parse())?;
    println!(
        "{:>8} {:>10} {:>12} {:>10} {:>10}",
        "MTU", "packets", "ns/packet", "GB/s", "s/GB"
    );
    for mtu in [1_232, 1_472, 8_972, 65_504] {
        let run = Run::new(mtu)?.transfer(megabytes * 1_000_000)?;
        let seconds = run.elapsed.as_secs_f64();
        println!(
            "{mtu:>8} {:>10} {:>12.0} {:>10.2} {:>10.3}",
            run.packets,
            seconds * 1e9 / run.packets as f64,
            run.bytes as f64 / seconds / 1e9,
            seconds * 1e9 / run.bytes as f64,
        );
    }
    Ok(())
}

struct Run {
    hosts: [Endpoint; 2],
    handle: AssociationHandle,
    buffer: Vec<u8>,
    packets: u64,
}

struct Figures {
    packets: u64,
    bytes: usize,
    elapsed: Duration,
}

impl Run {
    fn new(mtu: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let now = Instant::now();
        let association = Config {
            initial_mtu: mtu,
            max_mtu: mtu,
            receive_window: 4 << 20,
            send_buffer: 4 << 20,
            ..Config::default()
        };
        let host = |address: &str, listen| -> Result<EndpointConfig, std::net::AddrParseError> {
            let addresses = vec![address.parse()?];
            Ok(EndpointConfig {
                listen,
                addresses,
                association: association.clone(),
                ..EndpointConfig::default()
            })
        };
        let mut client = Endpoint::new(host("10.0.0.1:9899", None)?, [1; 32], now);
        let server = Endpoint::new(host("10.0.0.2:9899", Some(PORT))?, [2; 32], now);
        let handle = client.connect(&["10.0.0.2:9899".parse()?], PORT, now)?;
        Ok(Self {
            hosts: [client, server],
            handle,
            buffer: Vec::new(),
            packets: 0,
        })
    }

    /// Carries whatever one host has to send to the other.
    fn carry(&mut self, from: usize, now: Instant) {
        let [client, server] = &mut self.hosts;
        let (source, sink) = if from == 0 {
            (client, server)
        } else {
            (server, client)
        };
        while let Some(transmit) = source.poll_transmit(now, &mut self.buffer) {
            let path = PathId::new(transmit.path.remote, transmit.path.local);
            for packet in self.buffer.chunks(transmit.segment_size) {
                self.packets += 1;
                sink.handle_datagram(path, packet, now);
            }
        }
    }

    fn transfer(mut self, total: usize) -> Result<Figures, Box<dyn std::error::Error>> {
        let payload = Bytes::from(vec![0x5a; MESSAGE]);
        let start = Instant::now();
        let (mut accepted, mut sent, mut received) = (None, 0, 0);
        while received < total {
            let now = Instant::now();
            while sent < total {
                match self.hosts[0].send(self.handle, 1, payload.clone(), true, 0) {
                    Ok(()) => sent += MESSAGE,
                    Err(SendError::Full(_) | SendError::Connecting(_)) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            self.carry(0, now);
            while let Some((handle, event)) = self.hosts[1].poll_event() {
                if let Event::Connected { .. } = event {
                    accepted = Some(handle);
                }
            }
            if let Some(handle) = accepted {
                while let Some(message) = self.hosts[1].recv(handle) {
                    received += message.payload.len();
                }
            }
            self.carry(1, now);
            for host in &mut self.hosts {
                host.handle_timeout(now);
            }
        }
        Ok(Figures {
            packets: self.packets,
            bytes: received,
            elapsed: start.elapsed(),
        })
    }
}
