//! Gets and puts at the client.

use super::event::{Event, TransferEvent};
use super::state::{Client, Phase};
use crate::channel::kind::RecordKind;
use crate::connection::Connection;
use crate::error::{ProtocolError, UsageError};
use crate::ids::TransferId;
use crate::limits::MIN_WINDOW;
use crate::signed::manifest::{Content, ManifestHash, SignedManifest};
use crate::signed::name::{FilePath, StoreId};
use crate::wire::record::{Open, TransferReply, encode_proof};

impl Connection<Client> {
    /// Fetches a file from `offset` on: [`TransferEvent::GetAccepted`], [`TransferEvent::Data`]…,
    /// [`TransferEvent::Finished`].
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
        let window = self.limits.window;
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

    /// Uploads a file: [`TransferEvent::PutAccepted`], then [`write`](Self::write) and
    /// [`finish_put`](Self::finish_put), then [`TransferEvent::Finished`].
    ///
    /// # Errors
    /// `WrongState` before login, `Closed`, `NoFreeStream`.
    pub fn put(&mut self, path: FilePath, size_hint: u64) -> Result<TransferId, UsageError> {
        self.open_put(path, size_hint, false)
    }

    /// The same, to replace a file that is damaged on the server and whose manifest is lost there.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_replacing_damaged(
        &mut self,
        path: FilePath,
        size_hint: u64,
    ) -> Result<TransferId, UsageError> {
        self.open_put(path, size_hint, true)
    }

    fn open_put(
        &mut self,
        path: FilePath,
        size_hint: u64,
        replace_damaged: bool,
    ) -> Result<TransferId, UsageError> {
        let open = Open::Put {
            path: path.clone(),
            size_hint,
            replace_damaged,
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
        let streams = self.streams.as_mut().ok_or(UsageError::WrongState)?;
        let active = streams.open(phase).ok_or(UsageError::NoFreeStream)?;
        active.start_receiving(window);
        active.queue(RecordKind::Open, open.encode());
        Ok(active.id)
    }

    /// Ends a put with the signed manifest of what was written, first or again after
    /// [`TransferEvent::ProofWanted`].
    ///
    /// # Errors
    /// `UnknownTransfer` also after the server has ended it, `WrongState` before
    /// [`TransferEvent::PutAccepted`], `WrongManifest` for another store, path or size.
    pub fn finish_put(
        &mut self,
        transfer: TransferId,
        signed: &SignedManifest,
    ) -> Result<(), UsageError> {
        let store = self.ready()?.store;
        let active = self.live(transfer).ok_or(UsageError::UnknownTransfer)?;
        let (path, size) = match &active.phase {
            Some(Phase::Putting { path }) => (path.clone(), active.written()),
            Some(Phase::Conflicted { path, size }) => (path.clone(), *size),
            _ => return Err(UsageError::WrongState),
        };
        let fits = matches!(signed.manifest().content, Content::File { size: signed, .. } if signed == size);
        if !fits || !signed.is_of(store, &path) {
            return Err(UsageError::WrongManifest);
        }
        active.stop_writing();
        active.queue(RecordKind::Proof, encode_proof(signed));
        active.phase = Some(Phase::Proving { path, size });
        Ok(())
    }

    pub(super) fn handle_transfer_reply(
        &mut self,
        transfer: TransferId,
        body: &[u8],
    ) -> Result<(), ProtocolError> {
        let server = self.side.server.as_ref();
        let store = server.ok_or(ProtocolError::BeforeLogin)?.store;
        let Some(active) = self.live(transfer) else {
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
                let event = TransferEvent::GetAccepted { signed, offset };
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
                    TransferEvent::PutAccepted { current },
                )
            }
            (Phase::Proving { path, size }, TransferReply::Conflict { current }) => {
                check_current(current.as_ref(), store, &path)?;
                (
                    Phase::Conflicted { path, size },
                    TransferEvent::ProofWanted { current },
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
        self.push(Event::Transfer(transfer, event));
        self.report_writable(transfer);
        Ok(())
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
        Content::File { size, .. } if signed.is_of(store, path) => {
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
    if current.is_none_or(|signed| signed.is_of(store, path)) {
        Ok(())
    } else {
        Err(ProtocolError::Manifest)
    }
}
