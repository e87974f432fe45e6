//! Set-up by a client whose server's every packet the test decides.
#![expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from nowhere else"
)]

use std::time::{Duration, Instant};

use towpath_sctp::packet::{Cause, Chunk, Header, Packet, Writer};
use towpath_sctp::{CloseReason, Endpoint, EndpointConfig, Event, PathId};

const PORT: u16 = 9_260;

struct Client {
    endpoint: Endpoint,
    now: Instant,
    path: PathId,
    /// Its SCTP port and tag, from its last INIT.
    port: u16,
    tag: u32,
    closed: Option<CloseReason>,
}

impl Client {
    fn connect() -> Self {
        let now = Instant::now();
        let [local, remote] =
            ["10.0.0.1:9899", "10.0.0.2:9899"].map(|text| text.parse().expect("an address"));
        let config = EndpointConfig {
            addresses: vec![local],
            ..EndpointConfig::default()
        };
        let mut endpoint = Endpoint::new(config, [3; 32], now);
        endpoint.connect(&[remote], PORT, now).expect("begins");
        Self {
            endpoint,
            now,
            path: PathId::new(local, remote),
            port: 0,
            tag: 0,
            closed: None,
        }
    }

    /// What it sends now, in words.
    fn words(&mut self) -> Vec<String> {
        let mut buffer = Vec::new();
        let mut out = Vec::new();
        while self.endpoint.poll_transmit(self.now, &mut buffer).is_some() {
            let packet = Packet::parse(&buffer).expect("a packet");
            if let Some(Ok(Chunk::Init(init))) = packet.chunks().next() {
                (self.port, self.tag) = (packet.header.source_port, init.tag);
            }
            out.push(packet.to_string());
        }
        while let Some((_, event)) = self.endpoint.poll_event() {
            if let Event::Closed(reason) = event {
                self.closed = Some(reason);
            }
        }
        out
    }

    fn answer(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        let header = Header {
            source_port: PORT,
            destination_port: self.port,
            tag: self.tag,
        };
        let mut packet = Vec::new();
        let mut writer = Writer::new(&mut packet, header, 1_200);
        write(&mut writer);
        writer.finish();
        self.endpoint.handle_datagram(self.path, &packet, self.now);
    }

    /// An INIT ACK with a cookie of 20 bytes.
    fn init_ack(&mut self) {
        let mut value = vec![0, 0, 0, 9, 0, 1, 0, 0, 0, 9, 0, 9, 0, 0, 0, 7];
        value.extend_from_slice(&[0, 7, 0, 24]);
        value.extend_from_slice(&[5; 20]);
        self.answer(|writer| {
            assert!(writer.raw(towpath_sctp::packet::kind::INIT_ACK, 0, &value));
        });
    }
}

#[test]
fn cookies_that_are_always_stale_end_the_attempt() {
    let mut client = Client::connect();
    let mut inits = 0;
    while client.closed.is_none() && inits < 1_000 {
        client.now += Duration::from_millis(1);
        let words = client.words();
        match words.first().map(String::as_str) {
            Some("INIT") => {
                inits += 1;
                client.init_ack();
            }
            Some("COOKIE ECHO") => {
                client.answer(|writer| assert!(writer.error(&[Cause::StaleCookie(1_000)])));
            }
            _ => assert!(client.closed.is_some(), "{words:?}"),
        }
    }
    println!("{inits} INITs");
    assert_eq!((inits, client.closed), (9, Some(CloseReason::SetupTimeout)));
}
