//! `towpath demo`: a server and its clients in one process, and what they do for each other.
//!
//! Every step is a command that a person would type, run in this process by the same code. The
//! server listens at several loopback addresses over SCTP in user space, so nothing is needed but
//! permission to open UDP sockets.

mod figures;
mod stage;
mod steps;

use std::fmt;
use std::io;
use std::path::PathBuf;

use towpath_client::exit::Exit;

/// Bytes of the large file.
const LARGE: u64 = 64 << 20;

/// Files of the tree.
const SMALL_FILES: usize = 500;

/// Bytes of the file that is under way when an address is cut: long enough to be cut in its middle.
const CUT: u64 = 192 << 20;

/// Runs the demonstration; true if every step went as it should.
pub(crate) fn run() -> bool {
    match steps::all() {
        Ok(()) => {
            println!("\nAll of it worked. Now on your own machines: see the README.");
            true
        }
        Err(error) => {
            eprintln!("towpath demo: {error}");
            false
        }
    }
}

/// Why the demonstration stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// Files of the demonstration itself.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server's directory or users.
    #[error("the server cannot be set up: {0}")]
    Admin(#[from] towpath_server::admin::AdminError),
    /// The server.
    #[error("the server failed: {0}")]
    Server(#[from] towpath_server::run::RunError),
    /// A command ended in another way than it should.
    #[error("`{line}` ended with {found:?}, and should have ended with {expected:?}")]
    Command {
        /// The command.
        line: String,
        /// How it should have ended.
        expected: Exit,
        /// How it ended.
        found: Exit,
    },
    /// Something is not as it should be.
    #[error("{0}")]
    Wrong(String),
}

impl DemoError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}

/// A size for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 20 => write!(f, "{} MiB", n >> 20),
            n if n >= 1 << 10 => write!(f, "{} KiB", n >> 10),
            n => write!(f, "{n} bytes"),
        }
    }
}
