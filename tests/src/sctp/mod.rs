//! SCTP endpoints in virtual time: a network that loses, delays, repeats and reorders, and a clock
//! that jumps.
//!
//! Everything follows from a seed. Property tests, fuzz targets and benchmarks share it.

mod arrows;
mod network;
mod traffic;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use arrows::describe;
pub use network::{Link, Network};
use towpath_sctp::{AssociationHandle, Endpoint, EndpointConfig, Event, PathId, Transmit};
pub use traffic::{Flow, Traffic};

/// A host: an endpoint, its events, and what a NAT in front of it makes of its addresses.
#[derive(Debug)]
pub struct Node {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Events in the order in which they came.
    pub events: VecDeque<(AssociationHandle, Event)>,
    /// Inner to outer transport address. What is not listed is the same on both sides.
    nat: BTreeMap<SocketAddr, SocketAddr>,
    addresses: Vec<SocketAddr>,
}

/// Hosts, the network between them, and the time.
#[derive(Debug)]
pub struct World {
    /// The hosts.
    pub nodes: Vec<Node>,
    /// The network.
    pub network: Network,
    /// The present.
    pub now: Instant,
    /// When the world began.
    pub start: Instant,
    /// Packets as they were sent, if they are recorded.
    pub arrows: Option<Vec<String>>,
    /// Whether packets are printed as they are sent.
    pub show: bool,
    buffer: Vec<u8>,
    next_port: u16,
}

impl World {
    /// An empty world over a perfect network.
    pub fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            nodes: Vec::new(),
            network: Network::new(seed),
            now,
            start: now,
            arrows: None,
            show: false,
            buffer: Vec::new(),
            next_port: 20_000,
        }
    }

    /// Adds a host; its configuration names its addresses.
    pub fn add(&mut self, config: EndpointConfig) -> usize {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.network.random().to_le_bytes());
        seed[8] = self.nodes.len() as u8;
        let addresses = config.addresses.clone();
        let endpoint = Endpoint::new(config, seed, self.now);
        self.nodes.push(Node {
            endpoint,
            events: VecDeque::new(),
            nat: BTreeMap::new(),
            addresses,
        });
        self.nodes.len() - 1
    }

    /// Time since the world began.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Gives one of a host's addresses a new outer UDP port, as a NAT does that has forgotten it.
    pub fn rebind(&mut self, node: usize, inner: SocketAddr) {
        self.next_port += 1;
        let outer = SocketAddr::new(inner.ip(), self.next_port);
        self.nodes[node].nat.insert(inner, outer);
    }

    /// Makes a host with a wildcard address live at this one: it sends from there, and packets tell
    /// it so.
    pub fn wildcard(&mut self, node: usize, real: SocketAddr) {
        let any = SocketAddr::new([0, 0, 0, 0].into(), real.port());
        self.nodes[node].nat.insert(any, real);
        self.nodes[node].addresses = vec![real];
    }

    /// Puts whatever the endpoints want to send on the network, and collects their events.
    pub fn drain(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            while let Some(transmit) = node.endpoint.poll_transmit(self.now, &mut self.buffer) {
                let Transmit {
                    path,
                    size,
                    segment_size,
                    fragment,
                } = transmit;
                assert_eq!(size, self.buffer.len());
                let outer = node.nat.get(&path.local).copied().unwrap_or(path.local);
                for packet in self.buffer.chunks(segment_size) {
                    if self.show {
                        let time = self.now - self.start;
                        println!("{time:>12.3?} {} {path}: {}", name(at), describe(packet));
                    }
                    if let Some(arrows) = &mut self.arrows {
                        arrows.push(format!("{} {}", name(at), describe(packet)));
                    }
                    let path = PathId::new(outer, path.remote);
                    self.network.send(path, packet, fragment, self.now);
                }
            }
            while let Some(event) = node.endpoint.poll_event() {
                node.events.push_back(event);
            }
        }
    }

    /// When something happens next: an arrival or a deadline.
    fn next(&self) -> Option<Instant> {
        let deadlines = self
            .nodes
            .iter()
            .filter_map(|node| node.endpoint.poll_timeout());
        deadlines.chain(self.network.next_arrival()).min()
    }

    /// Jumps to the next arrival or deadline. False if nothing will ever happen.
    pub fn step(&mut self) -> bool {
        self.drain();
        let Some(next) = self.next() else {
            return false;
        };
        self.now = self.now.max(next);
        while let Some((path, packet)) = self.network.arrival(self.now) {
            self.deliver(path, &packet);
        }
        for node in &mut self.nodes {
            if node
                .endpoint
                .poll_timeout()
                .is_some_and(|deadline| deadline <= self.now)
            {
                node.endpoint.handle_timeout(self.now);
                assert!(
                    node.endpoint
                        .poll_timeout()
                        .is_none_or(|deadline| deadline > self.now),
                    "a deadline that has been handled comes back"
                );
            }
        }
        self.drain();
        true
    }

    /// Steps until `done` says so, at most for `limit` of virtual time, after which it is then.
    /// Says whether it did.
    pub fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        self.drain();
        loop {
            if done(self) {
                return true;
            }
            // The application may have found something to do.
            self.drain();
            if self.next().is_none_or(|next| next > end) {
                self.now = self.now.max(end);
                return false;
            }
            self.step();
        }
    }

    /// Steps for a span of virtual time.
    pub fn pass(&mut self, span: Duration) {
        self.run(span, |_| false);
    }

    /// Hands a packet to the host that has the destination address, as if it had come from the
    /// network.
    pub fn deliver(&mut self, path: PathId, packet: &[u8]) {
        for node in &mut self.nodes {
            let inner =
                node.addresses.iter().copied().find(|address| {
                    node.nat.get(address).copied().unwrap_or(*address) == path.remote
                });
            if let Some(inner) = inner {
                node.endpoint
                    .handle_datagram(PathId::new(inner, path.local), packet, self.now);
                return;
            }
        }
    }

    /// The first event of a host that `wanted` accepts; earlier ones are dropped.
    pub fn event<T>(
        &mut self,
        node: usize,
        mut wanted: impl FnMut(AssociationHandle, &Event) -> Option<T>,
    ) -> Option<T> {
        while let Some((handle, event)) = self.nodes[node].events.pop_front() {
            if let Some(found) = wanted(handle, &event) {
                return Some(found);
            }
        }
        None
    }
}

/// A, B, C …
fn name(node: usize) -> char {
    char::from(b'A' + (node % 26) as u8)
}
