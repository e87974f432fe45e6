//! A server session and a client's connection back to back: no sockets, no threads, time moved by
//! hand.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustls::time_provider::DefaultTimeProvider;
use towpath_io_mio::{Execute, Inbound, Peer, Session, Ticket};
use towpath_protocol::channel::{Chunk, LinkChange, tls_client_config, tls_server_config};
use towpath_protocol::client::{ClientConfig, Connection, Event, TransferEvent};
use towpath_protocol::server::ServerConfig;
use towpath_protocol::signed::{
    Blake3Hash, Content, FilePath, Manifest, SignedManifest, SigningKey, StoreId, Timestamp,
    UserId, UserName,
};
use towpath_protocol::{Limits, Refusal, Reply, Request, Role, TransferId};
use towpath_store::{NewKey, NewUser, Registry, StorageKey, Store};
use zeroize::Zeroizing;

use crate::admission::SessionQuota;
use crate::directory::ServerDirectory;
use crate::jobs::Job;
use crate::services::Services;
use crate::session::ServerSession;
use crate::tls_identity::TlsIdentity;

pub(super) const PASSWORD: &str = "correct horse";

/// A server directory with services over it.
pub(super) struct Server {
    pub(super) directory: ServerDirectory,
    pub(super) services: Arc<Services>,
    config: ServerConfig,
    admission: Arc<SessionQuota>,
    _dir: tempfile::TempDir,
}

/// A user of the server: their key and uid.
pub(super) struct User {
    pub(super) name: UserName,
    pub(super) uid: UserId,
    pub(super) key: SigningKey,
}

impl Server {
    pub(super) fn new() -> Self {
        Self::with_files(|_| ())
    }

    /// The same, over a store to which `prepare` did something before it was opened.
    pub(super) fn with_files(prepare: impl FnOnce(&ServerDirectory)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let directory = ServerDirectory::new(dir.path());
        TlsIdentity::create(&directory).unwrap();
        let identity = TlsIdentity::load(&directory).unwrap();
        let storage_key = StorageKey::generate();
        Store::init(&directory.files(), &storage_key).unwrap();
        prepare(&directory);
        let (store, _) = Store::open(&directory.files(), storage_key, Vec::new()).unwrap();
        Registry::create(&directory.users()).unwrap();
        // The lowest cost: these tests are not about how long a hash takes.
        let registry = Registry::open_with_cost(&directory.users(), 4).unwrap();
        let time = Arc::new(DefaultTimeProvider);
        let config = ServerConfig {
            tls: tls_server_config(identity.chain, identity.key, time).unwrap(),
            store: store.id(),
            limits: Limits::default(),
        };
        Self {
            directory,
            services: Arc::new(Services::new(store, registry)),
            config,
            admission: SessionQuota::new(100),
            _dir: dir,
        }
    }

    pub(super) fn add(&self, name: &str, role: Role, seed: u8) -> User {
        let key = SigningKey::from_seed(&[seed; 32]);
        let name = UserName::parse(name).unwrap();
        let new = NewUser {
            name: name.clone(),
            role,
            password: Some(PASSWORD.as_bytes()),
            keys: vec![NewKey {
                key: key.public(),
                comment: String::new(),
                statement: None,
            }],
        };
        let uid = self.services.registry.add(new).unwrap().uid;
        User { name, uid, key }
    }

    pub(super) fn store(&self) -> StoreId {
        self.config.store
    }

    /// A connected client before login.
    pub(super) fn connect(&self, host: u8) -> Link {
        let now = Instant::now();
        let address = SocketAddr::from(([10, 0, 0, host], 40_000));
        let peer = Peer {
            addresses: vec![address],
            carrier: "test",
        };
        let place = self
            .admission
            .admit(Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host))), now)
            .unwrap();
        let services = Arc::clone(&self.services);
        let server = ServerSession::new(&self.config, services, peer, place, now).unwrap();
        let tls = tls_client_config(Arc::new(DefaultTimeProvider)).unwrap();
        let limits = Limits::default();
        let client = Connection::new(ClientConfig { tls, limits }, now).unwrap();
        let mut link = Link {
            server,
            client,
            services: Arc::clone(&self.services),
            held: VecDeque::new(),
            hold_jobs: false,
            now,
        };
        let streams = 8;
        link.server.handle_inbound(Inbound::Up { streams }, now);
        link.client.handle_link(LinkChange::Up { streams }, now);
        link
    }

    /// A client that `user` is logged in on with their key.
    pub(super) fn login(&self, user: &User) -> Link {
        let mut link = self.connect(1);
        link.offer(&user.name);
        link.client.login_key(&user.key).unwrap();
        assert!(matches!(link.event(), Event::LoggedIn { .. }));
        link
    }
}

/// Both ends of a connection.
pub(super) struct Link {
    pub(super) server: ServerSession,
    pub(super) client: Connection,
    services: Arc<Services>,
    held: VecDeque<(Ticket, Job)>,
    /// Jobs wait for [`Link::release`] while this is set.
    pub(super) hold_jobs: bool,
    pub(super) now: Instant,
}

impl Link {
    /// Moves everything that can move.
    pub(super) fn run(&mut self) {
        loop {
            let mut moved = false;
            while let Some(transmit) = self.client.poll_transmit() {
                let message = Inbound::Message {
                    stream: transmit.stream,
                    payload: BytesMut::from(&transmit.payload[..]),
                };
                self.server.handle_inbound(message, self.now);
                moved = true;
            }
            while let Some((ticket, job)) = self.server.poll_job() {
                moved = true;
                if self.hold_jobs {
                    self.held.push_back((ticket, job));
                } else {
                    let output = self.services.execute(job);
                    self.server.handle_output(ticket, output, self.now);
                }
            }
            while let Some(transmit) = self.server.poll_transmit(self.now) {
                let payload = BytesMut::from(&transmit.payload[..]);
                self.client
                    .handle_message(transmit.stream, payload, self.now);
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    /// Runs the jobs that were held back.
    pub(super) fn release(&mut self) {
        self.hold_jobs = false;
        for (ticket, job) in std::mem::take(&mut self.held) {
            let output = self.services.execute(job);
            self.server.handle_output(ticket, output, self.now);
        }
        self.run();
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.server.handle_timeout(self.now);
        self.client.handle_timeout(self.now);
        self.run();
    }

    pub(super) fn poll(&mut self) -> Option<Event> {
        self.run();
        self.client.poll_event()
    }

    /// The client's next event, which must be there.
    pub(super) fn event(&mut self) -> Event {
        self.poll().expect("an event is due")
    }

    /// Trusts the server and names the user; the credential is wanted next.
    pub(super) fn offer(&mut self, name: &UserName) {
        assert!(matches!(self.event(), Event::Identified { .. }));
        self.client.trust().unwrap();
        assert!(matches!(self.event(), Event::UserWanted));
        self.client.login_user(name).unwrap();
        assert!(matches!(self.event(), Event::CredentialWanted { .. }));
    }

    pub(super) fn password(&mut self, password: &str) {
        let password = Zeroizing::new(password.to_owned());
        self.client.login_password(&password).unwrap();
        self.run();
    }

    pub(super) fn ask(&mut self, request: Request) -> Result<Reply, Refusal> {
        self.client.request(request).unwrap();
        match self.event() {
            Event::Reply(_, result) => result,
            other => panic!("not a reply: {other:?}"),
        }
    }

    /// Begins a put and sends `data`; the server has it all when this returns.
    pub(super) fn send(
        &mut self,
        path: &str,
        data: &[u8],
    ) -> Result<(TransferId, Option<SignedManifest>), Refusal> {
        let path = FilePath::parse(path).unwrap();
        let transfer = self.client.put(path, data.len() as u64).unwrap();
        self.sent(transfer, data)
    }

    /// The same, in place of a damaged file.
    pub(super) fn send_replacing_damaged(
        &mut self,
        path: &str,
        data: &[u8],
    ) -> Result<(TransferId, Option<SignedManifest>), Refusal> {
        let path = FilePath::parse(path).unwrap();
        let size = data.len() as u64;
        let transfer = self.client.put_replacing_damaged(path, size).unwrap();
        self.sent(transfer, data)
    }

    fn sent(
        &mut self,
        transfer: TransferId,
        data: &[u8],
    ) -> Result<(TransferId, Option<SignedManifest>), Refusal> {
        let current = match self.event() {
            Event::Transfer(_, TransferEvent::PutAccepted { current }) => current,
            Event::Transfer(_, TransferEvent::Aborted(refusal)) => return Err(refusal),
            other => panic!("not an answer to a put: {other:?}"),
        };
        for piece in data.chunks(towpath_protocol::channel::CHUNK_LEN) {
            self.client
                .write(transfer, Chunk::from_slice(piece))
                .unwrap();
            self.run();
        }
        while self.client.poll_event().is_some_and(|event| {
            assert!(
                matches!(event, Event::Transfer(_, TransferEvent::Writable)),
                "{event:?}"
            );
            true
        }) {}
        Ok((transfer, current))
    }

    /// Puts a whole file.
    pub(super) fn put(&mut self, who: &User, path: &str, data: &[u8]) -> Result<(), Refusal> {
        let (transfer, current) = self.send(path, data)?;
        let store = self.services.store.id();
        let signed = sign(who, store, path, Some(data), current.as_ref());
        self.client.finish_put(transfer, &signed).unwrap();
        self.outcome()
    }

    /// How a transfer ended.
    pub(super) fn outcome(&mut self) -> Result<(), Refusal> {
        match self.event() {
            Event::Transfer(_, TransferEvent::Finished) => Ok(()),
            Event::Transfer(_, TransferEvent::Aborted(refusal)) => Err(refusal),
            other => panic!("not the end of a transfer: {other:?}"),
        }
    }

    /// Gets a whole file.
    pub(super) fn get(&mut self, path: &str) -> Result<Vec<u8>, Refusal> {
        let path = FilePath::parse(path).unwrap();
        self.client.get(path, 0, None).unwrap();
        let mut data = Vec::new();
        loop {
            match self.event() {
                Event::Transfer(_, TransferEvent::GetAccepted { .. }) => {}
                Event::Transfer(transfer, TransferEvent::Data(chunk)) => {
                    self.client.consumed(transfer, chunk.len());
                    data.extend_from_slice(&chunk);
                }
                Event::Transfer(_, TransferEvent::Finished) => return Ok(data),
                Event::Transfer(_, TransferEvent::Aborted(refusal)) => return Err(refusal),
                other => panic!("not of a get: {other:?}"),
            }
        }
    }

    /// Deletes a file on top of what is there.
    pub(super) fn delete(&mut self, who: &User, path: &str) -> Result<Reply, Refusal> {
        let parsed = FilePath::parse(path).unwrap();
        let current = match self.ask(Request::Stat { path: parsed })? {
            Reply::Stat { current } => current,
            other => panic!("not a stat: {other:?}"),
        };
        let store = self.services.store.id();
        let signed = sign(who, store, path, None, current.as_ref());
        self.ask(Request::Delete { signed })
    }
}

/// A manifest of `data` (or of a deletion) at `path` on top of `current`.
pub(super) fn sign(
    who: &User,
    store: StoreId,
    path: &str,
    data: Option<&[u8]>,
    current: Option<&SignedManifest>,
) -> SignedManifest {
    let content = data.map_or(Content::Deleted, |data| Content::File {
        size: data.len() as u64,
        hash: Blake3Hash::from_bytes(*blake3::hash(data).as_bytes()),
        mtime: Timestamp::EPOCH,
        mode: 0o644,
    });
    let manifest = Manifest {
        store,
        path: FilePath::parse(path).unwrap(),
        content,
        version: current.map_or(0, |current| current.manifest().version) + 1,
        previous: current.map(SignedManifest::hash),
        uid: who.uid,
        name: who.name.clone(),
        key: who.key.public().fingerprint(),
        signed_at: Timestamp::EPOCH,
    };
    SignedManifest::sign(manifest, &who.key).unwrap()
}
