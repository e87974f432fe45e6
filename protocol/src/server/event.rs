//! What a server's connection tells its application.

use std::fmt;

use zeroize::Zeroizing;

use crate::channel::Chunk;
use crate::error::CloseReason;
use crate::request::escaped;
use crate::signed::{FilePath, ManifestHash, PublicKey, SignedManifest, UserId, UserName};
use crate::{Refusal, Request, RequestId, Role, TransferId};

/// What happened, in order. [`Event::Closed`] is always the last.
#[expect(
    clippy::large_enum_variant,
    reason = "few exist at a time, and not for long"
)]
#[derive(Debug)]
pub enum Event {
    /// Someone wants in: answer with [`login`](super::Connection::login), as slowly for users that
    /// do not exist as for others.
    Login {
        /// For the answer.
        ticket: Ticket,
        /// Who it claims to be.
        user: ClaimedUser,
        /// The proof.
        credential: Credential,
    },
    /// A request; answer with [`reply`](super::Connection::reply).
    Request {
        /// For the answer.
        id: RequestId,
        /// What is wanted.
        request: Request,
    },
    /// The client wants a file: [`accept_get`](super::Connection::accept_get) or
    /// [`abort`](super::Connection::abort).
    Get {
        /// Which transfer.
        transfer: TransferId,
        /// The file.
        path: FilePath,
        /// Where to begin, in bytes, if the manifest is still `manifest`; else at 0.
        offset: u64,
        /// What the client already has a part of.
        manifest: Option<ManifestHash>,
    },
    /// The client wants to upload: [`accept_put`](super::Connection::accept_put) or
    /// [`abort`](super::Connection::abort).
    Put {
        /// Which transfer.
        transfer: TransferId,
        /// Where to.
        path: FilePath,
        /// About how many bytes; a claim.
        size_hint: u64,
    },
    /// Data of a put, in order; call [`consumed`](super::Connection::consumed) when it has been
    /// dealt with.
    Data {
        /// Which transfer.
        transfer: TransferId,
        /// The data, never empty.
        chunk: Chunk,
    },
    /// A whole chunk can be written again; comes once for each time that the capacity fell below a
    /// chunk.
    Writable {
        /// Which transfer.
        transfer: TransferId,
    },
    /// All data of a put has come, and this manifest signs it:
    /// [`committed`](super::Connection::committed), [`conflict`](super::Connection::conflict) or
    /// [`abort`](super::Connection::abort).
    Proof {
        /// Which transfer.
        transfer: TransferId,
        /// The manifest: verified, of this store and path, a file, of the size that came. Whether
        /// signer and user fit is for the application.
        signed: SignedManifest,
    },
    /// The client has acknowledged the end of a get or put.
    Finished {
        /// Which transfer.
        transfer: TransferId,
    },
    /// A transfer ended without success.
    Aborted {
        /// Which transfer.
        transfer: TransferId,
        /// Why: the words of the client, or of this connection about the client's manifest. `None`
        /// if the connection ended.
        refusal: Option<Refusal>,
    },
    /// The connection ended.
    Closed(CloseReason),
}

/// Names one login attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u32);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The user name that a client claims. Both kinds go through the same dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimedUser {
    /// A name that a user may have.
    Valid(UserName),
    /// A name that nobody can have, as it came.
    Invalid(String),
}

impl ClaimedUser {
    /// Sorts a name.
    pub fn new(name: &str) -> Self {
        UserName::parse(name).map_or_else(|_| Self::Invalid(name.to_owned()), Self::Valid)
    }

    /// The name if someone may have it.
    pub fn valid(&self) -> Option<&UserName> {
        match self {
            Self::Valid(name) => Some(name),
            Self::Invalid(_) => None,
        }
    }

    /// The name as it came.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Valid(name) => name.as_str(),
            Self::Invalid(name) => name,
        }
    }
}

/// Control characters are escaped.
impl fmt::Display for ClaimedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escaped(f, self.as_str())
    }
}

/// What a client proves its claim with.
pub enum Credential {
    /// A password, to be compared with the stored hash.
    Password(Zeroizing<String>),
    /// A key that has signed this very connection, store and user name; it remains to be seen
    /// whether it is registered.
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
    /// Let in.
    Accepted {
        /// Identity.
        uid: UserId,
        /// Role at this moment.
        role: Role,
        /// Name.
        name: UserName,
    },
    /// No.
    Refused,
}
