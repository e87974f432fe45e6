//! What unit tests and fuzz targets share.

use std::time::Instant;

/// Some instant. Only differences from it matter, so tests stay repeatable.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from nowhere else"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
