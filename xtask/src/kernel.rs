//! `cargo xtask kernel`: the suite that needs SCTP in the kernel.
//!
//! The suite is `kernel-suite` of `towpath-tests`. It runs directly where the running kernel
//! has SCTP and lets us make networks, and else in a user-mode Linux booted for it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use crate::tools::{self, Tool};
use crate::{TaskError, build, limits, process, uml};

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
    tools::ensure(&[Tool::Compiler, Tool::Iproute, Tool::Usrsctp])?;
    // Release: a byte costs ten times as much in a debug build, and the suite moves gigabytes.
    let programs = build::executables(&[
        "build",
        "--release",
        "-p",
        "towpath",
        "-p",
        "towpath-tests",
        "--bins",
    ])?;
    let suite = programs.path("kernel-suite")?;
    if options.list {
        return Ok(process::run(Command::new(suite).arg("list"))?);
    }
    let carrier_test = build::executables(&[
        "test",
        "-p",
        "towpath-io-mio",
        "--features",
        "kernel-tests",
        "--test",
        "kernel",
        "--no-run",
    ])?;

    let work = work_directory()?;
    let report = work.join("report.txt");
    let mut arguments = vec![OsString::from("run")];
    for name in ["towpath", "towpathd"] {
        arguments.push(format!("--{name}").into());
        arguments.push(programs.path(name)?.into());
    }
    arguments.push("--sctp-peer".into());
    arguments.push(programs.path("sctp-peer")?.into());
    arguments.push("--usrsctp-peer".into());
    arguments.push(usrsctp_peer(&work)?.into());
    arguments.push("--carrier-test".into());
    arguments.push(carrier_test.path("kernel")?.into());
    arguments.extend(options.cases.iter().map(OsString::from));

    let status = match unfit(suite, options.uml) {
        None => {
            println!("the running kernel has SCTP: running the suite on it");
            let mut command = Command::new(suite);
            command
                .args(&arguments)
                .env("PATH", tools::path_variable())
                .stdin(Stdio::null());
            println!("$ {}", process::line(&command));
            process::run_limited(&mut command, limits::KERNEL_SUITE, || {})?.code()
        }
        Some(reason) => {
            println!("booting a user-mode Linux: {reason}");
            tools::ensure(&[Tool::UserModeLinux])?;
            arguments.extend([OsString::from("--report"), report.clone().into()]);
            let guest = uml::Guest {
                program: suite,
                arguments: &arguments,
                work: &work,
                report: &report,
            };
            Some(guest.run(limits::KERNEL_SUITE)?)
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
fn usrsctp_peer(work: &Path) -> Result<PathBuf, TaskError> {
    let program = work.join("usrsctp_peer");
    let mut compile = Command::new("cc");
    compile
        .args(["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(process::workspace().join("tests/peers/usrsctp_peer.c"))
        .args(["-lusrsctp", "-lpthread"]);
    process::run(&mut compile)?;
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
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || process::workspace().join("target"),
        |path| process::workspace().join(path),
    );
    let work = target.join("kernel-suite");
    let made = match fs::remove_dir_all(&work) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(&work),
    };
    made.map_err(|error| TaskError::Failed(format!("{}: {error}", work.display())))?;
    Ok(work)
}
