//! Why the demonstration stops early.

use std::io;
use std::path::PathBuf;

use towpath_client::exit::Exit;

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
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
