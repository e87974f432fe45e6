//! One client's session: joins its protocol connection to the shared services.
//!
//! Nothing here blocks: slow work is a job, whose output is returned by ticket.

mod client;
mod download;
mod job_queue;
mod transfers;
mod upload;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use towpath_io_mio::{Inbound, Peer, Session, Ticket, Transmit};
use towpath_protocol::channel::{LinkChange, TlsConfigError};
use towpath_protocol::server::{
    ClaimedUser, Connection, Credential, Event, LoginTicket, ServerConfig, TransferEvent, Verdict,
};
use towpath_protocol::{Refusal, RefusalCode, Reply, Request, RequestId, Role, TransferId};

use self::client::Client;
use self::job_queue::{Awaited, JobQueue};
use self::transfers::Transfers;
use crate::admission::{Network, Permit};
use crate::jobs::{AuthenticatedUser, Job, Output};
use crate::limits;
use crate::services::Services;
use crate::throttle::TooMany;

/// A session of the server.
pub(crate) struct ServerSession {
    connection: Connection,
    services: Arc<Services>,
    client: Client,
    network: Network,
    /// Released when the session ends.
    permit: Permit,
    delayed_login: Option<DelayedLogin>,
    transfers: Transfers,
    jobs: JobQueue,
    phase: Phase,
    /// When the client last asked for something, moved a transfer, or was answered by a worker.
    last_activity: Instant,
}

/// Whether new work is taken.
enum Phase {
    Serving,
    /// The server stops: running transfers finish, no new ones start.
    Stopping,
    /// The connection was asked to close.
    Closing,
}

/// A password attempt that is delayed.
struct DelayedLogin {
    due: Instant,
    attempt: LoginTicket,
    user: ClaimedUser,
    credential: Credential,
}

impl ServerSession {
    /// A session for a peer whose association is being set up.
    pub(crate) fn new(
        config: &ServerConfig,
        services: Arc<Services>,
        peer: Peer,
        permit: Permit,
        now: Instant,
    ) -> Result<Self, TlsConfigError> {
        let connection = Connection::new(config.clone(), now)?;
        let network = permit.network();
        tracing::info!(%peer, "connected");
        Ok(Self {
            connection,
            services,
            client: Client { peer, user: None },
            network,
            permit,
            delayed_login: None,
            transfers: Transfers::default(),
            jobs: JobQueue::default(),
            phase: Phase::Serving,
            last_activity: now,
        })
    }

    /// The user, once logged in.
    #[cfg(test)]
    pub(crate) fn user(&self) -> Option<&AuthenticatedUser> {
        self.client.user.as_ref()
    }

    /// Handles every event of the connection, and advances the transfers that are ready.
    fn work(&mut self, now: Instant) {
        loop {
            self.handle_events(now);
            let advanced = self.transfers.advance(&mut self.connection, &self.client);
            let Some((id, job)) = advanced else { break };
            if let Some(job) = job {
                self.jobs.submit(Awaited::Transfer(id), job);
            }
        }
        let idle = self.transfers.is_empty() && self.jobs.is_idle();
        if idle && matches!(self.phase, Phase::Stopping) {
            self.close(now);
        }
    }

    fn is_removed(&self) -> bool {
        let user = self.client.user.as_ref();
        user.is_some_and(|user| self.services.is_removed(user.uid))
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.connection.poll_event() {
            self.handle_event(event, now);
        }
    }

    fn close(&mut self, now: Instant) {
        self.phase = Phase::Closing;
        self.connection.close(now);
        self.handle_events(now);
    }

    /// When a client that is logged in and idle is disconnected. Before the login the connection
    /// has deadlines of its own.
    fn idle_deadline(&self) -> Option<Instant> {
        let exempt = self.client.user.is_none()
            || !self.jobs.is_idle()
            || !matches!(self.phase, Phase::Serving);
        let longest = if self.transfers.is_empty() {
            limits::IDLE
        } else {
            limits::STALLED
        };
        (!exempt).then(|| self.last_activity + longest)
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        self.last_activity = now;
        match event {
            Event::Login {
                ticket,
                user,
                credential,
            } => self.attempt_login(ticket, user, credential, now),
            Event::Request(id, request) => self.start_request(id, request),
            Event::Transfer(transfer, event) => self.handle_transfer(transfer, event, now),
            Event::Closed(reason) => self.closed(&reason),
        }
    }

    fn handle_transfer(&mut self, transfer: TransferId, event: TransferEvent, now: Instant) {
        match event {
            TransferEvent::Get {
                path,
                offset,
                manifest,
            } => {
                let Some(caller) = self.admit_transfer(transfer) else {
                    return;
                };
                self.transfers.begin_get(transfer, path.clone(), now);
                let job = Job::OpenDownload {
                    caller,
                    path,
                    offset,
                    manifest,
                };
                self.jobs.submit(Awaited::Transfer(transfer), job);
            }
            TransferEvent::Put {
                path,
                replace_damaged,
                ..
            } => {
                let Some(caller) = self.admit_transfer(transfer) else {
                    return;
                };
                self.transfers.begin_put(transfer, path.clone(), now);
                let job = Job::OpenUpload {
                    caller,
                    path,
                    replace_damaged,
                };
                self.jobs.submit(Awaited::Transfer(transfer), job);
            }
            TransferEvent::Data(chunk) => self.transfers.handle_data(transfer, chunk, now),
            TransferEvent::Proof(signed) => self.transfers.handle_proof(transfer, signed),
            TransferEvent::Writable => self.transfers.handle_writable(transfer),
            TransferEvent::Finished => self.transfers.finished(transfer, &self.client, now),
            TransferEvent::Aborted(refusal) => {
                self.transfers.aborted(transfer, &refusal, &self.client);
            }
            // `Closed` follows and ends every transfer that is left.
            TransferEvent::Truncated => {}
        }
    }

    /// The user who begins a transfer, unless the server is stopping.
    fn admit_transfer(&mut self, transfer: TransferId) -> Option<AuthenticatedUser> {
        if matches!(self.phase, Phase::Serving) {
            // The connection reports transfers only after a login.
            return self.client.user.clone();
        }
        let refusal = Refusal::new(RefusalCode::Busy, "the server is stopping; try again later");
        self.connection.abort(transfer, refusal);
        None
    }

    fn attempt_login(
        &mut self,
        attempt: LoginTicket,
        user: ClaimedUser,
        credential: Credential,
        now: Instant,
    ) {
        let waits = match credential {
            Credential::Password(_) => {
                let mut throttle = self.services.throttle();
                throttle.begin(user.as_str(), self.network, now)
            }
            Credential::Key(_) => Ok(Duration::ZERO),
        };
        let delay = match waits {
            Ok(Duration::ZERO) => return self.check_login(attempt, user, credential),
            Ok(delay) => delay,
            Err(TooMany { retry_after }) => {
                tracing::warn!(%user, peer = %self.client.peer, retry_after_ms = retry_after.as_millis() as u64, "too many login attempts: refused unseen");
                let verdict = Verdict::TooManyAttempts { retry_after };
                return self.connection.login(attempt, verdict, now);
            }
        };
        tracing::warn!(%user, peer = %self.client.peer, delay_ms = delay.as_millis() as u64, "login delayed after failures");
        self.delayed_login = Some(DelayedLogin {
            due: now + delay,
            attempt,
            user,
            credential,
        });
    }

    fn check_login(&mut self, attempt: LoginTicket, user: ClaimedUser, credential: Credential) {
        let awaited = Awaited::Login {
            attempt,
            user: user.clone(),
            by_password: matches!(credential, Credential::Password(_)),
        };
        self.jobs.submit(awaited, Job::Login { user, credential });
    }

    fn login_checked(
        &mut self,
        attempt: LoginTicket,
        user: &ClaimedUser,
        by_password: bool,
        found: Option<(AuthenticatedUser, Role)>,
        now: Instant,
    ) {
        let method = if by_password { "password" } else { "key" };
        match found {
            Some((authenticated, role)) => {
                if by_password {
                    self.services
                        .throttle()
                        .succeeded(user.as_str(), self.network);
                }
                if self.permit.log_in(authenticated.uid).is_err() {
                    tracing::warn!(%user, peer = %self.client.peer, "too many sessions: turned away");
                    return;
                }
                tracing::info!(%user, uid = %authenticated.uid, %role, method, peer = %self.client.peer, "logged in");
                let verdict = Verdict::Accepted {
                    uid: authenticated.uid,
                    role,
                };
                self.client.user = Some(authenticated);
                self.connection.login(attempt, verdict, now);
            }
            None => {
                if by_password {
                    self.services
                        .throttle()
                        .failed(user.as_str(), self.network, now);
                }
                tracing::warn!(%user, method, peer = %self.client.peer, "login refused");
                self.connection.login(attempt, Verdict::Refused, now);
            }
        }
    }

    fn start_request(&mut self, id: RequestId, request: Request) {
        let Some(caller) = self.client.user.clone() else {
            return;
        };
        let description = describe(&request);
        self.jobs.submit(
            Awaited::Request { id, description },
            Job::Request {
                caller,
                request: Box::new(request),
            },
        );
    }

    fn answer(&mut self, id: RequestId, description: &str, result: Result<Reply, Refusal>) {
        match &result {
            Ok(_) => {
                tracing::info!(user = self.client.user_name(), peer = %self.client.peer, "{description}: done")
            }
            Err(refusal) => {
                tracing::warn!(user = self.client.user_name(), peer = %self.client.peer, %refusal, "{description}: refused");
            }
        }
        if let Err(error) = self.connection.reply(id, result) {
            // `Services` answers each request with a reply of its kind.
            tracing::error!(%error, "{description}: the answer does not fit the request");
        }
    }

    fn closed(&mut self, reason: &dyn fmt::Display) {
        self.transfers.closed(&self.client);
        self.delayed_login = None;
        self.jobs.clear();
        self.phase = Phase::Closing;
        tracing::info!(user = self.client.user_name(), peer = %self.client.peer, %reason, "disconnected");
    }
}

impl Session for ServerSession {
    type Job = Job;
    type Output = Output;

    fn handle_inbound(&mut self, inbound: Inbound, now: Instant) {
        let change = match inbound {
            Inbound::Message { stream, payload } => {
                self.connection.handle_message(stream, payload, now);
                return self.work(now);
            }
            Inbound::Up { streams } => LinkChange::Up { streams },
            Inbound::PathChanged(path) => {
                tracing::info!(user = self.client.user_name(), peer = %self.client.peer, remote = %path.remote, state = %path.state, "network path");
                LinkChange::PathChanged
            }
            Inbound::PeerClosed => LinkChange::PeerClosed,
            Inbound::Lost(_) => LinkChange::Lost,
        };
        self.connection.handle_link(change, now);
        self.work(now);
    }

    fn handle_output(&mut self, ticket: Ticket, output: Output, now: Instant) {
        self.last_activity = now;
        match (self.jobs.finish(ticket), output) {
            (
                Some(Awaited::Login {
                    attempt,
                    user,
                    by_password,
                }),
                Output::Login(found),
            ) => self.login_checked(attempt, &user, by_password, found, now),
            (Some(Awaited::Request { id, description }), Output::Request(result)) => {
                self.answer(id, &description, result);
            }
            (Some(Awaited::Transfer(id)), output) => {
                self.transfers
                    .handle_output(id, output, &mut self.connection, &self.client);
            }
            // A job's output is of the job's kind; a ticket that is not awaited is stale.
            (_, _) => {}
        }
        if self.is_removed() && !matches!(self.phase, Phase::Closing) {
            // The refusal goes out first.
            tracing::warn!(user = self.client.user_name(), peer = %self.client.peer, "the user was removed: closed");
            self.close(now);
        }
        self.work(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(login) = self.delayed_login.take_if(|login| login.due <= now) {
            self.check_login(login.attempt, login.user, login.credential);
        }
        self.connection.handle_timeout(now);
        if self.idle_deadline().is_some_and(|due| due <= now) {
            tracing::info!(user = self.client.user_name(), peer = %self.client.peer, transfers = self.transfers.len(), "idle for too long: closed");
            self.close(now);
        }
        self.work(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let transmit = self.connection.poll_transmit()?;
        // Stream 0 alone does not show activity: it carries keepalives.
        if transmit.stream != 0 {
            self.last_activity = now;
        }
        // A transfer may have become writable.
        self.work(now);
        Some(Transmit {
            stream: transmit.stream,
            payload: transmit.payload,
        })
    }

    fn poll_job(&mut self) -> Option<(Ticket, Job)> {
        self.jobs.poll()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let login = self.delayed_login.as_ref().map(|login| login.due);
        [login, self.connection.poll_timeout(), self.idle_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn wants_read(&self) -> bool {
        self.connection.wants_read()
    }

    fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    fn is_revoked(&self) -> bool {
        self.permit.is_revoked() || self.is_removed() && !matches!(self.phase, Phase::Closing)
    }

    fn handle_stop(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Serving) {
            self.phase = Phase::Stopping;
        }
        self.work(now);
    }
}

/// A request for the log: what, and to which file or user.
fn describe(request: &Request) -> String {
    match request {
        Request::Whoami => "whoami".to_owned(),
        Request::List { prefix, .. } if prefix.is_empty() => "list".to_owned(),
        Request::List { prefix, .. } => format!("list {prefix}"),
        Request::Stat { path } => format!("stat {path}"),
        Request::Delete { signed } => format!("delete {}", signed.manifest().path),
        Request::Users => "list users".to_owned(),
        Request::Keys { user } => format!("list keys of {user}"),
        Request::AddUser { name, role, .. } => format!("add user {name} as {role}"),
        Request::RemoveUser { user } => format!("remove user {user}"),
        Request::SetRole { user, role } => format!("make {user} {role}"),
        Request::AddKey { statement } => {
            format!("add key {}", statement.statement().key.fingerprint())
        }
    }
}
