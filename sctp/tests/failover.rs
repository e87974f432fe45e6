//! Paths fail and are restored during a transfer; the receiver's longest wait is measured.
#![expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from nowhere else"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use towpath_sctp::simulator::{Traffic, World};
use towpath_sctp::{AssociationHandle, EndpointConfig, Event, PathState, PathStatistics};

const PORT: u16 = 9_260;
const STALL: Duration = Duration::from_millis(500);

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter()
        .map(|address| address.parse().expect("an address"))
        .collect()
}

struct Transfer {
    world: World,
    traffic: Traffic,
    client: AssociationHandle,
    server: Option<AssociationHandle>,
    /// When the receiver last got something, and its longest wait.
    heard: Duration,
    stall: Duration,
}

impl Transfer {
    /// A client that sends `count` records of 16 kB to a server, over links of 10 ms round trip and
    /// 100 Mbit/s.
    fn start(client: &[&str], server: &[&str], count: usize) -> Self {
        let mut world = World::new(7, Instant::now());
        world.network.link.bandwidth = Some(12_500_000);
        for (list, listen) in [(client, None), (server, Some(PORT))] {
            world.add(EndpointConfig {
                listen,
                addresses: addresses(list),
                ..EndpointConfig::default()
            });
        }
        let now = world.now;
        let client = world.nodes[0]
            .endpoint
            .connect(&addresses(server), PORT, now)
            .expect("begins");
        let traffic = Traffic::uniform(count, 4, 16_384);
        Self {
            world,
            traffic,
            client,
            server: None,
            heard: Duration::ZERO,
            stall: Duration::ZERO,
        }
    }

    /// Goes on for a span, or until everything has arrived. Gives the longest wait within it.
    fn go(&mut self, span: Duration) -> Duration {
        self.stall = Duration::ZERO;
        let Self {
            world,
            traffic,
            client,
            server,
            heard,
            stall,
        } = self;
        world.run(span, |world| {
            while let Some((handle, event)) = world.nodes[1].events.pop_front() {
                if matches!(event, Event::Connected { .. }) {
                    *server = Some(handle);
                    *heard = world.elapsed();
                }
            }
            traffic.send(&mut world.nodes[0].endpoint, *client);
            if let Some(handle) = *server {
                let before = traffic.arrived();
                traffic
                    .recv(&mut world.nodes[1].endpoint, handle)
                    .expect("nothing but what was sent");
                if traffic.arrived() > before {
                    *stall = (*stall).max(world.elapsed() - *heard);
                    *heard = world.elapsed();
                }
            }
            traffic.is_complete()
        });
        if self.server.is_some() && !self.traffic.is_complete() {
            self.stall = self.stall.max(self.world.elapsed() - self.heard);
        }
        self.stall
    }

    fn cut(&mut self, a: &str, b: &str, cut: bool) {
        let [a, b] = [a, b].map(|address| address.parse().expect("an address"));
        self.world.network.cut(a, b, cut);
    }

    fn path(&self, remote: &str) -> PathStatistics {
        let paths = self.world.nodes[0].endpoint.paths(self.client);
        paths
            .into_iter()
            .find(|path| path.path.remote.ip().to_string() == remote)
            .expect("a path")
    }
}

#[test]
fn a_black_hole_stalls_the_receiver_for_less_than_half_a_second() {
    let mut transfer = Transfer::start(
        &["10.0.0.1:9899", "10.1.0.1:9899"],
        &["10.0.0.2:9899", "10.1.0.2:9899"],
        4_000,
    );
    for (a, b) in [("10.0.0.1", "10.1.0.2"), ("10.1.0.1", "10.0.0.2")] {
        transfer.cut(a, b, true);
    }
    transfer.go(Duration::from_secs(1));
    assert!(
        transfer.traffic.arrived() > 300,
        "{} records in the first second",
        transfer.traffic.arrived()
    );

    transfer.cut("10.0.0.1", "10.0.0.2", true);
    let stall = transfer.go(Duration::from_secs(2));
    println!("one of two paths becomes a black hole: the receiver waits {stall:?}");
    assert!(stall <= STALL, "{stall:?}");
    assert!(!transfer.traffic.is_complete());
    assert_ne!(transfer.path("10.0.0.2").state, PathState::Active);

    transfer.cut("10.0.0.1", "10.0.0.2", false);
    let stall = transfer.go(Duration::from_secs(6));
    println!("it returns: the receiver waits {stall:?}");
    assert!(stall <= STALL, "{stall:?}");
    assert_eq!(
        transfer.path("10.0.0.2").state,
        PathState::Active,
        "used again"
    );
    assert!(transfer.traffic.is_complete());
}

#[test]
fn the_primary_path_is_used_again_when_it_returns() {
    let mut transfer = Transfer::start(
        &["10.0.0.1:9899", "10.1.0.1:9899"],
        &["10.0.0.2:9899", "10.1.0.2:9899"],
        4_000,
    );
    transfer.world.network.link.bandwidth = Some(2_500_000);
    transfer.go(Duration::from_secs(1));
    transfer.cut("10.0.0.1", "10.0.0.2", true);
    transfer.go(Duration::from_secs(5));
    transfer.cut("10.0.0.1", "10.0.0.2", false);
    transfer.go(Duration::from_secs(12));
    let before = transfer.path("10.0.0.2").bytes_sent;
    transfer.go(Duration::from_secs(1));
    let after = transfer.path("10.0.0.2").bytes_sent;
    assert!(
        after - before > 1_600_000,
        "{} bytes in a second over the primary path",
        after - before
    );
}

#[test]
fn two_interfaces_to_a_server_with_one_address_are_two_paths() {
    let mut transfer = Transfer::start(
        &["10.0.0.1:40001", "10.1.0.1:40002"],
        &["192.168.7.2:9899"],
        3_000,
    );
    transfer.go(Duration::from_secs(1));
    transfer.cut("10.0.0.1", "192.168.7.2", true);
    let stall = transfer.go(Duration::from_secs(2));
    println!("one of two interfaces dies: the receiver waits {stall:?}");
    assert!(stall <= STALL, "{stall:?}");
    transfer.cut("10.0.0.1", "192.168.7.2", false);
    let stall = transfer.go(Duration::from_secs(8));
    assert!(stall <= STALL, "{stall:?}");
    assert!(transfer.traffic.is_complete());
}

#[test]
fn one_interface_to_a_server_with_two_addresses_is_two_paths() {
    let mut transfer = Transfer::start(
        &["10.0.0.1:40001"],
        &["192.168.7.2:9899", "192.168.8.2:9899"],
        1_500,
    );
    transfer.go(Duration::from_millis(500));
    transfer.cut("10.0.0.1", "192.168.7.2", true);
    let stall = transfer.go(Duration::from_secs(5));
    println!("one of the server's two addresses dies: the receiver waits {stall:?}");
    assert!(stall <= STALL, "{stall:?}");
    assert!(transfer.traffic.is_complete());
}

#[test]
fn a_client_that_knows_one_address_learns_the_other() {
    let mut transfer = Transfer::start(&["10.0.0.1:9899"], &["10.0.0.2:9899"], 1);
    let addresses = addresses(&["10.0.0.3:9899", "10.9.0.3:9899"]);
    transfer.world.add(EndpointConfig {
        listen: Some(PORT),
        addresses: addresses.clone(),
        ..EndpointConfig::default()
    });
    let now = transfer.world.now;
    let handle = transfer.world.nodes[0]
        .endpoint
        .connect(&addresses[..1], PORT, now)
        .expect("begins");
    transfer.world.pass(Duration::from_secs(1));
    let paths = transfer.world.nodes[0].endpoint.paths(handle);
    let states: Vec<_> = paths
        .iter()
        .map(|path| (path.path.remote, path.state))
        .collect();
    assert_eq!(
        states,
        [
            (addresses[0], PathState::Active),
            (addresses[1], PathState::Active)
        ]
    );
}

#[test]
fn a_new_port_from_the_nat_costs_little() {
    let mut transfer = Transfer::start(&["10.0.0.1:9899"], &["192.168.7.2:9899"], 2_000);
    transfer.go(Duration::from_secs(1));
    let inner = "10.0.0.1:9899".parse().expect("an address");
    transfer.world.rebind(0, inner);
    let stall = transfer.go(Duration::from_secs(5));
    println!("the NAT forgets the port: the receiver waits {stall:?}");
    assert!(stall <= STALL, "{stall:?}");
    assert!(transfer.traffic.is_complete());
}

#[test]
fn data_goes_on_when_both_directions_use_different_paths() {
    let mut transfer = Transfer::start(
        &["10.0.0.1:9899", "10.1.0.1:9899"],
        &["10.0.0.2:9899", "10.1.0.2:9899"],
        1_000,
    );
    transfer.go(Duration::from_millis(300));
    // Acknowledgements vanish on one path, data on the other.
    let [a0, b0, a1, b1] =
        ["10.0.0.1", "10.0.0.2", "10.1.0.1", "10.1.0.2"].map(|a| a.parse().expect("an address"));
    transfer.world.network.between(b0, a0).cut = true;
    transfer.world.network.between(a1, b1).cut = true;
    transfer.go(Duration::from_secs(60));
    assert!(
        transfer.traffic.is_complete(),
        "{} arrived",
        transfer.traffic.arrived()
    );
}

#[test]
fn a_narrow_link_is_filled() {
    let mut transfer = Transfer::start(&["10.0.0.1:9899"], &["10.0.0.2:9899"], 3_000);
    transfer.go(Duration::from_secs(6));
    let elapsed = transfer.world.elapsed();
    let rate = transfer.traffic.arrived() as f64 * 16_384.0 / elapsed.as_secs_f64() / 12_500_000.0;
    println!(
        "a link of 100 Mbit/s and 10 ms is used to {:.0} %",
        rate * 100.0
    );
    assert!(transfer.traffic.is_complete() && rate > 0.85, "{rate}");
}

#[test]
fn a_long_fat_link_is_filled_because_the_window_grows() {
    let mut transfer = Transfer::start(&["10.0.0.1:9899"], &["10.0.0.2:9899"], 6_000);
    transfer.world.network.link.delay = Duration::from_millis(50);
    transfer.world.network.link.queue = 2_000_000;
    transfer.go(Duration::from_secs(20));
    let elapsed = transfer.world.elapsed();
    let rate = transfer.traffic.arrived() as f64 * 16_384.0 / elapsed.as_secs_f64() / 12_500_000.0;
    println!(
        "a link of 100 Mbit/s and 100 ms is used to {:.0} %",
        rate * 100.0
    );
    assert!(transfer.traffic.is_complete() && rate > 0.6, "{rate}");
}

#[test]
fn acknowledgements_that_die_first_cost_no_second_timeout() {
    for early in [1, 3, 10, 30] {
        let mut transfer = Transfer::start(
            &["10.0.0.1:9899", "10.1.0.1:9899"],
            &["10.0.0.2:9899", "10.1.0.2:9899"],
            4_000,
        );
        for (a, b) in [("10.0.0.1", "10.1.0.2"), ("10.1.0.1", "10.0.0.2")] {
            transfer.cut(a, b, true);
        }
        // A train arrives as a batch.
        transfer.world.network.link.bandwidth = None;
        transfer.go(Duration::from_millis(70));
        let [a, b] = ["10.0.0.1", "10.0.0.2"].map(|a| a.parse().expect("an address"));
        // What arrives meanwhile is sent again over the other path, and comes twice.
        transfer.world.network.between(b, a).cut = true;
        transfer.go(Duration::from_millis(early));
        transfer.world.network.between(a, b).cut = true;
        assert!(!transfer.traffic.is_complete());
        let stall = transfer.go(Duration::from_millis(400));
        println!("acknowledgements are lost {early} ms earlier: the receiver waits {stall:?}");
        assert!(stall <= Duration::from_millis(150), "{stall:?}");
        assert_ne!(transfer.path("10.0.0.2").state, PathState::Active);
        assert_eq!(transfer.path("10.1.0.2").timeouts, 0);
    }
}
