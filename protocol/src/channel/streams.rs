//! Transfers on their streams, as both sides see them: generations, sealing, credit, and the one
//! End or Abort of each side.
//!
//! What a transfer is about is the phase `P` of the client or server. A transfer whose phase is
//! gone is over for the application; it keeps its stream until both sides have ended, and what
//! still comes is authenticated and dropped.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::channel::chunk::{CHUNK_LEN, Chunk};
use crate::channel::keys::{Chain, Direction, Root};
use crate::channel::kind::{RecordKind, decode_credit, encode_credit};
use crate::channel::link::Transmit;
use crate::channel::record::{Algorithm, Opener, Sealer};
use crate::error::{ProtocolError, WriteError};
use crate::ids::TransferId;
use crate::limits::OUT_QUEUE_LEN;

/// Body of the Abort that answers the peer's: cancelled, without a message.
const ABORT_ANSWER: &[u8] = &[12, 0, 0];

/// The streams of a connection, from number 1.
pub(crate) struct Streams<P> {
    algorithm: Algorithm,
    /// The direction in which we send.
    outward: Direction,
    slots: Vec<Slot<P>>,
    /// Whose turn it is to send.
    turn: usize,
}

struct Slot<P> {
    outward: Chain,
    inward: Chain,
    active: Option<Active<P>>,
}

/// What a record of the peer means to client or server.
pub(crate) enum Incoming {
    /// An Open, Reply or Proof, for the phase to judge.
    Message(RecordKind, Chunk),
    /// Data within its credit, not empty.
    Data(Chunk),
    /// Room to write again.
    Writable,
    /// The peer's End. Phase and our own end are untouched.
    End,
    /// The body of the peer's Abort, also of a transfer that is over for the application. It has
    /// been answered; the phase is untouched.
    Abort(Chunk),
    /// Nothing that concerns the application.
    Nothing,
}

impl<P> Streams<P> {
    /// Streams `1..=count`, keyed from `root`, which is zeroised.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the root must not outlive this call"
    )]
    pub(crate) fn new(root: Root, algorithm: Algorithm, outward: Direction, count: u16) -> Self {
        let slots = (1..=count).map(|stream| Slot {
            outward: root.chain(outward, stream),
            inward: root.chain(outward.reverse(), stream),
            active: None,
        });
        Self {
            algorithm,
            outward,
            slots: slots.collect(),
            turn: 0,
        }
    }

    fn slot(&mut self, stream: u16) -> Option<&mut Slot<P>> {
        self.slots.get_mut(usize::from(stream).checked_sub(1)?)
    }

    /// Begins a transfer on a free stream; `None` when there is none.
    pub(crate) fn open(&mut self, phase: P) -> Option<&mut Active<P>> {
        let algorithm = self.algorithm;
        let slot = self.slots.iter_mut().find(|slot| slot.is_free())?;
        slot.begin(algorithm, Some(phase))
    }

    /// The transfer, unless it is over for the application.
    pub(crate) fn live(&mut self, id: TransferId) -> Option<&mut Active<P>> {
        let active = self.slot(id.stream)?.active.as_mut()?;
        (active.id == id && active.phase.is_some()).then_some(active)
    }

    /// The transfer that the peer has just opened, before it has a phase.
    pub(crate) fn opened(&mut self, id: TransferId) -> Option<&mut Active<P>> {
        self.slot(id.stream)?
            .active
            .as_mut()
            .filter(|active| active.id == id)
    }

    /// The same as [`Self::live`], to look at.
    pub(crate) fn peek(&self, id: TransferId) -> Option<&Active<P>> {
        let index = usize::from(id.stream).checked_sub(1)?;
        let active = self.slots.get(index)?.active.as_ref()?;
        (active.id == id && active.phase.is_some()).then_some(active)
    }

    /// Takes a record of the peer. Once it has been dealt with, [`Self::settle`] is due.
    pub(crate) fn receive(
        &mut self,
        stream: u16,
        message: BytesMut,
    ) -> Result<(TransferId, Incoming), ProtocolError> {
        let algorithm = self.algorithm;
        let serving = self.outward == Direction::ServerToClient;
        let slot = self.slot(stream).ok_or(ProtocolError::Stream)?;
        let fresh = slot.active.is_none();
        if fresh && (!serving || slot.begin(algorithm, None).is_none()) {
            return Err(ProtocolError::UnexpectedRecord);
        }
        let active = slot
            .active
            .as_mut()
            .ok_or(ProtocolError::UnexpectedRecord)?;
        let (kind, body) = active.opener.open(message)?;
        if fresh != (kind == RecordKind::Open) {
            return Err(ProtocolError::UnexpectedRecord);
        }
        let id = active.id;
        let incoming = active.accept(kind, body)?;
        Ok((id, incoming))
    }

    /// The next record to send, and its transfer if that can now be written to again.
    pub(crate) fn poll(&mut self) -> Option<(Transmit, Option<TransferId>)> {
        let count = self.slots.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let slot = &mut self.slots[index];
            let Some(active) = &mut slot.active else {
                continue;
            };
            if let Some(transmit) = active.poll() {
                let writable = active.became_writable().then_some(active.id);
                slot.settle();
                self.turn = (index + 1) % count;
                return Some((transmit, writable));
            }
        }
        None
    }

    /// Frees the stream if both sides have ended.
    pub(crate) fn settle(&mut self, id: TransferId) {
        if let Some(slot) = self.slot(id.stream) {
            slot.settle();
        }
    }

    /// The phases of all live transfers.
    pub(crate) fn into_phases(self) -> Vec<(TransferId, P)> {
        let active = self.slots.into_iter().filter_map(|slot| slot.active);
        active
            .filter_map(|active| Some((active.id, active.phase?)))
            .collect()
    }

    /// The transfers that are not over for the application.
    pub(crate) fn live_ids(&self) -> Vec<TransferId> {
        let active = self.slots.iter().filter_map(|slot| slot.active.as_ref());
        active
            .filter(|active| active.phase.is_some())
            .map(|active| active.id)
            .collect()
    }
}

impl<P> Slot<P> {
    fn is_free(&self) -> bool {
        self.active.is_none() && !self.outward.is_exhausted()
    }

    /// `None` when the generations are used up.
    fn begin(&mut self, algorithm: Algorithm, phase: Option<P>) -> Option<&mut Active<P>> {
        let outward = self.outward.advance()?;
        let inward = self.inward.advance()?;
        let id = TransferId {
            stream: outward.stream,
            generation: outward.generation,
        };
        let active = Active {
            id,
            phase,
            sealer: Sealer::new(algorithm, outward),
            opener: Opener::new(algorithm, inward),
            queue: VecDeque::new(),
            queued: 0,
            ours: End::Open,
            theirs: End::Open,
            outgoing: None,
            writing: Writing::No,
            incoming: Inflow::default(),
        };
        Some(self.active.insert(active))
    }

    fn settle(&mut self) {
        if let Some(active) = &self.active
            && active.ours == End::Sent
            && active.theirs == End::Sent
        {
            self.active = None;
        }
    }
}

/// How far a side has come with ending a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// Our End or Abort is the last in the queue.
    Queued,
    Sent,
}

/// What we may send.
struct Outflow {
    /// Bytes that the peer has ever allowed.
    limit: u64,
    /// Bytes that the application has ever written.
    written: u64,
}

/// Whether the application is to write, and knows that it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    No,
    Blocked,
    Told,
}

/// What the peer may send.
#[derive(Default)]
struct Inflow {
    window: u64,
    /// Bytes that we have ever allowed.
    limit: u64,
    received: u64,
    consumed: u64,
    /// A record that was not full has come: it is the last with data. Otherwise a window of bytes
    /// could come as as many records.
    ended: bool,
    /// Whether a Credit record is to be sent.
    due: bool,
}

/// A transfer on its stream.
pub(crate) struct Active<P> {
    pub(crate) id: TransferId,
    /// `None` once the transfer is over for the application.
    pub(crate) phase: Option<P>,
    sealer: Sealer,
    opener: Opener,
    /// Records to seal when it is their turn: until then their places can still be given up to an
    /// Abort.
    queue: VecDeque<(RecordKind, Chunk)>,
    /// Bytes of data in `queue`.
    queued: usize,
    ours: End,
    theirs: End,
    outgoing: Option<Outflow>,
    writing: Writing,
    incoming: Inflow,
}

impl<P> Active<P> {
    /// Queues a record behind those that wait.
    pub(crate) fn queue(&mut self, kind: RecordKind, body: Chunk) {
        debug_assert_eq!(self.ours, End::Open);
        if kind == RecordKind::Data {
            self.queued += body.len();
        }
        self.queue.push_back((kind, body));
    }

    /// Queues our End.
    pub(crate) fn end(&mut self) {
        if self.ours == End::Open {
            self.writing = Writing::No;
            self.queue(RecordKind::End, Chunk::with_capacity(0));
            self.ours = End::Queued;
        }
    }

    /// Whether nothing ends our direction yet.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn is_open(&self) -> bool {
        self.ours == End::Open
    }

    /// Whether our End or Abort has gone out.
    pub(crate) fn has_ended(&self) -> bool {
        self.ours == End::Sent
    }

    /// Aborts: for the application the transfer is over, and an Abort with this body overtakes
    /// all that waits.
    pub(crate) fn abort(&mut self, body: Chunk) {
        self.phase = None;
        self.queue_abort(body);
    }

    fn queue_abort(&mut self, body: Chunk) {
        self.writing = Writing::No;
        self.incoming.due = false;
        if self.ours == End::Sent {
            return;
        }
        // A transfer always begins with its Open.
        self.queue.retain(|(kind, _)| *kind == RecordKind::Open);
        self.queued = 0;
        self.queue.push_back((RecordKind::Abort, body));
        self.ours = End::Queued;
    }

    /// The application may write, as far as the peer's first credit goes.
    pub(crate) fn start_writing(&mut self, limit: u64) {
        self.outgoing = Some(Outflow { limit, written: 0 });
        self.writing = Writing::Blocked;
    }

    /// The application has written all.
    pub(crate) fn stop_writing(&mut self) {
        self.writing = Writing::No;
    }

    /// Bytes that the application has written.
    pub(crate) fn written(&self) -> u64 {
        self.outgoing.as_ref().map_or(0, |flow| flow.written)
    }

    /// Bytes of data that have come.
    pub(crate) fn received(&self) -> u64 {
        self.incoming.received
    }

    /// Bytes that may be written now.
    pub(crate) fn capacity(&self) -> usize {
        let Some(flow) = &self.outgoing else {
            return 0;
        };
        if self.writing == Writing::No {
            return 0;
        }
        let room = OUT_QUEUE_LEN.saturating_sub(self.queued);
        usize::try_from(flow.limit.saturating_sub(flow.written))
            .map_or(room, |credit| credit.min(room))
    }

    /// Whether the application can write a whole chunk again and has not been told. `true` once.
    pub(crate) fn became_writable(&mut self) -> bool {
        let became = self.writing == Writing::Blocked && self.capacity() >= CHUNK_LEN;
        if became {
            self.writing = Writing::Told;
        }
        became
    }

    /// Queues data of the application.
    pub(crate) fn write(&mut self, chunk: Chunk) -> Result<(), WriteError> {
        if chunk.len() > CHUNK_LEN {
            return Err(WriteError::TooLong(chunk));
        }
        let capacity = self.capacity();
        let Some(flow) = self
            .outgoing
            .as_mut()
            .filter(|_| self.writing != Writing::No)
        else {
            return Err(WriteError::Unknown(chunk));
        };
        if chunk.len() > capacity {
            return Err(WriteError::Blocked(chunk));
        }
        if chunk.is_empty() {
            return Ok(());
        }
        flow.written += chunk.len() as u64;
        self.queue(RecordKind::Data, chunk);
        if self.capacity() < CHUNK_LEN {
            self.writing = Writing::Blocked;
        }
        Ok(())
    }

    /// Lets the peer send `window` bytes ahead of the application. The first credit travels in Open
    /// or Reply.
    pub(crate) fn start_receiving(&mut self, window: u32) {
        self.incoming.window = window.into();
        self.incoming.limit = window.into();
    }

    /// The application has dealt with data: the peer may send as much again. Credit is given in
    /// quarters of the window, not for each record.
    pub(crate) fn consumed(&mut self, bytes: usize) {
        let flow = &mut self.incoming;
        if self.ours != End::Open || self.theirs != End::Open {
            return;
        }
        flow.consumed = flow
            .consumed
            .saturating_add(bytes as u64)
            .min(flow.received);
        let target = flow.consumed.saturating_add(flow.window);
        if target - flow.limit >= flow.window / 4 && flow.window > 0 {
            flow.due = true;
        }
    }

    fn accept(&mut self, kind: RecordKind, body: Chunk) -> Result<Incoming, ProtocolError> {
        if self.theirs == End::Sent {
            return Err(ProtocolError::UnexpectedRecord);
        }
        let incoming = match kind {
            RecordKind::Open => return Ok(Incoming::Message(kind, body)),
            RecordKind::Reply | RecordKind::Proof => Incoming::Message(kind, body),
            RecordKind::Data => {
                self.incoming.received += body.len() as u64;
                if body.is_empty() || self.incoming.ended {
                    return Err(ProtocolError::UnexpectedRecord);
                }
                self.incoming.ended = body.len() < CHUNK_LEN;
                if self.incoming.received > self.incoming.limit {
                    return Err(ProtocolError::Credit);
                }
                Incoming::Data(body)
            }
            RecordKind::Credit => {
                let limit = decode_credit(&body)?;
                let flow = self
                    .outgoing
                    .as_mut()
                    .ok_or(ProtocolError::UnexpectedRecord)?;
                if limit <= flow.limit {
                    return Err(ProtocolError::Credit);
                }
                flow.limit = limit;
                if self.became_writable() {
                    Incoming::Writable
                } else {
                    Incoming::Nothing
                }
            }
            RecordKind::End => {
                if !body.is_empty() {
                    return Err(ProtocolError::Malformed);
                }
                self.theirs = End::Sent;
                self.incoming.due = false;
                Incoming::End
            }
            RecordKind::Abort => {
                self.theirs = End::Sent;
                self.queue_abort(Chunk::from_slice(ABORT_ANSWER));
                return Ok(Incoming::Abort(body));
            }
        };
        if self.phase.is_none() {
            return Ok(Incoming::Nothing);
        }
        Ok(incoming)
    }

    fn poll(&mut self) -> Option<Transmit> {
        let (kind, body) = if self.incoming.due {
            self.incoming.due = false;
            self.incoming.limit = self.incoming.consumed + self.incoming.window;
            (RecordKind::Credit, encode_credit(self.incoming.limit))
        } else {
            self.queue.pop_front()?
        };
        match kind {
            RecordKind::Data => self.queued -= body.len(),
            RecordKind::End | RecordKind::Abort => self.ours = End::Sent,
            RecordKind::Open | RecordKind::Reply | RecordKind::Credit | RecordKind::Proof => {}
        }
        Some(Transmit {
            stream: self.id.stream,
            payload: self.sealer.seal(kind, body),
        })
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn streams(outward: Direction) -> Streams<()> {
        let root = Root::new(Zeroizing::new([7; 32]));
        Streams::new(root, Algorithm::ChaCha20Poly1305, outward, 1)
    }

    #[test]
    fn only_the_last_data_record_may_be_short() {
        let mut client = streams(Direction::ClientToServer);
        let mut server = streams(Direction::ServerToClient);
        let putting = client.open(()).unwrap();
        putting.queue(RecordKind::Open, Chunk::from_slice(b"open"));
        putting.start_writing(1 << 20);
        for len in [CHUNK_LEN, CHUNK_LEN - 1, 1] {
            let mut chunk = Chunk::new();
            chunk.resize(len);
            putting.write(chunk).unwrap();
        }
        let mut verdicts = Vec::new();
        while let Some((transmit, _)) = client.poll() {
            let message = transmit.payload.try_into_mut().unwrap();
            let verdict = server.receive(transmit.stream, message);
            let opened = verdict.as_ref().ok().map(|(id, _)| *id);
            if let Some(active) = opened.and_then(|id| server.opened(id)) {
                active.phase = Some(());
                if active.received() == 0 {
                    active.start_receiving(1 << 20);
                }
            }
            verdicts.push(verdict.map(drop));
        }
        let refused = Err(ProtocolError::UnexpectedRecord);
        assert_eq!(verdicts, [Ok(()), Ok(()), Ok(()), refused]);
    }
}
