//! The crates and modules are where ARCHITECTURE.md says, and depend one way.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the tree has to fail"
)]

mod crates;
mod cycles;
mod modules;
mod source;
