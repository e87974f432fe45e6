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
mod shared;
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

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use download::Download;
pub use error::{CommitError, Mismatch, OpenError, StoreError};
pub use index::{Damage, Listed};
pub use open::OpenReport;
use shared::Shared;
use towpath_protocol::signed::{FilePath, SignedManifest, StoreId};
pub use upload::Upload;

use crate::age::{Recipient, StorageKey};

/// What the server keeps, open for one process; shared between threads.
///
/// Every call that touches the disk blocks: it belongs on a worker. [`Store::list`] and
/// [`Store::stat`] answer from memory.
pub struct Store {
    shared: Arc<Shared>,
}

impl Store {
    /// Makes an empty store in the directory `root`, which is made when missing, and gives its new
    /// id.
    ///
    /// # Errors
    /// [`OpenError::Exists`], [`OpenError::Locked`], [`OpenError::Io`].
    pub fn init(root: &Path, key: &StorageKey) -> Result<StoreId, OpenError> {
        open::init_at(root, key)
    }

    /// Opens the store in the directory `root` for this process alone: reads the header of every
    /// file, removes what unfinished uploads left.
    ///
    /// New files are encrypted for `key` and for `recipients` besides.
    ///
    /// # Errors
    /// [`OpenError`]. A file that cannot be read is not an error: it is in the report.
    pub fn open(
        root: &Path,
        key: StorageKey,
        recipients: Vec<Recipient>,
    ) -> Result<(Self, OpenReport), OpenError> {
        let (shared, report) = open::open_at(root, key, recipients)?;
        let shared = Arc::new(shared);
        Ok((Self { shared }, report))
    }

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

    /// The newest manifest at a path, a deletion or that of a file with [`Damage::Content`]
    /// included.
    #[must_use]
    pub fn stat(&self, path: &FilePath) -> Option<SignedManifest> {
        self.shared.index().newest(path).cloned()
    }

    /// What is damaged of the file at `path`, after reading it again; `None` when nothing is, or
    /// when there is no file.
    #[must_use]
    pub fn damage(&self, path: &FilePath) -> Option<Damage> {
        match self.shared.reread(path) {
            Ok(()) | Err(StoreError::NotFound) => None,
            Err(_) => self.shared.index().damage(path),
        }
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
