//! The commands as people run them: `towpath` against `towpathd` over a test socket.

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
