//! `cargo xtask test`: everything a change has to pass.
//!
//! The steps are in lanes that run side by side. The lane of the kernel suite has the processor
//! first, since cases of it measure time and it takes longest; the others have what it leaves.

use std::sync::OnceLock;
use std::thread;

use clap::{Args, ValueEnum};

use crate::build::{self, BuildError, Executables};
use crate::error::TaskError;
use crate::output::Output;
use crate::report::Report;
use crate::suite::{self, Which};
use crate::tools::{self, Tool};
use crate::{kernel, process, style};

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
    /// cargo fmt, import groups, width of comments and documents
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
    /// Licenses, bans and sources of dependencies
    Deny,
}

/// Steps that run one after the other, beside those of the other lanes.
///
/// A build waits for another one in the same directory: debug builds are in one lane, but for the
/// slow tests, which use what that lane has built.
const LANES: [&[Step]; 4] = [
    &[Step::Tools, Step::Deny, Step::Fuzz],
    &[Step::Kernel],
    &[Step::Format, Step::Tests, Step::Clippy, Step::Docs],
    &[Step::Slow],
];

impl Step {
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

    fn run(self, output: &Output, shared: &Shared) -> Result<(), TaskError> {
        match self {
            Self::Tools => shared.tools(output),
            Self::Format => style::check(output),
            Self::Clippy => clippy(output),
            Self::Tests => {
                let tests = shared.tests(output)?;
                shared.tools(output)?;
                // Here no test may be skipped for lack of a library.
                let require = [("TOWPATH_USRSCTP", "require")];
                let programs = suite::run(output, tests, Which::Usual, &require);
                let mut examples = process::cargo(["test", "--workspace", "--doc"]);
                examples.args(build::TEST_FEATURES);
                process::run(output, examples)?;
                programs
            }
            Self::Slow => {
                let release = shared.release(output)?;
                let tests = shared.tests(output)?;
                let variables = [
                    ("TOWPATH_TEST_CLIENT", release.path("towpath")?),
                    ("TOWPATH_TEST_SERVER", release.path("towpathd")?),
                ];
                suite::run(output, tests, Which::Ignored, &variables)
            }
            Self::Docs => {
                let mut docs = process::cargo(["doc", "--workspace", "--no-deps"]);
                docs.env("RUSTDOCFLAGS", "-D warnings");
                Ok(process::run(output, docs)?)
            }
            Self::Fuzz => fuzz_targets(output),
            Self::Kernel => {
                let release = shared.release(output)?;
                let tests = shared.tests(output)?;
                shared.tools(output)?;
                kernel::run_built(&kernel::Options::default(), output, release, tests)
            }
            Self::Deny => {
                tools::ensure(output, &[Tool::CargoDeny])?;
                let mut deny = process::cargo(["deny", "--workspace", "check"]);
                deny.args(["licenses", "bans", "sources"])
                    .env("PATH", tools::path_variable());
                Ok(process::run(output, deny)?)
            }
        }
    }
}

/// What several steps need and the first of them makes; the others wait for it.
#[derive(Default)]
struct Shared {
    tools: OnceLock<Result<(), String>>,
    release: OnceLock<Result<Executables, BuildError>>,
    tests: OnceLock<Result<Executables, BuildError>>,
}

impl Shared {
    fn tools(&self, output: &Output) -> Result<(), TaskError> {
        let installed = self
            .tools
            .get_or_init(|| install(output).map_err(|error| error.to_string()));
        installed.clone().map_err(TaskError::Failed)
    }

    fn release(&self, output: &Output) -> Result<&Executables, TaskError> {
        let built = self.release.get_or_init(|| build::release(output));
        built
            .as_ref()
            .map_err(|error| TaskError::Failed(error.to_string()))
    }

    fn tests(&self, output: &Output) -> Result<&Executables, TaskError> {
        let built = self.tests.get_or_init(|| build::tests(output));
        built
            .as_ref()
            .map_err(|error| TaskError::Failed(error.to_string()))
    }
}

/// Runs the chosen steps and prints the summary.
pub(crate) fn run(options: &Options) -> Result<(), TaskError> {
    let report = Report::new(process::in_ci());
    // Without a compiler nothing can be built; builds start while other tools are installed.
    tools::ensure(&Output::terminal(), &[Tool::Compiler])?;
    let shared = Shared::default();
    thread::scope(|scope| {
        for lane in &LANES {
            scope.spawn(|| {
                for step in *lane {
                    run_step(*step, options, &report, &shared);
                }
            });
        }
    });
    report.conclude()
}

fn run_step(step: Step, options: &Options, report: &Report, shared: &Shared) {
    let name = step.name();
    if !options.only.is_empty() && !options.only.contains(&step) {
        report.skip(name, "not among the steps asked for");
    } else if step == Step::Kernel && options.no_kernel {
        report.skip(name, "left out with --no-kernel");
    } else if options.only.len() == 1 {
        report.step(name, |output| step.run(output, shared));
    } else {
        let log = process::log_directory().join(name).with_extension("log");
        report.step_beside(name, &log, step != Step::Kernel, |output| {
            step.run(output, shared)
        });
    }
}

fn install(output: &Output) -> Result<(), TaskError> {
    tools::ensure_component("fmt", "rustfmt")?;
    tools::ensure_component("clippy", "clippy")?;
    tools::ensure(
        output,
        &[
            Tool::Compiler,
            Tool::Age,
            Tool::SshKeygen,
            Tool::B3sum,
            Tool::Expect,
            Tool::Iproute,
            Tool::Usrsctp,
        ],
    )?;
    output.say("all tools are there");
    Ok(())
}

/// All targets, warnings denied.
pub(crate) fn clippy(output: &Output) -> Result<(), TaskError> {
    let mut clippy = process::cargo(["clippy", "--workspace", "--all-targets", "--all-features"]);
    clippy.args(["--", "-D", "warnings"]);
    Ok(process::run(output, clippy)?)
}

/// The fuzz targets are outside the workspace, so nothing else looks at them.
fn fuzz_targets(output: &Output) -> Result<(), TaskError> {
    let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
    let mut format = process::cargo(["fmt", "--check"]);
    format.args(manifest);
    process::run(output, format)?;
    let mut clippy = process::cargo(["clippy", "--locked", "--bins"]);
    clippy
        .args(["--target-dir", "target/fuzz"])
        .args(manifest)
        .args(["--", "-D", "warnings"]);
    process::run(output, clippy)?;
    Ok(())
}
