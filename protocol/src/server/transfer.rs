//! Gets and puts at the server.

use bytes::BytesMut;

use super::login::Stage;
use super::{Connection, Event};
use crate::channel::chunk::Chunk;
use crate::channel::streams::{Active, Incoming};
use crate::connection::is_of;
use crate::error::{ProtocolError, UsageError};
use crate::limits::MIN_WINDOW;
use crate::signed::{Content, FilePath, ManifestHash, SignedManifest, StoreId};
use crate::wire::RecordKind;
use crate::wire::record::{Open, TransferReply, decode_proof};
use crate::{Refusal, RefusalCode, TransferId};

/// What a transfer waits for.
pub(super) enum Phase {
    /// The application's answer to a get.
    GetAsked {
        path: FilePath,
        offset: u64,
        manifest: Option<ManifestHash>,
        window: u32,
    },
    /// So many bytes of the application in all.
    Sending { size: u64 },
    /// The client's End after a get.
    Sent,
    /// The application's answer to a put.
    PutAsked { path: FilePath },
    /// The client's data and manifest.
    Receiving { path: FilePath },
    /// The application's verdict on the manifest.
    Proving { path: FilePath },
    /// The client's next manifest, after a conflict.
    Conflicted { path: FilePath },
    /// The client's End after a put.
    Committed,
}

impl Connection {
    /// Begins a get: the manifest goes out, then what is written.
    ///
    /// # Errors
    /// `WrongState` unless [`Event::Get`] awaits its answer; `WrongManifest` unless the manifest is
    /// of a file of this store and path, and `offset` is within it and either 0 or, with the
    /// manifest that the client named, what it asked for. A transfer that has ended is ignored.
    pub fn accept_get(
        &mut self,
        transfer: TransferId,
        signed: &SignedManifest,
        offset: u64,
    ) -> Result<(), UsageError> {
        let store = self.store;
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
            Content::File { size, .. } if is_of(signed, store, path) => size,
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
        self.tell_writable(transfer);
        Ok(())
    }

    /// Ends a get after its last byte was written; [`Event::Finished`] follows when the client has
    /// it.
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
    /// `WrongState` unless [`Event::Put`] awaits its answer; `WrongManifest` unless `current` is of
    /// this store and path. A transfer that has ended is ignored.
    pub fn accept_put(
        &mut self,
        transfer: TransferId,
        current: Option<&SignedManifest>,
    ) -> Result<(), UsageError> {
        let (store, window) = (self.store, self.session.limits.window);
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

    /// The file of a put is published; [`Event::Finished`] follows when the client has heard.
    ///
    /// # Errors
    /// `WrongState` unless [`Event::Proof`] awaits its answer. A transfer that has ended is
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
    /// `WrongState` unless [`Event::Proof`] awaits its answer; `WrongManifest` unless `current` is
    /// of this store and path. A transfer that has ended is ignored.
    pub fn conflict(
        &mut self,
        transfer: TransferId,
        current: Option<&SignedManifest>,
    ) -> Result<(), UsageError> {
        let store = self.store;
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

    /// Ends a transfer without success. No event follows for it. Ignored when it has ended, or is
    /// already published.
    #[expect(clippy::needless_pass_by_value, reason = "the refusal is spent")]
    pub fn abort(&mut self, transfer: TransferId, refusal: Refusal) {
        if let Some(active) = self.live(transfer)
            && !matches!(active.phase, Some(Phase::Committed))
        {
            active.abort(&refusal);
        }
    }

    /// Whether a put is published and only the client's End is missing.
    pub(super) fn is_committed(&mut self, transfer: TransferId) -> bool {
        self.live(transfer)
            .is_some_and(|active| matches!(active.phase, Some(Phase::Committed)))
    }

    fn live(&mut self, transfer: TransferId) -> Option<&mut Active<Phase>> {
        self.session.streams.as_mut()?.live(transfer)
    }

    fn tell_writable(&mut self, transfer: TransferId) {
        if self.live(transfer).is_some_and(Active::became_writable) {
            self.session.events.push_back(Event::Writable { transfer });
        }
    }

    pub(super) fn handle_record(
        &mut self,
        stream: u16,
        payload: BytesMut,
    ) -> Result<(), ProtocolError> {
        let (Stage::Ready(_), Some(streams)) = (&self.stage, &mut self.session.streams) else {
            return Err(ProtocolError::BeforeLogin);
        };
        let (transfer, incoming) = streams.receive(stream, payload)?;
        let event = match incoming {
            Incoming::Nothing => None,
            Incoming::Writable => Some(Event::Writable { transfer }),
            Incoming::Message(RecordKind::Open, body) => self.handle_open(transfer, &body)?,
            Incoming::Message(RecordKind::Proof, body) => Some(self.handle_proof(transfer, &body)?),
            Incoming::Message(..) => return Err(ProtocolError::UnexpectedRecord),
            Incoming::Data(chunk) => Some(self.handle_data(transfer, chunk)?),
            Incoming::End => Some(self.handle_end(transfer)?),
            Incoming::Abort(refusal) => self.handle_abort(transfer, refusal),
        };
        self.session.events.extend(event);
        if let Some(streams) = &mut self.session.streams {
            streams.settle(transfer);
        }
        Ok(())
    }

    fn handle_open(
        &mut self,
        transfer: TransferId,
        body: &[u8],
    ) -> Result<Option<Event>, ProtocolError> {
        let streams = self.session.streams.as_mut();
        let active = streams
            .and_then(|streams| streams.opened(transfer))
            .ok_or(ProtocolError::UnexpectedRecord)?;
        let open = match Open::decode(body)? {
            Ok(open) => open,
            Err(refusal) => {
                active.abort(&refusal);
                return Ok(None);
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
                Event::Get {
                    transfer,
                    path,
                    offset,
                    manifest,
                },
            ),
            Open::Put { path, size_hint } => (
                Phase::PutAsked { path: path.clone() },
                Event::Put {
                    transfer,
                    path,
                    size_hint,
                },
            ),
        };
        active.phase = Some(phase);
        Ok(Some(event))
    }

    fn handle_data(&mut self, transfer: TransferId, chunk: Chunk) -> Result<Event, ProtocolError> {
        match self.live(transfer).and_then(|active| active.phase.as_ref()) {
            Some(Phase::Receiving { .. }) => Ok(Event::Data { transfer, chunk }),
            _ => Err(ProtocolError::UnexpectedRecord),
        }
    }

    fn handle_proof(&mut self, transfer: TransferId, body: &[u8]) -> Result<Event, ProtocolError> {
        let store = self.store;
        let active = self.live(transfer).ok_or(ProtocolError::UnexpectedRecord)?;
        let path = match &active.phase {
            Some(Phase::Receiving { path } | Phase::Conflicted { path }) => path.clone(),
            _ => return Err(ProtocolError::UnexpectedRecord),
        };
        let checked = decode_proof(body)?
            .and_then(|signed| check_proof(signed, store, &path, active.received()));
        Ok(match checked {
            Ok(signed) => {
                active.phase = Some(Phase::Proving { path });
                Event::Proof { transfer, signed }
            }
            Err(refusal) => {
                active.abort(&refusal);
                Event::Aborted {
                    transfer,
                    refusal: Some(refusal),
                }
            }
        })
    }

    fn handle_end(&mut self, transfer: TransferId) -> Result<Event, ProtocolError> {
        let active = self.live(transfer).ok_or(ProtocolError::UnexpectedRecord)?;
        // The client ends after us, in both directions of data.
        if !matches!(active.phase, Some(Phase::Sent | Phase::Committed)) || !active.has_ended() {
            return Err(ProtocolError::UnexpectedRecord);
        }
        active.phase = None;
        Ok(Event::Finished { transfer })
    }

    fn handle_abort(&mut self, transfer: TransferId, refusal: Refusal) -> Option<Event> {
        let phase = self.live(transfer)?.phase.take()?;
        Some(match phase {
            // Too late: the file is published.
            Phase::Committed => Event::Finished { transfer },
            _ => Event::Aborted {
                transfer,
                refusal: Some(refusal),
            },
        })
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
    if !is_of(&signed, store, path) {
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
    if current.is_none_or(|signed| is_of(signed, store, path)) {
        Ok(())
    } else {
        Err(UsageError::WrongManifest)
    }
}
