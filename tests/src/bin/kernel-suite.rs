//! The suite on a real kernel; `cargo xtask kernel` builds and starts it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use towpath_tests::kernel::report::Report;
use towpath_tests::kernel::{Programs, cases, init, net};

#[derive(Parser)]
#[command(about = "Runs client and server on a real kernel with two networks between them")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Whether this kernel has SCTP and lets this process make networks
    Probe,
    /// Print the names of the cases
    List,
    /// Run the cases; needs root
    Run(Run),
    /// Be the first process of a user-mode Linux
    Init {
        #[arg(long)]
        status: PathBuf,
        #[arg(long)]
        limit: u64,
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(clap::Args)]
struct Run {
    /// File that gets the report instead of standard output
    #[arg(long)]
    report: Option<PathBuf>,
    #[arg(long)]
    towpath: PathBuf,
    #[arg(long)]
    towpathd: PathBuf,
    /// Test program of the carrier
    #[arg(long)]
    carrier_test: PathBuf,
    /// Our SCTP, bare
    #[arg(long)]
    sctp_peer: PathBuf,
    /// Another SCTP, bare
    #[arg(long)]
    usrsctp_peer: PathBuf,
    /// Run only the cases whose names contain one of these
    cases: Vec<String>,
}

fn main() -> ExitCode {
    match Cli::parse().task {
        Task::Probe => match probe() {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => {
                eprintln!("{reason}");
                ExitCode::FAILURE
            }
        },
        Task::List => {
            for case in cases::ALL {
                println!("{:<28} {}", case.name, case.about);
            }
            ExitCode::SUCCESS
        }
        Task::Run(run) => run.run(),
        Task::Init {
            status,
            limit,
            arguments,
        } => {
            init::run(&status, Duration::from_secs(limit), &arguments);
            ExitCode::FAILURE
        }
    }
}

fn probe() -> Result<(), String> {
    // For root, the kernel loads its module at this call.
    socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Sctp,
    )
    .map_err(|error| format!("the running kernel has no SCTP ({error})"))?;
    let mut network =
        net::Network::new(1500).map_err(|error| format!("no rights to make networks ({error})"))?;
    network
        .shape(&["loss", "1%"])
        .map_err(|error| format!("the running kernel has no netem ({error})"))
}

impl Run {
    fn run(self) -> ExitCode {
        let mut report = match Report::to_file(self.report.as_deref()) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("the report cannot be made: {error}");
                return ExitCode::FAILURE;
            }
        };
        if let Err(reason) = probe() {
            report.say(format!("the suite cannot run here: {reason}"));
            return ExitCode::FAILURE;
        }
        let programs = Programs {
            towpath: self.towpath,
            towpathd: self.towpathd,
            carrier_test: self.carrier_test,
            sctp_peer: self.sctp_peer,
            usrsctp_peer: self.usrsctp_peer,
        };
        for case in cases::ALL {
            let chosen = self.cases.is_empty()
                || self
                    .cases
                    .iter()
                    .any(|name| case.name.contains(name.as_str()));
            if chosen {
                report.case(case.name, |report| (case.run)(&programs, report));
            }
        }
        if report.conclude() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
