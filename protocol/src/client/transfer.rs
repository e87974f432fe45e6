//! Gets and puts at the client.

use bytes::BytesMut;

use super::login::Stage;
use super::{Connection, Event};
use crate::channel::chunk::Chunk;
use crate::channel::streams::Incoming;
use crate::connection::is_of;
use crate::error::{ProtocolError, UsageError};
use crate::limits::MIN_WINDOW;
use crate::signed::{Content, FilePath, ManifestHash, SignedManifest, StoreId};
use crate::wire::RecordKind;
use crate::wire::record::{Open, TransferReply, encode_proof};
use crate::{Refusal, TransferId};

/// What a transfer waits for.
pub(super) enum Phase {
    /// The server's answer to a get.
    GetAsked {
        path: FilePath,
        offset: u64,
        manifest: Option<ManifestHash>,
    },
    /// So many more bytes, and then the server's End.
    Getting { left: u64 },
    /// The server's answer to a put.
    PutAsked { path: FilePath },
    /// The application's data and manifest.
    Putting { path: FilePath },
    /// The server's verdict on the manifest of a file of this size.
    Proving { path: FilePath, size: u64 },
    /// The application's next manifest, after a conflict.
    Conflicted { path: FilePath, size: u64 },
    /// The server's End.
    Committed,
}

impl Connection {
    /// Fetches a file from `offset` on: [`Event::GetAccepted`], [`Event::Data`]…,
    /// [`Event::Finished`].
    ///
    /// `manifest` is what a partial file was begun from; if the server has another one by now, it
    /// begins at 0.
    ///
    /// # Errors
    /// `WrongState` before login, `Closed`, `NoFreeStream`.
    pub fn get(
        &mut self,
        path: FilePath,
        offset: u64,
        manifest: Option<ManifestHash>,
    ) -> Result<TransferId, UsageError> {
        let window = self.session.limits.window;
        let open = Open::Get {
            path: path.clone(),
            offset,
            manifest,
            window,
        };
        let phase = Phase::GetAsked {
            path,
            offset,
            manifest,
        };
        self.open_transfer(&open, phase, window)
    }

    /// Uploads a file: [`Event::PutAccepted`], then [`write`](Self::write) and
    /// [`finish_put`](Self::finish_put), then [`Event::Finished`].
    ///
    /// # Errors
    /// `WrongState` before login, `Closed`, `NoFreeStream`.
    pub fn put(&mut self, path: FilePath, size_hint: u64) -> Result<TransferId, UsageError> {
        let open = Open::Put {
            path: path.clone(),
            size_hint,
        };
        self.open_transfer(&open, Phase::PutAsked { path }, 0)
    }

    fn open_transfer(
        &mut self,
        open: &Open,
        phase: Phase,
        window: u32,
    ) -> Result<TransferId, UsageError> {
        self.ready()?;
        let streams = self
            .session
            .streams
            .as_mut()
            .ok_or(UsageError::WrongState)?;
        let active = streams.open(phase).ok_or(UsageError::NoFreeStream)?;
        active.start_receiving(window);
        active.queue(RecordKind::Open, open.encode());
        Ok(active.id)
    }

    /// Ends a put with the signed manifest of what was written, first or again after
    /// [`Event::ProofWanted`].
    ///
    /// # Errors
    /// `UnknownTransfer` also after the server has ended it, `WrongState` before
    /// [`Event::PutAccepted`], `WrongManifest` for another store, path or size.
    pub fn finish_put(
        &mut self,
        transfer: TransferId,
        signed: &SignedManifest,
    ) -> Result<(), UsageError> {
        let store = self.ready()?.store;
        let streams = self
            .session
            .streams
            .as_mut()
            .ok_or(UsageError::UnknownTransfer)?;
        let active = streams.live(transfer).ok_or(UsageError::UnknownTransfer)?;
        let (path, size) = match &active.phase {
            Some(Phase::Putting { path }) => (path.clone(), active.written()),
            Some(Phase::Conflicted { path, size }) => (path.clone(), *size),
            _ => return Err(UsageError::WrongState),
        };
        let fits = matches!(signed.manifest().content, Content::File { size: signed, .. } if signed == size);
        if !fits || !is_of(signed, store, &path) {
            return Err(UsageError::WrongManifest);
        }
        active.stop_writing();
        active.queue(RecordKind::Proof, encode_proof(signed));
        active.phase = Some(Phase::Proving { path, size });
        Ok(())
    }

    /// Gives a transfer up. No event follows for it. Ignored when the transfer has ended, or is
    /// already published.
    #[expect(clippy::needless_pass_by_value, reason = "the refusal is spent")]
    pub fn abort(&mut self, transfer: TransferId, refusal: Refusal) {
        let Some(active) = self
            .session
            .streams
            .as_mut()
            .and_then(|streams| streams.live(transfer))
        else {
            return;
        };
        if !matches!(active.phase, Some(Phase::Committed)) {
            active.abort(&refusal);
        }
    }

    pub(super) fn handle_record(
        &mut self,
        stream: u16,
        payload: BytesMut,
    ) -> Result<(), ProtocolError> {
        let (Stage::Ready, Some(server), Some(streams)) =
            (&self.stage, &self.server, &mut self.session.streams)
        else {
            return Err(ProtocolError::BeforeLogin);
        };
        let store = server.store;
        let (transfer, incoming) = streams.receive(stream, payload)?;
        let event = self.handle_incoming(transfer, store, incoming)?;
        self.session.events.extend(event);
        if let Some(streams) = &mut self.session.streams {
            streams.settle(transfer);
        }
        Ok(())
    }

    fn handle_incoming(
        &mut self,
        transfer: TransferId,
        store: StoreId,
        incoming: Incoming,
    ) -> Result<Option<Event>, ProtocolError> {
        Ok(match incoming {
            Incoming::Nothing => None,
            Incoming::Writable => Some(Event::Writable { transfer }),
            Incoming::Message(RecordKind::Reply, body) => {
                self.handle_transfer_reply(transfer, store, &body)?;
                None
            }
            Incoming::Message(..) => return Err(ProtocolError::UnexpectedRecord),
            Incoming::Data(chunk) => Some(self.handle_data(transfer, chunk)?),
            Incoming::End => Some(self.handle_end(transfer)?),
            Incoming::Abort(refusal) => Some(self.handle_abort(transfer, refusal)?),
        })
    }

    fn handle_transfer_reply(
        &mut self,
        transfer: TransferId,
        store: StoreId,
        body: &[u8],
    ) -> Result<(), ProtocolError> {
        let Some(active) = self
            .session
            .streams
            .as_mut()
            .and_then(|streams| streams.live(transfer))
        else {
            return Ok(());
        };
        let phase = active.phase.take().ok_or(ProtocolError::UnexpectedRecord)?;
        let (phase, event) = match (phase, TransferReply::decode(body)?) {
            (
                Phase::GetAsked {
                    path,
                    offset: asked,
                    manifest,
                },
                TransferReply::GetAccepted { signed, offset },
            ) => {
                let left = begin_get(&signed, store, &path, offset)?;
                let resumed = offset == asked && manifest.is_none_or(|hash| hash == signed.hash());
                if offset != 0 && !resumed {
                    return Err(ProtocolError::Manifest);
                }
                let event = Event::GetAccepted {
                    transfer,
                    signed,
                    offset,
                };
                (Phase::Getting { left }, event)
            }
            (Phase::PutAsked { path }, TransferReply::PutAccepted { current, window }) => {
                if window < MIN_WINDOW {
                    return Err(ProtocolError::Credit);
                }
                check_current(current.as_ref(), store, &path)?;
                active.start_writing(window.into());
                (
                    Phase::Putting { path },
                    Event::PutAccepted { transfer, current },
                )
            }
            (Phase::Proving { path, size }, TransferReply::Conflict { current }) => {
                check_current(current.as_ref(), store, &path)?;
                (
                    Phase::Conflicted { path, size },
                    Event::ProofWanted { transfer, current },
                )
            }
            (Phase::Proving { .. }, TransferReply::Committed) => {
                // Our End answers the server's, which may not have gone out yet.
                active.phase = Some(Phase::Committed);
                return Ok(());
            }
            _ => return Err(ProtocolError::UnexpectedRecord),
        };
        active.phase = Some(phase);
        let writable = active.became_writable();
        self.session.events.push_back(event);
        if writable {
            self.session.events.push_back(Event::Writable { transfer });
        }
        Ok(())
    }

    fn handle_data(&mut self, transfer: TransferId, chunk: Chunk) -> Result<Event, ProtocolError> {
        match self.phase(transfer) {
            Some(Phase::Getting { left }) => {
                *left = left
                    .checked_sub(chunk.len() as u64)
                    .ok_or(ProtocolError::Size)?;
                Ok(Event::Data { transfer, chunk })
            }
            _ => Err(ProtocolError::UnexpectedRecord),
        }
    }

    fn handle_end(&mut self, transfer: TransferId) -> Result<Event, ProtocolError> {
        match self.phase(transfer) {
            Some(Phase::Getting { left: 0 } | Phase::Committed) => {}
            Some(Phase::Getting { .. }) => return Err(ProtocolError::Size),
            _ => return Err(ProtocolError::UnexpectedRecord),
        }
        if let Some(active) = self
            .session
            .streams
            .as_mut()
            .and_then(|streams| streams.live(transfer))
        {
            active.end();
            active.phase = None;
        }
        Ok(Event::Finished { transfer })
    }

    fn handle_abort(
        &mut self,
        transfer: TransferId,
        refusal: Refusal,
    ) -> Result<Event, ProtocolError> {
        let phase = self
            .phase(transfer)
            .ok_or(ProtocolError::UnexpectedRecord)?;
        // The server has already said that the file is published.
        if matches!(phase, Phase::Committed) {
            return Err(ProtocolError::UnexpectedRecord);
        }
        if let Some(active) = self
            .session
            .streams
            .as_mut()
            .and_then(|streams| streams.live(transfer))
        {
            active.phase = None;
        }
        Ok(Event::Refused { transfer, refusal })
    }

    /// Whether the server has said that a put is published.
    pub(super) fn is_committed(&mut self, transfer: TransferId) -> bool {
        matches!(self.phase(transfer), Some(Phase::Committed))
    }

    fn phase(&mut self, transfer: TransferId) -> Option<&mut Phase> {
        self.session
            .streams
            .as_mut()?
            .live(transfer)?
            .phase
            .as_mut()
    }
}

/// The number of bytes that an accepted get brings.
fn begin_get(
    signed: &SignedManifest,
    store: StoreId,
    path: &FilePath,
    offset: u64,
) -> Result<u64, ProtocolError> {
    match signed.manifest().content {
        Content::File { size, .. } if is_of(signed, store, path) => {
            size.checked_sub(offset).ok_or(ProtocolError::Size)
        }
        Content::File { .. } | Content::Deleted => Err(ProtocolError::Manifest),
    }
}

fn check_current(
    current: Option<&SignedManifest>,
    store: StoreId,
    path: &FilePath,
) -> Result<(), ProtocolError> {
    if current.is_none_or(|signed| is_of(signed, store, path)) {
        Ok(())
    } else {
        Err(ProtocolError::Manifest)
    }
}
