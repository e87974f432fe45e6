//! What the loop does in one visit of a session.

use std::time::Instant;

use super::{Driver, Link, SessionId};
use crate::carrier::{CloseMode, Inbound, SendError};
use crate::limits::{MIN_TIMER, SEND_QUEUE, VISIT_JOBS, VISIT_MESSAGES};
use crate::session::{Session, Transmit};

impl<S: Session> Driver<S> {
    /// Visits a session: moves messages and jobs until nothing moves or the budget is used.
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
            // Its last messages are sent first, unless the peer has stopped reading.
            Link::Open { .. } if entry.session.is_closed() => {
                let due = *entry.ending.get_or_insert(now + self.config.close);
                if due <= now {
                    tracing::info!(session = id.0, "the peer has stopped reading: aborted");
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
                        "the association is gone and the jobs do not end: dropped"
                    );
                }
                late || entry.session.is_closed()
            }
        };
        if over {
            // Before the association is up there is nothing to shut down.
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
                // The session, which knows whose path it is, says so to the user.
                tracing::debug!(session = id.0, remote = %path.remote, state = %path.state, "a path changed");
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
            // The session is not polled, because it could not take its job back: it waits for room.
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
                // It cannot be sent; the session is drained so that it can end.
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
            // The reason comes from `receive`, behind what the peer sent before.
            Err(SendError::Gone) => Move::Made,
        }
    }

    /// Sets the session's timer to its next deadline.
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
        // Due again although it has just run: a short wait instead of a spinning loop.
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
}

/// What is left of a visit's budget.
struct Budget {
    received: usize,
    sent: usize,
    jobs: usize,
}

/// The result of one step of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// Nothing to do, or the session will be woken when there is.
    None,
    /// The carrier has no room; it wakes the session when it has.
    Blocked,
    Made,
    /// The budget is used up; there may be more to do.
    Budget,
}
