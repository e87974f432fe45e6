//! The command-line suite over SCTP in user space on loopback addresses.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

#[path = "suite/library.rs"]
mod library;
mod suite;

/// Whether the suite runs over SCTP in user space, not over a test socket.
const OVER_UDP: bool = true;
