//! The kernel carrier's own tests, which need SCTP and nothing else.

use crate::kernel::net::Host;
use crate::kernel::process::Running;
use crate::kernel::report::Report;
use crate::kernel::{CaseError, Programs, demand, hosts, limits};

/// Runs each test program on a host of its own.
pub(super) fn run(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    demand!(
        !programs.carrier_tests.is_empty(),
        "no test program was given"
    );
    let host = Host::new()?;
    let directory = hosts::directory()?;
    let mut total = 0;
    for (index, program) in programs.carrier_tests.iter().enumerate() {
        let mut command = host.command(program);
        // One after the other: they share ports and one processor.
        command.arg("--test-threads=1");
        let ended = Running::start(&mut command, directory.path(), &format!("carrier-{index}"))?
            .wait(limits::CARRIER_TEST)?
            .expect_code(0)?;
        for line in ended
            .output
            .lines()
            .filter(|line| line.starts_with("test ") && line.ends_with(" ... ok"))
        {
            report.say(format!("  {line}"));
            total += 1;
        }
    }
    demand!(total > 0, "the test programs contain no test");
    report.say(format!(
        "  {total} tests in {} programs",
        programs.carrier_tests.len()
    ));
    Ok(())
}
