//! Builds with cargo and learns where the executables are.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::process;

/// Why there is no executable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("`{line}` failed: {reason}")]
    Failed { line: String, reason: String },
    #[error("`{line}` built no `{name}`")]
    NotBuilt { line: String, name: String },
}

/// Executables of one build, by target name.
pub(crate) struct Executables {
    line: String,
    by_name: BTreeMap<String, PathBuf>,
}

impl Executables {
    /// The executable of target `name`.
    pub(crate) fn path(&self, name: &str) -> Result<&PathBuf, BuildError> {
        self.by_name.get(name).ok_or_else(|| BuildError::NotBuilt {
            line: self.line.clone(),
            name: name.to_owned(),
        })
    }
}

/// Runs `cargo ARGUMENTS` and collects the executables it made or found up to date.
pub(crate) fn executables(arguments: &[&str]) -> Result<Executables, BuildError> {
    let mut command = process::cargo();
    command
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let line = process::line(&command);
    println!("$ {line}");
    let failed = |reason: String| BuildError::Failed {
        line: line.clone(),
        reason,
    };

    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let output = child
        .stdout
        .take()
        .ok_or_else(|| failed("no output".to_owned()))?;
    let mut by_name = BTreeMap::new();
    for message in BufReader::new(output).lines() {
        let message = message.map_err(|error| failed(error.to_string()))?;
        if let Some((name, path)) = executable(&message) {
            by_name.insert(name, path);
        }
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    Ok(Executables { line, by_name })
}

/// Name and path of the executable that one of cargo's messages announces.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargo_messages() {
        let artifact = r#"{"reason":"compiler-artifact","target":{"name":"towpath"},"executable":"/t/towpath"}"#;
        assert_eq!(
            executable(artifact),
            Some(("towpath".into(), PathBuf::from("/t/towpath")))
        );
        let library = r#"{"reason":"compiler-artifact","target":{"name":"x"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable("text printed by a build script"), None);
    }
}
