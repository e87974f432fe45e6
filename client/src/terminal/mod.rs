//! The person: questions, secrets and messages.
//!
//! Only workers call this: a question may take minutes, and the connection lives on meanwhile.
//! Questions go to the controlling terminal, never to standard input, which may be a file being
//! sent.

pub mod progress;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::termios::{self, SetArg, Termios};
use towpath_protocol::Escaped;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::limits::{MAX_ATTEMPTS, MAX_SECRET_FILE};
use crate::terminal::progress::Progress;

const TTY: &str = "/dev/tty";

/// Where questions, notes and results go.
#[derive(Debug)]
pub struct Terminal {
    interactive: bool,
    quiet: bool,
    progress: Progress,
    /// One question at a time.
    asking: Mutex<()>,
    /// The terminal's settings while a secret is typed, for [`Terminal::interrupt`].
    saved: Mutex<Option<Termios>>,
    /// What was said, where it is kept instead of shown.
    record: Option<Mutex<String>>,
}

impl Terminal {
    /// A terminal is asked only when a person sits at it: standard input or standard error is one,
    /// and `batch` is off.
    #[must_use]
    pub fn new(batch: bool, quiet: bool, progress: Progress) -> Self {
        let person = io::stdin().is_terminal() || io::stderr().is_terminal();
        let interactive = !batch && person && File::open(TTY).is_ok();
        Self {
            interactive,
            quiet,
            progress,
            asking: Mutex::new(()),
            saved: Mutex::new(None),
            record: None,
        }
    }

    /// Nobody to ask; results and messages are kept, in their order, for [`Terminal::record`].
    #[must_use]
    pub fn recording(quiet: bool) -> Self {
        Self {
            record: Some(Mutex::default()),
            ..Self::new(true, quiet, Progress::hidden())
        }
    }

    /// What a [recording](Terminal::recording) terminal was told so far.
    #[must_use]
    pub fn record(&self) -> String {
        self.record.as_ref().map_or_else(String::new, |record| {
            record
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        })
    }

    /// Whether there is somebody to ask.
    #[must_use]
    pub fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// The counters behind the progress display.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Says something worth knowing, unless `--quiet`.
    pub fn note(&self, message: impl fmt::Display) {
        if !self.quiet {
            self.warn(message);
        }
    }

    /// Says something that must be known.
    pub fn warn(&self, message: impl fmt::Display) {
        let message = message.to_string();
        self.warn_raw(&format!("towpath: {}\n", Escaped(&message)));
    }

    /// Writes to standard error as it is.
    pub fn warn_raw(&self, text: &str) {
        if self.keep(text) {
            return;
        }
        // Standard error may be closed; then there is nobody to tell.
        self.progress
            .suspend(|| io::stderr().write_all(text.as_bytes()).unwrap_or(()));
    }

    /// Writes a result to standard output.
    ///
    /// # Errors
    /// What the system says, among it a broken pipe.
    pub fn print(&self, text: &[u8]) -> io::Result<()> {
        if self.keep(&String::from_utf8_lossy(text)) {
            return Ok(());
        }
        self.progress.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(text)?;
            out.flush()
        })
    }

    /// Keeps `text` if this terminal records; false if it shows.
    fn keep(&self, text: &str) -> bool {
        let Some(record) = &self.record else {
            return false;
        };
        record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(text);
        true
    }

    /// Asks a question that only the words `yes` or `no` answer.
    ///
    /// # Errors
    /// A local [`Failure`] when the terminal fails.
    pub fn confirm(&self, question: &str) -> Result<bool, Failure> {
        let _one = self.one();
        self.progress.suspend(|| {
            let fail = |e: io::Error| Failure::io("ask on", TTY, &e);
            let mut tty = OpenOptions::new()
                .read(true)
                .write(true)
                .open(TTY)
                .map_err(fail)?;
            let mut answers = BufReader::new(tty.try_clone().map_err(fail)?);
            for _ in 0..MAX_ATTEMPTS {
                write!(tty, "{question} (yes/no) ").map_err(fail)?;
                let mut answer = String::new();
                if (&mut answers)
                    .take(256)
                    .read_line(&mut answer)
                    .map_err(fail)?
                    == 0
                {
                    break;
                }
                match answer.trim() {
                    "yes" => return Ok(true),
                    "no" => return Ok(false),
                    _ => writeln!(tty, "Type `yes` or `no`.").map_err(fail)?,
                }
            }
            Ok(false)
        })
    }

    /// Asks for a secret without showing it.
    ///
    /// # Errors
    /// A local [`Failure`] when the terminal fails.
    pub fn secret(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        let _one = self.one();
        self.progress.suspend(|| {
            *self.saved() = File::open(TTY)
                .ok()
                .and_then(|tty| termios::tcgetattr(tty).ok());
            let typed = rpassword::prompt_password(prompt).map(Zeroizing::new);
            *self.saved() = None;
            typed.map_err(|e| match e.kind() {
                // rpassword has sent the signal too; whichever comes first, the code is the same.
                io::ErrorKind::Interrupted => Failure::new(Exit::Interrupted, "interrupted"),
                _ => Failure::io("ask on", TTY, &e),
            })
        })
    }

    /// Takes the progress line off, at the end.
    pub fn finish(&self) {
        self.progress.clear();
    }

    /// Gives the terminal back as it was, when the process ends in the middle of something, and
    /// says why.
    ///
    /// Waits for no lock but that of the settings: a question or a stopped terminal may hold the
    /// others.
    pub fn interrupt(&self, message: &str) {
        let settings = self.saved().take();
        if let Some(settings) = settings
            && let Ok(tty) = File::open(TTY)
        {
            // It fails only when the terminal is gone.
            termios::tcsetattr(tty, SetArg::TCSANOW, &settings).unwrap_or(());
        }
        let text = format!("\ntowpath: {message}\n");
        // Nobody is there to be told when this fails.
        nix::unistd::write(io::stderr(), text.as_bytes()).unwrap_or(0);
    }

    fn one(&self) -> MutexGuard<'_, ()> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saved(&self) -> MutexGuard<'_, Option<Termios>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the first line of a secret's file, or of standard input for `-`. The line may end in LF or
/// CR LF.
///
/// # Errors
/// A local [`Failure`] when it cannot be read, is too long, or is not UTF-8.
pub fn read_secret(path: &Path, terminal: &Terminal) -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(MAX_SECRET_FILE).unwrap_or(0) + 1,
    ));
    let name = path.display();
    let fail = |e: io::Error| Failure::io("read", path.display(), &e);
    if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(MAX_SECRET_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
    } else {
        let file = File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        if meta.is_file() && meta.mode() & 0o077 != 0 {
            terminal.warn(format_args!(
                "{name} can be read by others (mode {:o}); run `chmod 600` on it",
                meta.permissions().mode() & 0o777
            ));
        }
        file.take(MAX_SECRET_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
    }
    if bytes.len() as u64 > MAX_SECRET_FILE {
        return Err(Failure::local(format!(
            "{name} is longer than {MAX_SECRET_FILE} bytes: it is not a password file"
        )));
    }
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line)
        .map_err(|_| Failure::local(format!("{name} is not UTF-8 text")))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line() {
        let terminal = Terminal::new(true, true, Progress::hidden());
        let file = tempfile::NamedTempFile::new().unwrap();
        for (content, secret) in [
            ("pass word\n", "pass word"),
            ("x\r\ny\n", "x"),
            ("", ""),
            (" s ", " s "),
        ] {
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(
                read_secret(file.path(), &terminal).unwrap().as_str(),
                secret
            );
        }
        std::fs::write(file.path(), vec![b'x'; 5000]).unwrap();
        assert!(read_secret(file.path(), &terminal).is_err());
        std::fs::write(file.path(), [0xff]).unwrap();
        assert!(read_secret(file.path(), &terminal).is_err());
    }
}
