//! The kernel's SCTP. Needs a kernel with SCTP, root, a network namespace of its own with `lo` up,
//! and `ip` and `tc`: `cargo xtask kernel` provides them.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod one_host;
mod two_hosts;
