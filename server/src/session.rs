//! One client's session: joins its protocol connection to the shared services.
//!
//! Nothing here blocks: what takes time is a job, and its output comes back by ticket.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use towpath_io_mio::{Inbound, Peer, Session, Ticket, Transmit};
use towpath_protocol::channel::{LinkChange, TlsConfigError};
use towpath_protocol::server::{
    ClaimedUser, Connection, Credential, Event, LoginTicket, ServerConfig, TransferEvent, Verdict,
};
use towpath_protocol::signed::{FilePath, SignedManifest};
use towpath_protocol::{
    Refusal, RefusalCode, Reply, Request, RequestId, Role, TransferId, UsageError,
};

use super::admission::{Network, Permit};
use super::download::Outgoing;
use super::jobs::{CommitOutcome, Job, Me, Output, Services};
use super::limits;
use super::upload::Incoming;

/// A session of the server.
pub struct ServerSession {
    connection: Connection,
    services: Arc<Services>,
    peer: Peer,
    network: Network,
    /// Released when the session ends.
    _permit: Permit,
    me: Option<Me>,
    delayed_login: Option<DelayedLogin>,
    transfers: BTreeMap<TransferId, Transfer>,
    jobs: VecDeque<(Ticket, Job)>,
    awaited: BTreeMap<Ticket, Awaited>,
    next_ticket: u64,
    phase: Phase,
    /// When the client last asked for something, moved a transfer, or was answered by a worker.
    last_activity: Instant,
}

/// Whether new work is taken.
enum Phase {
    Serving,
    /// The server stops: what is under way is finished, nothing new begins.
    Stopping,
    /// The connection was asked to close.
    Closing,
}

/// A password attempt that waits for its time.
struct DelayedLogin {
    due: Instant,
    ticket: LoginTicket,
    user: ClaimedUser,
    credential: Credential,
}

enum Transfer {
    In(Incoming),
    Out(Outgoing),
}

/// What a job's output is for.
enum Awaited {
    Login {
        ticket: LoginTicket,
        user: ClaimedUser,
        by_password: bool,
    },
    Request {
        id: RequestId,
        what: String,
    },
    Transfer(TransferId),
}

impl ServerSession {
    /// A session for a peer whose association is being set up.
    pub fn new(
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
            peer,
            network,
            _permit: permit,
            me: None,
            delayed_login: None,
            transfers: BTreeMap::new(),
            jobs: VecDeque::new(),
            awaited: BTreeMap::new(),
            next_ticket: 0,
            phase: Phase::Serving,
            last_activity: now,
        })
    }

    /// Who is logged in.
    pub fn me(&self) -> Option<&Me> {
        self.me.as_ref()
    }

    fn submit(&mut self, awaited: Awaited, job: Job) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.awaited.insert(ticket, awaited);
        self.jobs.push_back((ticket, job));
    }

    /// Deals with everything the connection has to say, then moves each transfer on.
    fn work(&mut self, now: Instant) {
        while let Some(event) = self.connection.poll_event() {
            self.handle_event(event, now);
        }
        let ids: Vec<TransferId> = self.transfers.keys().copied().collect();
        for id in ids {
            self.advance(id);
        }
        let idle = self.transfers.is_empty() && self.awaited.is_empty();
        if idle && matches!(self.phase, Phase::Stopping) {
            self.close(now);
        }
    }

    fn close(&mut self, now: Instant) {
        self.phase = Phase::Closing;
        self.connection.close(now);
        while let Some(event) = self.connection.poll_event() {
            self.handle_event(event, now);
        }
    }

    /// When a client that is logged in and does nothing is let go. Before the login the connection
    /// has deadlines of its own.
    fn patience(&self) -> Option<Instant> {
        let ours =
            self.me.is_none() || !self.awaited.is_empty() || !matches!(self.phase, Phase::Serving);
        let longest = if self.transfers.is_empty() {
            limits::IDLE
        } else {
            limits::STALLED
        };
        (!ours).then(|| self.last_activity + longest)
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
                let Some(me) = self.begin(transfer) else {
                    return;
                };
                let state = Outgoing::new(path.clone(), now);
                self.transfers.insert(transfer, Transfer::Out(state));
                let job = Job::OpenDownload {
                    me,
                    path,
                    offset,
                    manifest,
                };
                self.submit(Awaited::Transfer(transfer), job);
            }
            TransferEvent::Put {
                path,
                replace_damaged,
                ..
            } => {
                let Some(me) = self.begin(transfer) else {
                    return;
                };
                let state = Incoming::new(path.clone(), now);
                self.transfers.insert(transfer, Transfer::In(state));
                let job = Job::OpenUpload {
                    me,
                    path,
                    replace_damaged,
                };
                self.submit(Awaited::Transfer(transfer), job);
            }
            TransferEvent::Data(chunk) => {
                if let Some(Transfer::In(incoming)) = self.transfers.get_mut(&transfer) {
                    incoming.push(chunk, now);
                }
            }
            TransferEvent::Proof(signed) => {
                if let Some(Transfer::In(incoming)) = self.transfers.get_mut(&transfer) {
                    incoming.prove(signed);
                }
            }
            // `work` moves every transfer on after the events.
            TransferEvent::Writable => {}
            TransferEvent::Finished => self.finished(transfer, now),
            TransferEvent::Aborted(refusal) => self.aborted(transfer, &refusal),
            // `Closed` follows and ends every transfer that is left.
            TransferEvent::Truncated => {}
        }
    }

    /// Who begins a transfer, unless the server stops.
    fn begin(&mut self, transfer: TransferId) -> Option<Me> {
        if matches!(self.phase, Phase::Serving) {
            // The connection reports transfers only after a login.
            return self.me.clone();
        }
        let refusal = Refusal::new(RefusalCode::Busy, "the server is stopping; try again later");
        self.connection.abort(transfer, refusal);
        None
    }

    fn attempt_login(
        &mut self,
        ticket: LoginTicket,
        user: ClaimedUser,
        credential: Credential,
        now: Instant,
    ) {
        let delay = match credential {
            Credential::Password(_) => {
                let mut throttle = self.services.throttle();
                throttle.begin(user.as_str(), self.network, now)
            }
            Credential::Key(_) => Duration::ZERO,
        };
        if delay.is_zero() {
            self.check_login(ticket, user, credential);
            return;
        }
        tracing::warn!(%user, peer = %self.peer, delay_ms = delay.as_millis() as u64, "login delayed after failures");
        if delay > limits::THROTTLE_REFUSE {
            self.login_checked(ticket, &user, true, None, now);
            return;
        }
        self.delayed_login = Some(DelayedLogin {
            due: now + delay,
            ticket,
            user,
            credential,
        });
    }

    fn check_login(&mut self, ticket: LoginTicket, user: ClaimedUser, credential: Credential) {
        let awaited = Awaited::Login {
            ticket,
            user: user.clone(),
            by_password: matches!(credential, Credential::Password(_)),
        };
        self.submit(awaited, Job::Login { user, credential });
    }

    fn login_checked(
        &mut self,
        ticket: LoginTicket,
        user: &ClaimedUser,
        by_password: bool,
        found: Option<(Me, Role)>,
        now: Instant,
    ) {
        let method = if by_password { "password" } else { "key" };
        match found {
            Some((me, role)) => {
                if by_password {
                    self.services
                        .throttle()
                        .succeeded(user.as_str(), self.network);
                }
                tracing::info!(%user, uid = %me.uid, %role, method, peer = %self.peer, "logged in");
                let verdict = Verdict::Accepted { uid: me.uid, role };
                self.me = Some(me);
                self.connection.login(ticket, verdict, now);
            }
            None => {
                tracing::warn!(%user, method, peer = %self.peer, "login refused");
                self.connection.login(ticket, Verdict::Refused, now);
            }
        }
    }

    fn start_request(&mut self, id: RequestId, request: Request) {
        let Some(me) = self.me.clone() else { return };
        let what = describe(&request);
        self.submit(
            Awaited::Request { id, what },
            Job::Request {
                me,
                request: Box::new(request),
            },
        );
    }

    fn answer(&mut self, id: RequestId, what: &str, result: Result<Reply, Refusal>) {
        match &result {
            Ok(_) => tracing::info!(user = self.user(), peer = %self.peer, "{what}: done"),
            Err(refusal) => {
                tracing::warn!(user = self.user(), peer = %self.peer, %refusal, "{what}: refused");
            }
        }
        if let Err(error) = self.connection.reply(id, result) {
            // `Services` answers each request with a reply of its kind.
            tracing::error!(%error, "{what}: the answer does not fit the request");
        }
    }

    fn transfer_output(&mut self, id: TransferId, output: Output) {
        // The transfer may have been aborted while a worker had it; dropping the output discards
        // the upload.
        let Some(transfer) = self.transfers.get_mut(&id) else {
            return;
        };
        match (transfer, output) {
            (Transfer::In(incoming), Output::UploadOpened(Ok((upload, current)))) => {
                incoming.returned(upload);
                let accepted = self.connection.accept_put(id, current.as_ref());
                self.answered(id, accepted);
            }
            (Transfer::In(incoming), Output::Appended(Ok((upload, bytes)))) => {
                incoming.returned(upload);
                self.connection.consumed(id, bytes);
            }
            (Transfer::In(incoming), Output::Committed(outcome)) => match outcome {
                CommitOutcome::Published => {
                    incoming.published();
                    let told = self.connection.committed(id);
                    self.answered(id, told);
                }
                CommitOutcome::Conflict(upload, current) => {
                    incoming.returned(upload);
                    self.conflict(id, current.as_ref());
                }
                CommitOutcome::Refused(refusal) => self.refuse(id, refusal),
            },
            (Transfer::Out(outgoing), Output::DownloadOpened(Ok((download, offset)))) => {
                let accepted = self.connection.accept_get(id, download.signed(), offset);
                outgoing.opened(download);
                self.answered(id, accepted);
            }
            (Transfer::Out(outgoing), Output::Read(Ok((download, chunks)))) => {
                outgoing.read(download, chunks);
            }
            (
                _,
                Output::UploadOpened(Err(refusal))
                | Output::Appended(Err(refusal))
                | Output::DownloadOpened(Err(refusal))
                | Output::Read(Err(refusal)),
            ) => self.refuse(id, refusal),
            // A job's output is of the job's kind, and a transfer submits jobs of its direction
            // only.
            (_, _) => {
                tracing::error!(transfer = %id, "the output of a job does not fit its transfer")
            }
        }
    }

    fn conflict(&mut self, id: TransferId, current: Option<&SignedManifest>) {
        if let Some(transfer) = self.transfers.get(&id) {
            tracing::info!(user = self.user(), peer = %self.peer, file = %transfer.path(), "put: changed meanwhile, asking for a new signature");
        }
        let told = self.connection.conflict(id, current);
        self.answered(id, told);
    }

    /// The connection refuses an answer only when this session or the store is wrong: the client is
    /// told so.
    fn answered(&mut self, id: TransferId, result: Result<(), UsageError>) {
        if let Err(error) = result {
            tracing::error!(transfer = %id, %error, "the connection does not take an answer");
            let message = "the server failed; its log says how";
            self.refuse(id, Refusal::new(RefusalCode::Internal, message));
        }
    }

    fn refuse(&mut self, id: TransferId, refusal: Refusal) {
        if let Some(transfer) = self.transfers.remove(&id) {
            tracing::warn!(user = self.user(), peer = %self.peer, file = %transfer.path(), %refusal, "{}: refused", transfer.verb());
        }
        self.connection.abort(id, refusal);
    }

    fn finished(&mut self, id: TransferId, now: Instant) {
        let (user, peer) = (self.user(), &self.peer);
        match self.transfers.get(&id) {
            Some(Transfer::In(incoming)) => {
                let (bytes, lasted, gap) = incoming.figures(now);
                tracing::info!(user, %peer, file = %incoming.path(), bytes, seconds = seconds(lasted), longest_stall_ms = gap.as_millis() as u64, published = incoming.is_published(), "put: done");
            }
            Some(Transfer::Out(outgoing)) => {
                let (bytes, lasted) = outgoing.figures(now);
                tracing::info!(user, %peer, file = %outgoing.path(), bytes, seconds = seconds(lasted), "get: done");
            }
            None => {}
        }
        self.transfers.remove(&id);
    }

    fn aborted(&mut self, id: TransferId, reason: &Refusal) {
        let Some(transfer) = self.transfers.remove(&id) else {
            return;
        };
        tracing::warn!(user = self.user(), peer = %self.peer, file = %transfer.path(), %reason, "{}: the client gave up", transfer.verb());
    }

    fn closed(&mut self, reason: &dyn fmt::Display) {
        for transfer in std::mem::take(&mut self.transfers).into_values() {
            tracing::warn!(user = self.user(), peer = %self.peer, file = %transfer.path(), "{}: cut off", transfer.verb());
        }
        self.delayed_login = None;
        self.jobs.clear();
        self.phase = Phase::Closing;
        tracing::info!(user = self.user(), peer = %self.peer, %reason, "disconnected");
    }

    /// Hands records to the connection, and the next work to the workers.
    fn advance(&mut self, id: TransferId) {
        let job = match self.transfers.get_mut(&id) {
            Some(Transfer::In(incoming)) => match &self.me {
                Some(me) => incoming.next_job(me),
                None => None,
            },
            Some(Transfer::Out(outgoing)) => {
                while let Some(chunk) = outgoing.next_chunk(self.connection.capacity(id)) {
                    if let Err(error) = self.connection.write(id, chunk) {
                        // `capacity` said that there is room, so the transfer itself is gone.
                        tracing::debug!(transfer = %id, %error, "a record came too late");
                        break;
                    }
                }
                let job = outgoing.next_job();
                if outgoing.take_end() {
                    let ended = self.connection.finish_get(id);
                    self.answered(id, ended);
                }
                job
            }
            None => None,
        };
        if let Some(job) = job {
            self.submit(Awaited::Transfer(id), job);
        }
    }

    fn user(&self) -> &str {
        self.me.as_ref().map_or("-", |me| me.name.as_str())
    }
}

impl Transfer {
    fn path(&self) -> &FilePath {
        match self {
            Self::In(incoming) => incoming.path(),
            Self::Out(outgoing) => outgoing.path(),
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::In(_) => "put",
            Self::Out(_) => "get",
        }
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
                tracing::info!(user = self.user(), peer = %self.peer, remote = %path.remote, state = %path.state, "network path");
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
        match (self.awaited.remove(&ticket), output) {
            (
                Some(Awaited::Login {
                    ticket,
                    user,
                    by_password,
                }),
                Output::Login(found),
            ) => self.login_checked(ticket, &user, by_password, found, now),
            (Some(Awaited::Request { id, what }), Output::Request(result)) => {
                self.answer(id, &what, result);
            }
            (Some(Awaited::Transfer(id)), output) => self.transfer_output(id, output),
            // A job's output is of the job's kind; a ticket that is not awaited is stale.
            (_, _) => {}
        }
        self.work(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(login) = self.delayed_login.take_if(|login| login.due <= now) {
            self.check_login(login.ticket, login.user, login.credential);
        }
        self.connection.handle_timeout(now);
        if self.patience().is_some_and(|due| due <= now) {
            tracing::info!(user = self.user(), peer = %self.peer, transfers = self.transfers.len(), "nothing moves: closed");
            self.close(now);
        }
        self.work(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let transmit = self.connection.poll_transmit()?;
        // Stream 0 alone is no sign of it: keepalives go there.
        if transmit.stream != 0 {
            self.last_activity = now;
        }
        // There is room in the connection's queues again: the transfers may go on.
        self.work(now);
        Some(Transmit {
            stream: transmit.stream,
            payload: transmit.payload,
        })
    }

    fn poll_job(&mut self) -> Option<(Ticket, Job)> {
        self.jobs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let login = self.delayed_login.as_ref().map(|login| login.due);
        [login, self.connection.poll_timeout(), self.patience()]
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

    fn handle_stop(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Serving) {
            self.phase = Phase::Stopping;
        }
        self.work(now);
    }
}

fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
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
