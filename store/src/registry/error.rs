//! What can go wrong with the registry.

use std::io;
use std::path::PathBuf;

use towpath_protocol::signed::UserName;

use super::password::PasswordError;
use crate::limits::{MAX_BCRYPT_COST, MAX_COMMENT, MAX_KEYS, MIN_BCRYPT_COST};

/// Why the registry cannot be read or changed. A file that is not understood is never overwritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The user on whose behalf it is made may not make it.
    #[error("not allowed any more")]
    NotAllowed,
    /// The file is not there.
    #[error("{0}: no user registry; make one with: towpathd init")]
    Missing(PathBuf),
    /// It is there already.
    #[error("{0}: exists already")]
    Exists(PathBuf),
    /// Others than its owner have rights on it.
    #[error(
        "{path}: mode {mode:03o} lets others than its owner at password hashes; run: chmod 600 {path}"
    )]
    TooOpen {
        /// Path of the file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is not a registry.
    #[error(
        "{path}:{line}:{column}: {reason}. The file was left as it is: correct it there, or put a good copy in its place"
    )]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// Description of the problem.
        reason: String,
    },
    /// Two entries contradict each other.
    #[error(
        "{path}: {reason}. The file was left as it is: correct it, or put a good copy in its place"
    )]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// Another version of the program wrote it.
    #[error(
        "{path}: version {found} of the format, and this program knows only version 1; use the newer program that wrote it"
    )]
    Version {
        /// Path of the file.
        path: PathBuf,
        /// The version in it.
        found: u64,
    },
    /// The name is taken.
    #[error("there is a user {0} already")]
    UserExists(UserName),
    /// Another process holds the lock for too long.
    #[error("{0}: locked by another process; end it, or wait for it, and try again")]
    Busy(PathBuf),
    /// There is no such user (any more).
    #[error("there is no such user")]
    UnknownUser,
    /// The last admin cannot be removed or demoted.
    #[error("the last admin can be neither removed nor given another role")]
    LastAdmin,
    /// The key is registered, with this user or another.
    #[error("this key is registered already, for {0}")]
    KeyExists(UserName),
    /// Too many of them.
    #[error("a user has at most {MAX_KEYS} keys")]
    TooManyKeys,
    /// The comment of a key.
    #[error("a key's comment has at most {MAX_COMMENT} bytes and no control characters")]
    Comment,
    /// The statement is not the next one of this user's key log, or adds another key.
    #[error("the key statement {0}")]
    Statement(&'static str),
    /// The password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The cost of new hashes.
    #[error("a bcrypt cost is from {MIN_BCRYPT_COST} to {MAX_BCRYPT_COST}")]
    Cost,
    /// A hash, a random number or the text could not be made.
    #[error("internal error: {0}")]
    Internal(String),
    /// The directory could not be made durable after a change: a later change could be acknowledged
    /// and lost.
    #[error(
        "{0}: takes no changes since its directory could not be written to disk; restart the server"
    )]
    ReadOnly(PathBuf),
    /// The system failed.
    #[error("{path}: {error}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        error: io::Error,
    },
}
