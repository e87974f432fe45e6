//! `cargo xtask quick`: checks that find most mistakes in under three minutes.

use crate::error::TaskError;
use crate::report::Report;
use crate::suite::{self, Which};
use crate::{build, limits, process, style, test};

/// Runs the format checks, the lints, the unit tests and a few seeds of the simulator.
pub(crate) fn run() -> Result<(), TaskError> {
    let report = Report::new(process::in_ci());
    report.step("format", style::check);
    report.step("clippy", test::clippy);
    report.step("tests", |output| {
        let tests = build::unit_tests(output)?;
        let seeds = [("TOWPATH_SCTP_SEEDS", limits::QUICK_SEEDS)];
        suite::run(output, &tests, Which::Usual, &seeds)
    });
    report.conclude()
}
