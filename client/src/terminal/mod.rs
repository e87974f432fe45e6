//! The terminal: questions, secrets, messages and results.
//!
//! Questions go to the controlling terminal, never to standard input, which may be a file being
//! sent.

pub(crate) mod progress;
mod secret;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::termios::{self, SetArg, Termios};
use towpath_protocol::Escaped;
use zeroize::Zeroizing;

use crate::cli::Cli;
use crate::error::Error;
use crate::interaction::Interaction;
use crate::limits::MAX_ATTEMPTS;
use crate::session::meter::TransferReport;
use crate::terminal::progress::Progress;

const TTY: &str = "/dev/tty";

/// The terminal of a command: questions, messages and results.
#[derive(Debug)]
pub struct Terminal {
    interactive: bool,
    quiet: bool,
    stats: bool,
    progress: Progress,
    /// Locked during a question, so that only one is shown.
    asking: Mutex<()>,
    /// The terminal's settings while a secret is typed, for [`Terminal::interrupt`].
    saved: Mutex<Option<Termios>>,
    /// The recorded output, for a terminal that records instead of showing.
    record: Option<Mutex<String>>,
}

impl Terminal {
    /// The process's terminal. Questions are possible only when standard input or standard error is
    /// a terminal and `--batch` is not given.
    pub(crate) fn new(cli: &Cli, progress: Progress) -> Self {
        let terminal = io::stdin().is_terminal() || io::stderr().is_terminal();
        let interactive = !cli.common.batch && terminal && File::open(TTY).is_ok();
        Self {
            interactive,
            quiet: cli.common.quiet,
            stats: cli.stats(),
            progress,
            asking: Mutex::new(()),
            saved: Mutex::new(None),
            record: None,
        }
    }

    /// A terminal that asks nothing and records results and messages in order, for
    /// [`Terminal::record`].
    #[must_use]
    pub fn recording(cli: &Cli) -> Self {
        Self {
            interactive: false,
            record: Some(Mutex::default()),
            ..Self::new(cli, Progress::hidden())
        }
    }

    /// The output of a [recording](Terminal::recording) terminal so far.
    #[must_use]
    pub fn record(&self) -> String {
        self.record.as_ref().map_or_else(String::new, |record| {
            record
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        })
    }

    /// The progress display.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Writes to standard error as it is.
    fn write_error(&self, text: &str) {
        if self.keep(text) {
            return;
        }
        // Standard error may be closed; then the message is lost.
        self.progress
            .suspend(|| io::stderr().write_all(text.as_bytes()).unwrap_or(()));
    }

    /// Records `text`; false if this terminal shows it instead.
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

    /// Removes the progress line at the end.
    pub(crate) fn finish(&self) {
        self.progress.clear();
    }

    /// Restores the terminal when the process is interrupted, and shows `message`.
    ///
    /// Waits only for the lock of the settings: a question or a stopped terminal may hold the
    /// others.
    pub(crate) fn interrupt(&self, message: &str) {
        let settings = self.saved().take();
        if let Some(settings) = settings
            && let Ok(tty) = File::open(TTY)
        {
            // It fails only when the terminal was closed.
            termios::tcsetattr(tty, SetArg::TCSANOW, &settings).unwrap_or(());
        }
        let text = format!("\ntowpath: {message}\n");
        // A failure cannot be reported.
        nix::unistd::write(io::stderr(), text.as_bytes()).unwrap_or(0);
    }

    fn one(&self) -> MutexGuard<'_, ()> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saved(&self) -> MutexGuard<'_, Option<Termios>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_tty() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(TTY)
}

impl Interaction for Terminal {
    fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Accepts only the answers `yes` and `no`.
    fn confirm(&self, question: &str) -> Result<bool, Error> {
        let _one = self.one();
        self.progress.suspend(|| {
            let fail = |e: io::Error| Error::io("ask on", TTY, &e);
            let mut tty = open_tty().map_err(fail)?;
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

    /// Input is not echoed.
    fn secret(&self, prompt: &str) -> Result<Zeroizing<String>, Error> {
        let _one = self.one();
        self.progress.suspend(|| {
            let fail = |e: io::Error| Error::io("ask on", TTY, &e);
            let mut tty = open_tty().map_err(fail)?;
            let settings = termios::tcgetattr(&tty).map_err(|e| fail(e.into()))?;
            *self.saved() = Some(settings.clone());
            let reader = tty.try_clone().map_err(fail)?;
            let typed = secret::read(&reader, &settings, || tty.write_all(prompt.as_bytes()));
            *self.saved() = None;
            typed.map_err(fail)
        })
    }

    /// Shows nothing with `--quiet`.
    fn note(&self, message: &str) {
        if !self.quiet {
            self.warn(message);
        }
    }

    fn warn(&self, message: &str) {
        self.write_error(&format!("towpath: {}\n", Escaped(message)));
    }

    /// With `--stats` also prints the statistics: to standard output, unless the file was written
    /// there.
    fn transferred(&self, report: &TransferReport) {
        self.note(&report.summary());
        if !self.stats {
            return;
        }
        let lines = report.statistics();
        if report.to_output {
            self.write_error(&lines);
        } else if let Err(e) = self.print(lines.as_bytes()) {
            self.warn(&Error::io("write", "standard output", &e).message);
        }
    }

    fn print(&self, text: &[u8]) -> io::Result<()> {
        if self.keep(&String::from_utf8_lossy(text)) {
            return Ok(());
        }
        self.progress.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(text)?;
            out.flush()
        })
    }
}
