//! What can go wrong, one enum for each kind of call.

use std::io;
use std::path::PathBuf;

use towpath_protocol::signed::SignedManifest;

use crate::age::KeyFileError;

/// Why a file cannot be read or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing is published at the path, or its deletion is.
    #[error("no such file")]
    NotFound,
    /// The stored file was changed, cut or extended behind the server's back.
    #[error("the stored file is damaged: {0}")]
    Corrupt(&'static str),
    /// The disk or the quota is full.
    #[error("no space left on the server")]
    NoSpace,
    /// A directory could not be made durable, so nothing more is taken until the server is started
    /// again and has read what is on the disk.
    #[error(
        "the store takes no changes since a directory could not be written to disk; restart the server"
    )]
    ReadOnly,
    /// The caller appended data after a chunk that was not full, or after an error, or too much of
    /// it.
    #[error("data out of turn: {0}")]
    Misuse(&'static str),
    /// The system failed.
    #[error("{action}: {error}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The error of the system call.
        #[source]
        error: io::Error,
    },
}

impl StoreError {
    pub(super) fn io(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace,
            _ => Self::Io { action, error },
        }
    }

    pub(super) fn random(error: getrandom::Error) -> Self {
        Self::Io {
            action: "getting random bytes",
            error: error.into(),
        }
    }
}

/// Why a version is not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Another version is current than the one that the manifest replaces.
    #[error("another version was published in the meantime")]
    Conflict {
        /// The current one, a deletion included; none when the path was never used.
        current: Option<SignedManifest>,
    },
    /// The manifest does not describe what arrived.
    #[error("the manifest {0}")]
    Mismatch(#[from] Mismatch),
    /// There is nothing to delete.
    #[error("no such file")]
    NotFound,
    /// A file lies at the place in the store directory that the server could not read when it
    /// started; it is not overwritten.
    #[error("the server holds an unreadable file at this path")]
    Occupied,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// In what a manifest differs from what arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// It was signed for another store.
    #[error("is for another store")]
    Store,
    /// It was signed for another path.
    #[error("is for another path")]
    Path,
    /// A deletion where a file arrived, or the other way round.
    #[error("is of the other kind: a deletion for a file, or a file for a deletion")]
    Kind,
    /// The number of bytes.
    #[error("says {signed} bytes, but {arrived} arrived")]
    Size {
        /// In the manifest.
        signed: u64,
        /// Appended.
        arrived: u64,
    },
    /// The BLAKE3 hash.
    #[error("has another hash than the data that arrived")]
    Hash,
    /// Not one more than the version it replaces.
    #[error("has version {signed}, but {expected} comes next")]
    Version {
        /// In the manifest.
        signed: u64,
        /// The current version and one.
        expected: u64,
    },
}

/// Why a store cannot be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is a store already.
    #[error("{0}: holds a store already")]
    Exists(PathBuf),
    /// There is none.
    #[error("{0}: holds no store; make one with: towpathd init")]
    Missing(PathBuf),
    /// Another process has it.
    #[error("{0}: in use by another server")]
    Locked(PathBuf),
    /// `.towpath/store` is not what this version writes.
    #[error("{path}: {reason}")]
    Description {
        /// Path of the file.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// The storage key is not this store's.
    #[error("{path}: belongs to the storage key of {recipient}, which is not in the key file")]
    OtherKey {
        /// The store.
        path: PathBuf,
        /// The public half of the key that opens it.
        recipient: String,
    },
    /// The file system takes two names for one, so that one upload would replace another.
    #[error(
        "{0}: the file system does not tell names apart by case and spelling; use a case-sensitive volume"
    )]
    Names(PathBuf),
    /// Others can replace stored files.
    #[error(
        "{path}: mode {mode:03o} lets others write to the stored files; run: chmod go-w {path}"
    )]
    Exposed {
        /// The store.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user owns the directory, and can replace stored files.
    #[error(
        "{path}: belongs to the user with uid {uid}, who can replace stored files; chown it to the user that runs the server"
    )]
    Owner {
        /// The store.
        path: PathBuf,
        /// Who owns it.
        uid: u32,
    },
    /// More recipients than a header may have.
    #[error("more than {max} recipients", max = crate::limits::MAX_RECIPIENTS - 1)]
    Recipients,
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The system failed.
    #[error("{path}: {error}")]
    Io {
        /// The store.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        error: io::Error,
    },
}
