//! Output of a step and of its commands.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Niceness of commands that run beside the kernel suite, whose cases measure time.
const NICENESS: &str = "10";

/// The terminal, or the log file of a step that runs beside others.
#[derive(Debug)]
pub(crate) struct Output {
    log: Option<(PathBuf, File)>,
    background: bool,
}

impl Output {
    /// Everything is shown at once.
    pub(crate) fn terminal() -> Self {
        Self {
            log: None,
            background: false,
        }
    }

    /// Everything goes to a new file at `path`, to be shown when the step has ended.
    ///
    /// `background`: its commands leave the processor to those of other steps.
    pub(crate) fn log(path: &Path, background: bool) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Several writers share it: each appends.
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self {
            log: Some((path.to_owned(), file)),
            background,
        })
    }

    /// A log of its own for a command that runs beside others of the step.
    pub(crate) fn beside(&self, path: &Path) -> io::Result<Self> {
        Self::log(path, self.background)
    }

    /// Writes one line.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        self.write(&format!("{}\n", line.as_ref()));
    }

    /// Writes text as it is.
    pub(crate) fn write(&self, text: &str) {
        let Some((path, file)) = &self.log else {
            print!("{text}");
            return;
        };
        let mut writer = file;
        if let Err(error) = writer.write_all(text.as_bytes()) {
            eprintln!("xtask: {}: {error}\n{text}", path.display());
        }
    }

    /// Standard output or standard error of a command.
    pub(crate) fn stdio(&self) -> io::Result<Stdio> {
        match &self.log {
            None => Ok(Stdio::inherit()),
            Some((_, file)) => Ok(file.try_clone()?.into()),
        }
    }

    /// The command with the priority that its step has.
    pub(crate) fn prioritised(&self, command: Command) -> Command {
        if !self.background {
            return command;
        }
        let mut nice = Command::new("nice");
        nice.args(["-n", NICENESS])
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            nice.current_dir(directory);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => nice.env(name, value),
                None => nice.env_remove(name),
            };
        }
        nice
    }

    /// All that was written, if it went to a file.
    pub(crate) fn logged(&self) -> io::Result<String> {
        match &self.log {
            None => Ok(String::new()),
            Some((path, _)) => Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_output_of_commands_share_the_log_in_their_order() {
        let path = std::env::temp_dir().join(format!("xtask-log-{}", std::process::id()));
        let output = Output::log(&path, true).unwrap();
        output.say("first");
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $SECOND; nice; echo third >&2"])
            .env("SECOND", "second");
        let status = output
            .prioritised(command)
            .stdout(output.stdio().unwrap())
            .stderr(output.stdio().unwrap())
            .status()
            .unwrap();
        assert!(status.success());
        let logged = output.logged().unwrap();
        let lines: Vec<_> = logged.lines().collect();
        assert_eq!((lines[0], lines[1], lines[3]), ("first", "second", "third"));
        assert!(lines[2].parse::<i32>().unwrap() >= 10, "{logged}");
        fs::remove_file(&path).unwrap();
    }
}
