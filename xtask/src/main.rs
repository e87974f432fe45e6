//! Development tasks of Towpath.
//!
//! `cargo xtask test` is everything a change has to pass, `cargo xtask quick` what takes under
//! three minutes of it; `cargo xtask kernel` and `cargo xtask fuzz` are parts that are also useful
//! alone.
#![forbid(unsafe_code)]

mod build;
mod error;
mod fuzz;
mod kernel;
mod limits;
mod output;
mod process;
mod quick;
mod report;
mod style;
mod suite;
mod test;
mod tools;
mod uml;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of Towpath.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check: format, lints, tests, docs, fuzz targets compile, kernel suite, licenses
    Test(test::Options),
    /// Run the checks for daily work: format, lints, unit tests, a few simulator seeds
    Quick,
    /// Run the suite that needs a Linux kernel with SCTP, in a user-mode Linux if need be
    Kernel(kernel::Options),
    /// Run the fuzz targets
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Test(options) => test::run(&options),
        Task::Quick => quick::run(),
        Task::Kernel(options) => kernel::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
