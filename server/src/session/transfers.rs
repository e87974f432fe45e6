//! The transfers of one session: outputs of jobs and events of the connection in, records to the
//! connection and further jobs out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use towpath_protocol::channel::Chunk;
use towpath_protocol::server::Connection;
use towpath_protocol::signed::{FilePath, SignedManifest};
use towpath_protocol::{Refusal, RefusalCode, TransferId, UsageError};

use super::client::Client;
use super::download::Outgoing;
use super::upload::Incoming;
use crate::jobs::{CommitOutcome, Job, Output};

/// The transfers under way.
///
/// Invariant: a transfer that can send a record, submit a job or end is in `ready`.
#[derive(Default)]
pub(super) struct Transfers {
    open: BTreeMap<TransferId, Transfer>,
    /// Those that something happened to since they were last advanced.
    ready: BTreeSet<TransferId>,
}

enum Transfer {
    In(Incoming),
    Out(Outgoing),
}

impl Transfers {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Begins a download whose opening is under way.
    pub(super) fn begin_get(&mut self, id: TransferId, path: FilePath, now: Instant) {
        self.open
            .insert(id, Transfer::Out(Outgoing::new(path, now)));
    }

    /// Begins an upload whose opening is under way.
    pub(super) fn begin_put(&mut self, id: TransferId, path: FilePath, now: Instant) {
        self.open.insert(id, Transfer::In(Incoming::new(path, now)));
    }

    /// Data of an upload arrived.
    pub(super) fn handle_data(&mut self, id: TransferId, chunk: Chunk, now: Instant) {
        if let Some(Transfer::In(incoming)) = self.open.get_mut(&id) {
            incoming.push(chunk, now);
            self.ready.insert(id);
        }
    }

    /// The signed manifest of an upload arrived, after all its data.
    pub(super) fn handle_proof(&mut self, id: TransferId, signed: SignedManifest) {
        if let Some(Transfer::In(incoming)) = self.open.get_mut(&id) {
            incoming.prove(signed);
            self.ready.insert(id);
        }
    }

    /// The connection takes a whole record of a download again.
    pub(super) fn handle_writable(&mut self, id: TransferId) {
        if self.open.contains_key(&id) {
            self.ready.insert(id);
        }
    }

    /// A job of the transfer has ended.
    pub(super) fn handle_output(
        &mut self,
        id: TransferId,
        output: Output,
        connection: &mut Connection,
        client: &Client,
    ) {
        // The transfer may have been aborted while a worker had it; dropping the output discards
        // the upload.
        let Some(transfer) = self.open.get_mut(&id) else {
            return;
        };
        self.ready.insert(id);
        match (transfer, output) {
            (Transfer::In(incoming), Output::UploadOpened(Ok((upload, current)))) => {
                incoming.returned(upload);
                let accepted = connection.accept_put(id, current.as_ref());
                self.check(id, accepted, connection, client);
            }
            (Transfer::In(incoming), Output::Appended(Ok((upload, bytes)))) => {
                incoming.returned(upload);
                connection.consumed(id, bytes);
            }
            (Transfer::In(incoming), Output::Committed(outcome)) => match outcome {
                CommitOutcome::Published => {
                    incoming.published();
                    let told = connection.committed(id);
                    self.check(id, told, connection, client);
                }
                CommitOutcome::Conflict(upload, current) => {
                    incoming.returned(upload);
                    tracing::info!(user = client.user_name(), peer = %client.peer, file = %incoming.path(), "put: changed meanwhile, asking for a new signature");
                    let told = connection.conflict(id, current.as_ref());
                    self.check(id, told, connection, client);
                }
                CommitOutcome::Refused(refusal) => self.refuse(id, refusal, connection, client),
            },
            (Transfer::Out(outgoing), Output::DownloadOpened(Ok((download, offset)))) => {
                let accepted = connection.accept_get(id, download.signed(), offset);
                outgoing.opened(download);
                self.check(id, accepted, connection, client);
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
            ) => self.refuse(id, refusal, connection, client),
            // A job's output is of the job's kind, and a transfer submits jobs of its direction
            // only.
            (_, _) => {
                tracing::error!(transfer = %id, "the output of a job does not fit its transfer");
            }
        }
    }

    /// Moves one transfer that is ready on, and returns its next job if there is one; `None` when
    /// no transfer is ready.
    pub(super) fn advance(
        &mut self,
        connection: &mut Connection,
        client: &Client,
    ) -> Option<(TransferId, Option<Job>)> {
        let id = self.ready.pop_first()?;
        let job = match self.open.get_mut(&id) {
            Some(Transfer::In(incoming)) => {
                let user = client.user.as_ref();
                user.and_then(|user| incoming.next_job(user))
            }
            Some(Transfer::Out(outgoing)) => {
                while let Some(chunk) = outgoing.next_chunk(connection.capacity(id)) {
                    if let Err(error) = connection.write(id, chunk) {
                        // `capacity` said that there is room, so the transfer itself has ended.
                        tracing::debug!(transfer = %id, %error, "the transfer of a record has ended");
                        break;
                    }
                }
                let user = client.user.as_ref();
                let job = user.and_then(|user| outgoing.next_job(user));
                if outgoing.take_end() {
                    let ended = connection.finish_get(id);
                    self.check(id, ended, connection, client);
                }
                job
            }
            None => None,
        };
        Some((id, job))
    }

    /// The client has acknowledged the end of the transfer.
    pub(super) fn finished(&mut self, id: TransferId, client: &Client, now: Instant) {
        let (user, peer) = (client.user_name(), &client.peer);
        match self.open.remove(&id) {
            Some(Transfer::In(incoming)) => {
                let (bytes, lasted, gap) = incoming.statistics(now);
                tracing::info!(user, %peer, file = %incoming.path(), bytes, seconds = seconds(lasted), longest_stall_ms = gap.as_millis() as u64, published = incoming.is_published(), "put: done");
            }
            Some(Transfer::Out(outgoing)) => {
                let (bytes, lasted) = outgoing.statistics(now);
                tracing::info!(user, %peer, file = %outgoing.path(), bytes, seconds = seconds(lasted), "get: done");
            }
            None => {}
        }
    }

    /// The client ended the transfer without success.
    pub(super) fn aborted(&mut self, id: TransferId, reason: &Refusal, client: &Client) {
        if let Some(transfer) = self.open.remove(&id) {
            tracing::warn!(user = client.user_name(), peer = %client.peer, file = %transfer.path(), %reason, "{}: aborted by the client", transfer.verb());
        }
    }

    /// The connection ended.
    pub(super) fn closed(&mut self, client: &Client) {
        self.ready.clear();
        for transfer in std::mem::take(&mut self.open).into_values() {
            tracing::warn!(user = client.user_name(), peer = %client.peer, file = %transfer.path(), "{}: interrupted", transfer.verb());
        }
    }

    /// The connection refuses an answer only when this session or the store is wrong: the client is
    /// told so.
    fn check(
        &mut self,
        id: TransferId,
        result: Result<(), UsageError>,
        connection: &mut Connection,
        client: &Client,
    ) {
        if let Err(error) = result {
            tracing::error!(transfer = %id, %error, "the connection does not take an answer");
            let message = "the server failed; its log says how";
            let refusal = Refusal::new(RefusalCode::Internal, message);
            self.refuse(id, refusal, connection, client);
        }
    }

    fn refuse(
        &mut self,
        id: TransferId,
        refusal: Refusal,
        connection: &mut Connection,
        client: &Client,
    ) {
        if let Some(transfer) = self.open.remove(&id) {
            tracing::warn!(user = client.user_name(), peer = %client.peer, file = %transfer.path(), %refusal, "{}: refused", transfer.verb());
        }
        connection.abort(id, refusal);
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

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
