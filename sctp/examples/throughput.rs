//! CPU time per byte: two endpoints on a simulated network without faults, in one thread.
//!
//! ```sh
//! cargo run --release -p towpath-sctp --example throughput [MEGABYTES]
//! ```
//! The work of both ends is counted: fragmentation, checksums, acknowledgements, reassembly.
#![expect(clippy::disallowed_methods, reason = "what it measures is real time")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use towpath_sctp::simulator::{Link, World};
use towpath_sctp::{AssociationHandle, Config, EndpointConfig, Event, Message, SendError};

const PORT: u16 = 9_260;
const CLIENT: usize = 0;
const SERVER: usize = 1;
/// Bytes of a message: a record of the file transfer protocol.
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
        let (mut world, client) = world(mtu)?;
        let start = Instant::now();
        let bytes = transfer(&mut world, client, megabytes * 1_000_000)?;
        let seconds = start.elapsed().as_secs_f64();
        let packets = world.network.packets();
        println!(
            "{mtu:>8} {packets:>10} {:>12.0} {:>10.2} {:>10.3}",
            seconds * 1e9 / packets as f64,
            bytes as f64 / seconds / 1e9,
            seconds * 1e9 / bytes as f64,
        );
    }
    Ok(())
}

/// A client that connects to a server, over links without delay.
fn world(mtu: usize) -> Result<(World, AssociationHandle), Box<dyn std::error::Error>> {
    let mut world = World::new(1, Instant::now());
    world.network.link = Link {
        delay: Duration::ZERO,
        mtu,
        ..Link::default()
    };
    for (address, listen) in [("10.0.0.1:9899", None), ("10.0.0.2:9899", Some(PORT))] {
        world.add(EndpointConfig {
            listen,
            addresses: vec![address.parse()?],
            association: Config {
                initial_mtu: mtu,
                max_mtu: mtu,
                receive_window: 4 << 20,
                send_buffer: 4 << 20,
                ..Config::default()
            },
            ..EndpointConfig::default()
        });
    }
    let now = world.now;
    let client = &mut world.nodes[CLIENT].endpoint;
    let handle = client.connect(&["10.0.0.2:9899".parse()?], PORT, now)?;
    Ok((world, handle))
}

/// Sends `total` bytes and receives them. Gives how many were received.
fn transfer(
    world: &mut World,
    client: AssociationHandle,
    total: usize,
) -> Result<usize, Box<dyn std::error::Error>> {
    let payload = Bytes::from(vec![0x5a; MESSAGE]);
    let (mut accepted, mut sent, mut received) = (None, 0, 0);
    while received < total {
        while sent < total {
            let endpoint = &mut world.nodes[CLIENT].endpoint;
            match endpoint.send(client, Message::new(1, payload.clone())) {
                Ok(()) => sent += MESSAGE,
                Err(SendError::Full(_) | SendError::Connecting(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        world.pass(Duration::from_micros(100));
        accepted = accepted.or(world.event(SERVER, |handle, event| {
            matches!(event, Event::Connected { .. }).then_some(handle)
        }));
        if let Some(handle) = accepted {
            while let Some(message) = world.nodes[SERVER].endpoint.recv(handle) {
                received += message.payload.len();
            }
        }
    }
    Ok(received)
}
