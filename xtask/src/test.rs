//! `cargo xtask test`: everything a change has to pass.

use std::process::Command;

use clap::{Args, ValueEnum};

use crate::report::Report;
use crate::tools::{self, Tool};
use crate::{TaskError, kernel, process};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave the kernel suite out
    #[arg(long)]
    no_kernel: bool,
    /// Run only these steps
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
}

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Programs the other steps need
    Tools,
    /// cargo fmt
    Format,
    /// cargo clippy, warnings denied
    Clippy,
    /// All tests that run on any host
    Tests,
    /// Tests that take long or much space, and so are ignored by cargo test
    Slow,
    /// cargo doc, warnings denied
    Docs,
    /// Format and lints of the fuzz targets
    Fuzz,
    /// The suite that needs SCTP in the kernel
    Kernel,
    /// Licences, bans and sources of dependencies
    Deny,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Tools,
        Self::Format,
        Self::Deny,
        Self::Clippy,
        Self::Tests,
        Self::Slow,
        Self::Docs,
        Self::Fuzz,
        Self::Kernel,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::Tests => "tests",
            Self::Slow => "slow",
            Self::Docs => "docs",
            Self::Fuzz => "fuzz",
            Self::Kernel => "kernel",
            Self::Deny => "deny",
        }
    }

    fn run(self) -> Result<(), TaskError> {
        match self {
            Self::Tools => install(),
            Self::Format => Ok(process::run(
                process::cargo().args(["fmt", "--all", "--check"]),
            )?),
            Self::Clippy => Ok(process::run(process::cargo().args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ]))?),
            // Here nothing may be passed over for want of a library.
            Self::Tests => Ok(process::run(
                with_tools(["test", "--workspace", "--no-fail-fast"])
                    .env("TOWPATH_USRSCTP", "require"),
            )?),
            Self::Slow => Ok(process::run(&mut with_tools([
                "test",
                "--workspace",
                "--",
                "--ignored",
            ]))?),
            Self::Docs => Ok(process::run(
                process::cargo()
                    .args(["doc", "--workspace", "--no-deps"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )?),
            Self::Fuzz => fuzz_targets(),
            Self::Kernel => kernel::run(&kernel::Options::default()),
            Self::Deny => Ok(process::run(&mut with_tools([
                "deny",
                "--workspace",
                "check",
                "licenses",
                "bans",
                "sources",
            ]))?),
        }
    }
}

/// Runs the chosen steps and prints the summary.
pub(crate) fn run(options: &Options) -> Result<(), TaskError> {
    let mut report = Report::new(process::in_ci());
    for step in Step::ALL {
        if !options.only.is_empty() && !options.only.contains(&step) {
            report.skip(step.name(), "not among the steps asked for");
        } else if step == Step::Kernel && options.no_kernel {
            report.skip(step.name(), "left out with --no-kernel");
        } else {
            report.step(step.name(), || step.run());
        }
    }
    report.conclude()
}

fn install() -> Result<(), TaskError> {
    tools::ensure_component("fmt", "rustfmt")?;
    tools::ensure_component("clippy", "clippy")?;
    tools::ensure(&[
        Tool::Compiler,
        Tool::Age,
        Tool::SshKeygen,
        Tool::B3sum,
        Tool::Expect,
        Tool::Usrsctp,
        Tool::CargoDeny,
    ])?;
    println!("all tools are there");
    Ok(())
}

fn with_tools<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = process::cargo();
    command.args(arguments);
    // Set last: cargo itself was found by its full path.
    command.env("PATH", tools::path_variable());
    command
}

/// The fuzz targets are outside the workspace, so nothing else looks at them.
fn fuzz_targets() -> Result<(), TaskError> {
    let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
    process::run(process::cargo().arg("fmt").args(manifest).arg("--check"))?;
    process::run(
        process::cargo()
            .args([
                "clippy",
                "--locked",
                "--bins",
                "--target-dir",
                "target/fuzz",
            ])
            .args(manifest)
            .args(["--", "-D", "warnings"]),
    )?;
    Ok(())
}
