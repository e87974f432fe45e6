//! Builds with cargo and learns where the executables are.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::output::Output;
use crate::process;

/// Why there is no executable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("`{line}` failed: {reason}")]
    Failed { line: String, reason: String },
    #[error("`{line}` built no `{name}`")]
    NotBuilt { line: String, name: String },
}

/// One executable that cargo made or found up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executable {
    /// Name of its target.
    pub(crate) name: String,
    /// Directory of its package: where cargo runs tests.
    pub(crate) package: PathBuf,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whether it is a program of tests.
    pub(crate) test: bool,
}

/// Executables of one build.
#[derive(Debug)]
pub(crate) struct Executables {
    line: String,
    all: Vec<Executable>,
}

impl Executables {
    /// The executable of the only target `name`.
    pub(crate) fn path(&self, name: &str) -> Result<&PathBuf, BuildError> {
        let found = self.all.iter().find(|executable| executable.name == name);
        let found = found.ok_or_else(|| BuildError::NotBuilt {
            line: self.line.clone(),
            name: name.to_owned(),
        })?;
        Ok(&found.path)
    }

    /// The programs of tests.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &Executable> {
        self.all.iter().filter(|executable| executable.test)
    }
}

/// The feature that has the kernel carrier's tests.
///
/// All builds of tests have it, so that they share their dependencies.
pub(crate) const TEST_FEATURES: [&str; 2] = ["--features", "towpath-io-mio/kernel-tests"];

/// The programs as they are shipped, and those of the kernel suite.
///
/// Release: a byte costs ten times as much in a debug build, and the suite moves gigabytes.
pub(crate) fn release(output: &Output) -> Result<Executables, BuildError> {
    executables(
        output,
        &[
            "build",
            "--release",
            "--bins",
            "-p",
            "towpath",
            "-p",
            "towpath-tests",
        ],
    )
}

/// All tests of the workspace, those of the kernel carrier too.
pub(crate) fn tests(output: &Output) -> Result<Executables, BuildError> {
    tests_with(output, &[])
}

/// The tests of the kernel carrier alone.
pub(crate) fn carrier_test(output: &Output) -> Result<Executables, BuildError> {
    tests_with(output, &["--test", "kernel"])
}

/// The tests of libraries and programs beside their code, and those of the simulator.
pub(crate) fn unit_tests(output: &Output) -> Result<Executables, BuildError> {
    tests_with(output, &["--lib", "--bins", "--test", "seeds"])
}

fn tests_with(output: &Output, targets: &[&str]) -> Result<Executables, BuildError> {
    let all = ["test", "--workspace", "--no-run"];
    executables(output, &[&all[..], &TEST_FEATURES, targets].concat())
}

/// Runs `cargo ARGUMENTS` and collects the executables it made or found up to date.
fn executables(output: &Output, arguments: &[&str]) -> Result<Executables, BuildError> {
    let mut command = process::cargo([]);
    command
        .args(arguments)
        .arg("--message-format=json-render-diagnostics");
    let line = process::line(&command);
    output.say(format!("$ {line}"));
    let failed = |reason: String| BuildError::Failed {
        line: line.clone(),
        reason,
    };

    let mut command = output.prioritised(command);
    let connected = process::connect(output, &mut command);
    connected.map_err(|error| failed(error.to_string()))?;
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let messages = child
        .stdout
        .take()
        .ok_or_else(|| failed("no output".to_owned()))?;
    let mut all = Vec::new();
    for message in BufReader::new(messages).lines() {
        let message = message.map_err(|error| failed(error.to_string()))?;
        all.extend(executable(&message));
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    Ok(Executables { line, all })
}

/// The executable that one of cargo's messages announces.
fn executable(message: &str) -> Option<Executable> {
    let message: Value = serde_json::from_str(message).ok()?;
    let manifest = PathBuf::from(message.get("manifest_path")?.as_str()?);
    Some(Executable {
        name: message.get("target")?.get("name")?.as_str()?.to_owned(),
        package: manifest.parent()?.to_owned(),
        path: PathBuf::from(message.get("executable")?.as_str()?),
        test: message.get("profile")?.get("test")?.as_bool()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargo_messages() {
        let artifact = |executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/bin/Cargo.toml","target":{{"name":"towpath"}},"profile":{{"test":false}},"executable":{executable}}}"#
            )
        };
        let expected = Executable {
            name: "towpath".into(),
            package: "/w/bin".into(),
            path: "/t/towpath".into(),
            test: false,
        };
        assert_eq!(executable(&artifact("\"/t/towpath\"")), Some(expected));
        assert_eq!(executable(&artifact("null")), None, "a library");
        assert_eq!(executable("text printed by a build script"), None);
    }
}
