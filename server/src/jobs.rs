//! The slow work of a session: a session emits a [`Job`]; the driver runs it on the
//! [`Services`](crate::services::Services) and passes the [`Output`] back.

use towpath_protocol::channel::Chunk;
use towpath_protocol::server::{ClaimedUser, Credential};
use towpath_protocol::signed::{FilePath, ManifestHash, SignedManifest, UserId, UserName};
use towpath_protocol::{Refusal, Reply, Request, Role};
use towpath_store::{Download, Upload};

/// The user of a session, and how the login was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthenticatedUser {
    /// The user's name, as it was at login.
    pub(crate) name: UserName,
    pub(crate) uid: UserId,
    /// Logged in with a key, not with a password.
    pub(crate) by_key: bool,
}

/// A job for a worker.
pub(crate) enum Job {
    /// Check a credential.
    Login {
        /// The name that the client claims; it need not be a possible one.
        user: ClaimedUser,
        /// A password, or a key whose possession is proved already.
        credential: Credential,
    },
    /// Answer a request of the control stream.
    Request {
        caller: AuthenticatedUser,
        request: Box<Request>,
    },
    /// Start receiving a file.
    OpenUpload {
        caller: AuthenticatedUser,
        path: FilePath,
        /// Whether it is to replace a damaged file whose manifest is lost.
        replace_damaged: bool,
    },
    /// Seal and write records, in order.
    Append {
        caller: AuthenticatedUser,
        /// The file so far.
        upload: Box<Upload>,
        /// At most [`BATCH_CHUNKS`](crate::limits::BATCH_CHUNKS) records.
        chunks: Vec<Chunk>,
    },
    /// Publish a file that is complete.
    Commit {
        caller: AuthenticatedUser,
        upload: Box<Upload>,
        signed: Box<SignedManifest>,
    },
    /// Start sending a file.
    OpenDownload {
        caller: AuthenticatedUser,
        path: FilePath,
        /// Where to start, in bytes; a multiple of the record length.
        offset: u64,
        /// The manifest that a resumed download began with.
        manifest: Option<ManifestHash>,
    },
    /// Read and open records, in order.
    Read {
        caller: AuthenticatedUser,
        /// The file, at its current position.
        download: Box<Download>,
    },
}

/// The result of a [`Job`].
pub(crate) enum Output {
    /// Of [`Job::Login`]; `None` is a refusal.
    Login(Option<(AuthenticatedUser, Role)>),
    /// Of [`Job::Request`].
    Request(Result<Reply, Refusal>),
    /// Of [`Job::OpenUpload`]: the upload, and what is published at the path now.
    UploadOpened(Result<(Box<Upload>, Option<SignedManifest>), Refusal>),
    /// Of [`Job::Append`]: the upload and the bytes written.
    Appended(Result<(Box<Upload>, usize), Refusal>),
    /// Of [`Job::Commit`].
    Committed(CommitOutcome),
    /// Of [`Job::OpenDownload`].
    DownloadOpened(Result<(Box<Download>, u64), Refusal>),
    /// Of [`Job::Read`]: the records read; fewer than a batch at the end of the file.
    Read(Result<(Box<Download>, Vec<Chunk>), Refusal>),
}

/// The result of a commit.
pub(crate) enum CommitOutcome {
    /// Published and on stable storage.
    Published,
    /// Another version was published first; the upload is complete and waits for a new signature.
    Conflict(Box<Upload>, Option<SignedManifest>),
    /// Not published; the upload is gone.
    Refused(Refusal),
}
