//! The slow work of a session, as it leaves and comes back.
//!
//! The session never waits: what may take long leaves as a [`Job`], and its [`Output`] comes back
//! under the job's ticket. What is held in a job (an open file, a hash) comes back with its output.

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

/// Something for a worker.
#[derive(Debug)]
pub(crate) enum Job {
    /// Wait for the next command of a [`Client`](crate::Client).
    NextCommand,
    /// Decide whether to trust the server, asking the user where need be.
    Trust(ServerId),
    /// Read and unlock the user's key.
    LoadKey,
    /// Get the password from its file or the user.
    Password {
        /// What to say first.
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
    /// Judge what a get is about to bring.
    CheckManifest {
        file: Receiving,
        /// What the server shows.
        signed: SignedManifest,
        /// What was asked for.
        path: FilePath,
        /// Where the data will start.
        offset: u64,
        store: StoreId,
    },
    /// Write and hash what came.
    Receive {
        file: Receiving,
        chunks: Vec<Chunk>,
        /// Whose data it is.
        signed: SignedManifest,
    },
    /// Verify a whole download and put it in its place.
    Publish {
        file: Receiving,
        /// What it must be.
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
    /// Read some of it.
    Read(Source),
    /// List a local directory.
    #[cfg(feature = "cli")]
    Walk {
        root: PathBuf,
        /// What the names on the server start with.
        prefix: String,
    },
    /// Sign what is at a path from now on.
    SignFile {
        path: FilePath,
        /// The file, or its deletion.
        content: Content,
        /// What the server says is there now.
        current: Option<SignedManifest>,
        login: Login,
        /// Whether another client published meanwhile.
        again: bool,
        /// Whether a damaged file is replaced whose manifest the server has lost.
        replace_damaged: bool,
    },
    /// Record what this user published.
    Published {
        signed: SignedManifest,
        /// None for a deletion.
        report: Option<TransferReport>,
    },
    /// Sign a key statement with the key that it adds.
    #[cfg(feature = "cli")]
    SignStatement(KeyStatement),
    /// Print keys and whether they are pinned.
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

/// What a job gave.
#[derive(Debug)]
pub(crate) enum Output {
    /// For jobs without a result of their own.
    Done(Result<(), Error>),
    /// Of [`Job::NextCommand`]; none when there will be no more.
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
        /// Bytes dealt with.
        bytes: usize,
        result: Result<(), Error>,
    },
    /// Of [`Job::OpenSource`].
    Source(Result<Source, Error>),
    /// Of [`Job::Read`]: chunks, and at the end what the whole is.
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
