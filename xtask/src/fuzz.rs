//! `cargo xtask fuzz`: runs the fuzz targets on the stable toolchain.

use std::process::{Command, Stdio};

use clap::Args;

use crate::error::TaskError;
use crate::output::Output;
use crate::report::Report;
use crate::tools::{self, Tool};
use crate::{limits, process};

/// What to fuzz and for how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Length of the run of each target
    #[arg(long, default_value_t = limits::FUZZ_SECONDS)]
    seconds: u64,
    /// Targets; all if none is named
    targets: Vec<String>,
}

/// Runs each target for the given time, from its corpus.
pub(crate) fn run(options: &Options) -> Result<(), TaskError> {
    let output = Output::terminal();
    tools::ensure(&output, &[Tool::Compiler, Tool::CargoFuzz])?;
    let all = targets()?;
    let chosen = if options.targets.is_empty() {
        &all
    } else {
        &options.targets
    };
    if let Some(unknown) = chosen.iter().find(|target| !all.contains(target)) {
        return Err(TaskError::Failed(format!(
            "no target {unknown}; there are {}",
            all.join(", ")
        )));
    }
    let report = Report::new(process::in_ci());
    for target in chosen {
        report.step(target, |output| {
            let mut command = cargo_fuzz();
            command
                .args(["run", target, "--", "-timeout=10"])
                .arg(format!("-max_total_time={}", options.seconds));
            Ok(process::run(output, command)?)
        });
    }
    report.conclude()
}

fn cargo_fuzz() -> Command {
    let mut command = process::cargo(["fuzz"]);
    command
        // AddressSanitizer and coverage counters are unstable options of a stable compiler.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", tools::path_variable());
    command
}

fn targets() -> Result<Vec<String>, TaskError> {
    let mut command = cargo_fuzz();
    command.arg("list").stdin(Stdio::null());
    let output = command
        .output()
        .map_err(|error| TaskError::Failed(format!("cargo fuzz list: {error}")))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(TaskError::Failed(format!("cargo fuzz list: {reason}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}
