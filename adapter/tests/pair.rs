//! Two adapters over two endpoints, without sockets and with time moved by hand.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::time_provider::DefaultTimeProvider;
use towpath_adapter::{Adapter, Connection, SEND_QUEUE};
use towpath_protocol::channel::{CHUNK_LEN, Chunk, tls_client_config, tls_server_config};
use towpath_protocol::signed::{FilePath, SigningKey, StoreId, UserId, UserName};
use towpath_protocol::{CloseReason, Limits, Role, TransferId, client, server};
use towpath_sctp::{AssociationHandle, Endpoint, EndpointConfig, Event, Message, PathId};

const PORT: u16 = 9_260;
/// The largest message of the protocol: kind, data and tag of a record.
const MAX_MESSAGE: usize = 1 + CHUNK_LEN + 16;

struct Host<C> {
    endpoint: Endpoint,
    adapter: Option<Adapter<C>>,
}

struct Pair {
    client: Host<client::Connection>,
    server: Host<server::Connection>,
    config: server::ServerConfig,
    key: SigningKey,
    now: Instant,
    /// What the client's connection said last.
    closed: Option<CloseReason>,
    put: Option<TransferId>,
    writable: bool,
}

fn endpoint(address: &str, listen: Option<u16>, seed: u8, now: Instant) -> Endpoint {
    let config = EndpointConfig {
        listen,
        addresses: vec![address.parse().unwrap()],
        ..EndpointConfig::default()
    };
    Endpoint::new(config, [seed; 32], now)
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["towpath".to_owned()])
            .unwrap()
            .self_signed(&pair)
            .unwrap();
        let private = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
        let time = Arc::new(DefaultTimeProvider);
        let mut client = endpoint("10.0.0.1:9899", None, 1, now);
        let handle = client
            .connect(&["10.0.0.2:9899".parse().unwrap()], PORT, now)
            .unwrap();
        let connection = client::Connection::new(
            client::ClientConfig {
                tls: tls_client_config(time.clone()).unwrap(),
                limits: Limits::default(),
            },
            now,
        );
        Self {
            client: Host {
                endpoint: client,
                adapter: Some(Adapter::new(handle, connection.unwrap())),
            },
            server: Host {
                endpoint: endpoint("10.0.0.2:9899", Some(PORT), 2, now),
                adapter: None,
            },
            config: server::ServerConfig {
                tls: tls_server_config(vec![certificate.der().clone()], private, time).unwrap(),
                store: StoreId::from_bytes([1; 16]),
                limits: Limits::default(),
            },
            key: SigningKey::from_seed(&[7; 32]),
            now,
            closed: None,
            put: None,
            writable: false,
        }
    }

    fn client(&mut self) -> &mut Adapter<client::Connection> {
        self.client.adapter.as_mut().unwrap()
    }

    fn handle(&self) -> AssociationHandle {
        self.client.adapter.as_ref().unwrap().handle()
    }

    /// Runs both hosts for a while.
    fn run(&mut self, lasting: Duration) {
        let until = self.now + lasting;
        while self.now < until {
            self.now += Duration::from_millis(1);
            carry(
                &mut self.client.endpoint,
                &mut self.server.endpoint,
                self.now,
            );
            carry(
                &mut self.server.endpoint,
                &mut self.client.endpoint,
                self.now,
            );
            let config = &self.config;
            turn(&mut self.client, |_| None, self.now);
            turn(
                &mut self.server,
                |now| server::Connection::new(config.clone(), now).ok(),
                self.now,
            );
            self.serve();
            self.use_client();
        }
    }

    fn serve(&mut self) {
        let Some(adapter) = &mut self.server.adapter else {
            return;
        };
        let connection = adapter.connection_mut();
        while let Some(event) = connection.poll_event() {
            match event {
                server::Event::Login { ticket, .. } => {
                    let (uid, role) = (UserId::from_bytes([2; 16]), Role::Maintainer);
                    connection.login(ticket, server::Verdict::Accepted { uid, role }, self.now);
                }
                server::Event::Transfer(id, server::TransferEvent::Put { .. }) => {
                    connection.accept_put(id, None).unwrap();
                }
                // Data is not consumed: the client's credit ends.
                _ => {}
            }
        }
    }

    fn use_client(&mut self) {
        let Some(adapter) = &mut self.client.adapter else {
            return;
        };
        let connection = adapter.connection_mut();
        while let Some(event) = connection.poll_event() {
            match event {
                client::Event::Identified { .. } => connection.trust().unwrap(),
                client::Event::UserWanted => {
                    let user = UserName::parse("alice").unwrap();
                    connection.login_user(&user).unwrap();
                }
                client::Event::CredentialWanted { .. } => connection.login_key(&self.key).unwrap(),
                client::Event::LoggedIn { .. } => {
                    let path = FilePath::parse("report.bin").unwrap();
                    self.put = Some(connection.put(path, 1 << 30).unwrap());
                }
                client::Event::Transfer(_, client::TransferEvent::Writable) => self.writable = true,
                client::Event::Closed(reason) => self.closed = Some(reason),
                _ => {}
            }
        }
    }
}

fn carry(from: &mut Endpoint, to: &mut Endpoint, now: Instant) {
    let mut buffer = Vec::new();
    while let Some(transmit) = from.poll_transmit(now, &mut buffer) {
        let path = PathId::new(transmit.path.remote, transmit.path.local);
        for packet in buffer.chunks(transmit.segment_size) {
            to.handle_datagram(path, packet, now);
        }
    }
}

fn turn<C: Connection>(host: &mut Host<C>, accept: impl Fn(Instant) -> Option<C>, now: Instant) {
    host.endpoint.handle_timeout(now);
    while let Some((handle, event)) = host.endpoint.poll_event() {
        if let Event::Connected { accepted: true, .. } = event {
            host.adapter = accept(now).map(|connection| Adapter::new(handle, connection));
        }
        if let Some(adapter) = &mut host.adapter {
            adapter.handle_event(&event, now);
        }
    }
    if let Some(adapter) = &mut host.adapter {
        adapter.handle_timeout(now);
        adapter.run(&mut host.endpoint, now);
    }
}

#[test]
fn a_stopped_peer_fills_no_more_than_the_queue() {
    let mut pair = Pair::new();
    pair.run(Duration::from_millis(300));
    let put = pair.put.expect("logged in");
    let (mut most, mut written) = (0, 0);
    // Nothing gets through for a while.
    for _ in 0..100 {
        while pair.client().connection().capacity(put) >= CHUNK_LEN {
            let mut chunk = Chunk::new();
            chunk.resize(CHUNK_LEN);
            pair.client().connection_mut().write(put, chunk).unwrap();
            written += CHUNK_LEN;
        }
        turn(&mut pair.client, |_| None, pair.now);
        most = most.max(pair.client.endpoint.unsent(pair.handle()));
    }
    assert!(written > SEND_QUEUE + MAX_MESSAGE, "{written}");
    assert!(
        (SEND_QUEUE..SEND_QUEUE + MAX_MESSAGE).contains(&most),
        "{most}"
    );
    // The control stream still works: the connection ends in order on both sides.
    let now = pair.now;
    pair.client().connection_mut().close(now);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.closed, Some(CloseReason::Local));
    assert!(pair.client().is_finished());
    assert!(pair.server.adapter.as_ref().unwrap().is_finished());
    assert_eq!(pair.client.endpoint.associations(), 0);
}

#[test]
fn a_lost_association_ends_the_connection() {
    let mut pair = Pair::new();
    pair.run(Duration::from_millis(300));
    let server = pair.server.adapter.as_ref().unwrap().handle();
    pair.server.endpoint.abort(server, b"", pair.now).unwrap();
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.closed, Some(CloseReason::Lost));
    assert!(pair.client().is_finished());
}

#[test]
fn an_unordered_message_ends_the_connection() {
    let mut pair = Pair::new();
    pair.run(Duration::from_millis(300));
    let server = pair.server.adapter.as_ref().unwrap().handle();
    let message = Message {
        unordered: true,
        ..Message::new(1, vec![0; 100])
    };
    pair.server.endpoint.send(server, message).unwrap();
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.closed, Some(CloseReason::Lost));
    assert!(pair.client().is_finished());
    assert_eq!(pair.server.endpoint.associations(), 0, "the peer is told");
}

#[test]
fn what_arrived_before_the_end_is_handed_over_first() {
    let mut pair = Pair::new();
    pair.run(Duration::from_millis(300));
    let now = pair.now;
    // The server closes in order: its final messages and the end of the association reach the
    // client in one turn.
    pair.server
        .adapter
        .as_mut()
        .unwrap()
        .connection_mut()
        .close(now);
    turn(&mut pair.server, |_| None, now);
    for _ in 0..4 {
        carry(&mut pair.server.endpoint, &mut pair.client.endpoint, now);
        carry(&mut pair.client.endpoint, &mut pair.server.endpoint, now);
    }
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.closed, Some(CloseReason::Peer), "not Lost");
    assert!(pair.client().is_finished());
}
