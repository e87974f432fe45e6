//! The jobs of one session: those to run, and what the output of each is for.

use std::collections::{BTreeMap, VecDeque};

use towpath_io_mio::Ticket;
use towpath_protocol::server::{ClaimedUser, LoginTicket};
use towpath_protocol::{RequestId, TransferId};

use crate::jobs::Job;

/// Jobs by ticket.
#[derive(Default)]
pub(super) struct JobQueue {
    queued: VecDeque<(Ticket, Job)>,
    awaited: BTreeMap<Ticket, Awaited>,
    next_ticket: u64,
}

/// What a job's output is for.
pub(super) enum Awaited {
    Login {
        attempt: LoginTicket,
        user: ClaimedUser,
        by_password: bool,
    },
    Request {
        id: RequestId,
        /// The request, for the log.
        description: String,
    },
    Transfer(TransferId),
}

impl JobQueue {
    pub(super) fn submit(&mut self, awaited: Awaited, job: Job) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.awaited.insert(ticket, awaited);
        self.queued.push_back((ticket, job));
    }

    /// The next job to run.
    pub(super) fn poll(&mut self) -> Option<(Ticket, Job)> {
        self.queued.pop_front()
    }

    /// What an output is for; `None` for a stale ticket.
    pub(super) fn finish(&mut self, ticket: Ticket) -> Option<Awaited> {
        self.awaited.remove(&ticket)
    }

    /// Whether every job has been run and its output handled.
    pub(super) fn is_idle(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Drops the jobs that no worker has taken yet.
    pub(super) fn clear(&mut self) {
        self.queued.clear();
    }
}
