//! Reading a published file, chunk by chunk.

use std::io;
use std::sync::Arc;

use towpath_protocol::channel::Chunk;
use towpath_protocol::signed::{Content, FilePath, SignedManifest, StoreId};

use super::error::StoreError;
use super::shared::{Shared, stored_name};
use crate::age::{Header, HeaderError, Payload, ProofContext, chunks, sealed_len};
use crate::files::{OpenFile, read_full};
use crate::limits::{CHUNK, MAX_HEADER, PAYLOAD_NONCE, TAG};

/// One version of a file, open for reading.
pub struct Download {
    file: Box<dyn OpenFile>,
    payload: Payload,
    signed: SignedManifest,
    /// Where the chunks begin.
    start: u64,
    size: u64,
    /// The next chunk.
    next: u64,
}

impl Download {
    pub(super) fn open(shared: &Arc<Shared>, path: &FilePath) -> Result<Self, StoreError> {
        shared.reread(path)?;
        if let Some(download) = Self::attempt(shared, path)? {
            return Ok(download);
        }
        // The disk is ahead of the index: a publish is between its rename and its end, which comes
        // before the lock is free.
        let _path = shared.paths.lock(path);
        Self::attempt(shared, path)?.ok_or(StoreError::Corrupt(
            "it is another version than was published",
        ))
    }

    /// `None` when the file on the disk is whole but not the version of the index.
    fn attempt(shared: &Shared, path: &FilePath) -> Result<Option<Self>, StoreError> {
        let signed = {
            let index = shared.index();
            if index.is_uncertain(path) {
                return Err(StoreError::ReadOnly);
            }
            index.file(path).cloned().ok_or(StoreError::NotFound)?
        };
        let file = match shared.files.open(&stored_name(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Corrupt("it is gone from the disk"));
            }
            result => result.map_err(StoreError::io("opening a stored file"))?,
        };
        let stored = Stored::read(&*file, shared.proof_context(path))?;
        if (stored.manifest.as_str(), stored.signature.as_str())
            != (signed.text(), signed.signature())
        {
            return Ok(None);
        }
        let Content::File { size, .. } = signed.manifest().content else {
            return Err(StoreError::NotFound);
        };
        stored.check_len(size)?;
        Ok(Some(Self {
            file,
            payload: stored.payload,
            signed,
            start: stored.start,
            size,
            next: 0,
        }))
    }

    /// The manifest of this version, with its signature.
    #[must_use]
    pub fn signed(&self) -> &SignedManifest {
        &self.signed
    }

    /// Goes on with chunk `index`, which begins at byte `index` × 65,536; beyond the last one there
    /// is nothing to read.
    pub fn seek_chunk(&mut self, index: u64) {
        self.next = index;
    }

    /// Reads and opens the next chunk; `false`, and an empty chunk, at the end. Every chunk but the
    /// last is full.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is not what was stored, [`StoreError::Io`]; the chunk is
    /// then empty, and stays the next.
    pub fn next(&mut self, chunk: &mut Chunk) -> Result<bool, StoreError> {
        let read = self.read(chunk);
        if read.is_err() {
            chunk.clear();
        }
        read
    }

    fn read(&mut self, chunk: &mut Chunk) -> Result<bool, StoreError> {
        chunk.clear();
        let count = chunks(self.size);
        if self.next >= count {
            return Ok(false);
        }
        let begin = self.next * CHUNK as u64;
        let len = (self.size - begin).min(CHUNK as u64) as usize;
        chunk.resize(len + TAG);
        let offset = self.start + begin + self.next * TAG as u64;
        let read = read_full(&*self.file, chunk, offset)
            .map_err(StoreError::io("reading a stored file"))?;
        if read < len + TAG {
            return Err(StoreError::Corrupt("it was cut"));
        }
        let (text, tag) = chunk.split_at_mut(len);
        let tag = (&*tag)
            .try_into()
            .expect("the chunk was resized to the text and a tag");
        if !self
            .payload
            .open(self.next, self.next + 1 == count, text, &tag)
        {
            return Err(StoreError::Corrupt("a chunk was changed"));
        }
        chunk.truncate(len);
        self.next += 1;
        Ok(len > 0)
    }

    /// Reads everything and compares the hash with the manifest's.
    pub(super) fn verify(mut self) -> Result<(), StoreError> {
        let Content::File { hash, .. } = self.signed.manifest().content else {
            return Err(StoreError::NotFound);
        };
        let mut hasher = blake3::Hasher::new();
        let mut chunk = Chunk::new();
        while self.next(&mut chunk)? {
            hasher.update(&chunk);
        }
        if hasher.finalize().as_bytes() == hash.as_bytes() {
            Ok(())
        } else {
            Err(StoreError::Corrupt(
                "its content is not what its manifest says",
            ))
        }
    }
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("path", &self.signed.manifest().path)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// What the beginning of a stored file gives.
pub(super) struct Stored {
    manifest: String,
    signature: String,
    payload: Payload,
    start: u64,
    len: u64,
}

impl Stored {
    /// Reads header and nonce.
    pub(super) fn read(file: &dyn OpenFile, context: ProofContext<'_>) -> Result<Self, StoreError> {
        let io = StoreError::io("reading a stored file");
        let len = file.len().map_err(&io)?;
        let mut bytes = vec![0; MAX_HEADER];
        let read = read_full(file, &mut bytes, 0).map_err(&io)?;
        let opened = Header::open(&bytes[..read], context).map_err(corrupt)?;
        let nonce = bytes[..read]
            .get(opened.len..)
            .and_then(|rest| rest.first_chunk::<PAYLOAD_NONCE>());
        let nonce = nonce.ok_or(StoreError::Corrupt("it was cut"))?;
        Ok(Self {
            manifest: opened.proof.manifest,
            signature: opened.proof.signature,
            payload: Payload::new(&opened.key, nonce),
            start: (opened.len + PAYLOAD_NONCE) as u64,
            len,
        })
    }

    /// Parses and verifies the manifest of the file found at `path` in store `id`; whether the
    /// content is there is not looked at.
    pub(super) fn manifest(
        &self,
        id: StoreId,
        path: &FilePath,
    ) -> Result<SignedManifest, StoreError> {
        if self.manifest.is_empty() {
            return Err(StoreError::Corrupt("it was never completed"));
        }
        let signed = SignedManifest::parse(&self.manifest, &self.signature)
            .map_err(|_| StoreError::Corrupt("its manifest or signature is not valid"))?;
        let manifest = signed.manifest();
        if manifest.store != id {
            return Err(StoreError::Corrupt("it belongs to another store"));
        }
        if manifest.path != *path {
            return Err(StoreError::Corrupt("it was moved here from another path"));
        }
        Ok(signed)
    }

    /// Whether the file has the length that its manifest says.
    pub(super) fn check(&self, signed: &SignedManifest) -> Result<(), StoreError> {
        self.check_len(match signed.manifest().content {
            Content::File { size, .. } => size,
            Content::Deleted => 0,
        })
    }

    /// Compares the length on the disk with that of a content of `size` bytes.
    fn check_len(&self, size: u64) -> Result<(), StoreError> {
        let expected = sealed_len(size).and_then(|len| len.checked_add(self.start));
        match expected.map(|expected| self.len.cmp(&expected)) {
            Some(std::cmp::Ordering::Equal) => Ok(()),
            Some(std::cmp::Ordering::Greater) => Err(StoreError::Corrupt("data was added to it")),
            _ => Err(StoreError::Corrupt("it was cut")),
        }
    }
}

fn corrupt(error: HeaderError) -> StoreError {
    StoreError::Corrupt(match error {
        HeaderError::Malformed(_) => "its header is not that of an age file",
        HeaderError::NotForUs => {
            "it is encrypted for another storage key, or its header was changed"
        }
        HeaderError::Changed => "its header was changed",
        HeaderError::NoProof => "it is an age file without a Towpath manifest",
        HeaderError::Foreign => "its proof was not made by this server for this path",
    })
}
