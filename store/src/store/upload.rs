//! Receiving a file into `.towpath/partial/`.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use towpath_protocol::channel::Chunk;
use towpath_protocol::signed::{Blake3Hash, FilePath};

use super::error::StoreError;
use super::shared::{PARTIAL, Shared};
use crate::age::{FileKey, Header, Payload, Proof};
use crate::files::OpenFile;
use crate::limits::{CHUNK, FILE_KEY, PAYLOAD_NONCE, TAG};

/// An upload in progress. Dropped without a commit, it is removed.
///
/// Chunks are sealed under a file key of its own. The last chunk is held back until the commit, for
/// only then is it known to be the last, and a chunk is never sealed twice.
pub struct Upload(pub(super) Box<Partial>);

pub(super) struct Partial {
    pub(super) shared: Arc<Shared>,
    pub(super) path: FilePath,
    /// Where it lies; empty once it was published.
    pub(super) name: String,
    pub(super) file: Box<dyn OpenFile>,
    pub(super) key: FileKey,
    pub(super) header: Header,
    /// Whether it may take the place of a file whose proof is lost.
    pub(super) replaces_damaged: bool,
    leaves_reserve: bool,
    payload: Payload,
    /// Where the next chunk goes.
    end: u64,
    /// Chunks written.
    sealed: u64,
    size: u64,
    hasher: blake3::Hasher,
    state: State,
}

enum State {
    /// Takes more; holds back the newest chunk.
    Open(Chunk),
    /// All chunks are written and synced; the content's hash.
    Complete(Blake3Hash),
    /// A write or a sync failed: what is on the disk is unknown, and is not tried again.
    Failed,
}

impl Upload {
    /// `leaves_reserve` is false for deletions only, which replace a file at least as large.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        path: &FilePath,
        leaves_reserve: bool,
    ) -> Result<Self, StoreError> {
        if shared.read_only.load(Ordering::Acquire) {
            return Err(StoreError::ReadOnly);
        }
        let mut key = FileKey::new([0; FILE_KEY]);
        let mut nonce = [0; PAYLOAD_NONCE];
        let mut id = [0; 16];
        getrandom::fill(&mut *key)
            .and_then(|()| getrandom::fill(&mut nonce))
            .and_then(|()| getrandom::fill(&mut id))
            .map_err(StoreError::random)?;
        let header = Header::new(&key, &shared.recipients).map_err(StoreError::random)?;
        let mut start = header
            .emit(&key, &Proof::default(), shared.proof_context(path))
            .map_err(StoreError::random)?;
        start.extend_from_slice(&nonce);
        if leaves_reserve {
            shared.check_reserve(start.len() as u64)?;
        }

        let name = format!("{PARTIAL}/{:032x}", u128::from_be_bytes(id));
        let file = shared
            .files
            .create(&name)
            .map_err(StoreError::io("making the file of an upload"))?;
        let upload = Self(Box::new(Partial {
            shared: Arc::clone(shared),
            path: path.clone(),
            name,
            file,
            payload: Payload::new(&key, &nonce),
            key,
            header,
            replaces_damaged: false,
            leaves_reserve,
            end: start.len() as u64,
            sealed: 0,
            size: 0,
            hasher: blake3::Hasher::new(),
            state: State::Open(Chunk::new()),
        }));
        let file = &upload.0.file;
        file.write_at(&start, 0)
            .and_then(|()| file.sync())
            .map_err(StoreError::io("writing the header of an upload"))?;
        Ok(upload)
    }

    /// Takes the next chunk; all but the last are full. `chunk` is then empty, with the memory of
    /// an earlier one.
    ///
    /// An empty chunk changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] or [`StoreError::Io`], after which the upload only can be dropped;
    /// [`StoreError::Misuse`] for a chunk after one that was not full, or over [`CHUNK`].
    pub fn append(&mut self, chunk: &mut Chunk) -> Result<(), StoreError> {
        self.0.append(chunk)
    }

    /// Writes what is held back, and waits until all data is on the disk; after it nothing more can
    /// be appended.
    ///
    /// [`Upload::commit`] does it too. Calling it first keeps the long wait out of whatever lock
    /// the commit is made under.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] or [`StoreError::Io`], after which the upload only can be dropped.
    pub fn complete(&mut self) -> Result<(), StoreError> {
        self.0.complete().map(drop)
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// Whether it may take the place of a file with [`Damage::Proof`](crate::Damage::Proof).
    #[must_use]
    pub fn replaces_damaged(&self) -> bool {
        self.0.replaces_damaged
    }

    /// Where it is meant to go.
    #[must_use]
    pub fn path(&self) -> &FilePath {
        &self.0.path
    }
}

impl Partial {
    fn append(&mut self, chunk: &mut Chunk) -> Result<(), StoreError> {
        let State::Open(held) = &mut self.state else {
            return Err(StoreError::Misuse("the upload is complete or failed"));
        };
        if chunk.is_empty() {
            return Ok(());
        }
        if chunk.len() > CHUNK {
            return Err(StoreError::Misuse("a chunk is over 64 KiB"));
        }
        if !held.is_empty() && held.len() < CHUNK {
            return Err(StoreError::Misuse("data after a chunk that was not full"));
        }
        self.hasher.update(chunk);
        self.size += chunk.len() as u64;
        mem::swap(held, chunk);
        // `chunk` is now the one before, which is full, or empty at the very beginning.
        if !chunk.is_empty() {
            self.write(chunk, false)?;
        }
        chunk.clear();
        Ok(())
    }

    /// Writes the last chunk and syncs, once; then gives the size and the hash of all that was
    /// appended.
    pub(super) fn complete(&mut self) -> Result<(u64, Blake3Hash), StoreError> {
        match mem::replace(&mut self.state, State::Failed) {
            State::Open(mut held) => {
                self.write(&mut held, true)?;
                self.file
                    .sync()
                    .map_err(StoreError::io("writing an upload to disk"))?;
                let hash = Blake3Hash::from_bytes(*self.hasher.finalize().as_bytes());
                self.state = State::Complete(hash);
                Ok((self.size, hash))
            }
            State::Complete(hash) => {
                self.state = State::Complete(hash);
                Ok((self.size, hash))
            }
            State::Failed => Err(StoreError::Misuse("the upload failed before")),
        }
    }

    /// Seals a chunk in place and writes it. After a failure nothing more is taken.
    fn write(&mut self, chunk: &mut Chunk, last: bool) -> Result<(), StoreError> {
        let len = chunk.len();
        let tag = self.payload.seal(self.sealed, last, chunk);
        chunk.extend_from_slice(&tag);
        let room = if self.leaves_reserve {
            self.shared.check_reserve(chunk.len() as u64)
        } else {
            Ok(())
        };
        let written = room.and_then(|()| {
            let written = self.file.write_at(chunk, self.end);
            written.map_err(StoreError::io("writing an upload"))
        });
        if let Err(error) = written {
            self.state = State::Failed;
            return Err(error);
        }
        self.sealed += 1;
        self.end += (len + TAG) as u64;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.name.is_empty() {
            return;
        }
        if let Err(error) = self.shared.files.remove(&self.name) {
            // It takes space until the next start, which removes it; it is never published.
            tracing::warn!(name = self.name, %error, "an abandoned upload stays on disk");
        }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("path", &self.0.path)
            .field("size", &self.0.size)
            .finish_non_exhaustive()
    }
}
