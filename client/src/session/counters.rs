//! Progress counters of a command: the session updates them, and the display reads them.

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
    /// Adds a file to the total.
    pub(crate) fn want_file(&self) {
        self.files_wanted.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds bytes to the total.
    pub(crate) fn want_bytes(&self, bytes: u64) {
        self.bytes_wanted.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts transferred bytes.
    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a file that was transferred or failed.
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
