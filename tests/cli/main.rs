//! The commands as people run them: `towpath` against `towpathd`.
//!
//! Built twice: `cli` runs over a test socket, `cli_udp` over SCTP in user space on loopback
//! addresses.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a panic"
)]

mod files;
mod harness;
mod login;
mod proof;
mod resume;
mod trust;
