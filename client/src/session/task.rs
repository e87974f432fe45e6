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
use towpath_protocol::signed::{FilePath, ManifestHash, StoreId, UserId, UserName};
use towpath_protocol::{Refusal, RefusalCode, Reply, Request, RequestId, TransferId, UsageError};

use crate::exit::{Exit, Failure};
use crate::session::jobs::{Job, Output};
use crate::terminal::progress::Counters;

/// Who is logged in, where.
#[derive(Clone, Debug)]
pub struct Login {
    /// The server's store.
    pub store: StoreId,
    /// The user's id.
    pub uid: UserId,
    /// The user's name.
    pub name: UserName,
}

/// Whether a task goes on.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// It waits for something of its own.
    Running,
    /// It waits for a transfer stream, all of which are busy.
    NoStream,
    /// It ended.
    Done(Result<(), Failure>),
}

impl Step {
    /// Ended with `failure`.
    pub fn failed(failure: Failure) -> Self {
        Self::Done(Err(failure))
    }
}

/// One piece of work.
pub trait Task: Send + std::fmt::Debug {
    /// What it is about, escaped, for messages.
    fn label(&self) -> String;

    /// Begins.
    fn start(&mut self, cx: &mut Context<'_>) -> Step;

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
    fn handle_closed(&mut self, failure: &Failure, _cx: &mut Context<'_>) -> Step {
        Step::failed(failure.clone())
    }
}

/// The server answered something that was not asked.
pub fn unexpected(label: &str) -> Failure {
    Failure::new(
        Exit::Server,
        format!("{label}: the server answered something that was not asked"),
    )
}

/// Names a task within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(pub u64);

/// Whom a job's result is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The session's own dialogue: trust and login.
    Session,
    /// A task.
    Task(TaskId),
    /// Nobody: a message for the person.
    Nobody,
}

/// Jobs on their way, and who waits for what.
#[derive(Debug, Default)]
pub struct Routes {
    jobs: VecDeque<(Ticket, Job)>,
    last_ticket: u64,
    /// Jobs not yet answered.
    pub outstanding: BTreeMap<Ticket, Owner>,
    /// Requests not yet answered.
    pub requests: BTreeMap<RequestId, TaskId>,
    /// Transfers not yet ended.
    pub transfers: BTreeMap<TransferId, TaskId>,
    /// Tasks born of tasks.
    pub spawned: Vec<Box<dyn Task>>,
}

impl Routes {
    /// Queues a job.
    pub fn job(&mut self, owner: Owner, job: Job) {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.outstanding.insert(ticket, owner);
        self.jobs.push_back((ticket, job));
    }

    /// The next job for a worker.
    pub fn poll_job(&mut self) -> Option<(Ticket, Job)> {
        self.jobs.pop_front()
    }
}

/// What a task sees of its session while it is awake.
pub struct Context<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) routes: &'a mut Routes,
    pub(super) counters: &'a Arc<Counters>,
    pub(super) task: TaskId,
    /// Who is logged in.
    pub login: &'a Login,
    /// The time.
    pub now: Instant,
}

impl Context<'_> {
    /// Gives a job to a worker; its result comes to this task.
    pub fn job(&mut self, job: Job) {
        self.routes.job(Owner::Task(self.task), job);
    }

    /// Asks the server; the reply comes to this task.
    ///
    /// # Errors
    /// When the connection takes no more requests.
    pub fn request(&mut self, request: Request) -> Result<(), Failure> {
        let id = self
            .connection
            .request(request)
            .map_err(|e| refused_here(&e))?;
        self.routes.requests.insert(id, self.task);
        Ok(())
    }

    /// Adds a task behind those that wait.
    pub fn spawn(&mut self, task: Box<dyn Task>) {
        self.routes.spawned.push(task);
    }

    /// Starts a download; `None` when all streams are busy.
    ///
    /// # Errors
    /// When the connection is not ready for transfers.
    pub fn get(
        &mut self,
        path: &FilePath,
        offset: u64,
        manifest: Option<ManifestHash>,
    ) -> Result<Option<TransferId>, Failure> {
        let started = self.connection.get(path.clone(), offset, manifest);
        self.started(started)
    }

    /// Starts an upload; `None` when all streams are busy.
    ///
    /// # Errors
    /// When the connection is not ready for transfers.
    pub fn put(
        &mut self,
        path: &FilePath,
        size_hint: u64,
        replace_damaged: bool,
    ) -> Result<Option<TransferId>, Failure> {
        let path = path.clone();
        let started = if replace_damaged {
            self.connection.put_replacing_damaged(path, size_hint)
        } else {
            self.connection.put(path, size_hint)
        };
        self.started(started)
    }

    /// Gives up a transfer of this task.
    pub fn abort(&mut self, transfer: TransferId, why: &str) {
        if self.routes.transfers.remove(&transfer).is_some() {
            self.connection
                .abort(transfer, Refusal::new(RefusalCode::Cancelled, why));
        }
    }

    /// The progress counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.counters
    }

    /// The connection, to write and to grant credit.
    pub fn connection(&mut self) -> &mut Connection {
        self.connection
    }

    fn started(
        &mut self,
        started: Result<TransferId, UsageError>,
    ) -> Result<Option<TransferId>, Failure> {
        match started {
            Ok(transfer) => {
                self.routes.transfers.insert(transfer, self.task);
                Ok(Some(transfer))
            }
            Err(UsageError::NoFreeStream) => Ok(None),
            Err(e) => Err(refused_here(&e)),
        }
    }
}

fn refused_here(error: &UsageError) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format!("the connection cannot take the request: {error}"),
    )
}
