//! `cargo xtask kernel`: the suite that needs SCTP in the kernel.
//!
//! The suite is `kernel-suite` of `towpath-tests`. It runs directly where the running kernel
//! has SCTP and lets us make networks, and else in a user-mode Linux booted for it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use crate::build::{self, Executables};
use crate::error::TaskError;
use crate::output::Output;
use crate::tools::{self, Tool};
use crate::{limits, process, uml};

/// What to run and where.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Boot a user-mode Linux even if the running kernel would do
    #[arg(long)]
    uml: bool,
    /// Print the names of the cases and run nothing
    #[arg(long)]
    list: bool,
    /// Run only the cases whose names contain one of these
    cases: Vec<String>,
}

/// Builds the suite and runs it under a time limit.
pub(crate) fn run(options: &Options) -> Result<(), TaskError> {
    let output = Output::terminal();
    tools::ensure(&output, &[Tool::Compiler, Tool::Iproute, Tool::Usrsctp])?;
    let release = build::release(&output)?;
    if options.list {
        let mut list = Command::new(release.path("kernel-suite")?);
        list.arg("list");
        return Ok(process::run(&output, list)?);
    }
    let tests = build::carrier_test(&output)?;
    run_built(options, &output, &release, &tests)
}

/// Runs the suite with the programs of a release build and of a build of tests.
pub(crate) fn run_built(
    options: &Options,
    output: &Output,
    release: &Executables,
    tests: &Executables,
) -> Result<(), TaskError> {
    let suite = release.path("kernel-suite")?;
    let work = work_directory()?;
    let report = work.join("report.txt");
    let mut arguments = vec![OsString::from("run")];
    for (option, program) in [
        ("--towpath", release.path("towpath")?),
        ("--towpathd", release.path("towpathd")?),
        ("--sctp-peer", release.path("sctp-peer")?),
        ("--usrsctp-peer", &usrsctp_peer(output, &work)?),
        ("--carrier-test", tests.path("kernel")?),
    ] {
        arguments.extend([OsString::from(option), program.into()]);
    }
    arguments.extend(options.cases.iter().map(OsString::from));

    let status = match unfit(suite, options.uml) {
        None => {
            output.say("the running kernel has SCTP: running the suite on it");
            let mut command = Command::new(suite);
            command.args(&arguments).env("PATH", tools::path_variable());
            let line = process::line(&command);
            output.say(format!("$ {line}"));
            process::connect(output, &mut command)
                .map_err(|source| process::CommandError::NotStarted { line, source })?;
            process::run_limited(&mut command, limits::KERNEL_SUITE, || {})?.code()
        }
        Some(reason) => {
            output.say(format!("booting a user-mode Linux: {reason}"));
            tools::ensure(output, &[Tool::UserModeLinux])?;
            arguments.extend([OsString::from("--report"), report.clone().into()]);
            let guest = uml::Guest {
                program: suite,
                arguments: &arguments,
                work: &work,
                report: &report,
            };
            Some(guest.run(output, limits::KERNEL_SUITE)?)
        }
    };
    match status {
        Some(0) => Ok(()),
        Some(code) => Err(TaskError::Failed(format!(
            "the kernel suite failed with status {code}"
        ))),
        None => Err(TaskError::Failed(
            "the kernel suite was ended by a signal".to_owned(),
        )),
    }
}

/// Compiles the peer that is another's SCTP.
fn usrsctp_peer(output: &Output, work: &Path) -> Result<PathBuf, TaskError> {
    let program = work.join("usrsctp_peer");
    let mut compile = Command::new("cc");
    compile
        .args(["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(process::workspace().join("tests/peers/usrsctp_peer.c"))
        .args(["-lusrsctp", "-lpthread"]);
    process::run(output, compile)?;
    Ok(program)
}

/// Why the suite cannot run on the running kernel, if it cannot.
fn unfit(suite: &PathBuf, uml: bool) -> Option<String> {
    if uml {
        return Some("asked for with --uml".to_owned());
    }
    let probe = Command::new(suite)
        .arg("probe")
        .env("PATH", tools::path_variable())
        .stdin(Stdio::null())
        .output();
    match probe {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("the probe does not start: {error}")),
    }
}

/// An empty directory under `target/`, visible in the guest at the same path.
fn work_directory() -> Result<PathBuf, TaskError> {
    let work = process::target_directory().join("kernel-suite");
    let made = match fs::remove_dir_all(&work) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(&work),
    };
    made.map_err(|error| TaskError::Failed(format!("{}: {error}", work.display())))?;
    Ok(work)
}
