//! The errors of the demo.

use std::io;
use std::path::PathBuf;

use towpath_client::exit::Exit;

/// Why the demo stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// Local I/O on a file of the demo failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The server's directory or users could not be created.
    #[error("the server cannot be set up: {0}")]
    Admin(#[from] towpath_server::admin::AdminError),
    /// The server failed to start or to run.
    #[error("the server failed: {0}")]
    Server(#[from] towpath_server::run::RunError),
    /// A command ended with an unexpected exit code.
    #[error("`{line}` ended with {found:?}, and should have ended with {expected:?}")]
    Command {
        /// The command line as shown.
        line: String,
        /// The expected exit code.
        expected: Exit,
        /// The exit code it ended with.
        found: Exit,
    },
    /// A check of the demo failed; the text says which.
    #[error("{0}")]
    Wrong(String),
}

impl DemoError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
