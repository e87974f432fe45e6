//! Shared by unit tests.

use std::time::Instant;

/// An arbitrary instant. Only differences from it matter, so tests are repeatable.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from nowhere else"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
