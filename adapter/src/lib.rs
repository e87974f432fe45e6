//! Joins a connection of [`towpath_protocol`] to an association of [`towpath_sctp`].
//!
//! Both crates are state machines without sockets, clocks or threads, and neither knows the other.
//! What lies between them is the same in every event loop, and easy to get wrong; it is here:
//!
//! - events of the association become changes of the link, in order: what had arrived before the
//!   end is handed over before the end is;
//! - at most [`SEND_QUEUE`] bytes wait in the association, so that an Abort, a reply or a small
//!   file overtakes what the connection still holds;
//! - a message that the association does not take is kept and offered again first;
//! - while the connection takes nothing, messages stay in the association, and its receive window
//!   closes: back pressure reaches the peer;
//! - when the connection is over, the association is shut down, and what still arrives is
//!   discarded.
//!
//! The event loop feeds the [`Endpoint`] with datagrams and time, and after each turn calls
//! [`Adapter::handle_event`] for each event and [`Adapter::run`]. The examples have a client and a
//! server on tokio.

#![forbid(unsafe_code)]

use std::time::Instant;

use bytes::BytesMut;
use towpath_protocol::channel::{LinkChange, Transmit};
use towpath_protocol::{client, server};
use towpath_sctp::{AssociationHandle, Endpoint, Event, Message, SendError};

/// Bytes that may wait in the association before the connection is asked for no more.
///
/// The connection decides what goes next as late as possible; 256 KiB are enough to fill a train of
/// packets.
pub const SEND_QUEUE: usize = 256 * 1024;

/// Either side of a connection, as far as it concerns the transport.
pub trait Connection {
    /// Takes a message of the peer.
    fn handle_message(&mut self, stream: u16, payload: BytesMut, now: Instant);
    /// Takes a change of the association.
    fn handle_link(&mut self, change: LinkChange, now: Instant);
    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);
    /// The next message for the peer.
    #[must_use]
    fn poll_transmit(&mut self) -> Option<Transmit>;
    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    fn poll_timeout(&self) -> Option<Instant>;
    /// Whether it takes messages now.
    #[must_use]
    fn wants_read(&self) -> bool;
    /// Whether it is over and has handed out its last message.
    #[must_use]
    fn is_closed(&self) -> bool;
}

macro_rules! side {
    ($connection:ty) => {
        impl Connection for $connection {
            fn handle_message(&mut self, stream: u16, payload: BytesMut, now: Instant) {
                self.handle_message(stream, payload, now);
            }
            fn handle_link(&mut self, change: LinkChange, now: Instant) {
                self.handle_link(change, now);
            }
            fn handle_timeout(&mut self, now: Instant) {
                self.handle_timeout(now);
            }
            fn poll_transmit(&mut self) -> Option<Transmit> {
                self.poll_transmit()
            }
            fn poll_timeout(&self) -> Option<Instant> {
                self.poll_timeout()
            }
            fn wants_read(&self) -> bool {
                self.wants_read()
            }
            fn is_closed(&self) -> bool {
                self.is_closed()
            }
        }
    };
}
side!(client::Connection);
side!(server::Connection);

/// How far the association is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Being set up, or carrying messages.
    Open,
    /// Its end is known; messages that arrived before it may wait in the endpoint.
    Ending(LinkChange),
    /// Our side is shutting it down.
    Closing,
    /// The connection knows of the end, or the endpoint has none of it any more.
    Ended,
}

/// A connection over one association of an endpoint.
#[derive(Debug)]
pub struct Adapter<C> {
    handle: AssociationHandle,
    connection: C,
    phase: Phase,
    /// A message that the association had no room for.
    unsent: Option<Message>,
}

impl<C: Connection> Adapter<C> {
    /// Joins a connection to an association that is being set up: the handle of
    /// [`Endpoint::connect`], or of an [`Event::Connected`] with `accepted`, which is then the
    /// first event to hand over.
    pub const fn new(handle: AssociationHandle, connection: C) -> Self {
        Self {
            handle,
            connection,
            phase: Phase::Open,
            unsent: None,
        }
    }

    /// The association.
    pub const fn handle(&self) -> AssociationHandle {
        self.handle
    }

    /// The connection.
    pub const fn connection(&self) -> &C {
        &self.connection
    }

    /// The connection, for its events and calls; [`run`](Self::run) afterwards.
    pub const fn connection_mut(&mut self) -> &mut C {
        &mut self.connection
    }

    /// Takes an event of the association.
    pub fn handle_event(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Connected {
                outbound, inbound, ..
            } => {
                let streams = *outbound.min(inbound);
                self.connection.handle_link(LinkChange::Up { streams }, now);
            }
            Event::PathChanged { .. } => {
                self.connection.handle_link(LinkChange::PathChanged, now);
            }
            Event::Closed(reason) => {
                let change = match reason {
                    towpath_sctp::CloseReason::Shutdown => LinkChange::PeerClosed,
                    _ => LinkChange::Lost,
                };
                self.phase = match self.phase {
                    Phase::Open => Phase::Ending(change),
                    _ => Phase::Ended,
                };
            }
            // `run` reads and writes as far as both sides go, whatever woke it. The peer's
            // shutdown ends with `Closed`.
            _ => {}
        }
    }

    /// Does what is due at [`poll_timeout`](Self::poll_timeout); [`run`](Self::run) afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.connection.poll_timeout().is_some_and(|due| due <= now) {
            self.connection.handle_timeout(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; beside the endpoint's own deadline.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    /// Whether both the connection and its association are over, so that the adapter can be
    /// dropped. Events of the connection may still wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Ended && self.connection.is_closed()
    }

    /// Moves messages both ways as far as they go, and shuts the association down when the
    /// connection is over. True if anything moved: the connection may have events, the endpoint
    /// datagrams.
    pub fn run(&mut self, endpoint: &mut Endpoint, now: Instant) -> bool {
        let received = self.receive(endpoint, now);
        let sent = self.send(endpoint, now);
        if self.phase == Phase::Closing {
            // What the peer had sent before it heard of the end. The endpoint reports `Closed` only
            // when nothing waits.
            while endpoint.recv(self.handle).is_some() {}
        }
        if self.phase == Phase::Open && self.connection.is_closed() && self.unsent.is_none() {
            // Gone already is as good: its `Closed` is on the way.
            self.phase = match endpoint.shutdown(self.handle, now) {
                Ok(()) => Phase::Closing,
                Err(towpath_sctp::UnknownAssociation) => Phase::Ended,
            };
        }
        received || sent
    }

    fn receive(&mut self, endpoint: &mut Endpoint, now: Instant) -> bool {
        let mut moved = false;
        while matches!(self.phase, Phase::Open | Phase::Ending(_)) && self.connection.wants_read() {
            match endpoint.recv(self.handle) {
                // The protocol orders every message in its stream.
                Some(message) if message.unordered => self.fail(endpoint, now),
                Some(message) => {
                    let payload = BytesMut::from(message.payload);
                    self.connection.handle_message(message.stream, payload, now);
                }
                None => {
                    if let Phase::Ending(change) = self.phase {
                        self.phase = Phase::Ended;
                        self.connection.handle_link(change, now);
                        return true;
                    }
                    return moved;
                }
            }
            moved = true;
        }
        moved
    }

    fn send(&mut self, endpoint: &mut Endpoint, now: Instant) -> bool {
        let mut moved = false;
        while self.phase == Phase::Open && endpoint.unsent(self.handle) < SEND_QUEUE {
            let next = self.unsent.take().or_else(|| {
                self.connection
                    .poll_transmit()
                    .map(|Transmit { stream, payload }| Message::new(stream, payload))
            });
            let Some(message) = next else { break };
            match endpoint.send(self.handle, message) {
                Ok(()) => moved = true,
                Err(SendError::Full(message) | SendError::Connecting(message)) => {
                    self.unsent = Some(message);
                    break;
                }
                // `Closed` says why, or has said so; what was to be sent is lost with it.
                Err(SendError::Closed(_)) => break,
                // A stream that the connection was not told of, or an empty message: the connection
                // cannot go on without it.
                Err(_) => {
                    self.fail(endpoint, now);
                    return true;
                }
            }
        }
        moved
    }

    /// Ends an association whose peer, or whose connection, does what the other side cannot take.
    fn fail(&mut self, endpoint: &mut Endpoint, now: Instant) {
        self.phase = Phase::Ended;
        self.unsent = None;
        self.connection.handle_link(LinkChange::Lost, now);
        match endpoint.abort(self.handle, b"", now) {
            // One that is gone already is as good as aborted.
            Ok(()) | Err(towpath_sctp::UnknownAssociation) => {}
        }
    }
}
