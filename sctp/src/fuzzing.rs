//! Conversations made of arbitrary bytes, for fuzz targets and property tests.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::packet::{Chunk, Data, GapBlock, Header, Init, Packet, Writer};
use crate::{AssociationHandle, Config, Endpoint, EndpointConfig, Event, PathId, SendError};

const PORT: u16 = 9_260;
const PEER_PORT: u16 = 41_000;
const PEER_TAG: u32 = 0x1357_9bdf;
const PEER_TSN: u32 = 0xffff_fff0;

/// Hands arbitrary datagrams to a listener.
pub fn strangers(input: &[u8]) {
    let mut talk = Talk::new();
    for datagram in input.chunks(300) {
        // Half of them with a checksum that matches, or nothing behind it would ever be reached.
        talk.receive(datagram);
        talk.send(0, |writer| {
            if let [kind, flags, value @ ..] = datagram {
                writer.raw(*kind, *flags, value);
            }
        });
        assert!(
            talk.endpoint.associations() <= 1,
            "who has no cookie has no association"
        );
    }
}

/// Lets an association's peer do whatever the bytes say: chunks sensible and senseless, any timing.
///
/// # Panics
/// If a bound is exceeded, a deadline does not go away, or messages come out that were not sent.
pub fn peer(input: &[u8]) {
    let mut talk = Talk::new();
    talk.set_up();
    let mut input = Input(input);
    while let Some(action) = input.byte() {
        talk.act(action, &mut input);
    }
    // Whatever has happened, time ends it or leaves it at rest.
    talk.pass(Duration::from_secs(5));
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

struct Talk {
    endpoint: Endpoint,
    now: Instant,
    local: SocketAddr,
    remote: SocketAddr,
    tag: u32,
    server_tsn: u32,
    handle: Option<AssociationHandle>,
    buffer: Vec<u8>,
    /// Contents of heartbeats that may be answered.
    heartbeats: Vec<Vec<u8>>,
    cookie: Vec<u8>,
}

impl Talk {
    fn new() -> Self {
        let now = crate::testing::start();
        let local = SocketAddr::from(([10, 0, 0, 2], 9_899));
        let association = Config {
            receive_window: 20_000,
            max_receive_window: 40_000,
            send_buffer: 20_000,
            max_message: 8_000,
            ..Config::default()
        };
        let config = EndpointConfig {
            listen: Some(PORT),
            addresses: vec![local],
            association,
            ..EndpointConfig::default()
        };
        Self {
            endpoint: Endpoint::new(config, [7; 32], now),
            now,
            local,
            remote: SocketAddr::from(([10, 0, 0, 1], 9_899)),
            tag: 0,
            server_tsn: 0,
            handle: None,
            buffer: Vec::new(),
            heartbeats: Vec::new(),
            cookie: Vec::new(),
        }
    }

    fn set_up(&mut self) {
        let init = Init::new(PEER_TAG, 30_000, 4, 4, PEER_TSN);
        self.send(0, |writer| assert!(writer.init(&init, &[], None, 0)));
        let cookie = self.cookie.clone();
        self.send(self.tag, |writer| assert!(writer.cookie_echo(&cookie)));
        assert!(self.handle.is_some(), "a proper set-up succeeds");
    }

    fn act(&mut self, action: u8, input: &mut Input<'_>) {
        let tag = self.tag;
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
                if let Some(handle) = self.handle {
                    let payload = Bytes::from(vec![1; len]);
                    match self.endpoint.send(
                        handle,
                        u16::from(input.small() % 5),
                        payload,
                        action & 16 != 0,
                        0,
                    ) {
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
                if let Some(content) = self.heartbeats.pop() {
                    self.send(tag, |writer| {
                        writer.heartbeat_ack(&content);
                    });
                }
            }
            13 => self.remote.set_port(9_890 + u16::from(input.small() % 20)),
            14 => {
                let init = Init::new(PEER_TAG.wrapping_add(1), 30_000, 4, 4, PEER_TSN);
                self.send(0, |writer| assert!(writer.init(&init, &[], None, 0)));
                let cookie = self.cookie.clone();
                self.send(self.tag, |writer| assert!(writer.cookie_echo(&cookie)));
            }
            _ => {
                if let Some(handle) = self.handle {
                    match action & 16 {
                        0 => self.endpoint.shutdown(handle, self.now).is_ok(),
                        _ => self.endpoint.abort(handle, b"", self.now).is_ok(),
                    };
                }
                self.drain();
            }
        }
    }

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
        self.endpoint
            .handle_datagram(PathId::new(self.local, self.remote), datagram, self.now);
        self.drain();
    }

    fn read(&mut self) {
        if let Some(handle) = self.handle {
            while let Some(message) = self.endpoint.recv(handle) {
                assert!(
                    message.stream < 4
                        && !message.payload.is_empty()
                        && message.payload.len() <= 8_000
                );
            }
        }
        self.drain();
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(deadline) = self
            .endpoint
            .poll_timeout()
            .filter(|deadline| *deadline <= end)
        {
            self.now = self.now.max(deadline);
            self.endpoint.handle_timeout(self.now);
            assert!(
                self.endpoint
                    .poll_timeout()
                    .is_none_or(|next| next > self.now),
                "a deadline comes back"
            );
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        let mut packets = 0;
        while let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut self.buffer) {
            assert_eq!(transmit.size, self.buffer.len());
            let buffer = std::mem::take(&mut self.buffer);
            for packet in buffer.chunks(transmit.segment_size) {
                packets += 1;
                self.look(packet);
            }
            self.buffer = buffer;
        }
        // A send buffer's worth, heartbeats, probes, and answers that were queued.
        assert!(packets < 1_000, "{packets} packets at once");
        while let Some((handle, event)) = self.endpoint.poll_event() {
            match event {
                Event::Connected { .. } => self.handle = Some(handle),
                Event::Closed(_) if self.handle == Some(handle) => self.handle = None,
                _ => {}
            }
        }
        if let Some(handle) = self.handle {
            assert!(self.endpoint.buffered(handle) <= 20_000);
        }
        assert!(self.endpoint.associations() <= 1);
    }

    /// What the endpoint sends is well-formed; tags, cookies and heartbeats are remembered.
    fn look(&mut self, packet: &[u8]) {
        let packet = Packet::parse(packet).expect("we send packets");
        for chunk in packet.chunks() {
            match chunk.expect("we send well-formed chunks") {
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

    use proptest::prelude::*;

    /// What fuzzing has found, and what it starts from, on every run.
    #[test]
    fn the_corpus_does_no_harm() {
        for (name, target) in [
            ("sctp_peer", super::peer as fn(&[u8])),
            ("sctp_strangers", super::strangers),
        ] {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("../fuzz/corpus")
                .join(name);
            let mut seen = 0;
            for entry in std::fs::read_dir(folder).expect("the corpus is in the tree") {
                target(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
                seen += 1;
            }
            assert!(seen > 4, "{name}: {seen}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn no_conversation_does_harm(input in prop::collection::vec(any::<u8>(), 0..500)) {
            super::peer(&input);
        }

        #[test]
        fn no_stranger_does_harm(input in prop::collection::vec(any::<u8>(), 0..900)) {
            super::strangers(&input);
        }
    }
}
