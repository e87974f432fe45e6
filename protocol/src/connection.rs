//! The connection of both sides: its life, stream 0, transfers, and the order of sending.
//!
//! What differs between client and server is a [`Side`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::channel::chunk::Chunk;
use crate::channel::keys::Direction;
use crate::channel::kind::RecordKind;
use crate::channel::link::{LinkChange, Transmit};
use crate::channel::streams::{Active, Incoming, Streams};
use crate::channel::tls::{Established, Tls};
use crate::deadlines::{Deadlines, Due};
use crate::error::{CloseCode, CloseReason, Deadline, ProtocolError, WriteError};
use crate::ids::{RequestId, TransferId};
use crate::limits::{CONTROL_QUEUE_LEN, EVENT_QUEUE_LEN, Limits, MAX_RECORD_LEN};
use crate::request::{Refusal, RefusalCode, RequestKind};
use crate::wire::control::{Common, frame_len, split_frame};
use crate::wire::record::{decode_abort, encode_abort};

/// One side of a connection: [`Client`](crate::client::Client) or
/// [`Server`](crate::server::Server), and no other.
pub trait Side: Sized {
    /// What the connection tells its application.
    type Event;
    /// What a transfer waits for.
    type Phase;

    /// The name of this side in messages.
    const NAME: &'static str;

    /// The event for what both sides report of a transfer.
    fn transfer_event(transfer: TransferId, progress: Progress) -> Self::Event;

    /// The last event.
    fn closed_event(reason: CloseReason) -> Self::Event;

    /// Whether the login is over.
    fn is_ready(&self) -> bool;

    /// Handles the next step of the handshake or the next whole control message; `false` when it
    /// has not arrived yet.
    fn handle_next(connection: &mut Connection<Self>, now: Instant) -> Result<bool, CloseReason>;

    /// Handles an Open, Reply or Proof.
    fn handle_body(
        connection: &mut Connection<Self>,
        transfer: TransferId,
        kind: RecordKind,
        body: &[u8],
    ) -> Result<(), ProtocolError>;

    /// Whether a put is published, so that nothing can abort it any more.
    fn is_committed(phase: &Self::Phase) -> bool;

    /// Checks that `len` bytes of data may come now.
    fn check_data(phase: &mut Self::Phase, len: u64) -> Result<(), ProtocolError>;

    /// Checks that the peer's End may come now; `ended` says whether ours has gone out.
    fn check_end(phase: &Self::Phase, ended: bool) -> Result<(), ProtocolError>;

    /// What the peer's Abort means.
    fn handle_abort(phase: &Self::Phase, refusal: Refusal) -> Result<Progress, ProtocolError>;
}

/// What both sides report of a transfer.
pub enum Progress {
    /// Data has come, not empty.
    Data(Chunk),
    /// A whole chunk can be written again.
    Writable,
    /// The transfer succeeded.
    Finished,
    /// The transfer was ended without success.
    Aborted(Refusal),
    /// The connection ended before the transfer.
    Truncated,
}

/// One connection of a client or server: messages and time in, messages and events out.
///
/// After each call of a `handle_*` or of anything else that changes state, drain
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event), and ask
/// [`poll_timeout`](Self::poll_timeout) again.
pub struct Connection<S: Side> {
    pub(crate) side: S,
    pub(crate) limits: Limits,
    /// Requests without an answer.
    pub(crate) requests: BTreeMap<RequestId, RequestKind>,
    life: Life,
    tls: Tls,
    /// There from the hello on.
    pub(crate) streams: Option<Streams<S::Phase>>,
    events: VecDeque<S::Event>,
    pub(crate) deadlines: Deadlines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// No association yet.
    Down,
    /// The association is there, with this many streams.
    Up { streams: u16 },
    /// Closed by the application; Ends and Aborts of transfers still go out, then `close_notify`.
    Flushing,
    /// Messages of the peer are ignored, and only what is queued for stream 0 still goes out.
    Closed,
}

/// Messages, changes of the link, and time.
impl<S: Side> Connection<S> {
    /// Takes a message from the carrier. Before `Up` and after the end it is ignored.
    pub fn handle_message(&mut self, stream: u16, payload: BytesMut, now: Instant) {
        if !self.is_up() {
            return;
        }
        self.deadlines.heard(now);
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
        match change {
            LinkChange::Up { streams } if self.life == Life::Down && streams > 0 => {
                self.life = Life::Up { streams };
                let at = now + self.limits.handshake_timeout;
                self.deadlines.set(Some((at, Deadline::Handshake)));
            }
            LinkChange::PathChanged => {}
            // A second association is not the one that our keys belong to (RFC 9260 §5.2).
            LinkChange::Up { .. } | LinkChange::PeerClosed | LinkChange::Lost => {
                // Nothing that is queued can arrive any more.
                self.tls.discard();
                if self.life == Life::Flushing {
                    self.life = Life::Closed;
                    self.streams = None;
                }
                self.shut(CloseReason::Lost, now);
            }
        }
    }

    /// Does what is due. Afterwards [`poll_timeout`](Self::poll_timeout) is later than `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_over() {
            if self.deadlines.flush_deadline().is_some_and(|at| at <= now) {
                self.tls.discard();
                self.life = Life::Closed;
                self.streams = None;
            }
            return;
        }
        match self.deadlines.check(&self.limits, now) {
            Due::Nothing => {}
            Due::Ping => self.send(&Common::Ping.encode()),
            Due::Timeout(deadline) => self.shut(CloseReason::Timeout(deadline), now),
        }
    }

    /// The next message for the carrier: control first, then the transfers in turn. Ask only as
    /// long as the carrier takes more.
    #[must_use = "the message is lost if it is not sent"]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.life == Life::Down {
            return None;
        }
        if let Some(payload) = self.tls.poll() {
            return Some(control(payload));
        }
        if let Some((transmit, writable)) = self.streams.as_mut().and_then(Streams::poll) {
            if let Some(transfer) = writable {
                self.report(transfer, Progress::Writable);
            }
            return Some(transmit);
        }
        if self.life == Life::Flushing {
            self.life = Life::Closed;
            self.streams = None;
            self.tls.close_notify();
            return self.tls.poll().map(control);
        }
        None
    }

    /// The next event.
    #[must_use = "the event is lost if it is not handled"]
    pub fn poll_event(&mut self) -> Option<S::Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over() {
            let flush_deadline = self.deadlines.flush_deadline();
            return flush_deadline.filter(|_| !self.is_closed());
        }
        self.deadlines.next(&self.limits)
    }

    /// Whether the carrier may bring more messages: `false` while events or control messages pile
    /// up.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.is_over()
            || (self.events.len() < EVENT_QUEUE_LEN && self.tls.queued() < CONTROL_QUEUE_LEN)
    }

    /// Whether the connection is over and everything has been handed to the carrier.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.life == Life::Closed && self.tls.queued() == 0
    }

    /// Ends the connection in order: open transfers are aborted, what is queued goes out, then
    /// `close_notify` of TLS; what the peer does not take within [`Limits::close_timeout`] is
    /// dropped.
    pub fn close(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        let live = self.streams.as_ref().map(Streams::live_ids);
        for transfer in live.unwrap_or_default() {
            if self.is_committed(transfer) {
                self.report(transfer, Progress::Finished);
            } else {
                let message = format!("the {} closes the connection", S::NAME);
                self.abort(transfer, Refusal::new(RefusalCode::Cancelled, message));
                self.report(transfer, Progress::Truncated);
            }
        }
        self.flush(now);
        self.requests.clear();
        self.push(S::closed_event(CloseReason::Local));
    }
}

/// Transfers.
impl<S: Side> Connection<S> {
    /// Bytes that [`write`](Self::write) takes now: the peer's credit, as far as there is room to
    /// queue.
    #[must_use]
    pub fn capacity(&self, transfer: TransferId) -> usize {
        let streams = self.streams.as_ref();
        streams
            .and_then(|streams| streams.peek(transfer))
            .map_or(0, Active::capacity)
    }

    /// Sends data of a put (client) or get (server). An empty chunk does nothing.
    ///
    /// # Errors
    /// See [`WriteError`]; the chunk comes back.
    pub fn write(&mut self, transfer: TransferId, chunk: Chunk) -> Result<(), WriteError> {
        match self.live(transfer) {
            Some(active) => active.write(chunk),
            None => Err(WriteError::Unknown(chunk)),
        }
    }

    /// Says that this many bytes of received data have been dealt with: the peer may send as many
    /// again. Ignored for transfers that have ended.
    pub fn consumed(&mut self, transfer: TransferId, bytes: usize) {
        if let Some(active) = self.live(transfer) {
            active.consumed(bytes);
        }
    }

    /// Ends a transfer without success. No event follows for it. Ignored when the transfer has
    /// ended, or is already published.
    #[expect(clippy::needless_pass_by_value, reason = "the refusal is spent")]
    pub fn abort(&mut self, transfer: TransferId, refusal: Refusal) {
        if !self.is_committed(transfer)
            && let Some(active) = self.live(transfer)
        {
            active.abort(encode_abort(&refusal));
        }
    }

    /// The transfer, unless it is over for the application.
    pub(crate) fn live(&mut self, transfer: TransferId) -> Option<&mut Active<S::Phase>> {
        self.streams.as_mut()?.live(transfer)
    }

    fn is_committed(&mut self, transfer: TransferId) -> bool {
        self.live(transfer)
            .and_then(|active| active.phase.as_ref())
            .is_some_and(S::is_committed)
    }

    fn handle_record(&mut self, stream: u16, payload: BytesMut) -> Result<(), ProtocolError> {
        let (true, Some(streams)) = (self.side.is_ready(), &mut self.streams) else {
            return Err(ProtocolError::BeforeLogin);
        };
        let (transfer, incoming) = streams.receive(stream, payload)?;
        self.handle_incoming(transfer, incoming)?;
        if let Some(streams) = &mut self.streams {
            streams.settle(transfer);
        }
        Ok(())
    }

    fn handle_incoming(
        &mut self,
        transfer: TransferId,
        incoming: Incoming,
    ) -> Result<(), ProtocolError> {
        let progress = match incoming {
            Incoming::Nothing => return Ok(()),
            Incoming::Message(kind, body) => return S::handle_body(self, transfer, kind, &body),
            Incoming::Writable => Progress::Writable,
            Incoming::Data(chunk) => {
                S::check_data(self.phase(transfer)?, chunk.len() as u64)?;
                Progress::Data(chunk)
            }
            Incoming::End => {
                let active = self.live(transfer).ok_or(ProtocolError::UnexpectedRecord)?;
                let ended = active.has_ended();
                let phase = active.phase.as_ref();
                S::check_end(phase.ok_or(ProtocolError::UnexpectedRecord)?, ended)?;
                active.end();
                active.phase = None;
                Progress::Finished
            }
            Incoming::Abort(body) => {
                let refusal = decode_abort(&body)?;
                let Some(active) = self.live(transfer) else {
                    return Ok(());
                };
                let phase = active.phase.as_ref();
                let progress =
                    S::handle_abort(phase.ok_or(ProtocolError::UnexpectedRecord)?, refusal)?;
                active.phase = None;
                progress
            }
        };
        self.report(transfer, progress);
        Ok(())
    }

    pub(crate) fn phase(&mut self, transfer: TransferId) -> Result<&mut S::Phase, ProtocolError> {
        self.live(transfer)
            .and_then(|active| active.phase.as_mut())
            .ok_or(ProtocolError::UnexpectedRecord)
    }

    /// Reports that a transfer can be written to, if it has become so.
    pub(crate) fn report_writable(&mut self, transfer: TransferId) {
        if self.live(transfer).is_some_and(Active::became_writable) {
            self.report(transfer, Progress::Writable);
        }
    }

    fn report(&mut self, transfer: TransferId, progress: Progress) {
        self.push(S::transfer_event(transfer, progress));
    }
}

/// What the sides build on.
impl<S: Side> Connection<S> {
    pub(crate) fn with_side(side: S, limits: Limits, tls: Tls, now: Instant) -> Self {
        let limits = limits.clamped();
        Self {
            side,
            requests: BTreeMap::new(),
            life: Life::Down,
            tls,
            streams: None,
            events: VecDeque::new(),
            deadlines: Deadlines::new(&limits, now),
            limits,
        }
    }

    /// Whether messages of the peer are handled.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.life, Life::Up { .. })
    }

    /// Whether the application has been told, or has said, that the connection is over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.life, Life::Flushing | Life::Closed)
    }

    pub(crate) fn push(&mut self, event: S::Event) {
        self.events.push_back(event);
    }

    /// Ends the connection: messages of the peer are ignored from here on.
    pub(crate) fn shut(&mut self, reason: CloseReason, now: Instant) {
        if self.is_over() {
            return;
        }
        let last_message = match &reason {
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
        if reason == CloseReason::Lost || self.life == Life::Down {
            self.tls.discard();
        } else {
            if let Some((code, message)) = last_message
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
        let streams = self.streams.take();
        for (transfer, phase) in streams.map(Streams::into_phases).unwrap_or_default() {
            self.report(
                transfer,
                match S::is_committed(&phase) {
                    true => Progress::Finished,
                    false => Progress::Truncated,
                },
            );
        }
        self.deadlines.end(now + self.limits.close_timeout);
        self.requests.clear();
        self.push(S::closed_event(reason));
    }

    /// Ends the connection in order: what the transfers have queued goes out first.
    pub(crate) fn flush(&mut self, now: Instant) {
        if self.life == Life::Down {
            self.life = Life::Closed;
            self.tls.discard();
        } else {
            self.life = Life::Flushing;
        }
        self.deadlines.end(now + self.limits.close_timeout);
    }

    fn handle_control(&mut self, payload: &[u8], now: Instant) -> Result<(), CloseReason> {
        self.receive_control(payload)?;
        while S::handle_next(self, now)? {}
        self.peer_closed().map_or(Ok(()), Err)
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

    /// Handles a message that both sides may send.
    pub(crate) fn handle_common(&mut self, message: Common) -> Result<(), CloseReason> {
        match message {
            Common::Ping => {
                // A flood of Pings gets one answer at a time.
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
}

fn control(payload: Bytes) -> Transmit {
    Transmit { stream: 0, payload }
}
