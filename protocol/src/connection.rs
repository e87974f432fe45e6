//! What client and server have in common: the life of the connection, stream 0, deadlines, and the
//! order of sending.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::TransferId;
use crate::channel::keys::Direction;
use crate::channel::link::{LinkChange, Transmit};
use crate::channel::streams::Streams;
use crate::channel::tls::{Established, Tls};
use crate::error::{CloseCode, CloseReason, Deadline, ProtocolError};
use crate::limits::{CONTROL_QUEUE_LEN, EVENT_QUEUE_LEN, Limits, MAX_RECORD_LEN};
use crate::signed::SignedManifest;
use crate::wire::control::{Common, frame_len, split_frame};

/// The common part of a connection with events `E` and transfers in phase `P`.
pub(crate) struct Session<E, P> {
    pub(crate) limits: Limits,
    life: Life,
    tls: Tls,
    /// There from the hello on.
    pub(crate) streams: Option<Streams<P>>,
    pub(crate) events: VecDeque<E>,
    deadline: Option<(Instant, Deadline)>,
    /// Once the connection is over: when what is still queued is given up.
    farewell: Option<Instant>,
    keepalive: Keepalive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// No association yet.
    Down,
    /// The association is there, with this many streams.
    Up { streams: u16 },
    /// Closed by the application; Ends and Aborts of transfers still go out, then TLS says so.
    Flushing,
    /// Nothing is listened to, and only what is queued for stream 0 still goes out.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keepalive {
    Off,
    /// The peer has last been heard.
    Heard {
        at: Instant,
    },
    /// The peer has been asked for a sign of life.
    Asked {
        at: Instant,
    },
}

impl<E, P> Session<E, P> {
    pub(crate) fn new(limits: Limits, tls: Tls, now: Instant) -> Self {
        let limits = limits.clamped();
        Self {
            deadline: Some((now + limits.link_timeout, Deadline::Link)),
            limits,
            life: Life::Down,
            tls,
            streams: None,
            events: VecDeque::new(),
            farewell: None,
            keepalive: Keepalive::Off,
        }
    }

    /// Whether messages of the peer still mean something.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.life, Life::Up { .. })
    }

    /// Whether the application has been told, or has said, that the connection is over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.life, Life::Flushing | Life::Closed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.life == Life::Closed && self.tls.queued() == 0
    }

    pub(crate) fn wants_read(&self) -> bool {
        self.is_over()
            || (self.events.len() < EVENT_QUEUE_LEN && self.tls.queued() < CONTROL_QUEUE_LEN)
    }

    /// The reason to close that a change of the link is.
    pub(crate) fn handle_link(&mut self, change: LinkChange, now: Instant) -> Option<CloseReason> {
        match change {
            LinkChange::Up { streams } if self.life == Life::Down && streams > 0 => {
                self.life = Life::Up { streams };
                self.deadline = Some((now + self.limits.handshake_timeout, Deadline::Handshake));
                None
            }
            LinkChange::PathChanged => None,
            // A second association is not the one that our keys belong to (RFC 9260 §5.2).
            LinkChange::Up { .. } | LinkChange::PeerClosed | LinkChange::Lost => {
                // Nothing that is queued can arrive any more.
                self.tls.discard();
                if self.life == Life::Flushing {
                    self.life = Life::Closed;
                    self.streams = None;
                }
                Some(CloseReason::Lost)
            }
        }
    }

    /// Ends the connection: nothing is listened to from here on. Gives the transfers that are cut
    /// off.
    pub(crate) fn shut(&mut self, reason: &CloseReason, now: Instant) -> Vec<(TransferId, P)> {
        let farewell = match reason {
            CloseReason::Protocol(error) => Some((error.code(), error.to_string())),
            CloseReason::Timeout(deadline) => {
                Some((CloseCode::Timeout, format!("timed out during {deadline}")))
            }
            CloseReason::LoginFailed => {
                Some((CloseCode::LoginFailed, "no attempt is left".to_owned()))
            }
            CloseReason::Local
            | CloseReason::Peer
            | CloseReason::PeerError { .. }
            | CloseReason::Tls(_)
            | CloseReason::Lost => None,
        };
        let phases = self
            .streams
            .as_mut()
            .map(Streams::take_phases)
            .unwrap_or_default();
        if reason == &CloseReason::Lost || self.life == Life::Down {
            self.tls.discard();
        } else {
            if let Some((code, message)) = farewell
                && self.tls.is_established()
            {
                self.send(&Common::Close { code, message }.encode());
            }
            // After a TLS failure the alert is already queued, and nothing may follow it.
            if !matches!(reason, CloseReason::Tls(_)) {
                self.tls.close_notify();
            }
        }
        self.life = Life::Closed;
        self.streams = None;
        self.end_deadlines(now);
        phases
    }

    /// Ends the connection in order: what the transfers have queued goes out first.
    pub(crate) fn flush(&mut self, now: Instant) {
        self.life = if self.life == Life::Down {
            Life::Closed
        } else {
            Life::Flushing
        };
        if self.life == Life::Closed {
            self.tls.discard();
        }
        self.end_deadlines(now);
    }

    /// From now on only the farewell is waited for: a peer that reads nothing must not keep the
    /// connection.
    fn end_deadlines(&mut self, now: Instant) {
        self.deadline = None;
        self.keepalive = Keepalive::Off;
        self.farewell = Some(now + self.limits.close_timeout);
    }

    /// Takes a message of stream 0.
    pub(crate) fn receive_control(&mut self, payload: &[u8]) -> Result<(), CloseReason> {
        if payload.len() > MAX_RECORD_LEN {
            return Err(CloseReason::Protocol(ProtocolError::TooLong));
        }
        self.tls
            .receive(payload)
            .map_err(|error| CloseReason::Tls(error.to_string()))
    }

    /// The handshake if it is over.
    pub(crate) fn established(&mut self) -> Result<Option<Established>, ProtocolError> {
        self.tls.established()
    }

    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// The next whole control message.
    pub(crate) fn next_message<M>(
        &mut self,
        longest: usize,
        decode: impl FnOnce(&[u8]) -> Result<M, ProtocolError>,
    ) -> Result<Option<M>, ProtocolError> {
        let Some(body) = split_frame(self.tls.inbox(), longest)? else {
            return Ok(None);
        };
        let len = frame_len(body.len());
        let message = decode(body)?;
        self.tls.take(len);
        Ok(Some(message))
    }

    /// What the end of the peer's TLS stream means, if it has come.
    pub(crate) fn peer_closed(&self) -> Option<CloseReason> {
        self.tls.peer_closed().then(|| {
            if self.tls.inbox().is_empty() {
                CloseReason::Peer
            } else {
                CloseReason::Protocol(ProtocolError::Malformed)
            }
        })
    }

    /// What both roles do with what both may say.
    pub(crate) fn handle_common(&mut self, message: Common) -> Result<(), CloseReason> {
        match message {
            Common::Ping => {
                // A flood of questions gets one answer at a time.
                if self.tls.queued() == 0 {
                    self.send(&Common::Pong.encode());
                }
                Ok(())
            }
            Common::Pong => Ok(()),
            Common::Close { code, message } => Err(CloseReason::PeerError { code, message }),
        }
    }

    /// Sends a whole control message.
    pub(crate) fn send(&mut self, message: &[u8]) {
        self.tls.send(message);
    }

    /// How many transfers we offer.
    pub(crate) fn offered_streams(&self) -> u16 {
        let link = match self.life {
            Life::Up { streams } => streams.saturating_sub(1),
            Life::Down | Life::Flushing | Life::Closed => 0,
        };
        self.limits.streams.min(link)
    }

    /// Agrees on streams and keys.
    pub(crate) fn agree(
        &mut self,
        established: Established,
        outward: Direction,
        peer_streams: u16,
    ) {
        let count = self.offered_streams().min(peer_streams);
        self.streams = Some(Streams::new(
            established.root,
            established.algorithm,
            outward,
            count,
        ));
    }

    pub(crate) fn set_deadline(&mut self, deadline: Option<(Instant, Deadline)>) {
        self.deadline = deadline;
    }

    pub(crate) fn start_keepalive(&mut self, now: Instant) {
        self.keepalive = Keepalive::Heard { at: now };
    }

    /// Any message is a sign of life.
    pub(crate) fn heard(&mut self, now: Instant) {
        if self.keepalive != Keepalive::Off {
            self.keepalive = Keepalive::Heard { at: now };
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over() {
            return self.farewell.filter(|_| !self.is_closed());
        }
        let keepalive = match self.keepalive {
            Keepalive::Off => None,
            Keepalive::Heard { at } => Some(at + self.limits.keepalive),
            Keepalive::Asked { at } => Some(at + self.limits.keepalive_timeout),
        };
        let deadline = self.deadline.map(|(at, _)| at);
        [keepalive, deadline].into_iter().flatten().min()
    }

    /// The deadline that has passed, if any. Asks a silent peer for a sign of life.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<CloseReason> {
        if self.is_over() && self.farewell.is_some_and(|at| at <= now) {
            self.tls.discard();
            self.life = Life::Closed;
            self.streams = None;
            return None;
        }
        if let Some((at, deadline)) = self.deadline
            && at <= now
        {
            return Some(CloseReason::Timeout(deadline));
        }
        match self.keepalive {
            Keepalive::Heard { at } if at + self.limits.keepalive <= now => {
                self.keepalive = Keepalive::Asked { at: now };
                self.send(&Common::Ping.encode());
                None
            }
            Keepalive::Asked { at } if at + self.limits.keepalive_timeout <= now => {
                Some(CloseReason::Timeout(Deadline::Keepalive))
            }
            Keepalive::Off | Keepalive::Heard { .. } | Keepalive::Asked { .. } => None,
        }
    }

    /// The next message: control first, then the transfers in turn. With it a transfer that can now
    /// be written to again.
    pub(crate) fn poll_transmit(&mut self) -> Option<(Transmit, Option<TransferId>)> {
        if self.life == Life::Down {
            return None;
        }
        if let Some(payload) = self.tls.poll() {
            return Some((control(payload), None));
        }
        if let Some(sent) = self.streams.as_mut().and_then(Streams::poll) {
            return Some(sent);
        }
        if self.life == Life::Flushing {
            self.life = Life::Closed;
            self.streams = None;
            self.tls.close_notify();
            return self.tls.poll().map(|payload| (control(payload), None));
        }
        None
    }
}

fn control(payload: Bytes) -> Transmit {
    Transmit { stream: 0, payload }
}

/// Whether a manifest is of this store and path.
pub(crate) fn is_of(
    signed: &SignedManifest,
    store: crate::signed::StoreId,
    path: &crate::signed::FilePath,
) -> bool {
    let manifest = signed.manifest();
    manifest.store == store && &manifest.path == path
}
