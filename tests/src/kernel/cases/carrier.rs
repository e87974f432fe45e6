//! The kernel carrier's own tests, which need SCTP and nothing else.

use crate::kernel::net::Host;
use crate::kernel::process::Running;
use crate::kernel::report::Report;
use crate::kernel::{CaseError, Programs, demand, hosts, limits};

/// Runs the test program on a host of its own.
pub(super) fn run(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    let host = Host::new()?;
    let directory = hosts::directory()?;
    let mut command = host.command(&programs.carrier_test);
    // One after the other: they share one processor.
    command.arg("--test-threads=1");
    let ended = Running::start(&mut command, directory.path(), "carrier")?
        .wait(limits::CARRIER_TEST)?
        .expect_code(0)?;
    let mut total = 0;
    for line in ended.output.lines() {
        if line.starts_with("test ") && line.ends_with(" ... ok") {
            report.say(format!("  {line}"));
            total += 1;
        }
    }
    demand!(total > 0, "the program contains no test");
    Ok(())
}
