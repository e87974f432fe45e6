//! SCTP in user space over UDP. The tests between two hosts need root, `ip` and `tc`; without root
//! they say so and pass.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod one_host;
mod raw;
mod two_hosts;
