//! The limits of the development tasks, each with its reason.

use std::time::Duration;

/// One command of `cargo xtask test`; a build of everything on two cores takes a third of it.
pub(crate) const COMMAND: Duration = Duration::from_secs(20 * 60);

/// Whole kernel suite, user-mode Linux included; some ten transfers of 200 MiB at 25 MB/s, and
/// three minutes of SCTP in UDP.
pub(crate) const KERNEL_SUITE: Duration = Duration::from_secs(15 * 60);

/// What the guest gets less than the host waits, so that it can still write its report.
pub(crate) const GUEST_MARGIN: Duration = Duration::from_secs(20);

/// Poll interval of a running command; short compared to any command.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// Memory of the user-mode Linux, in MiB: two copies of a 200 MiB file, one stored file, and
/// the store of 32 more, all on tmpfs, beside client and server.
pub(crate) const GUEST_MEMORY_MIB: u64 = 2048;

/// Lines of the console shown when a user-mode Linux fails: its boot messages and a panic.
pub(crate) const CONSOLE_LINES: usize = 120;

/// Default length of a fuzzing run for each target: enough to notice a broken target.
pub(crate) const FUZZ_SECONDS: u64 = 60;

/// Seeds of the SCTP simulator in `cargo xtask quick`: two seconds of run time.
pub(crate) const QUICK_SEEDS: &str = "50";

/// Columns of a comment or a line of a document.
pub(crate) const COLUMNS: usize = 100;
