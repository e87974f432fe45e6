//! The client's session: one connection, trust and login, and the tasks that use it.
//!
//! Without threads or blocking calls: the event loop or a simulator passes in messages, job results
//! and time.

#[cfg(feature = "cli")]
mod cli_jobs;
mod closed;
pub(crate) mod command;
pub(crate) mod counters;
pub(crate) mod job;
pub(crate) mod link;
pub(crate) mod login;
pub(crate) mod meter;
pub(crate) mod runner;
pub(crate) mod task;
pub(crate) mod tasks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use towpath_io_mio::{Inbound, LostReason, Session, Ticket, Transmit};
use towpath_protocol::channel::LinkChange;
use towpath_protocol::client::{Connection, Event, TransferEvent};
use towpath_protocol::signed::StoreId;
use towpath_protocol::{CloseReason, TransferId};

use crate::error::{Error, ErrorKind};
use crate::limits::CLOSE_TIMEOUT;
use crate::local::known_servers::ServerId;
use crate::session::counters::Counters;
use crate::session::job::{Job, Output};
use crate::session::link::Link;
use crate::session::login::{Credential, Login, LoginPlan};
use crate::session::task::{Context, Owner, Pending, Step, Task, TaskId};
use crate::session::tasks::answered;

/// The configuration of a session.
#[derive(Debug)]
pub(crate) struct SessionConfig {
    pub(crate) login: LoginPlan,
    /// Tasks to run after the login, in order.
    pub(crate) tasks: VecDeque<Box<dyn Task>>,
    /// Whether commands follow; the session then stays open until the last.
    pub(crate) commands: bool,
    /// Maximum of tasks that run in parallel.
    pub(crate) parallel: usize,
    /// The server's addresses, for messages.
    pub(crate) addresses: String,
    /// Time for the connection to come up.
    pub(crate) connect_timeout: Duration,
}

/// How a session ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// The error that ended it before its tasks could run.
    pub(crate) fatal: Option<Error>,
    /// Number of tasks that succeeded.
    pub(crate) succeeded: u64,
    /// The kinds of failure among the tasks; each was reported when it happened.
    pub(crate) failures: BTreeSet<ErrorKind>,
}

/// The session; see the module documentation.
pub(crate) struct ClientSession {
    connection: Connection,
    phase: Phase,
    config: SessionConfig,
    active: BTreeMap<TaskId, Box<dyn Task>>,
    /// Tasks that wait for a free stream.
    starved: BTreeSet<TaskId>,
    last_task: u64,
    pending: Pending,
    link: Link,
    counters: Arc<Counters>,
    outcome: Arc<Mutex<Outcome>>,
}

#[derive(Debug)]
enum Phase {
    /// The association is being set up.
    Connecting { deadline: Instant },
    /// TLS, then login; the store is known after the handshake.
    Greeting { store: Option<StoreId> },
    /// Logged in: tasks run.
    Working(Login),
    /// All tasks ended, or none can run: the connection is closing.
    Closing { deadline: Instant },
    /// The connection is closed, or the time for closing is over.
    Over,
    /// The association was not established; the configuration is unchanged.
    Unreached,
    /// The server has no place for another session now; the configuration is as it was.
    TurnedAway,
}

/// Why a session ended before anything of it began; its configuration is as it was.
pub(crate) enum NotBegun {
    /// The server was not reached: another transport may be tried.
    Unreached(SessionConfig),
    /// The server has no place for another session now: the same may be tried again.
    TurnedAway(SessionConfig),
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession")
            .field("phase", &self.phase)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

impl ClientSession {
    /// Creates a session over `connection` at `now`; `outcome` receives how it ended. `transport`
    /// is the name of the transport.
    pub(crate) fn new(
        connection: Connection,
        config: SessionConfig,
        transport: &'static str,
        counters: Arc<Counters>,
        outcome: Arc<Mutex<Outcome>>,
        now: Instant,
    ) -> Self {
        let deadline = now + config.connect_timeout;
        Self {
            connection,
            phase: Phase::Connecting { deadline },
            config,
            active: BTreeMap::new(),
            starved: BTreeSet::new(),
            last_task: 0,
            pending: Pending::default(),
            link: Link::new(transport),
            counters,
            outcome,
        }
    }

    /// The configuration, if nothing of it has begun.
    pub(crate) fn into_not_begun(self) -> Option<NotBegun> {
        match self.phase {
            Phase::Unreached => Some(NotBegun::Unreached(self.config)),
            Phase::TurnedAway => Some(NotBegun::TurnedAway(self.config)),
            _ => None,
        }
    }

    /// The server aborted the association before the login was over, as it does with those it has
    /// no place for. What was asked of the user is not asked twice.
    fn turned_away(&mut self, now: Instant) {
        let failure = closed::busy(&self.config.addresses);
        self.with_outcome(|outcome| {
            outcome.fatal.get_or_insert(failure);
        });
        if self.pending.outstanding.is_empty() && self.config.login.may_repeat() {
            self.phase = Phase::TurnedAway;
        } else {
            self.connection.handle_link(LinkChange::Lost, now);
            self.drain(now);
        }
    }

    /// The association was not established.
    fn unreached(&mut self) {
        let failure = self.explain(&CloseReason::Lost);
        self.with_outcome(|outcome| {
            outcome.fatal.get_or_insert(failure);
        });
        self.phase = Phase::Unreached;
    }

    fn with_outcome(&self, f: impl FnOnce(&mut Outcome)) {
        f(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends the session with an error before any task.
    fn fatal(&mut self, failure: Error, now: Instant) {
        self.with_outcome(|outcome| {
            outcome.fatal.get_or_insert(failure);
        });
        self.config.tasks.clear();
        self.begin_close(now);
    }

    fn begin_close(&mut self, now: Instant) {
        if !matches!(
            self.phase,
            Phase::Closing { .. } | Phase::Over | Phase::Unreached | Phase::TurnedAway
        ) {
            self.connection.close(now);
            self.phase = Phase::Closing {
                deadline: now + CLOSE_TIMEOUT,
            };
        }
    }

    /// Handles the events of the connection, then runs every task that is ready.
    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.connection.poll_event() {
            self.handle_event(event, now);
        }
        self.schedule(now);
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Identified { store, fingerprint } => {
                self.phase = Phase::Greeting { store: Some(store) };
                self.pending.job(
                    Owner::Session,
                    Job::Trust(ServerId {
                        store,
                        key: fingerprint,
                    }),
                );
            }
            Event::UserWanted => {
                if let Err(e) = self.connection.login_user(&self.config.login.user) {
                    self.fatal(
                        Error::new(
                            ErrorKind::Unreachable,
                            format!("login is not possible: {e}"),
                        ),
                        now,
                    );
                }
            }
            Event::CredentialWanted { .. } => self.offer_credential(now),
            Event::LoginRefused {
                attempts_left,
                retry_after,
            } => {
                if let Err(error) = self.config.login.refused(attempts_left, retry_after) {
                    self.fatal(error, now);
                }
            }
            Event::LoggedIn { uid, .. } => {
                let Phase::Greeting { store: Some(store) } = self.phase else {
                    return;
                };
                self.phase = Phase::Working(Login {
                    store,
                    uid,
                    name: self.config.login.user.clone(),
                });
                if self.config.commands {
                    self.pending.job(Owner::Commands, Job::NextCommand);
                }
            }
            Event::Reply(id, result) => {
                if let Some(task) = self.pending.requests.remove(&id) {
                    self.wake(task, now, |task, cx| task.handle_reply(result, cx));
                }
            }
            // `Closed` follows and wakes every task.
            Event::Transfer(_, TransferEvent::Truncated) => {}
            Event::Transfer(transfer, event) => self.transfer(transfer, event, now),
            Event::Closed(reason) => self.closed(&reason, now),
        }
    }

    fn transfer(&mut self, transfer: TransferId, event: TransferEvent, now: Instant) {
        let ends = matches!(event, TransferEvent::Finished | TransferEvent::Aborted(_));
        let task = if ends {
            self.pending.transfers.remove(&transfer)
        } else {
            self.pending.transfers.get(&transfer).copied()
        };
        if let Some(task) = task {
            self.wake(task, now, |task, cx| task.handle_transfer(event, cx));
        }
    }

    /// Tries the next login method.
    fn offer_credential(&mut self, now: Instant) {
        let job = match self.config.login.next() {
            Ok(Credential::Key) => Job::LoadKey,
            Ok(Credential::PasswordFile | Credential::AskedPassword) => Job::Password {
                notice: self.config.login.take_notice(),
                prompt: format!("Password of {}: ", self.config.login.user),
            },
            Err(error) => return self.fatal(error, now),
        };
        self.pending.job(Owner::Session, job);
    }

    /// Handles a job result of trust or login.
    fn dialogue_output(&mut self, output: Output, now: Instant) {
        if !matches!(self.phase, Phase::Greeting { .. }) {
            return;
        }
        let wrong = match output {
            Output::Done(Ok(())) => self.connection.trust().err(),
            Output::Key(Ok(key)) => self.connection.login_key(&key).err(),
            Output::Password(Ok(password)) => self.connection.login_password(&password).err(),
            Output::Key(Err(failure)) => {
                return match self.config.login.skip_key(failure) {
                    Ok(()) => self.offer_credential(now),
                    Err(failure) => self.fatal(failure, now),
                };
            }
            Output::Done(Err(failure)) | Output::Password(Err(failure)) => {
                return self.fatal(failure, now);
            }
            _ => None,
        };
        if let Some(error) = wrong {
            self.fatal(
                Error::new(
                    ErrorKind::LoginRefused,
                    format!("login is not possible: {error}"),
                ),
                now,
            );
        }
    }

    /// Handles the next command, or the end of commands.
    fn handle_command(&mut self, output: Output) {
        match output {
            Output::Command(Some(command)) => {
                self.config.tasks.push_back(answered::task(command));
                self.pending.job(Owner::Commands, Job::NextCommand);
            }
            _ => self.config.commands = false,
        }
    }

    /// Starts tasks up to the limit, wakes those that wait for a stream, and closes after the last.
    fn schedule(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Working(_)) {
            return;
        }
        for id in std::mem::take(&mut self.starved) {
            self.wake(id, now, |task, cx| task.retry(cx));
        }
        while self.starved.is_empty() && self.active.len() < self.config.parallel {
            let Some(task) = self.config.tasks.pop_front() else {
                break;
            };
            self.last_task += 1;
            let id = TaskId(self.last_task);
            self.active.insert(id, task);
            self.wake(id, now, |task, cx| task.start(cx));
        }
        let idle = self.active.is_empty() && self.config.tasks.is_empty();
        if idle && !self.config.commands {
            self.begin_close(now);
        }
    }

    /// Runs a step of a task.
    fn wake(
        &mut self,
        id: TaskId,
        now: Instant,
        turn: impl FnOnce(&mut dyn Task, &mut Context<'_>) -> Step,
    ) {
        let Phase::Working(login) = &self.phase else {
            return;
        };
        let Some(mut task) = self.active.remove(&id) else {
            return;
        };
        let mut cx = Context {
            connection: &mut self.connection,
            pending: &mut self.pending,
            link: &self.link,
            counters: &self.counters,
            task: id,
            login,
            now,
        };
        let step = turn(&mut *task, &mut cx);
        self.config.tasks.extend(self.pending.spawned.drain(..));
        match step {
            Step::Running => {
                self.active.insert(id, task);
            }
            Step::NoStream => {
                self.active.insert(id, task);
                self.starved.insert(id);
            }
            Step::Done(Ok(())) => self.with_outcome(|outcome| outcome.succeeded += 1),
            Step::Done(Err(failure)) => {
                self.with_outcome(|outcome| {
                    outcome.failures.insert(failure.kind);
                });
                if !failure.message.is_empty() {
                    self.pending
                        .job(Owner::Nobody, Job::Complain(failure.message));
                }
            }
        }
    }

    /// The connection was lost: reports the reason and ends each task.
    fn closed(&mut self, reason: &CloseReason, now: Instant) {
        let failure = self.explain(reason);
        match &self.phase {
            Phase::Connecting { .. } | Phase::Greeting { .. } => {
                self.config.tasks.clear();
                self.with_outcome(|outcome| {
                    outcome.fatal.get_or_insert(failure);
                });
                self.phase = Phase::Closing {
                    deadline: now + CLOSE_TIMEOUT,
                };
            }
            Phase::Working(_) => {
                let unstarted = self.config.tasks.len();
                self.config.tasks.clear();
                self.starved.clear();
                let active: Vec<TaskId> = self.active.keys().copied().collect();
                for id in active {
                    self.wake(id, now, |task, cx| task.handle_closed(&failure, cx));
                }
                if unstarted > 0 {
                    self.with_outcome(|outcome| {
                        outcome.failures.insert(failure.kind);
                    });
                    self.pending.job(
                        Owner::Nobody,
                        Job::Complain(format!(
                            "{unstarted} more were not begun: {}",
                            failure.message
                        )),
                    );
                }
            }
            Phase::Closing { .. } | Phase::Over | Phase::Unreached | Phase::TurnedAway => {}
        }
    }

    fn explain(&self, reason: &CloseReason) -> Error {
        let connecting = matches!(self.phase, Phase::Connecting { .. });
        let SessionConfig {
            addresses, login, ..
        } = &self.config;
        closed::error(reason, addresses, &login.user, connecting)
    }
}

impl Session for ClientSession {
    type Job = Job;
    type Output = Output;

    fn handle_inbound(&mut self, inbound: Inbound, now: Instant) {
        let change = match inbound {
            Inbound::Message { stream, payload } => {
                self.connection.handle_message(stream, payload, now);
                return self.drain(now);
            }
            Inbound::Up { streams } => LinkChange::Up { streams },
            Inbound::PathChanged(path) => {
                self.link.update(path);
                LinkChange::PathChanged
            }
            Inbound::PeerClosed => LinkChange::PeerClosed,
            Inbound::Lost(LostReason::Aborted) if matches!(self.phase, Phase::Greeting { .. }) => {
                return self.turned_away(now);
            }
            Inbound::Lost(_) => LinkChange::Lost,
        };
        if matches!(self.phase, Phase::Connecting { .. }) {
            match change {
                LinkChange::Up { .. } => self.phase = Phase::Greeting { store: None },
                LinkChange::PathChanged => {}
                LinkChange::PeerClosed | LinkChange::Lost => return self.unreached(),
            }
        }
        self.connection.handle_link(change, now);
        self.drain(now);
    }

    fn handle_output(&mut self, ticket: Ticket, output: Output, now: Instant) {
        match self.pending.outstanding.remove(&ticket) {
            Some(Owner::Session) => self.dialogue_output(output, now),
            Some(Owner::Task(task)) => {
                self.wake(task, now, |task, cx| task.handle_output(output, cx))
            }
            Some(Owner::Commands) => self.handle_command(output),
            Some(Owner::Nobody) | None => {}
        }
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Connecting { deadline } if deadline <= now => return self.unreached(),
            Phase::Closing { deadline } if deadline <= now => self.phase = Phase::Over,
            _ => {}
        }
        self.connection.handle_timeout(now);
        self.drain(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let transmit = self.connection.poll_transmit()?;
        // Sending may have made room in the queues.
        self.drain(now);
        Some(Transmit {
            stream: transmit.stream,
            payload: transmit.payload,
        })
    }

    fn poll_job(&mut self) -> Option<(Ticket, Job)> {
        self.pending.poll_job()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Connecting { deadline } | Phase::Closing { deadline } => Some(deadline),
            Phase::Over | Phase::Unreached | Phase::TurnedAway => return None,
            Phase::Greeting { .. } | Phase::Working(_) => None,
        };
        [own, self.connection.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn wants_read(&self) -> bool {
        self.connection.wants_read()
    }

    /// Waits for the tasks' jobs too: a completely received file is still verified and renamed
    /// after the connection is lost. It waits neither for an answer of the user nor for a command.
    fn is_closed(&self) -> bool {
        let done = match self.phase {
            Phase::Over | Phase::Unreached | Phase::TurnedAway => true,
            Phase::Working(_) => self.connection.is_closed() && self.active.is_empty(),
            Phase::Closing { .. } => self.connection.is_closed(),
            Phase::Connecting { .. } | Phase::Greeting { .. } => false,
        };
        done && self
            .pending
            .outstanding
            .values()
            .all(|owner| matches!(owner, Owner::Session | Owner::Commands))
    }
}
