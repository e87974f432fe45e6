//! A peer that sends the bytes that the test determines.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use towpath_sctp::packet::{Chunk, Data, GapBlock, Header, Init, Packet, Writer};
use towpath_sctp::{
    AssociationHandle, CloseReason, Config, Endpoint, EndpointConfig, Event, PathId,
};

pub(crate) const PORT: u16 = 9_260;
pub(crate) const OUR_TAG: u32 = 0x0bad_cafe;
pub(crate) const SERVER: &str = "10.0.0.2:9899";

/// A server under attack, and the attacker's address, port and tags.
pub(crate) struct Peer {
    pub(crate) server: Endpoint,
    pub(crate) now: Instant,
    /// From the attacker's side: local is the attacker's.
    pub(crate) path: PathId,
    pub(crate) port: u16,
    /// The server's verification tag and first TSN, once known.
    pub(crate) tag: u32,
    pub(crate) server_tsn: u32,
    /// Our next TSN.
    pub(crate) tsn: u32,
    pub(crate) cookie: Vec<u8>,
    pub(crate) handle: Option<AssociationHandle>,
    pub(crate) closed: Option<CloseReason>,
    sent: Vec<(PathId, Vec<u8>)>,
}

/// The chunks of a packet, as `DATA 0/3 B12E + SACK`.
pub(crate) fn text(packet: &[u8]) -> String {
    Packet::parse(packet)
        .expect("endpoints send packets")
        .to_string()
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

impl Peer {
    pub(crate) fn new() -> Self {
        Self::with(EndpointConfig::default())
    }

    pub(crate) fn with(config: EndpointConfig) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant can be had from nowhere else"
        )]
        let now = Instant::now();
        // Without MTU probes, whose answers would be noise here.
        let association = Config {
            max_mtu: 1_232,
            ..config.association
        };
        let config = EndpointConfig {
            listen: Some(PORT),
            addresses: vec![address(SERVER)],
            association,
            ..config
        };
        Self {
            server: Endpoint::new(config, [9; 32], now),
            now,
            path: PathId::new(address("10.0.0.1:9899"), address(SERVER)),
            port: 41_000,
            tag: 0,
            server_tsn: 0,
            tsn: 1_000,
            cookie: Vec::new(),
            handle: None,
            closed: None,
            sent: Vec::new(),
        }
    }

    /// A peer that has set up an association correctly.
    pub(crate) fn connected() -> Self {
        Self::new().set_up()
    }

    pub(crate) fn set_up(mut self) -> Self {
        let tsn = self.tsn;
        self.init(&Init::new(OUR_TAG, 100_000, 10, 10, tsn));
        self.learn();
        self.echo();
        assert_eq!(self.words(), ["COOKIE ACK"]);
        assert!(self.handle.is_some());
        self
    }

    /// Sends a packet whose chunks `write` writes, under the right tag.
    pub(crate) fn send(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        let tag = self.tag;
        self.send_tagged(tag, write);
    }

    pub(crate) fn send_tagged(&mut self, tag: u32, write: impl FnOnce(&mut Writer<'_>)) {
        let packet = self.packet(tag, write);
        self.deliver(&packet);
    }

    pub(crate) fn packet(&self, tag: u32, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut packet = Vec::new();
        let header = Header {
            source_port: self.port,
            destination_port: PORT,
            tag,
        };
        let mut writer = Writer::new(&mut packet, header, 65_500);
        write(&mut writer);
        writer.finish();
        packet
    }

    /// Hands a packet to the server and collects what it sends and its events.
    pub(crate) fn deliver(&mut self, packet: &[u8]) {
        let path = PathId::new(self.path.remote, self.path.local);
        self.server.handle_datagram(path, packet, self.now);
        self.collect();
    }

    pub(crate) fn collect(&mut self) {
        let mut buffer = Vec::new();
        while let Some(transmit) = self.server.poll_transmit(self.now, &mut buffer) {
            for packet in buffer.chunks(transmit.segment_size) {
                self.sent.push((transmit.path, packet.to_vec()));
            }
        }
        while let Some((handle, event)) = self.server.poll_event() {
            match event {
                Event::Connected { .. } => self.handle = Some(handle),
                Event::Closed(reason) => self.closed = Some(reason),
                _ => {}
            }
        }
    }

    /// Advances the time by `span`.
    pub(crate) fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(deadline) = self
            .server
            .poll_timeout()
            .filter(|deadline| *deadline <= end)
        {
            self.now = self.now.max(deadline);
            self.server.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
    }

    /// What the server has sent since the last call.
    pub(crate) fn replies(&mut self) -> Vec<(PathId, Vec<u8>)> {
        std::mem::take(&mut self.sent)
    }

    /// Likewise, as text.
    pub(crate) fn words(&mut self) -> Vec<String> {
        self.replies()
            .iter()
            .map(|(_, packet)| text(packet))
            .collect()
    }

    pub(crate) fn init(&mut self, init: &Init<'_>) {
        self.send_tagged(0, |writer| assert!(writer.init(init, &[], None, 256)));
    }

    /// Reads tag and cookie from the INIT ACK.
    pub(crate) fn learn(&mut self) {
        let replies = self.replies();
        let [(_, packet)] = &replies[..] else {
            panic!("one answer: {replies:?}")
        };
        let packet = Packet::parse(packet).expect("a packet");
        let Some(Ok(Chunk::InitAck(init))) = packet.chunks().next() else {
            panic!("an INIT ACK")
        };
        self.tag = init.tag;
        self.server_tsn = init.tsn;
        self.cookie = init.digest().cookie.expect("a cookie").to_vec();
    }

    pub(crate) fn echo(&mut self) {
        let cookie = self.cookie.clone();
        self.send(|writer| assert!(writer.cookie_echo(&cookie)));
    }

    /// A whole message in one chunk, under the next TSN.
    pub(crate) fn message(&mut self, stream: u16, ssn: u16, payload: &[u8]) {
        let data = self.data(stream, ssn, payload);
        self.tsn = self.tsn.wrapping_add(1);
        self.send(|writer| assert!(writer.data(&data).is_some()));
    }

    pub(crate) fn data<'a>(&self, stream: u16, ssn: u16, payload: &'a [u8]) -> Data<'a> {
        Data {
            tsn: self.tsn,
            stream,
            ssn,
            ppid: 0,
            unordered: false,
            begin: true,
            end: true,
            immediate: false,
            payload,
        }
    }

    /// A SACK `ahead` of what the server's first TSN was.
    pub(crate) fn sack(&mut self, ahead: u32, window: u32, blocks: &[(u16, u16)]) {
        let cumulative = self.server_tsn.wrapping_add(ahead);
        let blocks = blocks.iter().map(|&(start, end)| GapBlock { start, end });
        self.send(|writer| assert!(writer.sack(cumulative, window, blocks, &[])));
    }

    pub(crate) fn is_up(&self) -> bool {
        self.closed.is_none() && self.server.associations() == 1
    }
}
