//! What the parts of a store share: its files, its index and its locks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use towpath_protocol::signed::{FilePath, StoreId};

use super::error::StoreError;
use super::index::Index;
use super::paths::{DurableDirs, PathLocks};
use crate::age::{ProofContext, Recipient, StorageKey};
use crate::files::{Files, Guard};

/// What uploads and downloads hold on to.
pub(super) struct Shared {
    pub(super) files: Arc<dyn Files>,
    pub(super) key: StorageKey,
    /// Whom new files are encrypted for, the storage identity first.
    pub(super) recipients: Vec<Recipient>,
    pub(super) id: StoreId,
    pub(super) index: RwLock<Index>,
    /// One publish at a time for each path.
    pub(super) paths: PathLocks,
    pub(super) durable: Mutex<DurableDirs>,
    /// Set for good when a directory could not be synced.
    pub(super) read_only: AtomicBool,
    /// Free bytes that uploads leave to deletions, the registry and the log.
    pub(super) reserve: AtomicU64,
    pub(super) _lock: Box<dyn Guard>,
}

impl Shared {
    // The index is changed by single insertions: a panic elsewhere cannot leave it half changed.
    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the proof of the file at `path` is authenticated with.
    pub(super) fn proof_context<'a>(&'a self, path: &'a FilePath) -> ProofContext<'a> {
        ProofContext {
            storage: &self.key,
            store: self.id,
            path,
        }
    }

    /// Whether an upload may write `bytes` more.
    pub(super) fn check_reserve(&self, bytes: u64) -> Result<(), StoreError> {
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

    pub(super) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a path's file lies.
pub(super) fn stored_name(path: &FilePath) -> String {
    format!("{path}{SUFFIX}")
}

/// Suffix of stored files.
pub(super) const SUFFIX: &str = ".age";
/// The store's own directory; no path begins with it.
pub(super) const OWN: &str = ".towpath";
/// Directory of uploads in progress.
pub(super) const PARTIAL: &str = ".towpath/partial";
