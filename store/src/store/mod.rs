//! Files encrypted at rest: what is published, and how it gets there.
//!
//! Layout below the root: a file at path `p` lies at `p.age`; `.towpath/` holds the description of
//! the store, its lock and the uploads under way.

mod damaged;
mod download;
mod error;
mod index;
mod open;
mod paths;
mod publish;
mod upload;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damaged_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod space_tests;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use damaged::Damage;
pub use download::Download;
pub use error::{CommitError, Mismatch, OpenError, StoreError};
use index::Index;
pub use index::Listed;
pub use open::OpenReport;
use paths::{DurableDirs, PathLocks};
use towpath_protocol::signed::{FilePath, SignedManifest, StoreId};
pub use upload::Upload;

use crate::age::{ProofContext, Recipient, StorageKey};
use crate::files::{Files, Guard};

/// What the server keeps, open for one process; shared between threads.
///
/// Every call that touches the disk blocks: it belongs on a worker. [`Store::list`] and
/// [`Store::stat`] answer from memory.
pub struct Store {
    shared: Arc<Shared>,
}

/// What uploads and downloads hold on to.
struct Shared {
    files: Arc<dyn Files>,
    key: StorageKey,
    /// Whom new files are encrypted for, the storage identity first.
    recipients: Vec<Recipient>,
    id: StoreId,
    index: RwLock<Index>,
    /// One publish at a time for each path.
    paths: PathLocks,
    durable: Mutex<DurableDirs>,
    /// Set for good when a directory could not be synced.
    read_only: AtomicBool,
    /// Free bytes that uploads leave to deletions, the registry and the log.
    reserve: AtomicU64,
    _lock: Box<dyn Guard>,
}

impl Shared {
    // The index is changed by single insertions: a panic elsewhere cannot leave it half changed.
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the proof of the file at `path` is authenticated with.
    fn proof_context<'a>(&'a self, path: &'a FilePath) -> ProofContext<'a> {
        ProofContext {
            storage: &self.key,
            store: self.id,
            path,
        }
    }

    /// Whether an upload may write `bytes` more.
    fn check_reserve(&self, bytes: u64) -> Result<(), StoreError> {
        let space = self
            .files
            .space()
            .map_err(StoreError::io("looking for free space"))?;
        let needed = self.reserve.load(Ordering::Relaxed).saturating_add(bytes);
        if space.free < needed {
            return Err(StoreError::NoSpace);
        }
        Ok(())
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// The random id made with the store, which manifests and clients name.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.shared.id
    }

    /// Up to `limit` files (at most [`MAX_LIST`](crate::limits::MAX_LIST)) whose paths begin with
    /// `prefix` and come after `after`, in the order of the paths' bytes, and whether there are
    /// more. Deletions are not listed; damaged files are, as such.
    #[must_use]
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&FilePath>,
        limit: usize,
    ) -> (Vec<Listed>, bool) {
        self.shared.index().list(prefix, after, limit)
    }

    /// The newest manifest at a path, a deletion or that of a file with [`Damage::Content`] included.
    #[must_use]
    pub fn stat(&self, path: &FilePath) -> Option<SignedManifest> {
        self.shared.index().newest(path).cloned()
    }

    /// Lets uploads leave `bytes` of the file system free, so that deletions, logins and the log go
    /// on when it is full; unless set, [`default_reserve`](crate::limits::default_reserve).
    pub fn set_reserve(&self, bytes: u64) {
        self.shared.reserve.store(bytes, Ordering::Relaxed);
    }

    /// Begins to receive a file for `path`; nothing is visible before [`Upload::commit`].
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], [`StoreError::ReadOnly`], [`StoreError::Io`].
    pub fn begin(&self, path: &FilePath) -> Result<Upload, StoreError> {
        Upload::begin(&self.shared, path, true)
    }

    /// The same, for a file that may be published in place of one with [`Damage::Proof`].
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub fn begin_replacing(&self, path: &FilePath) -> Result<Upload, StoreError> {
        let mut upload = Upload::begin(&self.shared, path, true)?;
        upload.0.replaces_damaged = true;
        Ok(upload)
    }

    /// Opens the newest version at `path`. It stays what it is while others replace or delete it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also after a deletion; [`StoreError::Corrupt`];
    /// [`StoreError::Io`].
    pub fn read(&self, path: &FilePath) -> Result<Download, StoreError> {
        Download::open(&self.shared, path)
    }

    /// Publishes a deletion, which takes the path's place in the versions. Succeeds when it is
    /// current already.
    ///
    /// # Errors
    /// [`CommitError::NotFound`] when there is no file; otherwise as [`Upload::commit`].
    pub fn delete(&self, signed: &SignedManifest) -> Result<(), CommitError> {
        publish::delete(&self.shared, signed)
    }

    /// Reads the newest version at `path` to its end and compares it with its manifest.
    ///
    /// # Errors
    /// As [`Store::read`] and [`Download::next`].
    pub fn verify(&self, path: &FilePath) -> Result<(), StoreError> {
        self.read(path)?.verify()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("id", &self.shared.id)
            .finish_non_exhaustive()
    }
}

/// Where a path's file lies.
fn stored_name(path: &FilePath) -> String {
    format!("{path}{SUFFIX}")
}

/// What stored files end with.
const SUFFIX: &str = ".age";
/// The store's own directory; no path begins with it.
const OWN: &str = ".towpath";
/// Where uploads under way lie.
const PARTIAL: &str = ".towpath/partial";
