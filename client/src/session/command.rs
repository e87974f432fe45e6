//! The commands of a [`Client`](crate::Client) to its session.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Mutex, PoisonError};

use towpath_protocol::ListEntry;
use towpath_protocol::signed::{FilePath, SignedManifest};

use crate::error::Error;

/// Channel for the result of a command. It is dropped without a result when the connection ends
/// before the command begins.
pub(crate) type Answer<T> = Sender<Result<T, Error>>;

/// One operation of a [`Client`](crate::Client).
#[derive(Debug)]
pub(crate) enum Command {
    /// No operation: answered once the user is logged in.
    Ready(Answer<()>),
    List {
        prefix: String,
        answer: Answer<Vec<ListEntry>>,
    },
    Get {
        path: FilePath,
        local: PathBuf,
        answer: Answer<SignedManifest>,
    },
    Put {
        local: PathBuf,
        path: FilePath,
        answer: Answer<SignedManifest>,
    },
}

/// The commands of a [`Client`](crate::Client), which a worker waits for.
#[derive(Debug)]
pub(crate) struct Commands(Mutex<Receiver<Command>>);

impl Commands {
    pub(crate) fn new(commands: Receiver<Command>) -> Self {
        Self(Mutex::new(commands))
    }

    /// Waits for the next command; `None` after the last.
    pub(crate) fn next(&self) -> Option<Command> {
        let commands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        commands.recv().ok()
    }
}
