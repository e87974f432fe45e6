//! SCTP endpoints in virtual time, on a simulated network that loses, delays, duplicates and
//! reorders packets.
//!
//! Time advances from one arrival or deadline to the next. A run depends on its seed alone, so a
//! failing one can be repeated: the simulator reads no clock and no randomness of the system. The
//! crate's tests, its fuzz targets and its benchmark use it.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use towpath_sctp::simulator::World;
//! use towpath_sctp::{EndpointConfig, Event};
//!
//! let host = |address: &str| EndpointConfig {
//!     addresses: vec![address.parse().unwrap()],
//!     ..EndpointConfig::default()
//! };
//! let mut world = World::new(1, Instant::now());
//! let client = world.add(host("10.0.0.1:9899"));
//! let server = world.add(EndpointConfig { listen: Some(9260), ..host("10.0.0.2:9899") });
//! world.network.link.loss = 100; // in a thousand
//! let now = world.now;
//! world.nodes[client].endpoint.connect(&["10.0.0.2:9899".parse()?], 9260, now)?;
//! let is_connected = |event: &Event| matches!(event, Event::Connected { .. });
//! assert!(world.run(Duration::from_secs(60), |world| {
//!     world.nodes[server].events.iter().any(|(_, event)| is_connected(event))
//! }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod network;
mod traffic;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use network::{Link, Network};
pub use traffic::Traffic;

use crate::config::EndpointConfig;
use crate::endpoint::Endpoint;
use crate::event::{AssociationHandle, Event, PathId, Transmit};
use crate::packet::Packet;

/// A host: an endpoint, the events that it has given, and the NAT in front of it.
#[derive(Debug)]
pub struct Node {
    /// The host's endpoint.
    pub endpoint: Endpoint,
    /// Events in the order in which they were polled.
    pub events: VecDeque<(AssociationHandle, Event)>,
    /// Inner to outer transport address. What is not listed is the same on both sides.
    nat: BTreeMap<SocketAddr, SocketAddr>,
    addresses: Vec<SocketAddr>,
    pause: Option<Pause>,
}

/// A process that does not run.
#[derive(Debug)]
struct Pause {
    until: Instant,
    /// What has arrived meanwhile, with its path as the host sees it.
    arrived: VecDeque<(PathId, Vec<u8>)>,
    /// What had been polled and not been given to the kernel.
    unsent: Vec<(Transmit, Vec<u8>)>,
}

/// Hosts, the network between them, and the time.
#[derive(Debug)]
pub struct World {
    /// Hosts in the order in which they were added.
    pub nodes: Vec<Node>,
    /// The links between the hosts, and what is under way on them.
    pub network: Network,
    /// The current virtual time.
    pub now: Instant,
    /// The virtual time at which the world was made.
    pub start: Instant,
    /// Packets as they were sent, as `A DATA 0/0 B12E`, if `Some`.
    pub trace: Option<Vec<String>>,
    /// Whether packets are printed as they are sent.
    pub show: bool,
    /// Packets to addresses of no host, with the path on which they left, if `Some`.
    pub undelivered: Option<Vec<(PathId, Vec<u8>)>>,
    buffer: Vec<u8>,
    next_port: u16,
}

impl World {
    /// An empty world over a network without faults. `start` is any instant: only differences from
    /// it matter.
    pub fn new(seed: u64, start: Instant) -> Self {
        Self {
            nodes: Vec::new(),
            network: Network::new(seed),
            now: start,
            start,
            trace: None,
            show: false,
            undelivered: None,
            buffer: Vec::new(),
            next_port: 20_000,
        }
    }

    /// Adds a host, whose addresses are those of its configuration, and gives its index.
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
            pause: None,
        });
        self.nodes.len() - 1
    }

    /// Virtual time since the world was made.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Gives one of a host's addresses a new outer UDP port, as a NAT does that has lost its
    /// mapping.
    pub fn rebind(&mut self, node: usize, inner: SocketAddr) {
        self.next_port += 1;
        let outer = SocketAddr::new(inner.ip(), self.next_port);
        self.nodes[node].nat.insert(inner, outer);
    }

    /// Puts one of a host's addresses behind a NAT: its packets leave from `outer`, and what comes
    /// there reaches it.
    pub fn translate(&mut self, node: usize, inner: SocketAddr, outer: SocketAddr) {
        self.nodes[node].nat.insert(inner, outer);
    }

    /// Gives a host whose configured address is unspecified its real one: it sends from there, and
    /// receives with that as the local address.
    pub fn wildcard(&mut self, node: usize, real: SocketAddr) {
        let any = SocketAddr::new([0, 0, 0, 0].into(), real.port());
        self.nodes[node].nat.insert(any, real);
        self.nodes[node].addresses = vec![real];
    }

    /// Stops a host's process for a span, as a busy machine does: what it wants to send now leaves
    /// when it runs again, what arrives waits for it, its timers are late. Does nothing to one that
    /// is stopped already.
    pub fn pause(&mut self, node: usize, span: Duration) {
        let node = &mut self.nodes[node];
        if node.pause.is_some() {
            return;
        }
        let mut unsent = Vec::new();
        while let Some(transmit) = node.endpoint.poll_transmit(self.now, &mut self.buffer) {
            unsent.push((transmit, self.buffer.clone()));
        }
        node.pause = Some(Pause {
            until: self.now + span,
            arrived: VecDeque::new(),
            unsent,
        });
    }

    /// Whether a host's process does not run.
    pub fn is_paused(&self, node: usize) -> bool {
        self.nodes[node].pause.is_some()
    }

    /// Lets a host run again whose pause is over: it sends what it had polled, reads what has
    /// arrived, and looks at its timers last.
    fn resume(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(pause) = node.pause.take_if(|pause| pause.until <= self.now) else {
            return;
        };
        for (path, packet) in pause.arrived {
            node.endpoint.handle_datagram(path, &packet, self.now);
        }
        for (transmit, train) in pause.unsent {
            self.put(at, &transmit, &train);
        }
    }

    /// Puts whatever the endpoints want to send on the network, and collects their events. Packets
    /// on a link without delay arrive within this call.
    pub fn drain(&mut self) {
        while self.send_all() {}
        for node in &mut self.nodes {
            while let Some(event) = node.endpoint.poll_event() {
                node.events.push_back(event);
            }
        }
    }

    /// Sends what the endpoints have to send now. Says whether some of it has arrived already, so
    /// that there may be more.
    fn send_all(&mut self) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut arrived = false;
        for at in 0..self.nodes.len() {
            while self.nodes[at].pause.is_none()
                && let Some(transmit) = self.nodes[at].endpoint.poll_transmit(self.now, &mut buffer)
            {
                arrived |= self.put(at, &transmit, &buffer);
            }
        }
        self.buffer = buffer;
        arrived
    }

    /// Puts a train on the network. Says whether some of it has arrived already.
    fn put(&mut self, at: usize, transmit: &Transmit, train: &[u8]) -> bool {
        let Transmit {
            path,
            size,
            segment_size,
            fragment,
        } = *transmit;
        assert_eq!(size, train.len());
        let nat = &self.nodes[at].nat;
        let outer = nat.get(&path.local).copied().unwrap_or(path.local);
        let mut arrived = false;
        for packet in train.chunks(segment_size) {
            self.record(at, path, packet);
            let path = PathId::new(outer, path.remote);
            if self.network.send(path, packet, fragment, self.now) {
                self.deliver(path, packet);
                arrived = true;
            }
        }
        arrived
    }

    fn record(&mut self, node: usize, path: PathId, packet: &[u8]) {
        if !self.show && self.trace.is_none() {
            return;
        }
        let chunks = match Packet::parse(packet) {
            Ok(packet) => packet.to_string(),
            Err(error) => error.to_string(),
        };
        let name = name(node);
        if self.show {
            println!("{:>12.3?} {name} {path}: {chunks}", self.elapsed());
        }
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{name} {chunks}"));
        }
    }

    /// The time of the next arrival or deadline.
    fn next(&self) -> Option<Instant> {
        let deadlines = self.nodes.iter().filter_map(|node| match &node.pause {
            Some(pause) => Some(pause.until),
            None => node.endpoint.poll_timeout(),
        });
        deadlines.chain(self.network.next_arrival()).min()
    }

    /// Advances to the next arrival or deadline and handles what is due then. False if there is
    /// none.
    ///
    /// # Panics
    /// If a deadline that has been handled is given again, which would make an event loop spin.
    pub fn step(&mut self) -> bool {
        self.drain();
        let Some(next) = self.next() else {
            return false;
        };
        self.now = self.now.max(next);
        while let Some((path, packet)) = self.network.arrival(self.now) {
            self.deliver(path, &packet);
        }
        for at in 0..self.nodes.len() {
            self.resume(at);
        }
        for node in self.nodes.iter_mut().filter(|node| node.pause.is_none()) {
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

    /// Steps until `done` gives true, for at most `limit` of virtual time; then the time is the
    /// limit. Says whether `done` gave true.
    pub fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        self.drain();
        loop {
            if done(self) {
                return true;
            }
            // `done` may have called an endpoint.
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
    /// network. `path` is the sender's: its `remote` is the destination.
    pub fn deliver(&mut self, path: PathId, packet: &[u8]) {
        for node in &mut self.nodes {
            let inner =
                node.addresses.iter().copied().find(|address| {
                    node.nat.get(address).copied().unwrap_or(*address) == path.remote
                });
            if let Some(inner) = inner {
                let path = PathId::new(inner, path.local);
                match &mut node.pause {
                    Some(pause) => pause.arrived.push_back((path, packet.to_vec())),
                    None => node.endpoint.handle_datagram(path, packet, self.now),
                }
                return;
            }
        }
        if let Some(undelivered) = &mut self.undelivered {
            undelivered.push((path, packet.to_vec()));
        }
    }

    /// What `wanted` makes of the first event of a host for which it gives something. Events up to
    /// that one are dropped.
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
