//! Several ways to one peer, tried one after the other until one comes up.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{CarrierIndex, Driver, Link, Owner, SessionId};
use crate::carrier::CloseMode;
use crate::session::Session;

/// A carrier and the peer's addresses on it.
#[derive(Debug, Clone)]
pub struct Way {
    /// The carrier.
    pub carrier: CarrierIndex,
    /// Where the peer is.
    pub remotes: Vec<SocketAddr>,
}

/// The ways that a session has not tried yet.
pub(super) struct Untried {
    ways: VecDeque<Way>,
    patience: Duration,
    /// When the present way has had its time.
    pub(super) due: Instant,
}

impl<S: Session> Driver<S> {
    /// Starts an association by the first of these ways, and gives the session to the next one when one cannot be
    /// begun, fails, or is not up after `patience`; the last one has all the time. The session hears of none of this.
    ///
    /// # Errors
    /// None can be begun: why the last one cannot. `InvalidInput` without any.
    pub fn connect_any(
        &mut self,
        ways: Vec<Way>,
        patience: Duration,
        session: S,
    ) -> io::Result<SessionId> {
        let now = Instant::now();
        let mut ways = VecDeque::from(ways);
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "no way to the peer");
        while let Some(Way { carrier, remotes }) = ways.pop_front() {
            match self.carriers[carrier.0].connect(&remotes, now) {
                Ok(association) => {
                    let id = self.adopt(carrier, association, session, true);
                    if let Some(entry) = self.sessions.get_mut(&id)
                        && !ways.is_empty()
                    {
                        let due = now + patience;
                        entry.untried = Some(Untried {
                            ways,
                            patience,
                            due,
                        });
                    }
                    return Ok(id);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The name of the carrier of a session's association ([`Carrier::kind`](crate::Carrier::kind)); none when it
    /// has no association.
    #[must_use]
    pub fn kind(&self, id: SessionId) -> Option<&'static str> {
        match self.sessions.get(&id)?.link {
            Link::Open { carrier, .. } => Some(self.carriers[carrier.0].kind()),
            Link::Gone(_) | Link::Over => None,
        }
    }

    /// The present way has had its time without coming up: tries the next.
    pub(super) fn lose_patience(&mut self, id: SessionId, now: Instant) {
        let waiting = self
            .sessions
            .get(&id)
            .and_then(|entry| entry.untried.as_ref());
        if waiting.is_some_and(|untried| untried.due <= now) {
            self.try_next_way(id, now);
        }
    }

    /// Parts a session that is not up from its association and begins another by the next way. Says whether there
    /// was one.
    pub(super) fn try_next_way(&mut self, id: SessionId, now: Instant) -> bool {
        loop {
            let Some(entry) = self.sessions.get_mut(&id) else {
                return false;
            };
            let (Link::Open { up: false, .. }, Some(untried)) = (entry.link, &mut entry.untried)
            else {
                return false;
            };
            let Some(Way { carrier, remotes }) = untried.ways.pop_front() else {
                entry.untried = None;
                return false;
            };
            untried.due = now + untried.patience;
            if untried.ways.is_empty() {
                entry.untried = None;
            }
            match self.carriers[carrier.0].connect(&remotes, now) {
                Ok(association) => {
                    self.release(id, CloseMode::Abort, now);
                    if let Some(entry) = self.sessions.get_mut(&id) {
                        entry.link = Link::Open {
                            carrier,
                            association,
                            up: false,
                        };
                    }
                    self.associations
                        .insert((carrier, association), Owner::Session(id));
                    self.enqueue(id);
                    tracing::info!(
                        session = id.0,
                        carrier = self.carriers[carrier.0].kind(),
                        "tried by another way"
                    );
                    return true;
                }
                Err(error) => tracing::info!(session = id.0, %error, "a way cannot be tried"),
            }
        }
    }
}
