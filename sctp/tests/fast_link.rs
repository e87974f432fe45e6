//! Fast links whose queue overflows at the end of slow start.
#![expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from nowhere else"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towpath_sctp::simulator::World;
use towpath_sctp::{AssociationHandle, Config, EndpointConfig, Event, Message};

const PORT: u16 = 9_260;
/// Bytes of each message.
const MESSAGE: usize = 64 * 1_024;

/// Associations of one client with one server, which send as much as they can.
struct Flows {
    world: World,
    clients: Vec<AssociationHandle>,
    servers: Vec<AssociationHandle>,
    /// Bytes that the server has received on each.
    received: Vec<u64>,
    closed: Vec<String>,
}

impl Flows {
    /// `count` flows in packets of at most `mtu` bytes over a link of `rate` bits per second and a
    /// round trip of `round_trip`, whose queue holds one bandwidth-delay product.
    fn start(count: usize, mtu: usize, rate: u64, round_trip: Duration) -> Self {
        let mut world = World::new(3, Instant::now());
        let product = rate / 8 * round_trip.as_millis() as u64 / 1_000;
        world.network.link.bandwidth = Some(rate / 8);
        world.network.link.delay = round_trip / 2;
        world.network.link.queue = product as usize;
        for (address, listen) in [("10.0.0.1:9899", None), ("10.0.0.2:9899", Some(PORT))] {
            world.add(EndpointConfig {
                listen,
                addresses: vec![address.parse().expect("an address")],
                association: Config {
                    send_buffer: 4 * product as usize,
                    max_receive_window: 4 * product as u32,
                    max_mtu: mtu,
                    ..Config::default()
                },
                ..EndpointConfig::default()
            });
        }
        let remote: SocketAddr = "10.0.0.2:9899".parse().expect("an address");
        let now = world.now;
        let clients = (0..count)
            .map(|_| {
                let client = &mut world.nodes[0].endpoint;
                client.connect(&[remote], PORT, now).expect("begins")
            })
            .collect();
        Self {
            world,
            clients,
            servers: Vec::new(),
            received: vec![0; count],
            closed: Vec::new(),
        }
    }

    /// Sends for a span. Gives the bits per second that each flow carried in it.
    fn go(&mut self, span: Duration) -> Vec<u64> {
        let payload = Bytes::from(vec![7; MESSAGE]);
        let before = self.received.clone();
        let Self {
            world,
            clients,
            servers,
            received,
            closed,
        } = self;
        world.run(span, |world| {
            for node in 0..2 {
                while let Some((handle, event)) = world.nodes[node].events.pop_front() {
                    match event {
                        Event::Connected { .. } if node == 1 => servers.push(handle),
                        Event::Closed(reason) => closed.push(format!("{reason:?}")),
                        _ => {}
                    }
                }
            }
            for &client in clients.iter() {
                let message = || Message::new(0, payload.clone());
                while world.nodes[0].endpoint.send(client, message()).is_ok() {}
            }
            for (server, received) in servers.iter().zip(received.iter_mut()) {
                while let Some(message) = world.nodes[1].endpoint.recv(*server) {
                    *received += message.payload.len() as u64;
                }
            }
            false
        });
        before
            .iter()
            .zip(&self.received)
            .map(|(before, after)| ((after - before) * 8 * 1_000) / span.as_millis() as u64)
            .collect()
    }
}

/// More than `MAX_RECEIVED_RANGES` packets are lost one by one at the end of slow start. All that
/// the sender repeats after its timeout is the first of them.
#[test]
fn a_queue_that_overflows_does_not_end_the_association() {
    for mtu in [1_232, 1_472] {
        let mut flows = Flows::start(1, mtu, 1_000_000_000, Duration::from_millis(20));
        let rates: Vec<u64> = (0..5)
            .map(|_| flows.go(Duration::from_secs(1))[0] / 1_000_000)
            .collect();
        println!("1 Gb/s and 20 ms in packets of {mtu} bytes: {rates:?} Mb/s in each second");
        assert_eq!(flows.closed, [""; 0]);
        assert!(rates[1..].iter().all(|&rate| rate > 500), "{rates:?}");
    }
}

#[test]
fn two_flows_share_a_long_link() {
    let mut flows = Flows::start(2, 1_232, 200_000_000, Duration::from_millis(100));
    flows.go(Duration::from_secs(5));
    let rates = flows.go(Duration::from_secs(10));
    println!("two flows over 200 Mb/s and 100 ms: {rates:?} bits per second");
    assert_eq!(flows.closed, [""; 0]);
    assert!(rates.iter().all(|&rate| rate > 50_000_000), "{rates:?}");
}
