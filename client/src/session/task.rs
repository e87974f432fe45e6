//! The pieces of work of a command, and what they share.
//!
//! A command is a queue of tasks: one for each file, listing or question. Each is a small state
//! machine that is woken by its own replies, transfer events and finished jobs, and never waits for
//! another.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use towpath_io_mio::Ticket;
use towpath_protocol::client::{Connection, TransferEvent};
use towpath_protocol::signed::{FilePath, ManifestHash, SignedManifest};
use towpath_protocol::{Refusal, RefusalCode, Reply, Request, RequestId, TransferId, UsageError};

use crate::error::{Error, ErrorKind};
use crate::session::counters::Counters;
use crate::session::job::{Job, Output};
use crate::session::link::Link;
use crate::session::login::Login;

/// Whether a task goes on.
#[derive(Debug)]
#[must_use]
pub(crate) enum Step {
    /// It waits for something of its own.
    Running,
    /// It waits for a transfer stream, all of which are busy.
    NoStream,
    /// It ended.
    Done(Result<(), Error>),
}

impl Step {
    /// Ended with `failure`.
    pub(crate) fn failed(failure: Error) -> Self {
        Self::Done(Err(failure))
    }
}

/// One piece of work.
pub(crate) trait Task: Send + std::fmt::Debug {
    /// What it is about, escaped, for messages.
    fn label(&self) -> String;

    /// Begins.
    fn start(&mut self, cx: &mut Context<'_>) -> Step;

    /// The manifest of what was transferred, once the task ended well.
    fn manifest(&self) -> Option<&SignedManifest> {
        None
    }

    /// Its job ended.
    fn handle_output(&mut self, output: Output, cx: &mut Context<'_>) -> Step;

    /// Its request was answered.
    fn handle_reply(&mut self, _result: Result<Reply, Refusal>, _cx: &mut Context<'_>) -> Step {
        Step::failed(unexpected(&self.label()))
    }

    /// Its transfer went on.
    fn handle_transfer(&mut self, _event: TransferEvent, _cx: &mut Context<'_>) -> Step {
        Step::failed(unexpected(&self.label()))
    }

    /// A stream may be free now; called only after [`Step::NoStream`].
    fn retry(&mut self, _cx: &mut Context<'_>) -> Step {
        Step::failed(unexpected(&self.label()))
    }

    /// The connection is gone. A task that needs it no more goes on.
    fn handle_closed(&mut self, failure: &Error, _cx: &mut Context<'_>) -> Step {
        Step::failed(failure.clone())
    }
}

/// The server answered something that was not asked.
pub(crate) fn unexpected(label: &str) -> Error {
    Error::new(
        ErrorKind::Server,
        format!("{label}: the server answered something that was not asked"),
    )
}

/// Names a task within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(pub(crate) u64);

/// Which part of a session a job's result is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The session's own dialogue: trust and login.
    Session,
    /// A task.
    Task(TaskId),
    /// Nobody: a message for the user.
    Nobody,
    /// The session: the next command of a [`Client`](crate::Client).
    Commands,
}

/// Jobs on their way, and who waits for what.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    jobs: VecDeque<(Ticket, Job)>,
    last_ticket: u64,
    /// Jobs not yet answered.
    pub(crate) outstanding: BTreeMap<Ticket, Owner>,
    /// Requests not yet answered.
    pub(crate) requests: BTreeMap<RequestId, TaskId>,
    /// Transfers not yet ended.
    pub(crate) transfers: BTreeMap<TransferId, TaskId>,
    /// Tasks born of tasks.
    pub(crate) spawned: Vec<Box<dyn Task>>,
}

impl Pending {
    /// Queues a job.
    pub(crate) fn job(&mut self, owner: Owner, job: Job) {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.outstanding.insert(ticket, owner);
        self.jobs.push_back((ticket, job));
    }

    /// The next job for a worker.
    pub(crate) fn poll_job(&mut self) -> Option<(Ticket, Job)> {
        self.jobs.pop_front()
    }
}

/// What a task sees of its session while it is awake.
pub(crate) struct Context<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) pending: &'a mut Pending,
    pub(crate) counters: &'a Arc<Counters>,
    pub(crate) link: &'a Link,
    pub(crate) task: TaskId,
    /// Who is logged in.
    pub(crate) login: &'a Login,
    pub(crate) now: Instant,
}

impl Context<'_> {
    /// Gives a job to a worker; its result comes to this task.
    pub(crate) fn job(&mut self, job: Job) {
        self.pending.job(Owner::Task(self.task), job);
    }

    /// Asks the server; the reply comes to this task.
    ///
    /// # Errors
    /// When the connection takes no more requests.
    pub(crate) fn request(&mut self, request: Request) -> Result<(), Error> {
        let id = self
            .connection
            .request(request)
            .map_err(|e| refused_here(&e))?;
        self.pending.requests.insert(id, self.task);
        Ok(())
    }

    /// Adds a task behind those that wait.
    #[cfg(feature = "cli")]
    pub(crate) fn spawn(&mut self, task: Box<dyn Task>) {
        self.pending.spawned.push(task);
    }

    /// Starts a download; `None` when all streams are busy.
    ///
    /// # Errors
    /// When the connection is not ready for transfers.
    pub(crate) fn get(
        &mut self,
        path: &FilePath,
        offset: u64,
        manifest: Option<ManifestHash>,
    ) -> Result<Option<TransferId>, Error> {
        let started = self.connection.get(path.clone(), offset, manifest);
        self.started(started)
    }

    /// Starts an upload; `None` when all streams are busy.
    ///
    /// # Errors
    /// When the connection is not ready for transfers.
    pub(crate) fn put(
        &mut self,
        path: &FilePath,
        size_hint: u64,
        replace_damaged: bool,
    ) -> Result<Option<TransferId>, Error> {
        let path = path.clone();
        let started = if replace_damaged {
            self.connection.put_replacing_damaged(path, size_hint)
        } else {
            self.connection.put(path, size_hint)
        };
        self.started(started)
    }

    /// Gives up a transfer of this task.
    pub(crate) fn abort(&mut self, transfer: TransferId, why: &str) {
        if self.pending.transfers.remove(&transfer).is_some() {
            self.connection
                .abort(transfer, Refusal::new(RefusalCode::Cancelled, why));
        }
    }

    /// The progress counters.
    #[must_use]
    pub(crate) fn counters(&self) -> &Counters {
        self.counters
    }

    /// The connection, to write and to grant credit.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        self.connection
    }

    fn started(
        &mut self,
        started: Result<TransferId, UsageError>,
    ) -> Result<Option<TransferId>, Error> {
        match started {
            Ok(transfer) => {
                self.pending.transfers.insert(transfer, self.task);
                Ok(Some(transfer))
            }
            Err(UsageError::NoFreeStream) => Ok(None),
            Err(e) => Err(refused_here(&e)),
        }
    }
}

fn refused_here(error: &UsageError) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("the connection cannot take the request: {error}"),
    )
}
