//! What a server's connection tells its application.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::channel::chunk::Chunk;
use crate::error::CloseReason;
use crate::escape::Escaped;
use crate::ids::{RequestId, TransferId};
use crate::request::{Refusal, Request};
use crate::role::Role;
use crate::signed::key::PublicKey;
use crate::signed::manifest::{ManifestHash, SignedManifest};
use crate::signed::name::{FilePath, UserId, UserName};

/// What happened, in order. [`Event::Closed`] is always the last.
#[expect(
    clippy::large_enum_variant,
    reason = "few exist at a time, and not for long"
)]
#[derive(Debug)]
pub enum Event {
    /// A login attempt: answer with [`login`](super::Connection::login), as slowly for users that
    /// do not exist as for others.
    Login {
        /// Identifies the attempt in the answer.
        ticket: LoginTicket,
        /// The user that the client claims to be.
        user: ClaimedUser,
        /// The proof.
        credential: Credential,
    },
    /// A request; answer with [`reply`](super::Connection::reply).
    Request(RequestId, Request),
    /// A transfer began, went on or ended.
    Transfer(TransferId, TransferEvent),
    /// The connection ended.
    Closed(CloseReason),
}

/// What happened to a transfer. Nothing follows [`Finished`](Self::Finished),
/// [`Aborted`](Self::Aborted) and [`Truncated`](Self::Truncated).
#[derive(Debug)]
pub enum TransferEvent {
    /// The client wants a file: [`accept_get`](super::Connection::accept_get) or
    /// [`abort`](super::Connection::abort).
    Get {
        /// The file.
        path: FilePath,
        /// Where to begin, in bytes, if the manifest is still `manifest`; else at 0.
        offset: u64,
        /// The manifest of which the client already has a part.
        manifest: Option<ManifestHash>,
    },
    /// The client wants to upload: [`accept_put`](super::Connection::accept_put) or
    /// [`abort`](super::Connection::abort).
    Put {
        /// The path to publish at.
        path: FilePath,
        /// About how many bytes; a claim.
        size_hint: u64,
        /// Whether it is to replace a damaged file whose manifest is lost.
        replace_damaged: bool,
    },
    /// Data of a put, in order and never empty; call
    /// [`consumed`](super::Connection::consumed) when it has been dealt with.
    Data(Chunk),
    /// A whole chunk can be written again; comes once for each time that the capacity fell below a
    /// chunk.
    Writable,
    /// All data of a put has come, and this manifest signs it:
    /// [`committed`](super::Connection::committed), [`conflict`](super::Connection::conflict) or
    /// [`abort`](super::Connection::abort).
    ///
    /// The manifest is verified, of this store and path, a file, of the size that came. Whether
    /// signer and user match is for the application to decide.
    Proof(SignedManifest),
    /// The client has acknowledged the end of a get or put.
    Finished,
    /// The client ended the transfer without success, or this connection did because the client's
    /// manifest was not acceptable.
    Aborted(Refusal),
    /// The connection ended before the transfer did; [`Event::Closed`] says why.
    Truncated,
}

/// Identifies one login attempt of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginTicket(pub(crate) u32);

impl fmt::Display for LoginTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The user name that a client claims. Both kinds go through the same dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimedUser {
    /// A name that a user may have.
    Valid(UserName),
    /// A name that no user can have, as received.
    Invalid(String),
}

impl ClaimedUser {
    /// Parses a name.
    pub fn new(name: &str) -> Self {
        UserName::parse(name).map_or_else(|_| Self::Invalid(name.to_owned()), Self::Valid)
    }

    /// The name, if a user may have it.
    pub fn valid(&self) -> Option<&UserName> {
        match self {
            Self::Valid(name) => Some(name),
            Self::Invalid(_) => None,
        }
    }

    /// The name as received.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Valid(name) => name.as_str(),
            Self::Invalid(name) => name,
        }
    }
}

/// As [`Escaped`].
impl fmt::Display for ClaimedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(self.as_str()).fmt(f)
    }
}

/// The proof in a login attempt.
pub enum Credential {
    /// A password, to be compared with the stored hash.
    Password(Zeroizing<String>),
    /// A key whose signature over channel binding, store and user name is verified. Whether it is
    /// registered is for the application to decide.
    Key(PublicKey),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password(..)"),
            Self::Key(key) => write!(f, "Key({})", key.fingerprint()),
        }
    }
}

/// The answer to a login attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The user is logged in.
    Accepted {
        /// The user's identity, which outlives the name.
        uid: UserId,
        /// The user's role at this moment.
        role: Role,
    },
    /// The attempt is refused; another follows while attempts are left.
    Refused,
    /// Refused unseen: too many attempts came before it.
    TooManyAttempts {
        /// When an attempt is looked at again; sent in whole seconds, rounded up.
        retry_after: Duration,
    },
}
