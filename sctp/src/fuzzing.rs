//! Arbitrary bytes as the behaviour of a peer, for fuzz targets and property tests.
//!
//! The endpoint under test is the only host of a simulated network; the peer's packets are injected
//! there, and what the endpoint sends to it is taken out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::{Config, EndpointConfig, UDP_PORT};
use crate::event::{AssociationHandle, Event, Message, PathId, SendError};
use crate::packet::{Chunk, Data, GapBlock, Header, Init, Packet, Writer};
use crate::simulator::{Link, World};

const PORT: u16 = 9_260;
const PEER_PORT: u16 = 41_000;
const PEER_TAG: u32 = 0x1357_9bdf;
const PEER_TSN: u32 = 0xffff_fff0;

/// Bytes that the endpoint may have queued for sending.
const SEND_BUFFER: usize = 20_000;
const MAX_MESSAGE: usize = 8_000;
/// UDP ports that the peer uses: as many associations as it can have at once.
const UDP_PORTS: u8 = 20;

/// Hands arbitrary datagrams, and chunks with a valid checksum, to a listener. `start` is any
/// instant.
///
/// # Panics
/// If an association exists without a cookie's return, or a bound is exceeded.
pub fn strangers(input: &[u8], start: Instant) {
    let mut run = Run::new(start);
    for datagram in input.chunks(300) {
        run.receive(datagram);
        // Once more behind a valid checksum, without which nothing but the checksum is tested.
        run.send(0, |writer| {
            if let [kind, flags, value @ ..] = datagram {
                writer.raw(*kind, *flags, value);
            }
        });
        assert!(
            run.world.nodes[0].endpoint.associations() <= 1,
            "an association needs a cookie"
        );
    }
}

/// Sets an association up, whose peer then acts as the input says: valid and invalid chunks, at
/// any time. `start` is any instant.
///
/// # Panics
/// If a bound is exceeded, a handled deadline is given again, or a message arrives that was not
/// sent.
pub fn peer(input: &[u8], start: Instant) {
    let mut run = Run::new(start);
    run.set_up();
    let mut input = Input(input);
    while let Some(action) = input.byte() {
        run.act(action, &mut input);
    }
    // Whatever has happened, timers neither spin nor exceed the bounds afterwards.
    run.pass(Duration::from_secs(5));
}

/// Bytes that become decisions.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn small(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    fn word(&mut self) -> u32 {
        u32::from_be_bytes([self.small(), self.small(), self.small(), self.small()])
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }
}

/// The endpoint under test and what its peer knows.
struct Run {
    world: World,
    peer: Peer,
    local: SocketAddr,
    remote: SocketAddr,
}

/// What the peer has learned from the endpoint's packets.
#[derive(Default)]
struct Peer {
    tag: u32,
    server_tsn: u32,
    handle: Option<AssociationHandle>,
    /// Contents of heartbeats that have not been answered.
    heartbeats: Vec<Vec<u8>>,
    cookie: Vec<u8>,
}

impl Run {
    fn new(start: Instant) -> Self {
        let local = SocketAddr::from(([10, 0, 0, 2], UDP_PORT));
        let association = Config {
            receive_window: 20_000,
            max_receive_window: 40_000,
            send_buffer: SEND_BUFFER,
            max_message: MAX_MESSAGE,
            ..Config::default()
        };
        let mut world = World::new(7, start);
        world.undelivered = Some(Vec::new());
        world.network.link = Link {
            delay: Duration::ZERO,
            mtu: usize::MAX,
            ..Link::default()
        };
        world.add(EndpointConfig {
            listen: Some(PORT),
            addresses: vec![local],
            association,
            ..EndpointConfig::default()
        });
        Self {
            world,
            peer: Peer::default(),
            local,
            remote: SocketAddr::from(([10, 0, 0, 1], UDP_PORT)),
        }
    }

    fn set_up(&mut self) {
        let init = Init::new(PEER_TAG, 30_000, 4, 4, PEER_TSN);
        self.send(0, |writer| assert!(writer.init(&init, &[], None, 0)));
        let cookie = self.peer.cookie.clone();
        self.send(self.peer.tag, |writer| assert!(writer.cookie_echo(&cookie)));
        assert!(self.peer.handle.is_some(), "a valid set-up succeeds");
    }

    fn act(&mut self, action: u8, input: &mut Input<'_>) {
        let tag = self.peer.tag;
        match action % 16 {
            0..=3 => {
                let data = Data {
                    tsn: PEER_TSN.wrapping_add(u32::from(input.small() % 64)),
                    stream: u16::from(input.small() % 5),
                    ssn: u16::from(input.small() % 8),
                    ppid: 0,
                    unordered: action & 16 != 0,
                    begin: action & 32 != 0,
                    end: action & 64 != 0,
                    immediate: action & 128 != 0,
                    payload: &[7; 200][..usize::from(input.small()) % 200],
                };
                self.send(tag, |writer| assert!(writer.data(&data).is_some()));
            }
            4..=6 => {
                let cumulative = self
                    .peer
                    .server_tsn
                    .wrapping_add(u32::from(input.small() % 40))
                    .wrapping_sub(2);
                let window = input.word() >> (input.small() % 32);
                let blocks: Vec<GapBlock> = (0..input.small() % 4)
                    .map(|_| GapBlock {
                        start: u16::from(input.small() % 40),
                        end: u16::from(input.small() % 40),
                    })
                    .collect();
                self.send(tag, |writer| {
                    assert!(writer.sack(cumulative, window, blocks.into_iter(), &[]))
                });
            }
            7 => {
                let (kind, flags, len) = (input.small(), input.small(), input.small());
                let value = input.take(usize::from(len));
                self.send(tag, |writer| {
                    writer.raw(kind, flags, value);
                });
            }
            8 => {
                let datagram = input.take(64);
                self.receive(datagram);
            }
            9 => self.pass(Duration::from_millis(u64::from(input.small()) * 7)),
            10 => {
                let len = 1 + usize::from(input.small()) * 31;
                if let Some(handle) = self.peer.handle {
                    let message = Message {
                        unordered: action & 16 == 0,
                        ..Message::new(u16::from(input.small() % 5), vec![1; len])
                    };
                    match self.world.nodes[0].endpoint.send(handle, message) {
                        Ok(())
                        | Err(SendError::Full(_) | SendError::Stream(_) | SendError::Closed(_)) => {
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                self.drain();
            }
            11 => self.read(),
            12 => {
                if let Some(content) = self.peer.heartbeats.pop() {
                    self.send(tag, |writer| {
                        writer.heartbeat_ack(&content);
                    });
                }
            }
            13 => self
                .remote
                .set_port(9_890 + u16::from(input.small() % UDP_PORTS)),
            14 => {
                let init = Init::new(PEER_TAG.wrapping_add(1), 30_000, 4, 4, PEER_TSN);
                self.send(0, |writer| assert!(writer.init(&init, &[], None, 0)));
                let cookie = self.peer.cookie.clone();
                self.send(self.peer.tag, |writer| assert!(writer.cookie_echo(&cookie)));
            }
            _ => {
                if let Some(handle) = self.peer.handle {
                    let (now, endpoint) = (self.world.now, &mut self.world.nodes[0].endpoint);
                    match action & 16 {
                        0 => endpoint.shutdown(handle, now),
                        _ => endpoint.abort(handle, b"", now),
                    }
                    .expect("the association has not been closed");
                }
                self.drain();
            }
        }
    }

    /// Sends a packet from the peer.
    fn send(&mut self, tag: u32, write: impl FnOnce(&mut Writer<'_>)) {
        let mut packet = Vec::new();
        let header = Header {
            source_port: PEER_PORT,
            destination_port: PORT,
            tag,
        };
        let mut writer = Writer::new(&mut packet, header, 65_500);
        write(&mut writer);
        writer.finish();
        self.receive(&packet);
    }

    fn receive(&mut self, datagram: &[u8]) {
        let path = PathId::new(self.remote, self.local);
        self.world.deliver(path, datagram);
        self.drain();
    }

    fn read(&mut self) {
        if let Some(handle) = self.peer.handle {
            while let Some(message) = self.world.nodes[0].endpoint.recv(handle) {
                assert!(
                    message.stream < 4
                        && !message.payload.is_empty()
                        && message.payload.len() <= MAX_MESSAGE
                );
            }
        }
        self.drain();
    }

    fn pass(&mut self, span: Duration) {
        let peer = &mut self.peer;
        self.world.run(span, |world| {
            peer.observe(world);
            false
        });
    }

    fn drain(&mut self) {
        self.world.drain();
        self.peer.observe(&mut self.world);
    }
}

impl Peer {
    /// Checks what the endpoint has sent and done since the last time, and learns from it.
    fn observe(&mut self, world: &mut World) {
        let packets = world.undelivered.replace(Vec::new()).unwrap_or_default();
        // A send buffer's worth, heartbeats, probes, and replies that were queued.
        assert!(packets.len() < 1_000, "{} packets at once", packets.len());
        for (_, packet) in &packets {
            self.read(packet);
        }
        let node = &mut world.nodes[0];
        for (handle, event) in node.events.drain(..) {
            match event {
                Event::Connected { .. } => self.handle = Some(handle),
                Event::Closed(_) if self.handle == Some(handle) => self.handle = None,
                _ => {}
            }
        }
        if let Some(handle) = self.handle {
            assert!(node.endpoint.buffered(handle) <= SEND_BUFFER);
        }
        assert!(node.endpoint.associations() <= usize::from(UDP_PORTS));
    }

    /// A packet of the endpoint, which must be well-formed: keeps tags, cookies and heartbeats.
    fn read(&mut self, packet: &[u8]) {
        let packet = Packet::parse(packet).expect("endpoints send packets");
        for chunk in packet.chunks() {
            match chunk.expect("endpoints send well-formed chunks") {
                Chunk::InitAck(init) => {
                    (self.tag, self.server_tsn) = (init.tag, init.tsn);
                    self.cookie = init
                        .digest()
                        .cookie
                        .expect("an INIT ACK has a cookie")
                        .to_vec();
                }
                Chunk::Heartbeat(content) if self.heartbeats.len() < 32 => {
                    self.heartbeats.push(content.to_vec())
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Instant;

    use proptest::prelude::*;

    use crate::testing::start;

    /// What fuzzing has found, and what it starts from, on every run.
    #[test]
    fn the_corpus_exceeds_no_bound() {
        for (name, target) in [
            ("sctp_peer", super::peer as fn(&[u8], Instant)),
            ("sctp_strangers", super::strangers),
        ] {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("../fuzz/corpus")
                .join(name);
            let mut seen = 0;
            for entry in std::fs::read_dir(folder).expect("the corpus is in the tree") {
                let input = std::fs::read(entry.expect("an entry").path()).expect("a file");
                target(&input, start());
                seen += 1;
            }
            assert!(seen > 4, "{name}: {seen}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn no_peer_exceeds_a_bound(input in prop::collection::vec(any::<u8>(), 0..500)) {
            super::peer(&input, start());
        }

        #[test]
        fn no_datagram_exceeds_a_bound(input in prop::collection::vec(any::<u8>(), 0..900)) {
            super::strangers(&input, start());
        }
    }
}
