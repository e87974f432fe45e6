//! The client's side of a connection.
//!
//! ```text
//! Identified ─ trust() ─▶ UserWanted ─ login_user() ─▶ CredentialWanted ─ login_password() | login_key() ─▶ LoggedIn
//!                                                            ▲                                  │
//!                                                            └────────── LoginRefused ◀─────────┘
//! request() ─▶ Reply
//! get() ─▶ GetAccepted ─▶ Data… ─▶ Finished                      at any point: Refused, or Truncated and Closed
//! put() ─▶ PutAccepted ─ write()… ─ finish_put() ─▶ Finished     ─▶ ProofWanted ─ finish_put() ─▶ …
//! ```

mod event;
mod login;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
pub use event::Event;

use self::login::{Server, Stage};
use self::transfer::Phase;
use crate::channel::link::{LinkChange, Transmit};
use crate::channel::tls::Tls;
use crate::channel::{Chunk, TlsConfigError};
use crate::connection::{Session, is_of};
use crate::error::{CloseReason, ProtocolError, UsageError, WriteError};
use crate::limits::{
    Limits, MAX_LOGIN_LEN, MAX_PASSWORD_LEN, MAX_PATH_LEN, MAX_PENDING_REQUESTS, MAX_REPLY_LEN,
    MAX_REQUEST_LEN,
};
use crate::request::Asked;
use crate::wire::control::{ClientMessage, ServerMessage};
use crate::{Refusal, RefusalCode, Reply, Request, RequestId, TransferId};

/// What a client's connection is made from.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Of [`tls_client_config`](crate::channel::tls_client_config).
    pub tls: Arc<rustls::ClientConfig>,
    /// What we allow the server, and how long we wait.
    pub limits: Limits,
}

/// A client's connection: messages and time in, messages and events out.
///
/// After each call of a `handle_*` or of anything else that changes state, drain
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event), and ask
/// [`poll_timeout`](Self::poll_timeout) again.
pub struct Connection {
    session: Session<Event, Phase>,
    stage: Stage,
    /// There from the server's hello on.
    server: Option<Server>,
    requests: BTreeMap<RequestId, Asked>,
    next_request: u32,
}

impl Connection {
    /// A connection whose association is being established: begins with [`LinkChange::Up`].
    ///
    /// # Errors
    /// When the TLS settings are not those of [`tls_client_config`](crate::channel::tls_client_config) and
    /// rustls refuses them.
    pub fn new(config: ClientConfig, now: Instant) -> Result<Self, TlsConfigError> {
        let tls = Tls::client(config.tls)?;
        Ok(Self {
            session: Session::new(config.limits, tls, now),
            stage: Stage::Handshake,
            server: None,
            requests: BTreeMap::new(),
            next_request: 0,
        })
    }

    /// Takes a message from the carrier. Before `Up` and after the end it is ignored.
    pub fn handle_message(&mut self, stream: u16, payload: BytesMut, now: Instant) {
        if !self.session.is_up() {
            return;
        }
        self.session.heard(now);
        let done = match stream {
            0 => self.handle_control(&payload, now),
            _ => self
                .handle_record(stream, payload)
                .map_err(CloseReason::Protocol),
        };
        if let Err(reason) = done {
            self.shut(reason, now);
        }
    }

    /// Takes a change of the link.
    pub fn handle_link(&mut self, change: LinkChange, now: Instant) {
        if let Some(reason) = self.session.handle_link(change, now) {
            self.shut(reason, now);
        }
    }

    /// Does what is due. Afterwards [`poll_timeout`](Self::poll_timeout) is later than `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(reason) = self.session.handle_timeout(now) {
            self.shut(reason, now);
        }
    }

    /// The next message for the carrier: control first, then the transfers in turn. Ask only as
    /// long as the carrier takes more.
    #[must_use = "the message is lost if it is not sent"]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let (transmit, writable) = self.session.poll_transmit()?;
        if let Some(transfer) = writable {
            self.session.events.push_back(Event::Writable { transfer });
        }
        Some(transmit)
    }

    /// The next event.
    #[must_use = "the event is lost if it is not handled"]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.session.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    /// Whether the carrier may bring more messages: `false` while events or control messages pile
    /// up.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.session.wants_read()
    }

    /// Whether the connection is over and everything has been handed to the carrier.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    /// Ends the connection in order: open transfers are aborted, what is queued goes out, then TLS
    /// says goodbye; what the peer does not take within [`Limits::close_timeout`] is dropped.
    pub fn close(&mut self, now: Instant) {
        if self.session.is_over() {
            return;
        }
        self.abort_all();
        self.session.flush(now);
        self.session
            .events
            .push_back(Event::Closed(CloseReason::Local));
    }

    /// Sends a request; its answer is an [`Event::Reply`].
    ///
    /// # Errors
    /// `WrongState` before login, `Closed`, `TooManyRequests`, `TooLong` for a list prefix longer
    /// than any path, or for a password longer than [`MAX_PASSWORD_LEN`].
    pub fn request(&mut self, request: Request) -> Result<RequestId, UsageError> {
        self.ready()?;
        if self.requests.len() >= MAX_PENDING_REQUESTS {
            return Err(UsageError::TooManyRequests);
        }
        let too_long = match &request {
            Request::List { prefix, .. } => prefix.len() > MAX_PATH_LEN,
            Request::AddUser {
                password: Some(password),
                ..
            } => password.as_str().len() > MAX_PASSWORD_LEN,
            _ => false,
        };
        if too_long {
            return Err(UsageError::TooLong);
        }
        let id = RequestId(self.next_request);
        let message = ClientMessage::request(id.0, &request);
        debug_assert!(message.len() <= MAX_REQUEST_LEN);
        // Four thousand million requests later the old ones are long answered.
        self.next_request = self.next_request.wrapping_add(1);
        self.requests.insert(id, request.asked());
        self.session.send(&message);
        Ok(id)
    }

    fn ready(&self) -> Result<&Server, UsageError> {
        if self.session.is_over() {
            return Err(UsageError::Closed);
        }
        match (&self.stage, &self.server) {
            (Stage::Ready, Some(server)) => Ok(server),
            _ => Err(UsageError::WrongState),
        }
    }

    fn handle_control(&mut self, payload: &[u8], now: Instant) -> Result<(), CloseReason> {
        self.session.receive_control(payload)?;
        self.handle_messages(now)?;
        self.session.peer_closed().map_or(Ok(()), Err)
    }

    fn handle_messages(&mut self, now: Instant) -> Result<(), CloseReason> {
        if matches!(self.stage, Stage::Handshake) {
            match self.session.established().map_err(CloseReason::Protocol)? {
                Some(established) => self.greet(established),
                None => return Ok(()),
            }
        }
        loop {
            let longest = match self.stage {
                Stage::Ready => MAX_REPLY_LEN,
                _ => MAX_LOGIN_LEN,
            };
            let message = self
                .session
                .next_message(longest, ServerMessage::decode)
                .map_err(CloseReason::Protocol)?;
            match message {
                None => return Ok(()),
                Some(ServerMessage::Common(common)) => self.session.handle_common(common)?,
                Some(ServerMessage::Reply { id, result }) => {
                    self.handle_reply(RequestId(id), result)
                        .map_err(CloseReason::Protocol)?;
                }
                Some(message) => self
                    .handle_login(message, now)
                    .map_err(CloseReason::Protocol)?,
            }
        }
    }

    fn handle_reply(
        &mut self,
        id: RequestId,
        result: Result<Reply, Refusal>,
    ) -> Result<(), ProtocolError> {
        let asked = self.requests.remove(&id).ok_or(ProtocolError::Unexpected)?;
        if let Ok(reply) = &result {
            if !asked.fits(reply) {
                return Err(ProtocolError::Unexpected);
            }
            if let (
                Asked::Stat(path),
                Reply::Stat {
                    current: Some(signed),
                },
            ) = (&asked, reply)
            {
                let server = self.server.as_ref().ok_or(ProtocolError::Unexpected)?;
                if !is_of(signed, server.store, path) {
                    return Err(ProtocolError::Manifest);
                }
            }
        }
        self.session.events.push_back(Event::Reply { id, result });
        Ok(())
    }

    fn abort_all(&mut self) {
        let ids = self
            .session
            .streams
            .as_ref()
            .map(|streams| streams.live_ids())
            .unwrap_or_default();
        for transfer in ids {
            if self.is_committed(transfer) {
                self.session.events.push_back(Event::Finished { transfer });
                continue;
            }
            self.abort(
                transfer,
                Refusal::new(RefusalCode::Cancelled, "the client closes the connection"),
            );
            self.session.events.push_back(Event::Truncated { transfer });
        }
    }

    fn shut(&mut self, reason: CloseReason, now: Instant) {
        if self.session.is_over() {
            return;
        }
        for (transfer, phase) in self.session.shut(&reason, now) {
            self.session.events.push_back(match phase {
                Phase::Committed => Event::Finished { transfer },
                _ => Event::Truncated { transfer },
            });
        }
        self.requests.clear();
        self.session.events.push_back(Event::Closed(reason));
    }
}

/// Data and credit, the same on both sides.
impl Connection {
    /// Bytes that [`write`](Self::write) takes now: the peer's credit, as far as there is room to
    /// queue.
    #[must_use]
    pub fn capacity(&self, transfer: TransferId) -> usize {
        let streams = self.session.streams.as_ref();
        streams
            .and_then(|streams| streams.peek(transfer))
            .map_or(0, |active| active.capacity())
    }

    /// Sends data of a put. An empty chunk does nothing.
    ///
    /// # Errors
    /// See [`WriteError`]; the chunk comes back.
    pub fn write(&mut self, transfer: TransferId, chunk: Chunk) -> Result<(), WriteError> {
        match self
            .session
            .streams
            .as_mut()
            .and_then(|streams| streams.live(transfer))
        {
            Some(active) => active.write(chunk),
            None => Err(WriteError::Unknown(chunk)),
        }
    }

    /// Says that data of a get has been dealt with: the server may send as much again. Ignored for
    /// transfers that have ended.
    pub fn consumed(&mut self, transfer: TransferId, bytes: usize) {
        if let Some(active) = self
            .session
            .streams
            .as_mut()
            .and_then(|streams| streams.live(transfer))
        {
            active.consumed(bytes);
        }
    }
}
