//! Tasks of a command, and their shared state.
//!
//! A command is a queue of tasks: one for each file, listing or request. Each is a small state
//! machine, driven by its own replies, transfer events and finished jobs, and independent of the
//! others.

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

/// The state of a task after a step.
#[derive(Debug)]
#[must_use]
pub(crate) enum Step {
    /// It waits for a reply, an event or a job of its own.
    Running,
    /// It waits for a free transfer stream.
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

/// A task.
pub(crate) trait Task: Send + std::fmt::Debug {
    /// The subject in messages, escaped: usually a path.
    fn label(&self) -> String;

    /// Starts the task.
    fn start(&mut self, cx: &mut Context<'_>) -> Step;

    /// The manifest of the transferred file, after the task succeeded.
    fn manifest(&self) -> Option<&SignedManifest> {
        None
    }

    /// Its job ended.
    fn handle_output(&mut self, output: Output, cx: &mut Context<'_>) -> Step;

    /// Its request was answered.
    fn handle_reply(&mut self, _result: Result<Reply, Refusal>, _cx: &mut Context<'_>) -> Step {
        Step::failed(unexpected(&self.label()))
    }

    /// An event of its transfer.
    fn handle_transfer(&mut self, _event: TransferEvent, _cx: &mut Context<'_>) -> Step {
        Step::failed(unexpected(&self.label()))
    }

    /// A stream may be free now; called only after [`Step::NoStream`].
    fn retry(&mut self, _cx: &mut Context<'_>) -> Step {
        Step::failed(unexpected(&self.label()))
    }

    /// The connection was lost. A task that no longer needs it continues.
    fn handle_closed(&mut self, failure: &Error, _cx: &mut Context<'_>) -> Step {
        Step::failed(failure.clone())
    }
}

/// The error for a reply of another kind than the request.
pub(crate) fn unexpected(label: &str) -> Error {
    Error::new(
        ErrorKind::Server,
        format!("{label}: the server answered something that was not asked"),
    )
}

/// Identifier of a task within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(pub(crate) u64);

/// The recipient of a job's result within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The session: trust and login.
    Session,
    /// A task.
    Task(TaskId),
    /// None: the job only shows a message.
    Nobody,
    /// The session: the next command of a [`Client`](crate::Client).
    Commands,
}

/// Queued jobs, and the tasks that wait for results.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    jobs: VecDeque<(Ticket, Job)>,
    last_ticket: u64,
    /// Jobs without a result yet.
    pub(crate) outstanding: BTreeMap<Ticket, Owner>,
    /// Requests without a reply yet.
    pub(crate) requests: BTreeMap<RequestId, TaskId>,
    /// Transfers not yet ended.
    pub(crate) transfers: BTreeMap<TransferId, TaskId>,
    /// Tasks created by tasks.
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

/// The session's interface for a task during a step.
pub(crate) struct Context<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) pending: &'a mut Pending,
    pub(crate) counters: &'a Arc<Counters>,
    pub(crate) link: &'a Link,
    pub(crate) task: TaskId,
    /// The logged-in user.
    pub(crate) login: &'a Login,
    pub(crate) now: Instant,
}

impl Context<'_> {
    /// Queues a job; its result is delivered to this task.
    pub(crate) fn job(&mut self, job: Job) {
        self.pending.job(Owner::Task(self.task), job);
    }

    /// Sends a request; its reply is delivered to this task.
    ///
    /// # Errors
    /// When the connection accepts no more requests.
    pub(crate) fn request(&mut self, request: Request) -> Result<(), Error> {
        let id = self
            .connection
            .request(request)
            .map_err(|e| refused_here(&e))?;
        self.pending.requests.insert(id, self.task);
        Ok(())
    }

    /// Adds a task at the end of the queue.
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

    /// Aborts a transfer of this task.
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
