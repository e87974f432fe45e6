//! The client's session: one connection, its dialogue (trust, login), and the tasks that use it.
//!
//! No threads and no waiting: it is driven by messages, job results and time, by the event loop or
//! by a simulator.

pub mod jobs;
pub mod meter;
pub mod task;
pub mod tasks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use towpath_io_mio::{Inbound, Session, Ticket, Transmit};
use towpath_protocol::channel::LinkChange;
use towpath_protocol::client::{Connection, Event, TransferEvent};
use towpath_protocol::signed::{StoreId, UserName};
use towpath_protocol::{CloseReason, Deadline, TransferId};

use crate::exit::{Exit, Failure};
use crate::limits::CLOSE_TIMEOUT;
use crate::local::known_servers::ServerIdentity;
use crate::session::jobs::{Job, Output};
use crate::session::task::{Context, Login, Owner, Routes, Step, Task, TaskId};
use crate::terminal::progress::Counters;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// With the user's key.
    Key,
    /// With the password of a file: once.
    PasswordFile,
    /// With a password that the person types: as often as the server lets them.
    AskedPassword,
}

/// What a session is to do.
#[derive(Debug)]
pub struct Plan {
    /// Who logs in.
    pub user: UserName,
    /// How, in this order.
    pub credentials: VecDeque<Credential>,
    /// What to do then, in this order.
    pub tasks: VecDeque<Box<dyn Task>>,
    /// How many at once.
    pub parallel: usize,
    /// The server's addresses, for messages.
    pub addresses: String,
    /// Time for the connection to come up.
    pub connect_timeout: Duration,
}

/// How a session ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What stopped it before its tasks could run.
    pub fatal: Option<Failure>,
    /// Tasks that succeeded.
    pub succeeded: u64,
    /// The kinds of failure among the tasks; each was reported when it happened.
    pub failures: BTreeSet<Exit>,
}

/// The session; see the module.
pub struct ClientSession {
    connection: Connection,
    phase: Phase,
    plan: Plan,
    active: BTreeMap<TaskId, Box<dyn Task>>,
    /// Tasks that wait for a free stream.
    starved: BTreeSet<TaskId>,
    last_task: u64,
    routes: Routes,
    counters: Arc<Counters>,
    outcome: Arc<Mutex<Outcome>>,
    /// Why the last credential was refused, to be said before the next is asked for.
    refused: Option<String>,
}

#[derive(Debug)]
enum Phase {
    /// Until the association is up.
    Connecting { deadline: Instant },
    /// TLS, then login; the store is known once the server has shown itself.
    Greeting { store: Option<StoreId> },
    /// Tasks run.
    Working(Login),
    /// All is done, or nothing can be: the connection closes in order.
    Closing { deadline: Instant },
    /// The time for closing is over too.
    Over,
    /// The association never came up; the plan is as it was.
    Unreached,
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
    /// A session that begins with `connection` at `now`; its end appears in `outcome`.
    #[must_use]
    pub fn new(
        connection: Connection,
        plan: Plan,
        counters: Arc<Counters>,
        outcome: Arc<Mutex<Outcome>>,
        now: Instant,
    ) -> Self {
        let deadline = now + plan.connect_timeout;
        Self {
            connection,
            phase: Phase::Connecting { deadline },
            plan,
            active: BTreeMap::new(),
            starved: BTreeSet::new(),
            last_task: 0,
            routes: Routes::default(),
            counters,
            outcome,
            refused: None,
        }
    }

    /// The plan, if the server was never reached: nothing of it has begun, and another way may be
    /// tried.
    #[must_use]
    pub fn into_unreached(self) -> Option<Plan> {
        matches!(self.phase, Phase::Unreached).then_some(self.plan)
    }

    /// The association did not come up.
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

    /// Nothing of the plan can be done.
    fn fatal(&mut self, failure: Failure, now: Instant) {
        self.with_outcome(|outcome| {
            outcome.fatal.get_or_insert(failure);
        });
        self.plan.tasks.clear();
        self.begin_close(now);
    }

    fn begin_close(&mut self, now: Instant) {
        if !matches!(
            self.phase,
            Phase::Closing { .. } | Phase::Over | Phase::Unreached
        ) {
            self.connection.close(now);
            self.phase = Phase::Closing {
                deadline: now + CLOSE_TIMEOUT,
            };
        }
    }

    /// Handles what the connection has to say, then gives every task that can run its turn.
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
                self.routes.job(
                    Owner::Session,
                    Job::Trust(ServerIdentity {
                        store,
                        key: fingerprint,
                    }),
                );
            }
            Event::UserWanted => {
                if let Err(e) = self.connection.login_user(&self.plan.user) {
                    self.fatal(
                        Failure::new(Exit::Unreachable, format!("login is not possible: {e}")),
                        now,
                    );
                }
            }
            Event::CredentialWanted { .. } => self.offer_credential(now),
            Event::LoginRefused { attempts_left } => self.login_refused(attempts_left, now),
            Event::LoggedIn { uid, .. } => {
                let Phase::Greeting { store: Some(store) } = self.phase else {
                    return;
                };
                self.phase = Phase::Working(Login {
                    store,
                    uid,
                    name: self.plan.user.clone(),
                });
            }
            Event::Reply(id, result) => {
                if let Some(task) = self.routes.requests.remove(&id) {
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
            self.routes.transfers.remove(&transfer)
        } else {
            self.routes.transfers.get(&transfer).copied()
        };
        if let Some(task) = task {
            self.wake(task, now, |task, cx| task.handle_transfer(event, cx));
        }
    }

    /// Tries the next way to log in.
    fn offer_credential(&mut self, now: Instant) {
        let job = match self.plan.credentials.front() {
            Some(Credential::Key) => Job::LoadKey,
            Some(Credential::PasswordFile | Credential::AskedPassword) => Job::Password {
                notice: self.refused.take(),
                prompt: format!("Password of {}: ", self.plan.user),
            },
            None => {
                let message = format!(
                    "login as {} refused, or no way to log in left: there is no key that the server knows, no terminal to ask for the password, and no --password-file",
                    self.plan.user
                );
                return self.fatal(Failure::new(Exit::LoginRefused, message), now);
            }
        };
        self.routes.job(Owner::Session, job);
    }

    fn login_refused(&mut self, attempts_left: u32, now: Instant) {
        let asked = self.plan.credentials.front() == Some(&Credential::AskedPassword);
        let key = self.plan.credentials.front() == Some(&Credential::Key);
        if !asked {
            self.plan.credentials.pop_front();
        }
        if attempts_left == 0 || self.plan.credentials.is_empty() {
            let why = if key {
                "the server does not know the user or this key"
            } else {
                "wrong user name or password"
            };
            self.fatal(
                Failure::new(
                    Exit::LoginRefused,
                    format!("login as {} refused: {why}", self.plan.user),
                ),
                now,
            );
        } else {
            let again = if key {
                "the key was not accepted; trying a password"
            } else {
                "wrong user name or password; try again"
            };
            self.refused = Some(again.to_owned());
        }
    }

    /// A result for the dialogue itself.
    fn dialogue_output(&mut self, output: Output, now: Instant) {
        if !matches!(self.phase, Phase::Greeting { .. }) {
            return;
        }
        let wrong = match output {
            Output::Done(Ok(())) => self.connection.trust().err(),
            Output::Key(Ok(key)) => self.connection.login_key(&key).err(),
            Output::Password(Ok(password)) => self.connection.login_password(&password).err(),
            Output::Key(Err(failure)) if self.plan.credentials.len() > 1 => {
                self.refused = Some(failure.message);
                self.plan.credentials.pop_front();
                return self.offer_credential(now);
            }
            Output::Done(Err(failure))
            | Output::Key(Err(failure))
            | Output::Password(Err(failure)) => return self.fatal(failure, now),
            _ => None,
        };
        if let Some(error) = wrong {
            self.fatal(
                Failure::new(
                    Exit::LoginRefused,
                    format!("login is not possible: {error}"),
                ),
                now,
            );
        }
    }

    /// Starts tasks while there is room, wakes those that wait for a stream, and closes when
    /// nothing is left.
    fn schedule(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Working(_)) {
            return;
        }
        for id in std::mem::take(&mut self.starved) {
            self.wake(id, now, |task, cx| task.retry(cx));
        }
        while self.starved.is_empty() && self.active.len() < self.plan.parallel {
            let Some(task) = self.plan.tasks.pop_front() else {
                break;
            };
            self.last_task += 1;
            let id = TaskId(self.last_task);
            self.active.insert(id, task);
            self.wake(id, now, |task, cx| task.start(cx));
        }
        if self.active.is_empty() && self.plan.tasks.is_empty() {
            self.begin_close(now);
        }
    }

    /// Gives a task its turn.
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
            routes: &mut self.routes,
            counters: &self.counters,
            task: id,
            login,
            now,
        };
        let step = turn(&mut *task, &mut cx);
        self.plan.tasks.extend(self.routes.spawned.drain(..));
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
                    outcome.failures.insert(failure.exit);
                });
                if !failure.message.is_empty() {
                    self.routes
                        .job(Owner::Nobody, Job::Complain(failure.message));
                }
            }
        }
    }

    /// The connection is gone: says why, and lets each task end its way.
    fn closed(&mut self, reason: &CloseReason, now: Instant) {
        let failure = self.explain(reason);
        match &self.phase {
            Phase::Connecting { .. } | Phase::Greeting { .. } => {
                self.plan.tasks.clear();
                self.with_outcome(|outcome| {
                    outcome.fatal.get_or_insert(failure);
                });
                self.phase = Phase::Closing {
                    deadline: now + CLOSE_TIMEOUT,
                };
            }
            Phase::Working(_) => {
                let unstarted = self.plan.tasks.len();
                self.plan.tasks.clear();
                self.starved.clear();
                let active: Vec<TaskId> = self.active.keys().copied().collect();
                for id in active {
                    self.wake(id, now, |task, cx| task.handle_closed(&failure, cx));
                }
                if unstarted > 0 {
                    self.with_outcome(|outcome| {
                        outcome.failures.insert(failure.exit);
                    });
                    self.routes.job(
                        Owner::Nobody,
                        Job::Complain(format!(
                            "{unstarted} more were not begun: {}",
                            failure.message
                        )),
                    );
                }
            }
            Phase::Closing { .. } | Phase::Over | Phase::Unreached => {}
        }
    }

    fn explain(&self, reason: &CloseReason) -> Failure {
        let at = &self.plan.addresses;
        let connecting = matches!(self.phase, Phase::Connecting { .. });
        let unreachable = |message: String| Failure::new(Exit::Unreachable, message);
        match reason {
            CloseReason::Lost | CloseReason::Timeout(Deadline::Link) if connecting => {
                unreachable(format!(
                    "no answer from {at}: is towpathd running there, and does the firewall let it through?"
                ))
            }
            CloseReason::Lost => unreachable(format!("the connection to {at} was lost")),
            CloseReason::Timeout(Deadline::Login) => {
                Failure::new(Exit::LoginRefused, "the login took too long; try again")
            }
            CloseReason::Timeout(deadline) => unreachable(format!(
                "the server at {at} was silent for too long during {deadline}"
            )),
            CloseReason::Peer | CloseReason::PeerError { .. } => {
                unreachable(format!("the server at {at} ended the connection: {reason}"))
            }
            CloseReason::LoginFailed => Failure::new(
                Exit::LoginRefused,
                format!("login as {} refused", self.plan.user),
            ),
            CloseReason::Tls(_) => Failure::new(
                Exit::Untrusted,
                format!("no secure connection with {at}: {reason}"),
            ),
            CloseReason::Protocol(_) => Failure::verification(format!(
                "the server at {at} does not follow the protocol: {reason}"
            )),
            CloseReason::Local => unreachable(format!("the connection to {at} was closed")),
        }
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
            Inbound::PathChanged(_) => LinkChange::PathChanged,
            Inbound::PeerClosed => LinkChange::PeerClosed,
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
        match self.routes.outstanding.remove(&ticket) {
            Some(Owner::Session) => self.dialogue_output(output, now),
            Some(Owner::Task(task)) => {
                self.wake(task, now, |task, cx| task.handle_output(output, cx))
            }
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
        // What went out may have made room for more.
        self.drain(now);
        Some(Transmit {
            stream: transmit.stream,
            payload: transmit.payload,
        })
    }

    fn poll_job(&mut self) -> Option<(Ticket, Job)> {
        self.routes.poll_job()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Connecting { deadline } | Phase::Closing { deadline } => Some(deadline),
            Phase::Over | Phase::Unreached => return None,
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

    /// Also waits for the tasks' jobs: a file that is all here is still verified and renamed when
    /// the connection is gone. A question to the person is not waited for.
    fn is_closed(&self) -> bool {
        let done = match self.phase {
            Phase::Over | Phase::Unreached => true,
            Phase::Working(_) => self.connection.is_closed() && self.active.is_empty(),
            Phase::Closing { .. } => self.connection.is_closed(),
            Phase::Connecting { .. } | Phase::Greeting { .. } => false,
        };
        done && self
            .routes
            .outstanding
            .values()
            .all(|owner| *owner == Owner::Session)
    }
}
