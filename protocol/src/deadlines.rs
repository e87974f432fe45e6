//! The deadlines of a connection, and the keepalive.

use std::time::Instant;

use crate::error::Deadline;
use crate::limits::Limits;

/// When a connection has to act although nothing arrives.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// The deadline of the present stage.
    stage: Option<(Instant, Deadline)>,
    /// Once the connection is over: when what is still queued is dropped.
    flush_deadline: Option<Instant>,
    keepalive: Keepalive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keepalive {
    Off,
    /// The last message of the peer came at this time.
    Heard {
        at: Instant,
    },
    /// A Ping was sent at this time, and nothing has come since.
    Pinged {
        at: Instant,
    },
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// The peer has been silent: send a Ping.
    Ping,
    /// The peer missed a deadline.
    Timeout(Deadline),
}

impl Deadlines {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            stage: Some((now + limits.link_timeout, Deadline::Link)),
            flush_deadline: None,
            keepalive: Keepalive::Off,
        }
    }

    /// Sets or clears the deadline of the present stage.
    pub(crate) fn set(&mut self, deadline: Option<(Instant, Deadline)>) {
        self.stage = deadline;
    }

    pub(crate) fn start_keepalive(&mut self, now: Instant) {
        self.keepalive = Keepalive::Heard { at: now };
    }

    /// A message of the peer has come.
    pub(crate) fn heard(&mut self, now: Instant) {
        if self.keepalive != Keepalive::Off {
            self.keepalive = Keepalive::Heard { at: now };
        }
    }

    /// The connection is over: only `flush_deadline` counts from now on, so a peer that reads
    /// nothing cannot keep the connection.
    pub(crate) fn end(&mut self, flush_deadline: Instant) {
        self.stage = None;
        self.keepalive = Keepalive::Off;
        self.flush_deadline = Some(flush_deadline);
    }

    /// When what is still queued is dropped; `None` before [`Self::end`].
    pub(crate) fn flush_deadline(&self) -> Option<Instant> {
        self.flush_deadline
    }

    /// The next deadline before [`Self::end`].
    pub(crate) fn next(&self, limits: &Limits) -> Option<Instant> {
        let keepalive = match self.keepalive {
            Keepalive::Off => None,
            Keepalive::Heard { at } => Some(at + limits.keepalive),
            Keepalive::Pinged { at } => Some(at + limits.keepalive_timeout),
        };
        let stage = self.stage.map(|(at, _)| at);
        [keepalive, stage].into_iter().flatten().min()
    }

    /// What is due at `now`, before [`Self::end`].
    pub(crate) fn check(&mut self, limits: &Limits, now: Instant) -> Due {
        if let Some((at, deadline)) = self.stage
            && at <= now
        {
            return Due::Timeout(deadline);
        }
        match self.keepalive {
            Keepalive::Heard { at } if at + limits.keepalive <= now => {
                self.keepalive = Keepalive::Pinged { at: now };
                Due::Ping
            }
            Keepalive::Pinged { at } if at + limits.keepalive_timeout <= now => {
                Due::Timeout(Deadline::Keepalive)
            }
            Keepalive::Off | Keepalive::Heard { .. } | Keepalive::Pinged { .. } => Due::Nothing,
        }
    }
}
