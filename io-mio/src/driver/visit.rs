//! What the loop does with one session, and how sessions begin and end.

use std::time::Instant;

use super::{CarrierIndex, Driver, Entry, Link, Owner, SessionId};
use crate::carrier::{
    AssociationId, CarrierEvent, CloseMode, Inbound, LostReason, Peer, SendError,
};
use crate::limits::{MIN_TIMER, ORPHAN_TIMEOUT, SEND_QUEUE, VISIT_JOBS, VISIT_MESSAGES};
use crate::pool::Outcome;
use crate::session::{Session, Transmit};

impl<S: Session> Driver<S> {
    /// Lets the carriers work and takes their reports; true if one has more to do at once.
    pub(super) fn drive_carriers(
        &mut self,
        accept: &mut dyn FnMut(Peer) -> Option<S>,
        now: Instant,
    ) -> bool {
        let mut more = false;
        for index in (0..self.carriers.len()).map(CarrierIndex) {
            more |= self.carriers[index.0].drive(now);
            while let Some((association, event)) = self.carriers[index.0].poll_event() {
                match event {
                    CarrierEvent::Accepted { peer } => {
                        self.accepted(index, association, peer, accept, now)
                    }
                    CarrierEvent::Ready => {
                        if let Some(Owner::Session(id)) =
                            self.associations.get(&(index, association)).copied()
                        {
                            self.enqueue(id);
                        }
                    }
                    CarrierEvent::Closed => {
                        if let Some(Owner::Closing(due)) =
                            self.associations.remove(&(index, association))
                        {
                            self.closing.remove(&(due, index, association));
                        }
                    }
                }
            }
        }
        more
    }

    fn accepted(
        &mut self,
        carrier: CarrierIndex,
        association: AssociationId,
        peer: Peer,
        accept: &mut dyn FnMut(Peer) -> Option<S>,
        now: Instant,
    ) {
        let full = self.active >= self.config.max_sessions;
        let session = if full {
            if self.turned_away == 0 {
                tracing::warn!(%peer, limit = self.config.max_sessions, "too many sessions: peers are turned away");
            }
            None
        } else if self.draining.is_some() {
            None
        } else {
            accept(peer)
        };
        match session {
            Some(session) => {
                if self.turned_away > 0 {
                    tracing::warn!(peers = self.turned_away, "peers were turned away");
                    self.turned_away = 0;
                }
                self.adopt(carrier, association, session, false);
            }
            None => {
                self.turned_away += u64::from(full);
                self.carriers[carrier.0].close(association, CloseMode::Abort, now);
            }
        }
    }

    /// Takes a session in and queues its first visit.
    pub(super) fn adopt(
        &mut self,
        carrier: CarrierIndex,
        association: AssociationId,
        session: S,
        ours: bool,
    ) -> SessionId {
        let id = SessionId(self.next);
        self.next += 1;
        self.active += 1;
        let link = Link::Open {
            carrier,
            association,
            up: false,
        };
        let entry = Entry {
            session,
            link,
            unsent: None,
            timer: None,
            ending: None,
            ours,
        };
        self.sessions.insert(id, entry);
        self.associations
            .insert((carrier, association), Owner::Session(id));
        self.enqueue(id);
        id
    }

    /// Queues a visit, unless one is queued.
    pub(super) fn enqueue(&mut self, id: SessionId) {
        if !self.is_over(id) {
            self.visits.insert(id);
        }
    }

    /// Queues visits for the sessions whose time has come, and ends what is overdue.
    pub(super) fn run_timers(&mut self, now: Instant) {
        for carrier in &mut self.carriers {
            if carrier.poll_timeout().is_some_and(|due| due <= now) {
                carrier.handle_timeout(now);
            }
        }
        while let Some(&(due, carrier, association)) = self.closing.first()
            && due <= now
        {
            self.closing.pop_first();
            self.associations.remove(&(carrier, association));
            tracing::debug!("an association did not shut down in time and is aborted");
            self.carriers[carrier.0].close(association, CloseMode::Abort, now);
        }
        while let Some(&(due, id)) = self.timers.first()
            && due <= now
        {
            self.timers.pop_first();
            if let Some(entry) = self.sessions.get_mut(&id) {
                entry.timer = None;
            }
            self.enqueue(id);
        }
    }

    /// Hands the jobs' outputs to their sessions; the room goes to those that waited longest.
    pub(super) fn take_outcomes(&mut self, now: Instant) {
        while let Some(((id, ticket), outcome)) = self.pool.poll() {
            let Some(entry) = self.sessions.get_mut(&id) else {
                continue;
            };
            if matches!(entry.link, Link::Over) {
                continue;
            }
            match outcome {
                Outcome::Done(output) => entry.session.handle_output(ticket, output, now),
                Outcome::Panicked(message) => {
                    tracing::error!(session = id.0, %ticket, message, "a job panicked: its session is aborted");
                    let reason = LostReason::Local("a job panicked");
                    entry.session.handle_inbound(Inbound::Lost(reason), now);
                    self.finish(id, CloseMode::Abort, now);
                    continue;
                }
            }
            self.enqueue(id);
        }
        // Each of them submits at most a few jobs in its visit, and waits again behind the others.
        let mut room = self.config.jobs.saturating_sub(self.pool.outstanding());
        while room > 0
            && let Some(id) = self.waiting.pop()
        {
            room -= 1;
            self.enqueue(id);
        }
    }

    /// Begins the end of the loop when it was stopped, and forces it when the time is up.
    pub(super) fn begin_stop(&mut self, now: Instant) {
        match self.draining {
            None if self.is_stopped() => {
                tracing::info!(sessions = self.active, "stopping");
                self.draining = Some(now + self.config.drain);
                for carrier in &mut self.carriers {
                    carrier.stop_listening();
                }
                let ids: Vec<_> = self.sessions.keys().copied().collect();
                for id in ids {
                    if let Some(entry) = self.sessions.get_mut(&id)
                        && !matches!(entry.link, Link::Over)
                    {
                        entry.session.handle_stop(now);
                        self.enqueue(id);
                    }
                }
            }
            Some(due) if due <= now => {
                let ids: Vec<_> = self.sessions.keys().copied().collect();
                for id in ids {
                    if self.is_over(id) {
                        continue;
                    }
                    tracing::warn!(session = id.0, "did not end in time: aborted");
                    if let Some(entry) = self.sessions.get_mut(&id) {
                        let reason = LostReason::Local("stopped");
                        entry.session.handle_inbound(Inbound::Lost(reason), now);
                    }
                    self.finish(id, CloseMode::Abort, now);
                }
            }
            _ => {}
        }
    }

    /// One visit.
    pub(super) fn visit(&mut self, id: SessionId) {
        let now = Instant::now();
        let mut budget = Budget {
            received: VISIT_MESSAGES,
            sent: VISIT_MESSAGES,
            jobs: VISIT_JOBS,
        };
        self.run_due(id, now);
        let (more, blocked) = loop {
            let received = self.receive_one(id, &mut budget, now);
            let submitted = self.submit_one(id, &mut budget);
            let sent = self.send_one(id, &mut budget, now);
            let moves = [received, submitted, sent];
            if moves.contains(&Move::Budget) {
                break (true, false);
            }
            if !moves.contains(&Move::Made) {
                break (false, sent == Move::Blocked);
            }
        };
        let Some(entry) = self.sessions.get_mut(&id) else {
            return;
        };
        let over = match entry.link {
            Link::Over => return,
            // What the session still wants to say goes first, unless the peer takes nothing more.
            Link::Open { .. } if entry.session.is_closed() => {
                let due = *entry.ending.get_or_insert(now + self.config.close);
                if due <= now {
                    tracing::info!(session = id.0, "its peer takes nothing more: aborted");
                    self.finish(id, CloseMode::Abort, now);
                    return;
                }
                entry.unsent.is_none() && !more && !blocked
            }
            Link::Open { .. } => false,
            Link::Gone(due) => {
                let late = due <= now;
                if late {
                    tracing::warn!(
                        session = id.0,
                        "its association is gone and its jobs do not end: dropped"
                    );
                }
                late || entry.session.is_closed()
            }
        };
        if over {
            // There is nothing to shut down in order before the association is up.
            let up = matches!(entry.link, Link::Open { up: true, .. });
            self.finish(
                id,
                if up {
                    CloseMode::Graceful
                } else {
                    CloseMode::Abort
                },
                now,
            );
            return;
        }
        if more {
            self.enqueue(id);
        }
        self.set_timer(id, now);
    }

    fn run_due(&mut self, id: SessionId, now: Instant) {
        if let Some(entry) = self.sessions.get_mut(&id)
            && entry.session.poll_timeout().is_some_and(|due| due <= now)
        {
            entry.session.handle_timeout(now);
        }
    }

    /// Moves one message or change from the association to the session.
    fn receive_one(&mut self, id: SessionId, budget: &mut Budget, now: Instant) -> Move {
        let Some(entry) = self.sessions.get_mut(&id) else {
            return Move::None;
        };
        let Link::Open {
            carrier,
            association,
            up,
        } = entry.link
        else {
            return Move::None;
        };
        if (up && !entry.session.wants_read()) || entry.session.is_closed() {
            return Move::None;
        }
        if budget.received == 0 {
            return Move::Budget;
        }
        let Some(inbound) = self.carriers[carrier.0].receive(association, now) else {
            return Move::None;
        };
        budget.received -= 1;
        let is_up = matches!(inbound, Inbound::Up { .. });
        match &inbound {
            Inbound::Up { .. } => {
                entry.link = Link::Open {
                    carrier,
                    association,
                    up: true,
                };
            }
            Inbound::Message { .. } => {}
            Inbound::PathChanged(path) => {
                tracing::info!(session = id.0, remote = %path.remote, state = %path.state, "a path changed");
            }
            Inbound::PeerClosed => self.unlink(id, CloseMode::Graceful, now),
            Inbound::Lost(reason) => {
                tracing::info!(session = id.0, %reason, "the association is lost");
                self.unlink(id, CloseMode::Abort, now);
            }
        }
        self.inform(id, inbound, now);
        if is_up {
            for path in self.carriers[carrier.0].paths(association) {
                self.inform(id, Inbound::PathChanged(path), now);
            }
        }
        Move::Made
    }

    fn inform(&mut self, id: SessionId, inbound: Inbound, now: Instant) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.session.handle_inbound(inbound, now);
        }
    }

    /// Moves one job from the session to the pool.
    fn submit_one(&mut self, id: SessionId, budget: &mut Budget) -> Move {
        let Some(entry) = self.sessions.get_mut(&id) else {
            return Move::None;
        };
        if matches!(entry.link, Link::Over) {
            return Move::None;
        }
        if !self.pool.has_room() || budget.jobs == 0 {
            // The session is not asked, for it could not take its job back: it waits its turn for
            // room.
            self.waiting.insert(id);
            return Move::None;
        }
        let Some((ticket, job)) = entry.session.poll_job() else {
            return Move::None;
        };
        budget.jobs -= 1;
        self.pool.submit((id, ticket), job);
        Move::Made
    }

    /// Moves one message from the session to the carrier.
    fn send_one(&mut self, id: SessionId, budget: &mut Budget, now: Instant) -> Move {
        let Some(entry) = self.sessions.get_mut(&id) else {
            return Move::None;
        };
        let (carrier, association) = match entry.link {
            Link::Open {
                carrier,
                association,
                up: true,
            } => (carrier, association),
            Link::Open { .. } | Link::Over => return Move::None,
            Link::Gone(_) => {
                // Nobody will hear it; the session comes to its end by draining.
                entry.unsent = None;
                return if entry.session.poll_transmit(now).is_some() {
                    Move::Made
                } else {
                    Move::None
                };
            }
        };
        if self.carriers[carrier.0].queued(association) >= SEND_QUEUE {
            return Move::Blocked;
        }
        if budget.sent == 0 {
            return Move::Budget;
        }
        let message = entry.unsent.take();
        let Some(Transmit { stream, payload }) =
            message.or_else(|| entry.session.poll_transmit(now))
        else {
            return Move::None;
        };
        budget.sent -= 1;
        match self.carriers[carrier.0].send(association, stream, payload, now) {
            Ok(()) => Move::Made,
            Err(SendError::Full(payload)) => {
                entry.unsent = Some(Transmit { stream, payload });
                Move::Blocked
            }
            // Why it is gone comes by `receive`, behind what the peer sent before.
            Err(SendError::Gone) => Move::Made,
        }
    }

    /// Brings the timer in line with what the session wants now.
    fn set_timer(&mut self, id: SessionId, now: Instant) {
        let Some(entry) = self.sessions.get_mut(&id) else {
            return;
        };
        let orphan = if let Link::Gone(due) = entry.link {
            Some(due)
        } else {
            None
        };
        let wanted = [entry.session.poll_timeout(), orphan, entry.ending]
            .into_iter()
            .flatten()
            .min();
        // Due again at once although it has just been run: slow it down rather than spin.
        let wanted = wanted.map(|due| if due <= now { now + MIN_TIMER } else { due });
        if wanted == entry.timer {
            return;
        }
        if let Some(due) = entry.timer {
            self.timers.remove(&(due, id));
        }
        entry.timer = wanted;
        if let Some(due) = wanted {
            self.timers.insert((due, id));
        }
    }

    /// Parts the session from its association.
    fn unlink(&mut self, id: SessionId, mode: CloseMode, now: Instant) {
        self.release(id, mode, now);
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.link = Link::Gone(now + ORPHAN_TIMEOUT);
        }
    }

    /// Closes the association of a session, if it has one.
    pub(super) fn release(&mut self, id: SessionId, mode: CloseMode, now: Instant) {
        let Some(Link::Open {
            carrier,
            association,
            ..
        }) = self.sessions.get(&id).map(|entry| entry.link)
        else {
            return;
        };
        self.associations.remove(&(carrier, association));
        if mode == CloseMode::Graceful {
            let due = now + self.config.close;
            self.associations
                .insert((carrier, association), Owner::Closing(due));
            self.closing.insert((due, carrier, association));
        }
        self.carriers[carrier.0].close(association, mode, now);
    }

    /// Ends a session: a peer's is forgotten, one of ours is kept until it is taken.
    pub(super) fn finish(&mut self, id: SessionId, mode: CloseMode, now: Instant) {
        self.release(id, mode, now);
        let Some(entry) = self.sessions.get_mut(&id) else {
            return;
        };
        if !matches!(entry.link, Link::Over) {
            self.active -= 1;
        }
        entry.link = Link::Over;
        entry.unsent = None;
        if let Some(due) = entry.timer.take() {
            self.timers.remove(&(due, id));
        }
        if !entry.ours {
            self.sessions.remove(&id);
        }
    }
}

/// What a visit may still do.
struct Budget {
    received: usize,
    sent: usize,
    jobs: usize,
}

/// What became of one step of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// There was nothing to do, or it waits for somebody who will wake the session.
    None,
    /// The carrier has no room; it will wake the session.
    Blocked,
    Made,
    /// There may be more to do, after the others had their turn.
    Budget,
}
