//! Commands that are printed, have a time limit and get no input.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::limits;
use crate::output::Output;

/// A command that did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("cannot start `{line}`: {source}")]
    NotStarted {
        line: String,
        source: std::io::Error,
    },
    #[error("cannot wait for `{line}`: {source}")]
    NotWaited {
        line: String,
        source: std::io::Error,
    },
    #[error("`{line}` failed: {status}")]
    Failed { line: String, status: ExitStatus },
    #[error("`{line}` was ended after {} s", limit.as_secs())]
    TimedOut { line: String, limit: Duration },
}

/// The cargo that runs this task with `arguments`, at the root of the workspace.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args(arguments);
    command
}

/// Root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// The command as a user would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        // A search path is long and of no interest.
        if let Some(value) = value.filter(|_| name != "PATH") {
            line.push_str(&format!("{}={} ", name.to_string_lossy(), quoted(value)));
        }
    }
    let program = PathBuf::from(command.get_program());
    line.push_str(&quoted(program.file_name().unwrap_or(program.as_os_str())));
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    line
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c == '\'') {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.into_owned()
    }
}

/// Prints and runs `command` with no input; anything but exit status 0 is an error.
pub(crate) fn run(output: &Output, command: Command) -> Result<(), CommandError> {
    let line = line(&command);
    output.say(format!("$ {line}"));
    let mut command = output.prioritised(command);
    let connected = connect(output, &mut command);
    connected.map_err(|source| CommandError::NotStarted {
        line: line.clone(),
        source,
    })?;
    let status = run_limited(&mut command, limits::COMMAND, || {})?;
    if status.success() {
        Ok(())
    } else {
        Err(CommandError::Failed { line, status })
    }
}

/// Gives a command no input and the step's output.
pub(crate) fn connect(output: &Output, command: &mut Command) -> std::io::Result<()> {
    command
        .stdin(Stdio::null())
        .stdout(output.stdio()?)
        .stderr(output.stdio()?);
    Ok(())
}

/// Runs `command` and kills it after `limit`.
///
/// Away from a terminal it has a process group of its own and is killed with all its children;
/// at a terminal it stays in ours, so that Ctrl-C ends everything.
/// `meanwhile` is called while it runs and once when it has ended.
pub(crate) fn run_limited(
    command: &mut Command,
    limit: Duration,
    mut meanwhile: impl FnMut(),
) -> Result<ExitStatus, CommandError> {
    let own_group = !std::io::stdin().is_terminal();
    if own_group {
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(|source| CommandError::NotStarted {
        line: line(command),
        source,
    })?;
    let started = Instant::now();
    loop {
        let ended = child.try_wait().map_err(|source| CommandError::NotWaited {
            line: line(command),
            source,
        })?;
        if let Some(status) = ended {
            meanwhile();
            return Ok(status);
        }
        if started.elapsed() >= limit {
            kill(&mut child, own_group);
            meanwhile();
            return Err(CommandError::TimedOut {
                line: line(command),
                limit,
            });
        }
        meanwhile();
        thread::sleep(limits::POLL);
    }
}

fn kill(child: &mut Child, own_group: bool) {
    let process = i32::try_from(child.id()).map(Pid::from_raw);
    if let Ok(process) = process {
        let sent = if own_group {
            killpg(process, Signal::SIGKILL)
        } else {
            nix::sys::signal::kill(process, Signal::SIGKILL)
        };
        match sent {
            // ESRCH: it ended by itself between the last look and now.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => eprintln!("xtask: cannot kill process {process}: {error}"),
        }
    }
    if let Err(error) = child.wait() {
        eprintln!("xtask: cannot reap process {}: {error}", child.id());
    }
}

/// Cargo's target directory.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |path| workspace().join(path))
}

/// Where the logs of steps go.
pub(crate) fn log_directory() -> PathBuf {
    target_directory().join("xtask-logs")
}

/// Whether this is a run in continuous integration, where nothing may be left out.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_reads_like_a_shell_command() {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .args(["doc", "--message", "it's two words"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .env("PATH", "/bin");
        assert_eq!(
            line(&command),
            r"RUSTDOCFLAGS='-D warnings' cargo doc --message 'it'\''s two words'"
        );
    }

    #[test]
    fn a_failing_command_is_an_error() {
        let error = run(&Output::terminal(), Command::new("false")).unwrap_err();
        assert!(matches!(error, CommandError::Failed { .. }), "{error}");
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & wait"]);
        let started = Instant::now();
        let error = run_limited(&mut command, Duration::from_millis(200), || {}).unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
