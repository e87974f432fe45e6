//! A peer that holds the keys and keeps no rule: it can send any control message and any record.

use std::time::Instant;

use bytes::BytesMut;
use zeroize::Zeroizing;

use super::pair::{Host, PASSWORD, STORE, UID, accepted, client_tls, now};
use crate::channel::chunk::Chunk;
use crate::channel::keys::Direction;
use crate::channel::kind::RecordKind;
use crate::channel::streams::{Active, Incoming};
use crate::channel::tls::{Established, Tls};
use crate::channel::{LinkChange, Transmit};
use crate::client;
use crate::connection::{Connection, Progress, Side};
use crate::limits::MAX_REPLY_LEN;
use crate::server;
use crate::wire::control::{ClientMessage, ServerMessage};
use crate::{CloseReason, Limits, ProtocolError, Refusal, Role, TransferId};

/// A side without rules. It takes messages apart by itself, so nothing but the sending half of its
/// connection is used.
pub(crate) struct Lawless;

impl Side for Lawless {
    type Event = ();
    type Phase = ();

    const NAME: &'static str = "rogue";

    fn transfer_event(_: TransferId, _: Progress) {}

    fn closed_event(_: CloseReason) {}

    fn is_ready(&self) -> bool {
        true
    }

    fn handle_next(_: &mut Connection<Self>, _: Instant) -> Result<bool, CloseReason> {
        Ok(false)
    }

    fn handle_body(
        _: &mut Connection<Self>,
        _: TransferId,
        _: RecordKind,
        _: &[u8],
    ) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn is_committed((): &()) -> bool {
        false
    }

    fn check_data((): &mut (), _: u64) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn check_end((): &(), _: bool) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn handle_abort((): &(), refusal: Refusal) -> Result<Progress, ProtocolError> {
        Ok(Progress::Aborted(refusal))
    }
}

pub(crate) struct Rogue {
    pub(crate) session: Connection<Lawless>,
    direction: Direction,
    established: Option<Established>,
    greeted: bool,
    /// Bodies of control messages, type first.
    pub(crate) heard: Vec<Vec<u8>>,
    pub(crate) records: Vec<(TransferId, Incoming)>,
    /// Whether the peer has said that nothing more comes.
    pub(crate) goodbye: bool,
}

impl Rogue {
    fn new(tls: Tls, direction: Direction, now: Instant) -> Self {
        let mut session = Connection::with_side(Lawless, Limits::default(), tls, now);
        session.handle_link(LinkChange::Up { streams: 65 }, now);
        Self {
            session,
            direction,
            established: None,
            greeted: false,
            heard: Vec::new(),
            records: Vec::new(),
            goodbye: false,
        }
    }

    fn feed(&mut self, stream: u16, payload: BytesMut) {
        if stream > 0 {
            let streams = self.session.streams.as_mut().unwrap();
            let (id, incoming) = streams.receive(stream, payload).unwrap();
            if let Some(active) = streams.opened(id) {
                active.phase = Some(());
                match incoming {
                    Incoming::Message(RecordKind::Open, _) => active.start_receiving(4 << 20),
                    Incoming::Message(RecordKind::Reply, _) => active.start_writing(4 << 20),
                    _ => {}
                }
            }
            self.records.push((id, incoming));
            return;
        }
        self.session.receive_control(&payload).unwrap();
        if !self.greeted
            && let Some(established) = self.session.tls().established().unwrap()
        {
            self.greeted = true;
            self.established = Some(established);
        }
        while let Some(body) = self
            .session
            .next_message(MAX_REPLY_LEN, |body| Ok(body.to_vec()))
            .unwrap()
        {
            self.heard.push(body);
        }
        self.goodbye |= self.session.peer_closed().is_some();
    }

    pub(crate) fn agree(&mut self) {
        let established = self.established.take().unwrap();
        self.session.agree(established, self.direction, 64);
    }

    pub(crate) fn send(&mut self, message: &Zeroizing<Vec<u8>>) {
        self.session.send(message);
    }

    /// A control message of this type and body.
    pub(crate) fn say(&mut self, kind: u8, body: &[u8]) {
        let len = u32::try_from(1 + body.len()).unwrap();
        let frame = [&len.to_be_bytes()[..], &[kind], body].concat();
        self.session.send(&frame);
    }

    pub(crate) fn open(&mut self, kind: RecordKind, body: &[u8]) -> TransferId {
        let active = self.session.streams.as_mut().unwrap().open(()).unwrap();
        active.queue(kind, Chunk::from_slice(body));
        active.id
    }

    pub(crate) fn active(&mut self, id: TransferId) -> &mut Active<()> {
        self.session.streams.as_mut().unwrap().opened(id).unwrap()
    }

    pub(crate) fn record(&mut self, id: TransferId, kind: RecordKind, body: &[u8]) {
        self.active(id).queue(kind, Chunk::from_slice(body));
    }

    /// The code of the last Close message.
    pub(crate) fn close_code(&self) -> Option<u8> {
        let body = self.heard.last().filter(|body| body[0] == 0x22)?;
        body.get(1).copied()
    }
}

fn owned(transmit: Transmit) -> (u16, BytesMut) {
    (transmit.stream, BytesMut::from(&transmit.payload[..]))
}

/// A rogue client against a real server.
pub(crate) struct VersusServer {
    pub(crate) rogue: Rogue,
    pub(crate) server: server::Connection,
    pub(crate) events: Vec<server::Event>,
    pub(crate) now: Instant,
}

impl VersusServer {
    /// After the TLS handshake; nothing is said yet.
    pub(crate) fn new() -> Self {
        let now = now();
        let config = server::ServerConfig {
            tls: Host::new().tls,
            store: STORE,
            limits: Limits::default(),
        };
        let mut server = server::Connection::new(config, now).unwrap();
        server.handle_link(LinkChange::Up { streams: 65 }, now);
        let rogue = Rogue::new(
            Tls::client(client_tls()).unwrap(),
            Direction::ClientToServer,
            now,
        );
        let mut all = Self {
            rogue,
            server,
            events: Vec::new(),
            now,
        };
        all.run();
        all
    }

    pub(crate) fn greeted() -> Self {
        let mut all = Self::new();
        all.rogue.send(&ClientMessage::hello(64));
        all.rogue.agree();
        all.run();
        all
    }

    pub(crate) fn logged_in() -> Self {
        let mut all = Self::greeted();
        all.rogue.send(&ClientMessage::user("alice"));
        all.rogue.send(&ClientMessage::password(PASSWORD));
        all.run();
        let Some(server::Event::Login { ticket, .. }) = all.events.pop() else {
            panic!("no login");
        };
        all.server.login(ticket, accepted(), all.now);
        all.run();
        all
    }

    pub(crate) fn run(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(transmit) = self.rogue.session.poll_transmit() {
                let (stream, payload) = owned(transmit);
                self.server.handle_message(stream, payload, self.now);
                quiet = false;
            }
            self.events
                .extend(std::iter::from_fn(|| self.server.poll_event()));
            while let Some(transmit) = self.server.poll_transmit() {
                let (stream, payload) = owned(transmit);
                self.rogue.feed(stream, payload);
                quiet = false;
            }
            if quiet {
                return;
            }
        }
    }

    pub(crate) fn closed(&self) -> Option<&CloseReason> {
        match self.events.last() {
            Some(server::Event::Closed(reason)) => Some(reason),
            _ => None,
        }
    }
}

/// A rogue server against a real client.
pub(crate) struct VersusClient {
    pub(crate) rogue: Rogue,
    pub(crate) client: client::Connection,
    pub(crate) events: Vec<client::Event>,
    pub(crate) now: Instant,
}

impl VersusClient {
    /// After the TLS handshake; nothing is said yet.
    pub(crate) fn new() -> Self {
        let now = now();
        let config = client::ClientConfig {
            tls: client_tls(),
            limits: Limits::default(),
        };
        let mut client = client::Connection::new(config, now).unwrap();
        client.handle_link(LinkChange::Up { streams: 65 }, now);
        let rogue = Rogue::new(
            Tls::server(Host::new().tls).unwrap(),
            Direction::ServerToClient,
            now,
        );
        let mut all = Self {
            rogue,
            client,
            events: Vec::new(),
            now,
        };
        all.run();
        all
    }

    pub(crate) fn logged_in() -> Self {
        let mut all = Self::new();
        all.rogue.send(&ServerMessage::hello(64, STORE));
        all.rogue.agree();
        all.rogue.send(&ServerMessage::ask_user());
        all.run();
        all.client.trust().unwrap();
        all.client
            .login_user(&crate::signed::UserName::parse("alice").unwrap())
            .unwrap();
        all.rogue.send(&ServerMessage::ask_credential(3));
        all.run();
        all.client
            .login_password(&Zeroizing::new(PASSWORD.to_owned()))
            .unwrap();
        all.rogue.send(&ServerMessage::logged_in(UID, Role::Guest));
        all.run();
        assert!(matches!(
            all.events.last(),
            Some(client::Event::LoggedIn { .. })
        ));
        all.events.clear();
        all
    }

    pub(crate) fn run(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(transmit) = self.rogue.session.poll_transmit() {
                let (stream, payload) = owned(transmit);
                self.client.handle_message(stream, payload, self.now);
                quiet = false;
            }
            self.events
                .extend(std::iter::from_fn(|| self.client.poll_event()));
            while let Some(transmit) = self.client.poll_transmit() {
                let (stream, payload) = owned(transmit);
                self.rogue.feed(stream, payload);
                quiet = false;
            }
            if quiet {
                return;
            }
        }
    }

    pub(crate) fn closed(&self) -> Option<&CloseReason> {
        match self.events.last() {
            Some(client::Event::Closed(reason)) => Some(reason),
            _ => None,
        }
    }
}
