//! Programs that the checks need, and their installation on a Debian that has only Rust.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::output::Output;
use crate::process;

/// Something a check needs on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// `age`: opens stored files in the tests.
    Age,
    /// `ssh-keygen`: verifies exported signatures in the tests.
    SshKeygen,
    /// `b3sum`: agrees with our hashes in the tests.
    B3sum,
    /// `expect`: the user at the terminal in the tests of the command line.
    Expect,
    /// C and C++ compiler: aws-lc, BLAKE3, libFuzzer.
    Compiler,
    /// `ip` and `tc`: hosts and networks of the kernel suite.
    Iproute,
    /// `usrsctp`: another SCTP, to speak with ours in the kernel suite.
    Usrsctp,
    /// `linux.uml`: the kernel suite where the running kernel has no SCTP.
    UserModeLinux,
    /// `cargo deny`: licenses, bans and sources of dependencies.
    CargoDeny,
    /// `cargo fuzz`: fuzz targets.
    CargoFuzz,
}

/// How a tool is installed.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// Debian packages.
    Apt(&'static [&'static str]),
    /// `cargo install`.
    Cargo {
        name: &'static str,
        version: &'static str,
    },
}

impl Tool {
    /// Programs, or files by their full path, that show that the tool is there.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Age => &["age"],
            Self::SshKeygen => &["ssh-keygen"],
            Self::B3sum => &["b3sum"],
            Self::Expect => &["expect"],
            Self::Compiler => &["cc", "c++"],
            Self::Iproute => &["ip", "tc"],
            Self::Usrsctp => &["/usr/include/usrsctp.h"],
            Self::UserModeLinux => &["linux.uml"],
            Self::CargoDeny => &["cargo-deny"],
            Self::CargoFuzz => &["cargo-fuzz"],
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Age => Source::Apt(&["age"]),
            Self::SshKeygen => Source::Apt(&["openssh-client"]),
            Self::B3sum => Source::Apt(&["b3sum"]),
            Self::Expect => Source::Apt(&["expect"]),
            Self::Compiler => Source::Apt(&["gcc", "g++", "libc6-dev"]),
            Self::Iproute => Source::Apt(&["iproute2"]),
            Self::Usrsctp => Source::Apt(&["libusrsctp-dev"]),
            Self::UserModeLinux => Source::Apt(&["user-mode-linux"]),
            Self::CargoDeny => Source::Cargo {
                name: "cargo-deny",
                version: "0.20.2",
            },
            Self::CargoFuzz => Source::Cargo {
                name: "cargo-fuzz",
                version: "0.13.2",
            },
        }
    }
}

/// Why the tools could not be made available.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolsError {
    #[error("tools are missing and there are no rights to install them; run:\n    {0}")]
    NoRights(String),
    #[error("tools are missing and this is no Debian; install by hand: {0}")]
    NoApt(String),
    #[error("{0} is not part of this Rust; run:\n    rustup component add {0}")]
    NoComponent(&'static str),
    #[error("installed, yet still not found: {0}")]
    StillMissing(String),
    #[error(transparent)]
    Command(#[from] process::CommandError),
}

/// What is to be installed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    apt: BTreeSet<&'static str>,
    cargo: Vec<(&'static str, &'static str)>,
}

impl Plan {
    fn new(tools: &[Tool], present: impl Fn(&str) -> bool) -> Self {
        let mut plan = Self::default();
        for tool in tools {
            if tool.programs().iter().all(|program| present(program)) {
                continue;
            }
            match tool.source() {
                Source::Apt(packages) => plan.apt.extend(packages),
                Source::Cargo { name, version } => plan.cargo.push((name, version)),
            }
        }
        plan
    }
}

/// Makes `tools` available, saying each thing it installs.
///
/// Needs root or a `sudo` that asks nothing for Debian packages; without, the error is the
/// command to run.
pub(crate) fn ensure(output: &Output, tools: &[Tool]) -> Result<(), ToolsError> {
    let plan = Plan::new(tools, present);
    if !plan.apt.is_empty() {
        install_packages(output, &plan.apt)?;
    }
    for (name, version) in &plan.cargo {
        install_with_cargo(output, name, version)?;
    }
    let missing: Vec<_> = tools
        .iter()
        .flat_map(|tool| tool.programs())
        .filter(|program| !present(program))
        .copied()
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(ToolsError::StillMissing(missing.join(", ")))
    }
}

/// Checks that a part of Rust itself is there: rustup's minimal profile leaves some out.
pub(crate) fn ensure_component(
    subcommand: &'static str,
    component: &'static str,
) -> Result<(), ToolsError> {
    let found = process::cargo([subcommand, "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if found {
        Ok(())
    } else {
        Err(ToolsError::NoComponent(component))
    }
}

fn install_packages(output: &Output, packages: &BTreeSet<&'static str>) -> Result<(), ToolsError> {
    let list = packages.iter().copied().collect::<Vec<_>>().join(" ");
    if find("apt-get").is_none() {
        return Err(ToolsError::NoApt(list));
    }
    let Some(rights) = Rights::of_this_process() else {
        return Err(ToolsError::NoRights(format!(
            "sudo apt-get install --no-install-recommends {list}"
        )));
    };
    output.say(format!("installing Debian packages: {list}"));
    let mut update = rights.command("apt-get");
    update.args(["-q", "update"]);
    process::run(output, update)?;
    let mut install = rights.command("env");
    install
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"])
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages);
    process::run(output, install)?;
    Ok(())
}

/// Installs a program below the target directory.
///
/// Without optimisation: it is compiled to run for a second or two.
fn install_with_cargo(output: &Output, name: &str, version: &str) -> Result<(), ToolsError> {
    let root = installed();
    output.say(format!(
        "installing {name} {version} into {} (once)",
        root.display()
    ));
    let mut install = process::cargo(["install", "--locked", "--debug", name]);
    install
        .args(["--version", version, "--no-track", "--root"])
        .arg(&root)
        .env("CARGO_PROFILE_DEV_DEBUG", "false");
    process::run(output, install)?;
    Ok(())
}

/// Where [`install_with_cargo`] puts programs, in a directory `bin` of it.
fn installed() -> PathBuf {
    process::target_directory().join("tools")
}

/// How a command becomes root.
enum Rights {
    Root,
    Sudo(PathBuf),
}

impl Rights {
    fn of_this_process() -> Option<Self> {
        if nix::unistd::geteuid().is_root() {
            return Some(Self::Root);
        }
        let sudo = find("sudo")?;
        let answer = Command::new(&sudo)
            .args(["-n", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        answer
            .is_ok_and(|status| status.success())
            .then_some(Self::Sudo(sudo))
    }

    fn command(&self, program: &str) -> Command {
        match self {
            Self::Root => Command::new(program),
            Self::Sudo(sudo) => {
                let mut command = Command::new(sudo);
                command.args(["-n", program]);
                command
            }
        }
    }
}

/// Whether a program, or a file given by its full path, is there.
fn present(name: &str) -> bool {
    Path::new(name).is_file() || find(name).is_some()
}

/// Where `program` is: in `PATH`, cargo's bin directory, among the installed, or in the
/// administrator's directories.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    search_path()
        .into_iter()
        .map(|directory| directory.join(program))
        .find(|path| executable(path))
}

/// `PATH` for commands that use the tools.
pub(crate) fn path_variable() -> OsString {
    // A directory with a colon in its name cannot be in PATH; it can then only be left out.
    let usable = search_path()
        .into_iter()
        .filter(|path| !path.to_string_lossy().contains(':'));
    env::join_paths(usable).unwrap_or_default()
}

fn search_path() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    let home = env::var_os("HOME").map(PathBuf::from);
    let cargo = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or(home.map(|home| home.join(".cargo")));
    let extra = cargo
        .map(|cargo| cargo.join("bin"))
        .into_iter()
        .chain([installed().join("bin")])
        .chain(["/usr/sbin", "/sbin"].into_iter().map(PathBuf::from));
    for directory in extra {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

fn executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_installed_where_all_is_there() {
        let plan = Plan::new(&[Tool::Age, Tool::CargoDeny], |_| true);
        assert_eq!(plan, Plan::default());
    }

    #[test]
    fn each_missing_tool_comes_from_its_source_once() {
        let tools = [
            Tool::Age,
            Tool::Iproute,
            Tool::Iproute,
            Tool::CargoDeny,
            Tool::B3sum,
        ];
        let plan = Plan::new(&tools, |program| program == "b3sum");
        assert_eq!(plan.apt, BTreeSet::from(["age", "iproute2"]));
        assert_eq!(plan.cargo, vec![("cargo-deny", "0.20.2")]);
    }

    #[test]
    fn half_a_tool_is_missing() {
        let plan = Plan::new(&[Tool::Iproute], |program| program == "ip");
        assert_eq!(plan.apt, BTreeSet::from(["iproute2"]));
    }

    #[test]
    fn programs_are_found_in_path() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
        assert!(present("sh") && present("/etc/passwd") && !present("/etc/no-such-file"));
    }
}
