//! A user-mode Linux that runs one program as its init, on the host's own file system.
//!
//! The program gets `init --status FILE --limit SECONDS -- ARGUMENTS…` and has to write the
//! exit status of its work to FILE as the last thing before it halts. No FILE, no success:
//! a kernel that does not boot, panics or hangs cannot look like a passing suite.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::output::Output;
use crate::{limits, process, tools};

/// Why there is no result from the guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UmlError {
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the user-mode Linux cannot use a path with spaces or quotes: {}", .0.display())]
    Path(PathBuf),
    #[error("the user-mode Linux needs {MIB} MiB in one of these directories: {0}", MIB = limits::GUEST_MEMORY_MIB)]
    NoMemory(String),
    #[error("the user-mode Linux ended without a result; the console is in {}", .0.display())]
    NoResult(PathBuf),
    #[error(transparent)]
    Command(#[from] process::CommandError),
}

/// One program and where its files are.
pub(crate) struct Guest<'a> {
    /// Runs as init.
    pub(crate) program: &'a Path,
    /// What it is to do once the guest is up.
    pub(crate) arguments: &'a [OsString],
    /// Directory for the guest's files; the guest sees it at the same path.
    pub(crate) work: &'a Path,
    /// File the program reports to, shown while it grows.
    pub(crate) report: &'a Path,
}

impl Guest<'_> {
    /// Boots, waits for the program and returns its exit status.
    pub(crate) fn run(&self, output: &Output, limit: Duration) -> Result<i32, UmlError> {
        let status = self.work.join("status");
        let console = self.work.join("console.log");
        let init = self.work.join("init");
        self.write_init(&init, &status, limit)?;
        let log = File::create(&console).map_err(|source| file_error(&console, source))?;
        let errors = log
            .try_clone()
            .map_err(|source| file_error(&console, source))?;

        let mut command = Command::new("linux.uml");
        command
            .arg(format!("mem={}M", limits::GUEST_MEMORY_MIB))
            .args(["rootfstype=hostfs", "rootflags=/", "rw"])
            .arg(option("init=", &init)?)
            .arg(option("uml_dir=", self.work)?)
            // The only console is our log file; no terminal windows, no input.
            .args(["con=null", "con0=fd:0,fd:1"])
            .env("TMPDIR", memory_directory(self.work)?)
            .env("LD_PRELOAD", xstate_library(output, self.work)?)
            .env("PATH", tools::path_variable())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        output.say(format!("$ {}", process::line(&command)));
        let mut tail = Tail::new(self.report);
        let ended = process::run_limited(&mut command, limit, || tail.show(output));
        let result = ended.map_err(UmlError::Command).and_then(|_| {
            // The kernel's own exit status says nothing about the program.
            let text = fs::read_to_string(&status).unwrap_or_default();
            text.trim()
                .parse::<i32>()
                .map_err(|_| UmlError::NoResult(console.clone()))
        });
        if result.as_ref().map_or(true, |status| *status != 0) {
            show_console(output, &console);
        }
        result
    }

    fn write_init(&self, init: &Path, status: &Path, limit: Duration) -> Result<(), UmlError> {
        let seconds = limit.saturating_sub(limits::GUEST_MARGIN).as_secs();
        let mut command = Command::new(self.program);
        command.arg("init").arg("--status").arg(status);
        command
            .arg("--limit")
            .arg(seconds.to_string())
            .arg("--")
            .args(self.arguments);
        // `exec` of the full path: the guest has no PATH yet.
        let mut script = String::from("#!/bin/sh\nexec ");
        for word in std::iter::once(command.get_program()).chain(command.get_args()) {
            script.push_str(&format!(
                "'{}' ",
                word.to_string_lossy().replace('\'', r"'\''")
            ));
        }
        script.push('\n');
        let write = || -> std::io::Result<()> {
            let mut file = File::create(init)?;
            file.write_all(script.as_bytes())?;
            file.set_permissions(fs::Permissions::from_mode(0o755))
        };
        write().map_err(|source| file_error(init, source))
    }
}

fn file_error(path: &Path, source: std::io::Error) -> UmlError {
    UmlError::File {
        path: path.to_owned(),
        source,
    }
}

/// Compiles what lets user-mode Linux run on processors with more register state than it knows.
fn xstate_library(output: &Output, work: &Path) -> Result<PathBuf, UmlError> {
    let library = work.join("uml_xstate.so");
    let mut compile = Command::new("cc");
    compile
        .args(["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"])
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(process::workspace().join("xtask/src/uml_xstate.c"));
    process::run(output, compile)?;
    Ok(library)
}

/// A kernel command line is split at spaces.
fn option(name: &str, path: &Path) -> Result<OsString, UmlError> {
    let text = path.to_string_lossy();
    if text.contains(|c: char| c.is_whitespace() || c == '"' || c == ',') {
        return Err(UmlError::Path(path.to_owned()));
    }
    let mut word = OsString::from(name);
    word.push(path);
    Ok(word)
}

/// Where the guest's memory can lie: a file of that size, which has to be executable.
///
/// A container's `/dev/shm` has often 64 MiB; the guest would die of SIGBUS there.
fn memory_directory(work: &Path) -> Result<PathBuf, UmlError> {
    let candidates = [Path::new("/dev/shm"), Path::new("/tmp"), work];
    let fits = |path: &&&Path| {
        statvfs(**path).is_ok_and(|fs| {
            let free = fs.blocks_available().saturating_mul(fs.fragment_size());
            free >= limits::GUEST_MEMORY_MIB << 20 && !fs.flags().contains(FsFlags::ST_NOEXEC)
        })
    };
    let list = candidates.map(|path| path.display().to_string()).join(", ");
    candidates
        .iter()
        .find(fits)
        .map(|path| path.to_path_buf())
        .ok_or(UmlError::NoMemory(list))
}

/// Prints what a file has gained since the last look.
struct Tail<'a> {
    path: &'a Path,
    shown: u64,
}

impl<'a> Tail<'a> {
    fn new(path: &'a Path) -> Self {
        Self { path, shown: 0 }
    }

    fn show(&mut self, output: &Output) {
        let Ok(mut file) = File::open(self.path) else {
            return; // The guest has not made it yet; a missing result is noticed by its status.
        };
        let mut text = Vec::new();
        let read = file
            .seek(SeekFrom::Start(self.shown))
            .and_then(|_| file.read_to_end(&mut text));
        if let Ok(length @ 1..) = read {
            output.write(&String::from_utf8_lossy(&text));
            self.shown += length as u64;
        }
    }
}

fn show_console(output: &Output, console: &Path) {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let start = lines.len().saturating_sub(limits::CONSOLE_LINES);
    output.say(format!(
        "the console of the user-mode Linux, last {} lines:",
        lines.len() - start
    ));
    for line in &lines[start..] {
        output.say(format!("  | {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_the_kernel_would_split_is_refused() {
        assert!(option("init=", Path::new("/a/b")).is_ok());
        assert!(matches!(
            option("init=", Path::new("/a b")),
            Err(UmlError::Path(_))
        ));
    }

    #[test]
    fn the_tail_shows_each_byte_once() {
        let path = std::env::temp_dir().join(format!("xtask-tail-{}", std::process::id()));
        let mut tail = Tail::new(&path);
        tail.show(&Output::terminal());
        assert_eq!(tail.shown, 0);
        fs::write(&path, "one\n").unwrap();
        tail.show(&Output::terminal());
        tail.show(&Output::terminal());
        assert_eq!(tail.shown, 4);
        fs::remove_file(&path).unwrap();
    }
}
