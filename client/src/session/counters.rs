//! How much of a command is done; the session counts, and a display reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one command, shared by the session and the display.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    bytes: AtomicU64,
    bytes_wanted: AtomicU64,
    files: AtomicU64,
    files_wanted: AtomicU64,
}

impl Counters {
    /// One more file is to be transferred.
    pub(crate) fn want_file(&self) {
        self.files_wanted.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more bytes are to be transferred.
    pub(crate) fn want_bytes(&self, bytes: u64) {
        self.bytes_wanted.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes were transferred.
    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A file was transferred, or failed.
    pub(crate) fn end_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(feature = "cli")]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    #[cfg(feature = "cli")]
    pub(crate) fn bytes_wanted(&self) -> u64 {
        self.bytes_wanted.load(Ordering::Relaxed)
    }

    #[cfg(feature = "cli")]
    pub(crate) fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    #[cfg(feature = "cli")]
    pub(crate) fn files_wanted(&self) -> u64 {
        self.files_wanted.load(Ordering::Relaxed)
    }
}
