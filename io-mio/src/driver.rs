//! The mio loop, which connects carriers, sessions and a pool of workers.
//!
//! A session is visited when something happened to it: its association became ready, a job
//! finished, its deadline passed, or its last visit ran out of budget. A visit moves messages in,
//! jobs and messages out, until nothing moves or the budget is used.
//!
//! Invariant: no lost wake-up. A session that could do something now is in the queue of visits; one
//! that waits is registered with what it waits for (its carrier, the pool, a timer).

mod lifecycle;
mod visit;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Waker};

use crate::carrier::{
    AssociationId, Carrier, CloseMode, PathInfo, Peer, Registrar, WAKER, from_token,
};
use crate::limits::{
    CLOSE_TIMEOUT, DRAIN_TIMEOUT, JOBS_PER_WORKER, MAX_DEFAULT_WORKERS, MAX_SESSIONS, POLL_EVENTS,
};
use crate::pool::Pool;
use crate::ready::ReadyQueue;
use crate::session::{Execute, Session, Ticket, Transmit};

/// Identifies a carrier of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CarrierIndex(usize);

/// Identifies a session of a loop; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}", self.0)
    }
}

/// The limits of a loop.
#[derive(Debug, Clone)]
pub struct LoopConfig {
    /// Worker threads; at least one.
    pub workers: usize,
    /// Jobs that may be queued or running at the same time.
    pub jobs: usize,
    /// Maximum concurrent sessions; further peers are refused.
    pub max_sessions: usize,
    /// Time for the sessions to end after [`Stopper::stop`].
    pub drain: Duration,
    /// Time for a closed session to send what is left, and then for its association to shut down.
    pub close: Duration,
}

impl Default for LoopConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let workers = cores.min(MAX_DEFAULT_WORKERS);
        Self {
            workers,
            jobs: workers * (1 + JOBS_PER_WORKER),
            max_sessions: MAX_SESSIONS,
            drain: DRAIN_TIMEOUT,
            close: CLOSE_TIMEOUT,
        }
    }
}

/// Stops a loop from another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    stopped: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Stopper {
    /// Asks the loop to accept no more peers, to let its sessions end, and to return. Further calls
    /// have no effect.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the loop");
        }
    }
}

/// The loop.
pub struct Driver<S: Session> {
    config: LoopConfig,
    poll: Poll,
    events: Events,
    carriers: Vec<Box<dyn Carrier>>,
    sessions: BTreeMap<SessionId, Entry<S>>,
    next: u64,
    /// Sessions that are not over.
    active: usize,
    /// Open associations and those that are being shut down.
    associations: BTreeMap<(CarrierIndex, AssociationId), Owner>,
    /// Sessions to be visited.
    visits: ReadyQueue<SessionId>,
    /// Sessions that may have jobs for which there was no room.
    waiting: ReadyQueue<SessionId>,
    timers: BTreeSet<(Instant, SessionId)>,
    closing: BTreeSet<(Instant, CarrierIndex, AssociationId)>,
    pool: Pool<(SessionId, Ticket), S::Job, S::Output>,
    stopper: Stopper,
    /// Once the loop is stopped: when the remaining sessions are aborted.
    draining: Option<Instant>,
    /// A carrier has more to do now.
    busy: bool,
    /// Sessions may have been revoked since they were last asked.
    check_revoked: bool,
    /// Peers refused since a session was last accepted, so that a flood makes one log line.
    turned_away: u64,
}

#[derive(Debug, Clone, Copy)]
enum Owner {
    Session(SessionId),
    /// Shutting down; aborted then.
    Closing(Instant),
}

struct Entry<S> {
    session: S,
    link: Link,
    /// A message that the carrier had no room for.
    unsent: Option<Transmit>,
    timer: Option<Instant>,
    /// When a closed session is aborted although messages are left.
    ending: Option<Instant>,
    /// Made by [`Driver::connect`]: kept after its end until it is taken.
    ours: bool,
}

#[derive(Clone, Copy)]
enum Link {
    Open {
        carrier: CarrierIndex,
        association: AssociationId,
        up: bool,
    },
    /// The association is gone; the session waits for its jobs until then.
    Gone(Instant),
    /// The session is over.
    Over,
}

impl<S: Session> Driver<S> {
    /// Makes a loop without carriers and starts its workers.
    ///
    /// # Errors
    /// The epoll instance or a thread cannot be created.
    pub fn new<E>(config: LoopConfig, executor: Arc<E>) -> io::Result<Self>
    where
        E: Execute<Job = S::Job, Output = S::Output>,
    {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let pool = Pool::new(config.workers, config.jobs, executor, waker.clone())?;
        Ok(Self {
            config,
            poll,
            events: Events::with_capacity(POLL_EVENTS),
            carriers: Vec::new(),
            sessions: BTreeMap::new(),
            next: 0,
            active: 0,
            associations: BTreeMap::new(),
            visits: ReadyQueue::default(),
            waiting: ReadyQueue::default(),
            timers: BTreeSet::new(),
            closing: BTreeSet::new(),
            pool,
            stopper: Stopper {
                stopped: Arc::default(),
                waker,
            },
            draining: None,
            busy: false,
            check_revoked: false,
            turned_away: 0,
        })
    }

    /// Adds a carrier.
    ///
    /// # Errors
    /// Its sockets cannot be registered.
    pub fn add_carrier(&mut self, mut carrier: Box<dyn Carrier>) -> io::Result<CarrierIndex> {
        let index = self.carriers.len();
        carrier.register(Registrar::new(self.poll.registry().try_clone()?, index))?;
        self.carriers.push(carrier);
        Ok(CarrierIndex(index))
    }

    /// A handle that stops this loop.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Starts an association and gives it a session, which is kept after its end until
    /// [`take_session`](Self::take_session).
    ///
    /// # Errors
    /// Those of [`Carrier::connect`]. A peer that cannot be reached is reported to the session as
    /// `Lost`.
    pub fn connect(
        &mut self,
        carrier: CarrierIndex,
        remotes: &[SocketAddr],
        session: S,
    ) -> io::Result<SessionId> {
        let association = self.carriers[carrier.0].connect(remotes, Instant::now())?;
        Ok(self.adopt(carrier, association, session, true))
    }

    /// The session; `None` if it was taken, or if it is over and was not made by
    /// [`connect`](Self::connect).
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&S> {
        self.sessions.get(&id).map(|entry| &entry.session)
    }

    /// The session, for changes between turns; it is visited afterwards.
    pub fn session_mut(&mut self, id: SessionId) -> Option<&mut S> {
        self.enqueue(id);
        self.sessions.get_mut(&id).map(|entry| &mut entry.session)
    }

    /// Takes a session out of the loop; its association is aborted if it is still open.
    pub fn take_session(&mut self, id: SessionId) -> Option<S> {
        self.sessions.get_mut(&id)?.ours = true;
        self.finish(id, CloseMode::Abort, Instant::now());
        self.sessions.remove(&id).map(|entry| entry.session)
    }

    /// Ends the loop without waiting for the jobs that run: each thread ends with its job, or with
    /// the process. Dropping the loop waits for them.
    pub fn detach(mut self) {
        self.pool.detach();
    }

    /// Whether the session is over: closed, or lost with its jobs done, or unknown.
    #[must_use]
    pub fn is_over(&self, id: SessionId) -> bool {
        self.sessions
            .get(&id)
            .is_none_or(|entry| matches!(entry.link, Link::Over))
    }

    /// The number of sessions that are not over.
    #[must_use]
    pub fn active_sessions(&self) -> usize {
        self.sessions
            .values()
            .filter(|entry| !matches!(entry.link, Link::Over))
            .count()
    }

    /// The paths of a session's association; none when it has no association.
    #[must_use]
    pub fn paths(&self, id: SessionId) -> Vec<PathInfo> {
        match self.sessions.get(&id).map(|entry| entry.link) {
            Some(Link::Open {
                carrier,
                association,
                ..
            }) => self.carriers[carrier.0].paths(association),
            _ => Vec::new(),
        }
    }

    /// The addresses that a carrier listens on.
    #[must_use]
    pub fn local_addresses(&self, carrier: CarrierIndex) -> Vec<SocketAddr> {
        self.carriers[carrier.0].local_addresses()
    }

    /// Runs until `until` returns true, or until [`Stopper::stop`] was called and the sessions have
    /// ended or were aborted. Returns when the associations that are shutting down have ended,
    /// within their own deadline.
    ///
    /// `accept` makes the session for a peer; `None` refuses it.
    ///
    /// # Errors
    /// Those of epoll; every other failure concerns one session only.
    pub fn run(
        &mut self,
        accept: &mut dyn FnMut(Peer) -> Option<S>,
        until: &mut dyn FnMut(&Self) -> bool,
    ) -> io::Result<()> {
        while !until(self) {
            if self.draining.is_some() && self.active == 0 {
                break;
            }
            self.turn(accept, None)?;
        }
        while !self.closing.is_empty() {
            self.turn(accept, None)?;
        }
        Ok(())
    }

    /// One turn: waits for an event, at most until the next deadline or for `wait`, and handles
    /// what happened.
    ///
    /// # Errors
    /// Those of epoll.
    pub fn turn(
        &mut self,
        accept: &mut dyn FnMut(Peer) -> Option<S>,
        wait: Option<Duration>,
    ) -> io::Result<()> {
        self.poll(self.wait(wait))?;
        let now = Instant::now();
        let mut deadlines = self.carriers.iter().filter_map(|it| it.poll_timeout());
        if deadlines.any(|due| due <= now) {
            // This process may not have run between the poll and `now`: what has arrived until then
            // must be known to the carriers before they run a timer.
            self.poll(Some(Duration::ZERO))?;
        }
        self.run_timers(now);
        self.drive_carriers(accept, now);
        self.take_outcomes(now);
        self.end_revoked(now);
        self.begin_stop(now);
        // Each queued session gets one visit; what is queued meanwhile is for the next turn.
        for _ in 0..self.visits.len() {
            if let Some(id) = self.visits.pop() {
                self.visit(id);
            }
        }
        let now = Instant::now();
        self.busy = self.drive_carriers(accept, now);
        self.end_revoked(now);
        Ok(())
    }

    /// Waits for sockets to become ready and tells their carriers.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if let Err(error) = self.poll.poll(&mut self.events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
        for event in &self.events {
            if event.token() != WAKER {
                let (carrier, source) = from_token(event.token());
                self.carriers[carrier].handle_ready(source, event.into());
            }
        }
        self.events.clear();
        Ok(())
    }

    /// How long the poll may sleep.
    fn wait(&self, wait: Option<Duration>) -> Option<Duration> {
        let stopping = self.draining.is_none() && self.is_stopped();
        if self.busy || !self.visits.is_empty() || stopping {
            return Some(Duration::ZERO);
        }
        let session = self.timers.first().map(|(due, _)| *due);
        let closing = self.closing.first().map(|(due, ..)| *due);
        let carrier = self
            .carriers
            .iter()
            .filter_map(|carrier| carrier.poll_timeout())
            .min();
        let due = [session, closing, carrier, self.draining]
            .into_iter()
            .flatten()
            .min();
        // mio rounds up to epoll's milliseconds, so the last one does not spin.
        let until_due = due.map(|due| due.saturating_duration_since(Instant::now()));
        match (until_due, wait) {
            (Some(due), Some(wait)) => Some(due.min(wait)),
            (due, wait) => due.or(wait),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopper.stopped.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
