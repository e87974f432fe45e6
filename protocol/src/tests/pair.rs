//! A client's and a server's connection back to back, in virtual time, over a carrier that keeps
//! order within a stream only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use zeroize::Zeroizing;

use crate::channel::{
    Chunk, LinkChange, ServerFingerprint, Transmit, tls_client_config, tls_server_config,
};
use crate::client::{self, ClientConfig};
use crate::server::{self, ServerConfig};
use crate::signed::{
    Blake3Hash, Content, FilePath, Manifest, ManifestHash, SignedManifest, SigningKey, StoreId,
    Timestamp, UserId, UserName,
};
use crate::{Limits, Role};

pub(crate) const STORE: StoreId = StoreId::from_bytes([0x53; 16]);
pub(crate) const UID: UserId = UserId::from_bytes([0xA1; 16]);
pub(crate) const PASSWORD: &str = "correct horse battery staple";

#[derive(Debug)]
pub(super) struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            1_800_000_000,
        )))
    }
}

/// A server's certificate and settings.
pub(crate) struct Host {
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) key: ServerFingerprint,
}

impl Host {
    pub(crate) fn new() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["towpath".to_owned()])
            .unwrap()
            .self_signed(&pair)
            .unwrap();
        let der = certificate.der().clone();
        let key = ServerFingerprint::of_certificate(&der).unwrap();
        let private = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
        let tls = tls_server_config(vec![der], private, Arc::new(FixedTime)).unwrap();
        Self { tls, key }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "some instant to start from; only differences matter"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn client_tls() -> Arc<rustls::ClientConfig> {
    tls_client_config(Arc::new(FixedTime)).unwrap()
}

/// xorshift64*: small, seeded, good enough to shuffle.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % bound
    }
}

/// Messages on their way in one direction.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) streams: BTreeMap<u16, VecDeque<Bytes>>,
}

impl Wire {
    pub(crate) fn push(&mut self, transmit: Transmit) {
        self.streams
            .entry(transmit.stream)
            .or_default()
            .push_back(transmit.payload);
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.values().map(VecDeque::len).sum()
    }

    /// The first message of a stream chosen by the dice.
    pub(crate) fn pop(&mut self, dice: &mut Dice) -> Option<(u16, Bytes)> {
        let waiting: Vec<u16> = self
            .streams
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(stream, _)| *stream)
            .collect();
        if waiting.is_empty() {
            return None;
        }
        let stream = waiting[dice.below(waiting.len())];
        let payload = self.streams.get_mut(&stream)?.pop_front()?;
        Some((stream, payload))
    }
}

pub(crate) struct Pair {
    pub(crate) client: client::Connection,
    pub(crate) server: server::Connection,
    pub(crate) to_client: Wire,
    pub(crate) to_server: Wire,
    pub(crate) client_events: VecDeque<client::Event>,
    pub(crate) server_events: VecDeque<server::Event>,
    pub(crate) now: Instant,
    pub(crate) dice: Dice,
    /// Messages that the carrier takes in each direction before it makes the connection wait.
    pub(crate) room: usize,
}

impl Pair {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_limits(seed, Limits::default(), Limits::default())
    }

    pub(crate) fn with_limits(seed: u64, client: Limits, server: Limits) -> Self {
        let mut pair = Self::down(seed, &Host::new(), client, server);
        pair.link(LinkChange::Up { streams: 65 });
        pair
    }

    pub(crate) fn down(seed: u64, host: &Host, client: Limits, server: Limits) -> Self {
        let mut pair = Self::with_tls(seed, client_tls(), host.tls.clone(), server);
        let config = ClientConfig {
            tls: client_tls(),
            limits: client,
        };
        pair.client = client::Connection::new(config, pair.now).unwrap();
        pair
    }

    /// With TLS settings that need not be ours; the link is down.
    pub(crate) fn with_tls(
        seed: u64,
        client: Arc<rustls::ClientConfig>,
        server: Arc<rustls::ServerConfig>,
        limits: Limits,
    ) -> Self {
        let now = now();
        let mut dice = Dice::new(seed);
        let room = [1, 2, 3, 8, usize::MAX][dice.below(5)];
        let client = ClientConfig {
            tls: client,
            limits: limits.clone(),
        };
        let server = ServerConfig {
            tls: server,
            store: STORE,
            limits,
        };
        Self {
            client: client::Connection::new(client, now).unwrap(),
            server: server::Connection::new(server, now).unwrap(),
            to_client: Wire::default(),
            to_server: Wire::default(),
            client_events: VecDeque::new(),
            server_events: VecDeque::new(),
            now,
            dice,
            room,
        }
    }

    pub(crate) fn link(&mut self, change: LinkChange) {
        self.client.handle_link(change, self.now);
        self.server.handle_link(change, self.now);
    }

    /// Takes out what the connections have ready, as far as the carrier has room.
    pub(crate) fn collect(&mut self) {
        while self.to_server.len() < self.room
            && let Some(transmit) = self.client.poll_transmit()
        {
            self.to_server.push(transmit);
        }
        while self.to_client.len() < self.room
            && let Some(transmit) = self.server.poll_transmit()
        {
            self.to_client.push(transmit);
        }
        self.client_events
            .extend(std::iter::from_fn(|| self.client.poll_event()));
        self.server_events
            .extend(std::iter::from_fn(|| self.server.poll_event()));
    }

    /// Delivers one message in a direction of the dice's choice; `false` when none is on its way.
    pub(crate) fn step(&mut self) -> bool {
        self.collect();
        let total = self.to_client.len() + self.to_server.len();
        if total == 0 {
            return false;
        }
        if self.dice.below(total) < self.to_client.len() {
            if let Some((stream, payload)) = self.to_client.pop(&mut self.dice) {
                self.client
                    .handle_message(stream, BytesMut::from(&payload[..]), self.now);
            }
        } else if let Some((stream, payload)) = self.to_server.pop(&mut self.dice) {
            self.server
                .handle_message(stream, BytesMut::from(&payload[..]), self.now);
        }
        self.collect();
        true
    }

    /// Delivers everything until both sides are quiet.
    pub(crate) fn run(&mut self) {
        while self.step() {}
    }

    /// Lets time pass to the next deadline and handles it. `false` when there is none.
    pub(crate) fn jump(&mut self) -> bool {
        let next = [self.client.poll_timeout(), self.server.poll_timeout()];
        let Some(next) = next.into_iter().flatten().min() else {
            return false;
        };
        self.now = self.now.max(next);
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        self.collect();
        for later in [self.client.poll_timeout(), self.server.poll_timeout()]
            .into_iter()
            .flatten()
        {
            assert!(later > self.now, "a deadline that was handled is not over");
        }
        true
    }

    pub(crate) fn client_event(&mut self) -> client::Event {
        self.client_events
            .pop_front()
            .expect("the client has an event")
    }

    pub(crate) fn server_event(&mut self) -> server::Event {
        self.server_events
            .pop_front()
            .expect("the server has an event")
    }

    /// Goes as far as the credential prompt.
    pub(crate) fn greet(&mut self, user: &str) {
        self.run();
        assert!(matches!(
            self.client_event(),
            client::Event::Identified { store: STORE, .. }
        ));
        self.client.trust().unwrap();
        self.run();
        assert!(matches!(self.client_event(), client::Event::UserWanted));
        self.client
            .login_user(&UserName::parse(user).unwrap())
            .unwrap();
        self.run();
        assert!(matches!(
            self.client_event(),
            client::Event::CredentialWanted { attempts_left: 3 }
        ));
    }

    /// Logs alice in by password.
    pub(crate) fn login(&mut self) {
        self.greet("alice");
        self.client
            .login_password(&Zeroizing::new(PASSWORD.to_owned()))
            .unwrap();
        self.run();
        let server::Event::Login {
            ticket,
            user,
            credential,
        } = self.server_event()
        else {
            panic!("no login");
        };
        assert_eq!(user.as_str(), "alice");
        assert!(matches!(credential, server::Credential::Password(given) if *given == PASSWORD));
        self.server.login(ticket, accepted(), self.now);
        self.run();
        assert!(matches!(
            self.client_event(),
            client::Event::LoggedIn {
                uid: UID,
                role: Role::Maintainer
            }
        ));
        assert!(self.client_events.is_empty() && self.server_events.is_empty());
    }

    pub(crate) fn logged_in(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        pair.login();
        pair
    }
}

pub(crate) fn accepted() -> server::Verdict {
    server::Verdict::Accepted {
        uid: UID,
        role: Role::Maintainer,
    }
}

pub(crate) fn alice() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

pub(crate) fn path(text: &str) -> FilePath {
    FilePath::parse(text).unwrap()
}

/// Bytes that look like nothing in particular, the same for the same length.
pub(crate) fn content(len: usize) -> Vec<u8> {
    let mut dice = Dice::new(len as u64 + 1);
    (0..len)
        .map(|_| u8::try_from(dice.below(256)).unwrap())
        .collect()
}

pub(crate) fn manifest(name: &str, data: &[u8]) -> Manifest {
    Manifest {
        store: STORE,
        path: path(name),
        content: Content::File {
            size: data.len() as u64,
            hash: Blake3Hash::from_bytes(*blake3::hash(data).as_bytes()),
            mtime: Timestamp::EPOCH,
            mode: 0o644,
        },
        version: 1,
        previous: None,
        uid: UID,
        name: UserName::parse("alice").unwrap(),
        key: alice().public().fingerprint(),
        signed_at: Timestamp::EPOCH,
    }
}

pub(crate) fn signed(name: &str, data: &[u8]) -> SignedManifest {
    SignedManifest::sign(manifest(name, data), &alice()).unwrap()
}

/// The next version on top of `previous`.
pub(crate) fn signed_on(name: &str, data: &[u8], previous: &SignedManifest) -> SignedManifest {
    let mut manifest = manifest(name, data);
    manifest.version = previous.manifest().version + 1;
    manifest.previous = Some(ManifestHash::from_bytes(*previous.hash().as_bytes()));
    SignedManifest::sign(manifest, &alice()).unwrap()
}

pub(crate) fn chunks(data: &[u8]) -> VecDeque<Chunk> {
    data.chunks(crate::channel::CHUNK_LEN)
        .map(Chunk::from_slice)
        .collect()
}
