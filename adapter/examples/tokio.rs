//! A client and a server on tokio, over two loopback addresses each, in one process.
//!
//! ```sh
//! cargo run -p towpath-adapter --example tokio
//! ```
//! The client logs in with a key, uploads a signed file, downloads it again and verifies it. The
//! server keeps the file in memory: users, storage and admission are for a real server to add.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::PrivateKeyDer;
use rustls::time_provider::DefaultTimeProvider;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout};
use towpath_adapter::{Adapter, Connection};
use towpath_protocol::channel::{CHUNK_LEN, Chunk, tls_client_config, tls_server_config};
use towpath_protocol::signed::{
    Blake3Hash, Content, FilePath, Manifest, PublicKey, SignedManifest, SigningKey, StoreId,
    Timestamp, UserId, UserName,
};
use towpath_protocol::{
    Limits, Refusal, RefusalCode, Role, TransferId, WriteError, client, server,
};
use towpath_sctp::{AssociationHandle, Config, Endpoint, EndpointConfig, Event, PathId};

type Failure = Box<dyn Error>;

const PORT: u16 = 9_260;
const STORE: StoreId = StoreId::from_bytes([1; 16]);
const USER: UserId = UserId::from_bytes([2; 16]);
const FILE_LEN: usize = 20_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let key = SigningKey::from_seed(&seed()?);
    let server = Server::bind(["127.0.0.1:0", "127.0.0.2:0"], key.public()).await?;
    let remotes: Vec<SocketAddr> = server.host.sockets.keys().copied().collect();
    let client = Client::connect(["127.0.0.3:0", "127.0.0.4:0"], &remotes, key).await?;
    tokio::select! {
        never = server.run() => never,
        done = timeout(Duration::from_secs(60), client.run()) => done?,
    }
}

/// An endpoint, a socket for each of its addresses, and the connections over it.
struct Host<C> {
    endpoint: Endpoint,
    sockets: BTreeMap<SocketAddr, UdpSocket>,
    adapters: BTreeMap<AssociationHandle, Adapter<C>>,
}

impl<C: Connection> Host<C> {
    async fn bind(addresses: [&str; 2], listen: Option<u16>) -> Result<Self, Failure> {
        let mut sockets = BTreeMap::new();
        for address in addresses {
            let socket = UdpSocket::bind(address).await?;
            sockets.insert(socket.local_addr()?, socket);
        }
        let config = EndpointConfig {
            listen,
            addresses: sockets.keys().copied().collect(),
            // Without segmentation offload the packets of a train are sent one by one; long trains
            // of large packets would overflow the receiver's socket buffer.
            association: Config {
                max_burst: 8,
                max_mtu: 1_472,
                ..Config::default()
            },
            ..EndpointConfig::default()
        };
        Ok(Self {
            endpoint: Endpoint::new(config, seed()?, Instant::now()),
            sockets,
            adapters: BTreeMap::new(),
        })
    }

    /// Moves what can be moved, sends it, then waits for datagrams or the next deadline and handles
    /// them. `accept` makes the connection of a new peer.
    async fn turn(&mut self, accept: &dyn Fn(Instant) -> Option<C>) {
        let now = Instant::now();
        for adapter in self.adapters.values_mut() {
            adapter.run(&mut self.endpoint, now);
        }
        self.transmit().await;

        let mut datagram = vec![0; 65_536];
        let deadlines = self.adapters.values().map(Adapter::poll_timeout);
        let deadline = deadlines
            .chain([self.endpoint.poll_timeout()])
            .flatten()
            .min();
        tokio::select! {
            (path, len) = receive(&self.sockets, &mut datagram) => {
                self.endpoint.handle_datagram(path, &datagram[..len], Instant::now());
            }
            () = async { sleep_until(deadline.unwrap_or_else(Instant::now).into()).await },
                if deadline.is_some() => {}
        }

        let now = Instant::now();
        self.endpoint.handle_timeout(now);
        while let Some((handle, event)) = self.endpoint.poll_event() {
            if let Event::Connected { accepted: true, .. } = event
                && let Some(connection) = accept(now)
            {
                self.adapters
                    .insert(handle, Adapter::new(handle, connection));
            }
            if let Some(adapter) = self.adapters.get_mut(&handle) {
                adapter.handle_event(&event, now);
            }
        }
        for adapter in self.adapters.values_mut() {
            adapter.handle_timeout(now);
            adapter.run(&mut self.endpoint, now);
        }
        self.adapters.retain(|_, adapter| !adapter.is_finished());
    }

    async fn transmit(&mut self) {
        let mut buffer = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(Instant::now(), &mut buffer) {
            let Some(socket) = self.sockets.get(&transmit.path.local) else {
                continue; // lost; the endpoint sends it again on another path
            };
            for packet in buffer.chunks(transmit.segment_size) {
                if let Err(error) = socket.send_to(packet, transmit.path.remote).await {
                    eprintln!("{}: {error}", transmit.path); // lost likewise
                }
            }
        }
    }
}

/// The next datagram of any socket.
async fn receive(
    sockets: &BTreeMap<SocketAddr, UdpSocket>,
    datagram: &mut [u8],
) -> (PathId, usize) {
    poll_fn(|cx| {
        for (local, socket) in sockets {
            let mut into = ReadBuf::new(datagram);
            if let Poll::Ready(Ok(remote)) = socket.poll_recv_from(cx, &mut into) {
                return Poll::Ready((PathId::new(*local, remote), into.filled().len()));
            }
        }
        Poll::Pending
    })
    .await
}

/// A server of one user and one file in memory.
struct Server {
    host: Host<server::Connection>,
    config: server::ServerConfig,
    user: PublicKey,
    stored: Option<(SignedManifest, Vec<u8>)>,
    transfers: BTreeMap<(AssociationHandle, TransferId), Transfer>,
}

enum Transfer {
    /// Bytes of a put.
    In(Vec<u8>),
    /// Chunks of a get.
    Out(VecDeque<Chunk>),
}

impl Server {
    async fn bind(addresses: [&str; 2], user: PublicKey) -> Result<Self, Failure> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let certificate =
            rcgen::CertificateParams::new(vec!["towpath".to_owned()])?.self_signed(&pair)?;
        let private = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
        let chain = vec![certificate.der().clone()];
        Ok(Self {
            host: Host::bind(addresses, Some(PORT)).await?,
            config: server::ServerConfig {
                tls: tls_server_config(chain, private, Arc::new(DefaultTimeProvider))?,
                store: STORE,
                limits: Limits::default(),
            },
            user,
            stored: None,
            transfers: BTreeMap::new(),
        })
    }

    async fn run(mut self) -> Result<(), Failure> {
        let config = self.config.clone();
        let accept = |now| server::Connection::new(config.clone(), now).ok();
        loop {
            self.host.turn(&accept).await;
            let mut adapters = std::mem::take(&mut self.host.adapters);
            for (handle, adapter) in &mut adapters {
                let connection = adapter.connection_mut();
                while let Some(event) = connection.poll_event() {
                    self.handle_event(*handle, connection, event)?;
                }
                self.send_data(*handle, connection)?;
            }
            self.host.adapters = adapters;
        }
    }

    fn handle_event(
        &mut self,
        handle: AssociationHandle,
        connection: &mut server::Connection,
        event: server::Event,
    ) -> Result<(), Failure> {
        match event {
            server::Event::Login {
                ticket, credential, ..
            } => {
                // The connection has verified the signature; whether the key is registered is for
                // the application to say.
                let verdict = match credential {
                    server::Credential::Key(key) if key == self.user => server::Verdict::Accepted {
                        uid: USER,
                        role: Role::Maintainer,
                    },
                    _ => server::Verdict::Refused,
                };
                connection.login(ticket, verdict, Instant::now());
            }
            server::Event::Request(id, _) => {
                let refusal = Refusal::new(RefusalCode::BadRequest, "only transfers are served");
                connection.reply(id, Err(refusal))?;
            }
            server::Event::Transfer(id, event) => {
                self.handle_transfer((handle, id), connection, event)?;
            }
            server::Event::Closed(reason) => println!("server: {reason}"),
        }
        Ok(())
    }

    fn handle_transfer(
        &mut self,
        at: (AssociationHandle, TransferId),
        connection: &mut server::Connection,
        event: server::TransferEvent,
    ) -> Result<(), Failure> {
        match event {
            server::TransferEvent::Put { .. } => {
                self.transfers.insert(at, Transfer::In(Vec::new()));
                let current = self.stored.as_ref().map(|(signed, _)| signed);
                connection.accept_put(at.1, current)?;
            }
            server::TransferEvent::Data(chunk) => {
                if let Some(Transfer::In(bytes)) = self.transfers.get_mut(&at) {
                    bytes.extend_from_slice(&chunk);
                }
                connection.consumed(at.1, chunk.len());
            }
            server::TransferEvent::Proof(signed) => {
                if let Some(Transfer::In(bytes)) = self.transfers.remove(&at) {
                    self.stored = Some((signed, bytes));
                    connection.committed(at.1)?;
                }
            }
            server::TransferEvent::Get { .. } => match &self.stored {
                Some((signed, bytes)) => {
                    connection.accept_get(at.1, signed, 0)?;
                    let chunks = bytes.chunks(CHUNK_LEN).map(Chunk::from_slice).collect();
                    self.transfers.insert(at, Transfer::Out(chunks));
                }
                None => connection.abort(at.1, Refusal::new(RefusalCode::NotFound, "no file")),
            },
            server::TransferEvent::Writable => {}
            server::TransferEvent::Finished
            | server::TransferEvent::Aborted(_)
            | server::TransferEvent::Truncated => {
                self.transfers.remove(&at);
            }
        }
        Ok(())
    }

    fn send_data(
        &mut self,
        handle: AssociationHandle,
        connection: &mut server::Connection,
    ) -> Result<(), Failure> {
        for ((owner, id), transfer) in &mut self.transfers {
            if let Transfer::Out(chunks) = transfer
                && *owner == handle
                && !chunks.is_empty()
            {
                write_some(chunks, |chunk| connection.write(*id, chunk))?;
                if chunks.is_empty() {
                    connection.finish_get(*id)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes chunks until the credit or the queue ends; `Writable` follows when there is more room.
fn write_some(
    chunks: &mut VecDeque<Chunk>,
    mut write: impl FnMut(Chunk) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    while let Some(chunk) = chunks.pop_front() {
        match write(chunk) {
            Ok(()) => {}
            Err(WriteError::Blocked(chunk)) => {
                chunks.push_front(chunk);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A client that uploads a file and downloads it again.
struct Client {
    host: Host<client::Connection>,
    handle: AssociationHandle,
    key: SigningKey,
    content: Vec<u8>,
    unsent: VecDeque<Chunk>,
    received: blake3::Hasher,
    verified: bool,
}

impl Client {
    async fn connect(
        addresses: [&str; 2],
        remotes: &[SocketAddr],
        key: SigningKey,
    ) -> Result<Self, Failure> {
        let mut host = Host::bind(addresses, None).await?;
        let now = Instant::now();
        let config = client::ClientConfig {
            tls: tls_client_config(Arc::new(DefaultTimeProvider))?,
            limits: Limits::default(),
        };
        let connection = client::Connection::new(config, now)?;
        let handle = host.endpoint.connect(remotes, PORT, now)?;
        host.adapters
            .insert(handle, Adapter::new(handle, connection));
        let content: Vec<u8> = (0..FILE_LEN).map(|at| (at / 251) as u8).collect();
        Ok(Self {
            host,
            handle,
            key,
            unsent: content.chunks(CHUNK_LEN).map(Chunk::from_slice).collect(),
            content,
            received: blake3::Hasher::new(),
            verified: false,
        })
    }

    async fn run(mut self) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            self.host.turn(&|_| None).await;
            let Some(mut adapter) = self.host.adapters.remove(&self.handle) else {
                return if self.verified {
                    println!("client: up and down again in {:?}", start.elapsed());
                    Ok(())
                } else {
                    Err("the connection ended early".into())
                };
            };
            while let Some(event) = adapter.connection_mut().poll_event() {
                self.handle_event(adapter.connection_mut(), event)?;
            }
            self.host.adapters.insert(self.handle, adapter);
        }
    }

    fn handle_event(
        &mut self,
        connection: &mut client::Connection,
        event: client::Event,
    ) -> Result<(), Failure> {
        match event {
            // A real client compares the server's key with the one it knows.
            client::Event::Identified { .. } => connection.trust()?,
            client::Event::UserWanted => connection.login_user(&UserName::parse("alice")?)?,
            client::Event::CredentialWanted { .. } => connection.login_key(&self.key)?,
            client::Event::LoggedIn { .. } => {
                connection.put(path()?, self.content.len() as u64)?;
            }
            client::Event::Transfer(id, event) => self.handle_transfer(connection, id, event)?,
            client::Event::Closed(reason) => println!("client: {reason}"),
            client::Event::LoginRefused { .. } => return Err("the login was refused".into()),
            client::Event::Reply(..) => {}
        }
        Ok(())
    }

    fn handle_transfer(
        &mut self,
        connection: &mut client::Connection,
        id: TransferId,
        event: client::TransferEvent,
    ) -> Result<(), Failure> {
        match event {
            client::TransferEvent::PutAccepted { .. } => {}
            client::TransferEvent::Writable if !self.unsent.is_empty() => {
                write_some(&mut self.unsent, |chunk| connection.write(id, chunk))?;
                if self.unsent.is_empty() {
                    connection.finish_put(id, &self.sign()?)?;
                }
            }
            client::TransferEvent::Writable => {}
            // The connection has verified the manifest's signature, store and path.
            client::TransferEvent::GetAccepted { signed, .. } => {
                println!(
                    "client: {} is signed by {}",
                    path()?,
                    signed.signer().fingerprint()
                );
            }
            client::TransferEvent::Data(chunk) => {
                self.received.update(&chunk);
                connection.consumed(id, chunk.len());
            }
            client::TransferEvent::Finished if self.received.count() == 0 => {
                connection.get(path()?, 0, None)?;
            }
            client::TransferEvent::Finished => {
                self.verified = self.received.finalize() == blake3::hash(&self.content);
                connection.close(Instant::now());
            }
            client::TransferEvent::ProofWanted { .. } => return Err("someone else wrote".into()),
            client::TransferEvent::Aborted(refusal) => return Err(refusal.to_string().into()),
            client::TransferEvent::Truncated => return Err("cut off".into()),
        }
        Ok(())
    }

    fn sign(&self) -> Result<SignedManifest, Failure> {
        let manifest = Manifest {
            store: STORE,
            path: path()?,
            content: Content::File {
                size: self.content.len() as u64,
                hash: Blake3Hash::from_bytes(*blake3::hash(&self.content).as_bytes()),
                mtime: Timestamp::from_system_time(SystemTime::now()),
                mode: 0o644,
            },
            version: 1,
            previous: None,
            uid: USER,
            name: UserName::parse("alice")?,
            key: self.key.public().fingerprint(),
            signed_at: Timestamp::from_system_time(SystemTime::now()),
        };
        Ok(SignedManifest::sign(manifest, &self.key)?)
    }
}

fn path() -> Result<FilePath, Failure> {
    Ok(FilePath::parse("report.bin")?)
}

fn seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(seed)
}
