//! Gets and puts at the server.

use super::event::{Event, TransferEvent};
use super::state::{Phase, Server};
use crate::channel::kind::RecordKind;
use crate::connection::Connection;
use crate::error::{ProtocolError, UsageError};
use crate::ids::TransferId;
use crate::limits::MIN_WINDOW;
use crate::request::{Refusal, RefusalCode};
use crate::signed::manifest::{Content, SignedManifest};
use crate::signed::name::{FilePath, StoreId};
use crate::wire::record::{Open, TransferReply, decode_proof, encode_abort};

impl Connection<Server> {
    /// Begins a get: the manifest goes out, then what is written.
    ///
    /// # Errors
    /// `WrongState` unless [`TransferEvent::Get`] awaits its answer; `WrongManifest` unless the
    /// manifest is of a file of this store and path, and `offset` is within it and either 0 or,
    /// with the manifest that the client named, what it asked for. A transfer that has ended is
    /// ignored.
    pub fn accept_get(
        &mut self,
        transfer: TransferId,
        signed: &SignedManifest,
        offset: u64,
    ) -> Result<(), UsageError> {
        let store = self.side.store;
        let Some(active) = self.live(transfer) else {
            return Ok(());
        };
        let Some(Phase::GetAsked {
            path,
            offset: asked,
            manifest,
            window,
        }) = &active.phase
        else {
            return Err(UsageError::WrongState);
        };
        let resumed = offset == *asked && manifest.is_none_or(|hash| hash == signed.hash());
        let size = match signed.manifest().content {
            Content::File { size, .. } if signed.is_of(store, path) => size,
            Content::File { .. } | Content::Deleted => return Err(UsageError::WrongManifest),
        };
        let (Some(size), true) = (size.checked_sub(offset), offset == 0 || resumed) else {
            return Err(UsageError::WrongManifest);
        };
        let window = *window;
        let reply = TransferReply::GetAccepted {
            signed: signed.clone(),
            offset,
        };
        active.queue(RecordKind::Reply, reply.encode());
        active.start_writing(window.into());
        active.phase = Some(Phase::Sending { size });
        self.report_writable(transfer);
        Ok(())
    }

    /// Ends a get after its last byte was written; [`TransferEvent::Finished`] follows when the
    /// client has it.
    ///
    /// # Errors
    /// `WrongState` unless exactly the bytes from the offset to the end of the file were written. A
    /// transfer that has ended is ignored.
    pub fn finish_get(&mut self, transfer: TransferId) -> Result<(), UsageError> {
        let Some(active) = self.live(transfer) else {
            return Ok(());
        };
        match active.phase {
            Some(Phase::Sending { size }) if active.written() == size => {
                active.end();
                active.phase = Some(Phase::Sent);
                Ok(())
            }
            _ => Err(UsageError::WrongState),
        }
    }

    /// Begins a put: the client may send.
    ///
    /// # Errors
    /// `WrongState` unless [`TransferEvent::Put`] awaits its answer; `WrongManifest` unless
    /// `current` is of this store and path. A transfer that has ended is ignored.
    pub fn accept_put(
        &mut self,
        transfer: TransferId,
        current: Option<&SignedManifest>,
    ) -> Result<(), UsageError> {
        let (store, window) = (self.side.store, self.limits.window);
        let Some(active) = self.live(transfer) else {
            return Ok(());
        };
        let Some(Phase::PutAsked { path }) = &active.phase else {
            return Err(UsageError::WrongState);
        };
        let path = path.clone();
        check_current(current, store, &path)?;
        let reply = TransferReply::PutAccepted {
            current: current.cloned(),
            window,
        };
        active.start_receiving(window);
        active.queue(RecordKind::Reply, reply.encode());
        active.phase = Some(Phase::Receiving { path });
        Ok(())
    }

    /// The file of a put is published; [`TransferEvent::Finished`] follows when the client has
    /// heard.
    ///
    /// # Errors
    /// `WrongState` unless [`TransferEvent::Proof`] awaits its answer. A transfer that has ended is
    /// ignored.
    pub fn committed(&mut self, transfer: TransferId) -> Result<(), UsageError> {
        let Some(active) = self.live(transfer) else {
            return Ok(());
        };
        if !matches!(active.phase, Some(Phase::Proving { .. })) {
            return Err(UsageError::WrongState);
        }
        active.queue(RecordKind::Reply, TransferReply::Committed.encode());
        active.end();
        active.phase = Some(Phase::Committed);
        Ok(())
    }

    /// The manifest of a put is not on top of the current one: the client may sign again.
    ///
    /// # Errors
    /// `WrongState` unless [`TransferEvent::Proof`] awaits its answer; `WrongManifest` unless
    /// `current` is of this store and path. A transfer that has ended is ignored.
    pub fn conflict(
        &mut self,
        transfer: TransferId,
        current: Option<&SignedManifest>,
    ) -> Result<(), UsageError> {
        let store = self.side.store;
        let Some(active) = self.live(transfer) else {
            return Ok(());
        };
        let Some(Phase::Proving { path }) = &active.phase else {
            return Err(UsageError::WrongState);
        };
        let path = path.clone();
        check_current(current, store, &path)?;
        let reply = TransferReply::Conflict {
            current: current.cloned(),
        };
        active.queue(RecordKind::Reply, reply.encode());
        active.phase = Some(Phase::Conflicted { path });
        Ok(())
    }

    pub(super) fn handle_open(
        &mut self,
        transfer: TransferId,
        body: &[u8],
    ) -> Result<(), ProtocolError> {
        let streams = self.streams.as_mut();
        let active = streams
            .and_then(|streams| streams.opened(transfer))
            .ok_or(ProtocolError::UnexpectedRecord)?;
        let open = match Open::decode(body)? {
            Ok(open) => open,
            Err(refusal) => {
                active.abort(encode_abort(&refusal));
                return Ok(());
            }
        };
        let (phase, event) = match open {
            Open::Get { window, .. } if window < MIN_WINDOW => return Err(ProtocolError::Credit),
            Open::Get {
                path,
                offset,
                manifest,
                window,
            } => (
                Phase::GetAsked {
                    path: path.clone(),
                    offset,
                    manifest,
                    window,
                },
                TransferEvent::Get {
                    path,
                    offset,
                    manifest,
                },
            ),
            Open::Put {
                path,
                size_hint,
                replace_damaged,
            } => (
                Phase::PutAsked { path: path.clone() },
                TransferEvent::Put {
                    path,
                    size_hint,
                    replace_damaged,
                },
            ),
        };
        active.phase = Some(phase);
        self.push(Event::Transfer(transfer, event));
        Ok(())
    }

    pub(super) fn handle_proof(
        &mut self,
        transfer: TransferId,
        body: &[u8],
    ) -> Result<(), ProtocolError> {
        let store = self.side.store;
        let active = self.live(transfer).ok_or(ProtocolError::UnexpectedRecord)?;
        let path = match &active.phase {
            Some(Phase::Receiving { path } | Phase::Conflicted { path }) => path.clone(),
            _ => return Err(ProtocolError::UnexpectedRecord),
        };
        let checked = decode_proof(body)?
            .and_then(|signed| check_proof(signed, store, &path, active.received()));
        let event = match checked {
            Ok(signed) => {
                active.phase = Some(Phase::Proving { path });
                TransferEvent::Proof(signed)
            }
            Err(refusal) => {
                active.abort(encode_abort(&refusal));
                TransferEvent::Aborted(refusal)
            }
        };
        self.push(Event::Transfer(transfer, event));
        Ok(())
    }
}

/// A manifest must be of the file that was sent.
fn check_proof(
    signed: SignedManifest,
    store: StoreId,
    path: &FilePath,
    received: u64,
) -> Result<SignedManifest, Refusal> {
    let refuse = |message| Err(Refusal::new(RefusalCode::BadManifest, message));
    if !signed.is_of(store, path) {
        return refuse("the manifest is of another store or path");
    }
    match signed.manifest().content {
        Content::File { size, .. } if size == received => Ok(signed),
        Content::File { .. } => refuse("the manifest gives another size than was sent"),
        Content::Deleted => refuse("the manifest says that the file is deleted"),
    }
}

fn check_current(
    current: Option<&SignedManifest>,
    store: StoreId,
    path: &FilePath,
) -> Result<(), UsageError> {
    if current.is_none_or(|signed| signed.is_of(store, path)) {
        Ok(())
    } else {
        Err(UsageError::WrongManifest)
    }
}
