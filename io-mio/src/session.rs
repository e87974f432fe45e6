//! What the loop drives: sessions and their jobs.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use crate::carrier::Inbound;

/// Identifies one job of a session. The session chooses it, and gets it back with the job's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.0)
    }
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The stream to send it on.
    pub stream: u16,
    /// Its bytes: at least one, at most [`MAX_MESSAGE`](crate::limits::MAX_MESSAGE).
    pub payload: Bytes,
}

/// A state machine that the loop, or a simulator, drives: it has no socket, thread or clock of its
/// own.
///
/// After any `handle_*` call, what became ready can be polled. After
/// `handle_timeout(now)` and a drain of the `poll_*` calls, [`poll_timeout`](Self::poll_timeout) is
/// later than `now`.
pub trait Session {
    /// Work that may block, for a worker thread.
    type Job: Send + 'static;
    /// The result of a job.
    type Output: Send + 'static;

    /// Takes the next message from the peer, or learns what happened to the association.
    ///
    /// [`Inbound::Up`] comes first, unless the association is lost before; then each path with its
    /// state; [`Inbound::PeerClosed`] or [`Inbound::Lost`] comes last.
    fn handle_inbound(&mut self, inbound: Inbound, now: Instant);
    /// Takes the output of the job that was polled with this ticket. Jobs start in the order they
    /// were polled and may finish in any order.
    fn handle_output(&mut self, ticket: Ticket, output: Self::Output, now: Instant);
    /// Runs what was due at [`poll_timeout`](Self::poll_timeout).
    fn handle_timeout(&mut self, now: Instant);
    /// The next message; called only while the carrier has room
    /// ([`limits::SEND_QUEUE`](crate::limits::SEND_QUEUE)).
    #[must_use]
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit>;
    /// The next job; called only while the pool has room.
    #[must_use]
    fn poll_job(&mut self) -> Option<(Ticket, Self::Job)>;
    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Whether the session can take another message now. While it cannot, none is read for it, and
    /// the peer's window closes.
    fn wants_read(&self) -> bool;
    /// Whether the session is over: the loop sends what is left and shuts the association down.
    fn is_closed(&self) -> bool;

    /// Whether the session was revoked: it is told so as
    /// [`LostReason::Local`](crate::LostReason::Local), and its association is aborted. Asked after
    /// peers were accepted and after jobs have ended.
    fn is_revoked(&self) -> bool {
        false
    }

    /// The loop was stopped: the session should finish what is under way, begin nothing new, then
    /// be closed. Sessions that are not closed in time
    /// ([`LoopConfig::drain`](crate::LoopConfig::drain)) are aborted.
    fn handle_stop(&mut self, now: Instant) {
        let _now = now;
    }
}

/// Runs jobs; one value is shared by all workers.
///
/// A job that panics ends its session, not the worker.
pub trait Execute: Send + Sync + 'static {
    /// The jobs that it runs.
    type Job;
    /// Their results.
    type Output;

    /// Runs one job to its end. May block on disks, not on peers.
    fn execute(&self, job: Self::Job) -> Self::Output;
}
