//! Sizes of the demo's files.

use std::fmt;

/// Bytes of the large file.
pub(super) const LARGE: u64 = 64 << 20;

/// Files of the tree.
pub(super) const SMALL_FILES: usize = 500;

/// Bytes of the file that is transferred when an address is cut: large enough to be cut midway.
pub(super) const CUT: u64 = 192 << 20;

/// A size in MiB, KiB or bytes, rounded down.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 20 => write!(f, "{} MiB", n >> 20),
            n if n >= 1 << 10 => write!(f, "{} KiB", n >> 10),
            n => write!(f, "{n} bytes"),
        }
    }
}
