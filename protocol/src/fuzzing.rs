//! Entry points of the fuzz targets. No part of the API: nothing here keeps its name or meaning.
//!
//! The transfers run without TLS under fixed keys, since a handshake cannot be repeated byte for
//! byte.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::BytesMut;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use zeroize::Zeroizing;

use crate::channel::chunk::{CHUNK_LEN, Chunk};
use crate::channel::keys::{Direction, Root};
use crate::channel::kind::{RecordKind, encode_credit};
use crate::channel::record::Algorithm;
use crate::channel::server_tls_without_certificate;
use crate::channel::streams::Streams;
use crate::channel::tls::Established;
use crate::channel::{Transmit, tls_client_config};
use crate::client::{self, ClientConfig};
use crate::limits::{Limits, MIN_WINDOW};
use crate::server::{self, ServerConfig};
use crate::signed::{
    Blake3Hash, Content, FilePath, Manifest, SignedManifest, SigningKey, StoreId, Timestamp,
    UserId, UserName,
};
use crate::wire::control::split_frame;
use crate::wire::record::{Open, TransferReply, encode_abort, encode_proof};
use crate::wire::round_trip::{Decoded, Origin, decode};
use crate::{ProtocolError, Refusal, RefusalCode, TransferId};

const STORE: StoreId = StoreId::from_bytes([0x53; 16]);
const STREAMS: u16 = 4;

/// Control messages and record bodies: what is accepted encodes to the same bytes.
pub fn messages(data: &[u8]) {
    for origin in [Origin::Client, Origin::Server, Origin::Record] {
        if let Ok(Decoded::Canonical(canonical)) = decode(origin, data) {
            assert_eq!(canonical, data, "{origin:?}");
        }
    }
    if let Ok(Some(body)) = split_frame(data, data.len()) {
        assert!(!body.is_empty() && body.len() + 4 <= data.len());
    }
}

/// Takes the fuzzer's bytes one by one; zeros when there are no more.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }
}

#[derive(Debug)]
struct NoTime;

impl TimeProvider for NoTime {
    fn current_time(&self) -> Option<UnixTime> {
        None
    }
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "some instant; time stands still here"
    )]
    *NOW.get_or_init(Instant::now)
}

fn established() -> Established {
    Established {
        algorithm: Algorithm::Aes256Gcm,
        root: Root::new(Zeroizing::new([0x42; 32])),
        binding: [0x24; 32],
    }
}

fn limits() -> Limits {
    Limits {
        streams: STREAMS,
        window: MIN_WINDOW,
        ..Limits::default()
    }
}

fn path() -> FilePath {
    FilePath::parse("a").expect("the name is a path")
}

/// A manifest of a file of so many bytes, from a small number of them.
fn signed(size: u64) -> SignedManifest {
    static MADE: OnceLock<std::sync::Mutex<BTreeMap<u64, SignedManifest>>> = OnceLock::new();
    let mut made = MADE
        .get_or_init(Default::default)
        .lock()
        .expect("nothing panics while it is locked, or the target has failed already");
    let make = || {
        let key = SigningKey::from_seed(&[7; 32]);
        let manifest = Manifest {
            store: STORE,
            path: path(),
            content: Content::File {
                size,
                hash: Blake3Hash::from_bytes([1; 32]),
                mtime: Timestamp::EPOCH,
                mode: 0o600,
            },
            version: 1,
            previous: None,
            uid: UserId::from_bytes([2; 16]),
            name: UserName::parse("alice").expect("the name is valid"),
            key: key.public().fingerprint(),
            signed_at: Timestamp::EPOCH,
        };
        SignedManifest::sign(manifest, &key).expect("the manifest is in range and names the key")
    };
    made.entry(size).or_insert_with(make).clone()
}

fn refusal() -> Refusal {
    Refusal::new(RefusalCode::Cancelled, "")
}

/// A peer with the same keys, which sends what the input says.
struct Peer(Streams<()>);

impl Peer {
    fn new(outward: Direction) -> Self {
        let Established {
            algorithm, root, ..
        } = established();
        Self(Streams::new(root, algorithm, outward, STREAMS))
    }

    /// A record of a live transfer, or the first of a new one.
    fn send(&mut self, id: Option<TransferId>, kind: RecordKind, body: &Chunk) {
        let active = match id {
            Some(id) => self.0.opened(id),
            None => self.0.open(()),
        };
        if let Some(active) = active
            && active.is_open()
        {
            active.queue(kind, Chunk::from_slice(body));
        }
    }

    /// Every record must open, as long as the peer's own rules let it look.
    fn receive(&mut self, transmit: Transmit) -> Option<TransferId> {
        match self
            .0
            .receive(transmit.stream, BytesMut::from(&transmit.payload[..]))
        {
            Ok((id, _)) => {
                self.0.settle(id);
                Some(id)
            }
            Err(error) => {
                assert_ne!(error, ProtocolError::Record);
                None
            }
        }
    }
}

fn body(kind: RecordKind, input: &mut Input<'_>) -> Chunk {
    let choice = input.byte();
    match (kind, choice % 4) {
        (_, 0) => Chunk::from_slice(input.bytes()),
        (RecordKind::Open, 1) => Open::Put {
            path: path(),
            size_hint: 0,
            replace_damaged: choice & 8 != 0,
        }
        .encode(),
        (RecordKind::Open, _) => Open::Get {
            path: path(),
            offset: input.number() as u64,
            manifest: (choice & 8 != 0).then(|| signed(u64::from(choice)).hash()),
            window: MIN_WINDOW + u32::from(input.byte()),
        }
        .encode(),
        (RecordKind::Reply, 1) => TransferReply::PutAccepted {
            current: None,
            window: MIN_WINDOW,
        }
        .encode(),
        (RecordKind::Reply, 2) => TransferReply::GetAccepted {
            signed: signed(input.number() as u64),
            offset: u64::from(input.byte()),
        }
        .encode(),
        (RecordKind::Reply, _) if choice & 8 != 0 => TransferReply::Committed.encode(),
        (RecordKind::Reply, _) => TransferReply::Conflict { current: None }.encode(),
        (RecordKind::Data, _) => {
            let mut chunk = Chunk::new();
            chunk.resize(input.number().min(CHUNK_LEN));
            chunk
        }
        (RecordKind::Credit, _) => {
            encode_credit(u64::from(MIN_WINDOW) + ((input.number() as u64) << (choice % 48)))
        }
        (RecordKind::Proof, _) => encode_proof(&signed(input.number() as u64)),
        (RecordKind::End, _) => Chunk::new(),
        (RecordKind::Abort, _) => encode_abort(&refusal()),
    }
}

/// The targets call without regard to the state: an error is an expected result.
fn ignore<T, E>(_: Result<T, E>) {}

fn kind(input: &mut Input<'_>) -> RecordKind {
    RecordKind::from_byte(input.byte() % 7 + 1).expect("the kinds are 1 to 7")
}

/// A logged-in server against a client that sends any records, while its application does anything.
pub fn server_transfers(data: &[u8]) {
    let mut input = Input(data);
    let tls = server_tls_without_certificate(Arc::new(NoCertificate), Arc::new(NoTime));
    let config = ServerConfig {
        tls: tls.expect("the settings are those of every server"),
        store: STORE,
        limits: limits(),
    };
    let mut server = server::Connection::with_streams(config, established(), now())
        .expect("rustls takes its own settings");
    let mut peer = Peer::new(Direction::ClientToServer);
    let mut transfers = Vec::new();
    let mut closed = false;
    while !input.0.is_empty() && !closed {
        let operation = input.byte();
        let which = usize::from(input.byte());
        let transfer = transfers.get(which % transfers.len().max(1)).copied();
        match (operation % 16, transfer) {
            (0, _) => {
                let body = body(RecordKind::Open, &mut input);
                peer.send(None, RecordKind::Open, &body);
            }
            (1, _) => {
                let garbage = BytesMut::from(input.bytes());
                server.handle_message(u16::from(operation >> 4), garbage, now());
            }
            (2..=7, id) => {
                let kind = kind(&mut input);
                let body = body(kind, &mut input);
                peer.send(id, kind, &body);
            }
            (8, Some(id)) => {
                ignore(server.accept_get(id, &signed(input.number() as u64), input.byte().into()))
            }
            (9, Some(id)) => ignore(server.accept_put(id, None)),
            (10, Some(id)) => ignore(server.committed(id)),
            (11, Some(id)) => ignore(server.conflict(id, None)),
            (12, Some(id)) => ignore(server.finish_get(id)),
            (13, Some(id)) => {
                let mut chunk = Chunk::new();
                chunk.resize(input.number());
                let (len, capacity) = (chunk.len(), server.capacity(id));
                assert!(server.write(id, chunk).is_err() || len <= capacity);
            }
            (14, Some(id)) => server.consumed(id, input.number()),
            (15, Some(id)) if which > 200 => server.abort(id, refusal()),
            _ => {}
        }
        while let Some((transmit, _)) = peer.0.poll() {
            server.handle_message(
                transmit.stream,
                BytesMut::from(&transmit.payload[..]),
                now(),
            );
        }
        while let Some(event) = server.poll_event() {
            assert!(!closed, "an event after Closed");
            match event {
                server::Event::Transfer(
                    transfer,
                    server::TransferEvent::Get { .. } | server::TransferEvent::Put { .. },
                ) => transfers.push(transfer),
                server::Event::Closed(_) => closed = true,
                _ => {}
            }
        }
        while let Some(transmit) = server.poll_transmit() {
            if transmit.stream > 0 {
                peer.receive(transmit);
            }
        }
    }
    assert_eq!(server.is_closed(), closed);
}

/// A logged-in client against a server that sends any records, while its application does anything.
pub fn client_transfers(data: &[u8]) {
    let mut input = Input(data);
    let config = ClientConfig {
        tls: tls_client_config(Arc::new(NoTime)).expect("the settings are those of every client"),
        limits: limits(),
    };
    let mut client = client::Connection::with_streams(config, STORE, established(), now())
        .expect("rustls takes its own settings");
    let mut peer = Peer::new(Direction::ServerToClient);
    let mut transfers = Vec::new();
    let mut left = BTreeMap::new();
    let mut closed = false;
    while !input.0.is_empty() && !closed {
        let operation = input.byte();
        let which = usize::from(input.byte());
        let transfer = transfers.get(which % transfers.len().max(1)).copied();
        match (operation % 16, transfer) {
            (0, _) => {
                let hash = (which % 2 == 0).then(|| signed(which as u64).hash());
                transfers.extend(client.get(path(), input.number() as u64, hash));
            }
            (1, _) => transfers.extend(client.put(path(), 0)),
            (2, _) => {
                let garbage = BytesMut::from(input.bytes());
                client.handle_message(u16::from(operation >> 4), garbage, now());
            }
            (3..=9, id @ Some(_)) => {
                let kind = kind(&mut input);
                let body = body(kind, &mut input);
                peer.send(id, kind, &body);
            }
            (10 | 11, Some(id)) => {
                let mut chunk = Chunk::new();
                chunk.resize(input.number());
                let (len, capacity) = (chunk.len(), client.capacity(id));
                assert!(client.write(id, chunk).is_err() || len <= capacity);
            }
            (12 | 13, Some(id)) => ignore(client.finish_put(id, &signed(input.number() as u64))),
            (14, Some(id)) => client.consumed(id, input.number()),
            (15, Some(id)) if which > 200 => client.abort(id, refusal()),
            _ => {}
        }
        while let Some(transmit) = client.poll_transmit() {
            if transmit.stream > 0 {
                peer.receive(transmit);
            }
        }
        while let Some((transmit, _)) = peer.0.poll() {
            client.handle_message(
                transmit.stream,
                BytesMut::from(&transmit.payload[..]),
                now(),
            );
        }
        while let Some(event) = client.poll_event() {
            assert!(!closed, "an event after Closed");
            match event {
                client::Event::Transfer(
                    transfer,
                    client::TransferEvent::GetAccepted { signed, offset },
                ) => {
                    let Content::File { size, .. } = signed.manifest().content else {
                        panic!("a get of what is no file");
                    };
                    left.insert(transfer, size - offset);
                }
                client::Event::Transfer(transfer, client::TransferEvent::Data(chunk)) => {
                    let left = left
                        .get_mut(&transfer)
                        .expect("data comes after acceptance");
                    *left -= chunk.len() as u64;
                }
                client::Event::Transfer(transfer, client::TransferEvent::Finished) => {
                    assert_eq!(
                        left.remove(&transfer).unwrap_or(0),
                        0,
                        "a get finished without all its data"
                    );
                }
                client::Event::Closed(_) => closed = true,
                _ => {}
            }
        }
    }
    // What the last events have queued.
    while client.poll_transmit().is_some() {}
    assert_eq!(client.is_closed(), closed);
}

/// A short walk through the fuzz targets with every test run.
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Mostly small numbers, so that operations meet the transfers that there are.
    fn data() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![3 => 0_u8..16, 1 => any::<u8>()], 0..600)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn server_transfers(data in data()) {
            super::server_transfers(&data);
        }

        #[test]
        fn client_transfers(data in data()) {
            super::client_transfers(&data);
        }
    }
}
