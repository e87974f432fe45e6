//! The client: what `towpath` does.
//!
//! [`main`] reads the command line ([`cli`]), turns it into tasks ([`plan`]) and runs them over one
//! connection ([`run`]). The [`session`] is driven by the event loop and never waits; slow work
//! leaves it as [`session::jobs`]: files, keys, and questions to the person at the [`terminal`].
//!
//! Invariants: nothing about the user leaves before the server is trusted ([`local::trust`]);
//! nothing appears under a file's own name before size, hash, signature and pins are verified
//! ([`local::download`], [`local::pins`]); text from elsewhere is escaped before it is shown
//! ([`Escaped`](towpath_protocol::Escaped)).

#![forbid(unsafe_code)]

pub mod cli;
pub mod escape;
pub mod exit;
pub mod limits;
pub mod local;
pub mod plan;
pub mod run;
pub mod session;
pub mod terminal;
pub mod transport;
pub mod url;

use std::io::IsTerminal;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches};
use exit::{Exit, Failure};
use nix::sys::stat::{Mode, umask};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use terminal::Terminal;
use terminal::progress::Progress;

/// Runs `towpath` and ends the process; `demo` is what `towpath demo` does, true if all of it
/// worked.
pub fn main(demo: fn() -> bool) -> ! {
    let command = cli::Cli::command().after_help(Exit::table());
    let cli = match cli::Cli::from_arg_matches(&command.get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let shows_progress = matches!(cli.command, cli::Command::Get(_) | cli::Command::Put(_))
        && std::io::stderr().is_terminal()
        && !cli.common.quiet;
    let progress = if shows_progress {
        Progress::shown()
    } else {
        Progress::hidden()
    };
    let terminal = Arc::new(Terminal::new(cli.common.batch, cli.common.quiet, progress));
    if let Err(error) = watch_signals(Arc::clone(&terminal)) {
        terminal.warn(Failure::io("watch for", "signals", &error));
    }
    // The only way to read the umask is to set it; no other thread makes files yet.
    let mask = umask(Mode::from_bits_truncate(0o077));
    umask(mask);
    let ended = match cli.command {
        // It needs no home, and leaves none behind.
        cli::Command::Demo => Ok(if demo() { Exit::Success } else { Exit::Partial }),
        _ => run::run(&cli, &terminal, mask.bits()),
    };
    let exit = match ended {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.message.is_empty() {
                terminal.warn(&failure);
            }
            failure.exit
        }
    };
    terminal.finish();
    std::process::exit(i32::from(exit.code()))
}

/// Ends the process when the person says so, with the terminal as it was. What a get has written
/// stays for the next one.
fn watch_signals(terminal: Arc<Terminal>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let watch = move || {
        if signals.forever().next().is_some() {
            terminal.interrupt("interrupted; run the same command again to continue a get");
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map(drop)
}
