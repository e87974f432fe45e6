//! Programs with a time limit, their output kept in files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::limits;

/// A program that did not start, end or answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started or waited for.
    #[error("{line}: {source}")]
    System {
        /// The command.
        line: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It exceeded its time limit.
    #[error("{line}: did not end within {} s\n{output}", limit.as_secs())]
    TimedOut {
        /// The command.
        line: String,
        /// Its limit.
        limit: Duration,
        /// What it had said.
        output: String,
    },
    /// It ended with another status than it should.
    #[error("{line}: {status}\n{output}")]
    Status {
        /// The command.
        line: String,
        /// How it ended.
        status: String,
        /// What it had said.
        output: String,
    },
}

/// A started program.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
    output: PathBuf,
    errors: PathBuf,
    started: Instant,
}

/// Exit status and output of a program.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The command.
    pub line: String,
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
    /// Run time.
    pub duration: Duration,
    /// When it ended.
    pub at: Instant,
}

impl Running {
    /// Starts `command` without input; its output goes to files in `directory` that begin with
    /// `name`.
    pub fn start(
        command: &mut Command,
        directory: &Path,
        name: &str,
    ) -> Result<Self, ProcessError> {
        let line = line(command);
        let output = directory.join(format!("{name}.out"));
        let errors = directory.join(format!("{name}.err"));
        let mut spawn = || {
            command
                .stdin(Stdio::null())
                .stdout(File::create(&output)?)
                .stderr(File::create(&errors)?)
                .spawn()
        };
        let child = spawn().map_err(|source| ProcessError::System {
            line: line.clone(),
            source,
        })?;
        Ok(Self {
            child,
            line,
            output,
            errors,
            started: Instant::now(),
        })
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        self.child
            .try_wait()
            .map_err(|source| ProcessError::System {
                line: self.line.clone(),
                source,
            })
    }

    /// Its output so far: standard output, then standard error.
    #[must_use]
    pub fn said(&self) -> (String, String) {
        let read = |path: &Path| {
            fs::read(path).map_or_else(
                |error| format!("({error})"),
                |text| String::from_utf8_lossy(&text).into_owned(),
            )
        };
        (read(&self.output), read(&self.errors))
    }

    /// Time since its start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until it ends by itself; kills it `limit` from now.
    pub fn wait(mut self, limit: Duration) -> Result<Ended, ProcessError> {
        let waiting = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                let (output, errors) = self.said();
                return Ok(Ended {
                    line: self.line.clone(),
                    status,
                    output,
                    errors,
                    duration: self.started.elapsed(),
                    at: Instant::now(),
                });
            }
            if waiting.elapsed() > limit {
                self.kill();
                let (output, errors) = self.said();
                let output = tail(&format!("{output}{errors}"));
                return Err(ProcessError::TimedOut {
                    line: self.line.clone(),
                    limit,
                    output,
                });
            }
            thread::sleep(limits::POLL);
        }
    }

    /// Asks it to end with SIGTERM.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        let Ok(pid) = i32::try_from(self.child.id()) else {
            return Ok(());
        };
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|error| ProcessError::System {
            line: self.line.clone(),
            source: error.into(),
        })
    }

    fn kill(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = killed {
            eprintln!("{}: cannot be killed: {error}", self.line);
        }
    }
}

impl Drop for Running {
    /// Kills the program if it still runs.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

impl Ended {
    /// The same if it ended with `code`, else an error that shows what it said.
    pub fn expect_code(self, code: i32) -> Result<Self, ProcessError> {
        if self.status.code() == Some(code) {
            return Ok(self);
        }
        let output = tail(&format!("{}{}", self.output, self.errors));
        Err(ProcessError::Status {
            line: self.line,
            status: format!("{}, expected {code}", self.status),
            output,
        })
    }
}

/// The command as a user would type it, without the directories of programs.
fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The end of a text, indented: what is of interest of a failed program.
#[must_use]
pub fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let start = lines.len().saturating_sub(40);
    lines[start..]
        .iter()
        .map(|line| format!("  | {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, name: &str) -> (tempfile::TempDir, Running) {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let running = Running::start(&mut command, directory.path(), name).unwrap();
        (directory, running)
    }

    #[test]
    fn output_and_status_are_kept() {
        let (_directory, running) = shell("echo one; echo two >&2; exit 3", "a");
        let ended = running.wait(Duration::from_secs(60)).unwrap();
        assert_eq!(
            (ended.output.as_str(), ended.errors.as_str()),
            ("one\n", "two\n")
        );
        let error = ended.expect_code(0).unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3, expected 0") && error.contains("| two"),
            "{error}"
        );
    }

    #[test]
    fn a_hanging_program_is_killed() {
        let (_directory, running) = shell("exec sleep 600", "a");
        let error = running.wait(Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
    }
}
