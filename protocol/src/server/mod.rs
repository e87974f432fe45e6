//! The server's side of a connection.
//!
//! ```text
//! Login ─ login() ─▶ Request ─ reply()
//!                    Get ─ accept_get() ─ write()… ─ finish_get() ─▶ Finished              at any point: Aborted
//!                    Put ─ accept_put() ─▶ Data… ─▶ Proof ─ committed() ─▶ Finished
//!                                                      ▲  └ conflict() ┐
//!                                                      └───────────────┘
//! ```

mod event;
mod login;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
pub use event::{ClaimedUser, Credential, Event, Ticket, Verdict};
pub use login::Identity;

use self::login::Stage;
use self::transfer::Phase;
use crate::channel::link::{LinkChange, Transmit};
use crate::channel::tls::Tls;
use crate::channel::{Chunk, TlsConfigError};
use crate::connection::Session;
use crate::error::{CloseReason, ProtocolError, UsageError, WriteError};
use crate::limits::{Limits, MAX_LOGIN_LEN, MAX_PENDING_REQUESTS, MAX_REPLY_LEN, MAX_REQUEST_LEN};
use crate::request::Asked;
use crate::signed::StoreId;
use crate::wire::control::{ClientMessage, ServerMessage};
use crate::{Refusal, RefusalCode, Reply, Request, RequestId, TransferId};

/// What a server's connection is made from.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Of [`tls_server_config`](crate::channel::tls_server_config).
    pub tls: Arc<rustls::ServerConfig>,
    /// The store that is served.
    pub store: StoreId,
    /// What we allow the client, and how long we wait.
    pub limits: Limits,
}

/// A server's connection to one client: messages and time in, messages and events out.
///
/// After each call of a `handle_*` or of anything else that changes state, drain
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event), and ask
/// [`poll_timeout`](Self::poll_timeout) again.
pub struct Connection {
    session: Session<Event, Phase>,
    store: StoreId,
    stage: Stage,
    requests: BTreeMap<RequestId, Asked>,
}

impl Connection {
    /// A connection whose association is being established: begins with [`LinkChange::Up`].
    ///
    /// # Errors
    /// When the TLS settings are not those of [`tls_server_config`](crate::channel::tls_server_config) and
    /// rustls refuses them.
    pub fn new(config: ServerConfig, now: Instant) -> Result<Self, TlsConfigError> {
        let tls = Tls::server(config.tls)?;
        Ok(Self {
            session: Session::new(config.limits, tls, now),
            store: config.store,
            stage: Stage::Handshake,
            requests: BTreeMap::new(),
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
        let ids = self
            .session
            .streams
            .as_ref()
            .map(|streams| streams.live_ids())
            .unwrap_or_default();
        for transfer in ids {
            let event = if self.is_committed(transfer) {
                Event::Finished { transfer }
            } else {
                self.abort(
                    transfer,
                    Refusal::new(RefusalCode::Cancelled, "the server closes the connection"),
                );
                Event::Aborted {
                    transfer,
                    refusal: None,
                }
            };
            self.session.events.push_back(event);
        }
        self.session.flush(now);
        self.requests.clear();
        self.session
            .events
            .push_back(Event::Closed(CloseReason::Local));
    }

    /// Answers a request. An answer to a request that is no longer open is ignored; one that no
    /// message holds is refused as too large instead.
    ///
    /// # Errors
    /// `WrongReply` if the reply is not of the kind that was asked for; the request stays open.
    pub fn reply(
        &mut self,
        id: RequestId,
        result: Result<Reply, Refusal>,
    ) -> Result<(), UsageError> {
        let Some(asked) = self.requests.get(&id) else {
            return Ok(());
        };
        if result.as_ref().is_ok_and(|reply| !asked.fits(reply)) {
            return Err(UsageError::WrongReply);
        }
        self.requests.remove(&id);
        let mut message = ServerMessage::reply(id.0, result.as_ref());
        if message.len() > MAX_REPLY_LEN {
            let refusal = Refusal::new(
                RefusalCode::TooLarge,
                "the answer does not fit in a message",
            );
            message = ServerMessage::reply(id.0, Err(&refusal));
        }
        self.session.send(&message);
        Ok(())
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
                Stage::Ready(_) => MAX_REQUEST_LEN,
                _ => MAX_LOGIN_LEN,
            };
            let message = self
                .session
                .next_message(longest, ClientMessage::decode)
                .map_err(CloseReason::Protocol)?;
            match message {
                None => return Ok(()),
                Some(ClientMessage::Common(common)) => self.session.handle_common(common)?,
                Some(ClientMessage::Request { id, request }) => {
                    self.handle_request(RequestId(id), request)
                        .map_err(CloseReason::Protocol)?;
                }
                Some(message) => self.handle_login(message, now)?,
            }
        }
    }

    fn handle_request(
        &mut self,
        id: RequestId,
        request: Result<Request, Refusal>,
    ) -> Result<(), ProtocolError> {
        if !matches!(self.stage, Stage::Ready(_)) || self.requests.contains_key(&id) {
            return Err(ProtocolError::Unexpected);
        }
        if self.requests.len() >= MAX_PENDING_REQUESTS {
            return Err(ProtocolError::Requests);
        }
        match request {
            Ok(request) => {
                self.requests.insert(id, request.asked());
                self.session
                    .events
                    .push_back(Event::Request { id, request });
            }
            Err(refusal) => {
                let message = ServerMessage::reply(id.0, Err(&refusal));
                self.session.send(&message);
            }
        }
        Ok(())
    }

    fn shut(&mut self, reason: CloseReason, now: Instant) {
        if self.session.is_over() {
            return;
        }
        for (transfer, phase) in self.session.shut(&reason, now) {
            self.session.events.push_back(match phase {
                Phase::Committed => Event::Finished { transfer },
                _ => Event::Aborted {
                    transfer,
                    refusal: None,
                },
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

    /// Sends data of a get. An empty chunk does nothing.
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

    /// Says that data of a put has been dealt with: the client may send as much again. Ignored for
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
