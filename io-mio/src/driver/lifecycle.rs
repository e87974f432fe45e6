//! How sessions begin and end, and what wakes them.

use std::time::Instant;

use super::{CarrierIndex, Driver, Entry, Link, Owner, SessionId};
use crate::carrier::{AssociationId, CarrierEvent, CloseMode, Inbound, LostReason, Peer};
use crate::limits::{ORPHAN_TIMEOUT, TIMER_READS};
use crate::pool::Outcome;
use crate::session::Session;

impl<S: Session> Driver<S> {
    /// Drives the carriers and handles their events; true if one has more to do now.
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
                tracing::warn!(%peer, limit = self.config.max_sessions, "too many sessions: peers are refused");
            }
            None
        } else if self.draining.is_some() {
            None
        } else {
            self.check_revoked = true;
            accept(peer)
        };
        match session {
            Some(session) => {
                if self.turned_away > 0 {
                    tracing::warn!(peers = self.turned_away, "peers were refused");
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

    /// Ends the sessions that were revoked.
    pub(super) fn end_revoked(&mut self, now: Instant) {
        if !std::mem::take(&mut self.check_revoked) {
            return;
        }
        let mut revoked = Vec::new();
        for (id, entry) in &mut self.sessions {
            if !matches!(entry.link, Link::Over) && entry.session.is_revoked() {
                let reason = LostReason::Local("revoked");
                entry.session.handle_inbound(Inbound::Lost(reason), now);
                revoked.push(*id);
            }
        }
        for id in revoked {
            self.finish(id, CloseMode::Abort, now);
        }
    }

    /// Adds a session and queues its first visit.
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

    /// Queues visits for the sessions whose timer is due, and aborts shutdowns that are overdue.
    pub(super) fn run_timers(&mut self, now: Instant) {
        for carrier in &mut self.carriers {
            // A timer must not call missing what waits in a socket, so that is read first; a flood
            // does not put the timer off for ever.
            for _ in 0..TIMER_READS {
                let due = carrier.poll_timeout().is_some_and(|due| due <= now);
                if !due || !carrier.drive(now) {
                    break;
                }
            }
            if carrier.poll_timeout().is_some_and(|due| due <= now) {
                carrier.handle_timeout(now);
            }
        }
        while let Some(&(due, carrier, association)) = self.closing.first()
            && due <= now
        {
            self.closing.pop_first();
            self.associations.remove(&(carrier, association));
            tracing::debug!("the shutdown of an association took too long: aborted");
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

    /// Passes the jobs' outputs to their sessions. The sessions that waited longest for room in the
    /// pool are visited next.
    pub(super) fn take_outcomes(&mut self, now: Instant) {
        while let Some(((id, ticket), outcome)) = self.pool.poll() {
            self.check_revoked = true;
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
        // Each submits at most a few jobs in its visit, and then waits again behind the others.
        let mut room = self.config.jobs.saturating_sub(self.pool.outstanding());
        while room > 0
            && let Some(id) = self.waiting.pop()
        {
            room -= 1;
            self.enqueue(id);
        }
    }

    /// After a stop: asks the sessions to end, and aborts those that have not ended in time.
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
                    tracing::warn!(session = id.0, "the session did not end in time: aborted");
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

    /// Separates the session from its association.
    pub(super) fn unlink(&mut self, id: SessionId, mode: CloseMode, now: Instant) {
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

    /// Ends a session. One made by `connect` is kept until it is taken, others are dropped.
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
