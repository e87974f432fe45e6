//! Jobs: the slow work of a session, which worker threads do.
//!
//! The session never blocks: slow work is queued as a [`Job`], and its [`Output`] is returned under
//! the job's ticket. State moved into a job (an open file, a hash) is returned in its output.

use std::path::PathBuf;
use std::sync::Arc;

use towpath_protocol::channel::Chunk;
use towpath_protocol::signed::{Content, FilePath, SignedManifest, SigningKey, StoreId};
#[cfg(feature = "cli")]
use towpath_protocol::{
    KeyEntry,
    signed::{KeyStatement, SignedStatement, UserName},
};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::local::download::{Receiving, Target};
use crate::local::known_servers::ServerId;
#[cfg(feature = "cli")]
use crate::local::tree::Tree;
use crate::local::upload::Source;
use crate::session::command::Command;
use crate::session::login::Login;
use crate::session::meter::TransferReport;

/// A job for a worker.
#[derive(Debug)]
pub(crate) enum Job {
    /// Wait for the next command of a [`Client`](crate::Client).
    NextCommand,
    /// Decide whether to trust the server, asking the user where needed.
    Trust(ServerId),
    /// Read and unlock the user's key.
    LoadKey,
    /// Read the password from its file or from the terminal.
    Password {
        /// Message to show before the question.
        notice: Option<String>,
        prompt: String,
    },
    /// Print a result.
    #[cfg(feature = "cli")]
    Print(Vec<u8>),
    /// Report an error.
    Complain(String),
    /// Open a download's target.
    OpenTarget(Target),
    /// Check the manifest of a get before its data arrives.
    CheckManifest {
        file: Receiving,
        /// What the server shows.
        signed: SignedManifest,
        /// The requested path.
        path: FilePath,
        /// Offset of the first data, in bytes.
        offset: u64,
        store: StoreId,
    },
    /// Write and hash received data.
    Receive {
        file: Receiving,
        chunks: Vec<Chunk>,
        /// The manifest that the data belongs to.
        signed: SignedManifest,
    },
    /// Verify a complete download and rename it to its final path.
    Publish {
        file: Receiving,
        /// The manifest that it must match.
        signed: SignedManifest,
        report: TransferReport,
    },
    /// Close a download that failed.
    Abandon {
        file: Receiving,
        /// Whether a later get may continue.
        keep: bool,
    },
    /// Open an upload's source.
    OpenSource(PathBuf),
    /// Read the next chunks of the source.
    Read(Source),
    /// List a local directory.
    #[cfg(feature = "cli")]
    Walk {
        root: PathBuf,
        /// Prefix of the names on the server.
        prefix: String,
    },
    /// Sign the next version at a path.
    SignFile {
        path: FilePath,
        /// The content, or a deletion.
        content: Content,
        /// The current version according to the server.
        current: Option<SignedManifest>,
        login: Login,
        /// Whether another client published meanwhile.
        again: bool,
        /// Whether it replaces a damaged file whose manifest the server has lost.
        replace_damaged: bool,
    },
    /// Judge that there is no file at a path, where the server says so.
    #[cfg(feature = "cli")]
    CheckAbsent {
        path: FilePath,
        /// What the server shows: nothing, or a deletion.
        current: Option<SignedManifest>,
        store: StoreId,
    },
    /// Pin the version that this user published.
    Published {
        signed: SignedManifest,
        /// None for a deletion.
        report: Option<TransferReport>,
    },
    /// Sign a key statement with the key that it adds.
    #[cfg(feature = "cli")]
    SignStatement(KeyStatement),
    /// Print keys, and for each whether it is pinned.
    #[cfg(feature = "cli")]
    ShowKeys {
        user: UserName,
        keys: Vec<KeyEntry>,
        store: StoreId,
    },
    /// Write a proof of authorship.
    #[cfg(feature = "cli")]
    Export {
        /// What the server shows.
        signed: SignedManifest,
        directory: PathBuf,
        store: StoreId,
    },
}

/// The result of a job.
#[derive(Debug)]
pub(crate) enum Output {
    /// Of jobs without a result.
    Done(Result<(), Error>),
    /// Of [`Job::NextCommand`]; `None` after the last command.
    Command(Option<Command>),
    /// Of [`Job::LoadKey`].
    Key(Result<Arc<SigningKey>, Error>),
    /// Of [`Job::Password`].
    Password(Result<Zeroizing<String>, Error>),
    /// Of [`Job::OpenTarget`].
    Target(Result<Receiving, Error>),
    /// Of [`Job::CheckManifest`] and [`Job::Receive`].
    Received {
        file: Receiving,
        /// Bytes written and hashed.
        bytes: usize,
        result: Result<(), Error>,
    },
    /// Of [`Job::OpenSource`].
    Source(Result<Source, Error>),
    /// Of [`Job::Read`]: chunks, and at the end size, hash and metadata of the file.
    Read {
        source: Source,
        result: Result<(Vec<Chunk>, Option<Content>), Error>,
    },
    /// Of [`Job::Walk`].
    #[cfg(feature = "cli")]
    Tree(Result<Tree, Error>),
    /// Of [`Job::SignFile`].
    Signed(Result<SignedManifest, Error>),
    /// Of [`Job::SignStatement`].
    #[cfg(feature = "cli")]
    Statement(Result<Box<SignedStatement>, Error>),
}
