//! The test programs of the workspace, several at once.
//!
//! `cargo test` runs one program after the other; many of ours wait most of their time.

use std::ffi::OsStr;
use std::io;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::build::{Executable, Executables};
use crate::error::TaskError;
use crate::output::Output;
use crate::{process, tools};

/// The program that needs a kernel with SCTP; the kernel suite runs it.
const CARRIER_TEST: &str = "kernel";

/// Which tests of each program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// All but the ignored.
    Usual,
    /// The ignored ones alone: they take long or much space.
    Ignored,
}

/// Runs the test programs of a build with `variables` set; an error names those that failed.
pub(crate) fn run(
    output: &Output,
    programs: &Executables,
    which: Which,
    variables: &[(&str, impl AsRef<OsStr> + Sync)],
) -> Result<(), TaskError> {
    let mut programs: Vec<_> = programs
        .tests()
        .filter(|program| program.name != CARRIER_TEST)
        .collect();
    // Those of the command line take longest: they begin first.
    programs.sort_by_key(|program| (!program.name.starts_with("cli_"), program.name.clone()));
    if programs.is_empty() {
        return Err(TaskError::Failed("there are no test programs".to_owned()));
    }
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = one(output, program, which, variables) {
                        let why = format!("{} ({why})", program.name);
                        if let Ok(mut failed) = failed.lock() {
                            failed.push(why);
                        }
                    }
                }
            });
        }
    });
    let failed = failed
        .into_inner()
        .map_err(|_| TaskError::Failed("a thread of the suite panicked".to_owned()))?;
    if failed.is_empty() {
        Ok(())
    } else {
        Err(TaskError::Failed(failed.join(", ")))
    }
}

/// Runs one program and writes its output in one piece.
fn one(
    output: &Output,
    program: &Executable,
    which: Which,
    variables: &[(&str, impl AsRef<OsStr> + Sync)],
) -> Result<(), TaskError> {
    let mut command = Command::new(&program.path);
    command
        .current_dir(&program.package)
        .env("CARGO_MANIFEST_DIR", &program.package)
        .env("PATH", tools::path_variable())
        .envs(variables.iter().map(|(name, value)| (name, value)));
    if which == Which::Ignored {
        command.arg("--ignored");
    }
    // Its file name has cargo's hash: two packages may have tests of one name.
    let name = program.path.file_name().unwrap_or_default();
    let log = process::log_directory().join(name).with_extension("log");
    let failed = |error: io::Error| TaskError::Failed(format!("{}: {error}", log.display()));
    let own = output.beside(&log).map_err(failed)?;
    let started = Instant::now();
    let ended = process::run(&own, command);
    own.say(format!("({:.1} s)\n", started.elapsed().as_secs_f64()));
    output.write(&own.logged().map_err(failed)?);
    Ok(ended?)
}
