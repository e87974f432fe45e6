//! Processes that do not run for a while: that is not the network's silence.
#![expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from nowhere else"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towpath_sctp::simulator::World;
use towpath_sctp::{
    AssociationHandle, Config, EndpointConfig, Event, Message, PathState, PathStatistics,
};

const PORT: u16 = 9_260;
const SECOND: Duration = Duration::from_secs(1);

fn addresses(list: [&str; 2]) -> Vec<SocketAddr> {
    list.map(|address| address.parse().expect("an address"))
        .to_vec()
}

/// A client that sends to a server over two paths of 10 ms round trip, and a scheduler that stops
/// their processes.
struct Busy {
    world: World,
    /// Whether the client sends as much as it can, or one message after the other.
    bulk: bool,
    arrived: usize,
    client: AssociationHandle,
    server: Option<AssociationHandle>,
    /// When each process is stopped next; none if it always runs.
    next: [Option<Instant>; 2],
    /// How often each host found a path potentially failed, and inactive.
    suspected: [usize; 2],
    inactive: [usize; 2],
    closed: Vec<String>,
}

impl Busy {
    fn start(seed: u64, stalls: [bool; 2], bulk: bool) -> Self {
        let mut world = World::new(seed, Instant::now());
        world.network.link.bandwidth = Some(2_500_000);
        let (ours, theirs) = (
            addresses(["10.0.0.1:9899", "10.1.0.1:9899"]),
            addresses(["10.0.0.2:9899", "10.1.0.2:9899"]),
        );
        for (addresses, listen) in [(ours, None), (theirs.clone(), Some(PORT))] {
            world.add(EndpointConfig {
                listen,
                addresses,
                // As Towpath sets them.
                association: Config {
                    rto_initial: Duration::from_millis(250),
                    rto_max: 2 * SECOND,
                    heartbeat_interval: SECOND,
                    path_max_retrans: 4,
                    // Less than the links' queues: nothing is lost.
                    send_buffer: 128 * 1_024,
                    max_message: 4_096,
                    ..Config::default()
                },
                ..EndpointConfig::default()
            });
        }
        let now = world.now;
        let client = world.nodes[0]
            .endpoint
            .connect(&theirs, PORT, now)
            .expect("begins");
        Self {
            next: stalls.map(|stalls| stalls.then_some(now + SECOND)),
            world,
            bulk,
            arrived: 0,
            client,
            server: None,
            suspected: [0; 2],
            inactive: [0; 2],
            closed: Vec::new(),
        }
    }

    /// Goes on for a span, or until `done` says so.
    fn go(&mut self, span: Duration, mut done: impl FnMut(&Self) -> bool) {
        let end = self.world.now + span;
        while self.world.now < end && !done(self) {
            self.act();
            self.world.drain();
            if !self.world.step() {
                break;
            }
        }
        self.act();
    }

    fn act(&mut self) {
        let world = &mut self.world;
        for node in 0..2 {
            while let Some((handle, event)) = world.nodes[node].events.pop_front() {
                match event {
                    Event::Connected { .. } if node == 1 => self.server = Some(handle),
                    Event::PathChanged { state, .. } => {
                        self.suspected[node] += usize::from(state == PathState::PotentiallyFailed);
                        self.inactive[node] += usize::from(state == PathState::Inactive);
                    }
                    Event::Closed(reason) => self.closed.push(format!("{reason:?}")),
                    _ => {}
                }
            }
        }
        let payload = Bytes::from_static(&[7; 4_096]);
        while !world.is_paused(0)
            && (self.bulk || world.nodes[0].endpoint.buffered(self.client) == 0)
            && let Ok(()) = world.nodes[0]
                .endpoint
                .send(self.client, Message::new(0, payload.clone()))
        {}
        while let Some(handle) = self.server
            && !world.is_paused(1)
            && world.nodes[1].endpoint.recv(handle).is_some()
        {
            self.arrived += 1;
        }
        for (node, next) in self.next.iter_mut().enumerate() {
            if let Some(moment) = next
                && *moment <= world.now
                && !world.is_paused(node)
            {
                // It runs for up to three seconds between two stalls.
                let stall = Duration::from_millis(50 + world.network.below(450));
                let run = Duration::from_millis(world.network.below(3_000));
                *moment = world.now + stall + run;
                world.pause(node, stall);
            }
        }
    }

    fn paths(&self) -> Vec<PathStatistics> {
        self.world.nodes[0].endpoint.paths(self.client)
    }

    fn retransmissions(&self) -> u64 {
        self.paths().iter().map(|path| path.retransmissions).sum()
    }
}

#[test]
fn stalls_of_the_process_are_not_taken_for_the_networks_silence() {
    for (who, stalls, most) in [("client", [true, false], 0), ("both", [true, true], 25)] {
        for (bulk, seed) in [(true, 0), (true, 1), (false, 2), (false, 3)] {
            let mut busy = Busy::start(seed, stalls, bulk);
            busy.go(60 * SECOND, |_| false);
            let (suspected, again) = (busy.suspected[0], busy.retransmissions());
            println!(
                "stalls of {who}, seed {seed}: {} messages, {again} chunks sent again, paths suspected {suspected} times",
                busy.arrived
            );
            assert!(busy.closed.is_empty(), "{:?}", busy.closed);
            assert_eq!(busy.inactive, [0, 0]);
            assert!(suspected <= most, "suspected {suspected} times");
            assert!(again <= 3 * most as u64, "{again} chunks sent again");
        }
    }
}

/// Time from the failure of the primary path until the client suspects it.
fn noticed(busy: &mut Busy, within: Duration) -> Duration {
    let before = busy.suspected[0];
    let [a, b] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().expect("an address"));
    busy.world.network.cut(a, b, true);
    let start = busy.world.now;
    busy.go(within, |busy| busy.suspected[0] > before);
    assert!(busy.suspected[0] > before, "not within {within:?}");
    busy.world.now - start
}

#[test]
fn a_failed_path_is_noticed_at_once_by_a_process_that_runs_again() {
    for bulk in [true, false] {
        let mut busy = Busy::start(9, [true, true], bulk);
        busy.go(10 * SECOND, |_| false);
        busy.next = [None, None];
        busy.go(60 * SECOND, |_| false);
        let after = noticed(&mut busy, 2 * SECOND);
        println!("bulk {bulk}: noticed after {after:?}");
        assert!(after < Duration::from_millis(200), "{after:?}");
    }
}

#[test]
fn a_failed_path_is_noticed_by_a_busy_process() {
    let mut busy = Busy::start(9, [true, true], true);
    busy.go(10 * SECOND, |_| false);
    let after = noticed(&mut busy, 10 * SECOND);
    println!("noticed after {after:?}");
}
