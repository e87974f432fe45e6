//! Requests of clients and replies of servers outside of transfers.

use std::fmt;

use zeroize::Zeroizing;

use crate::escape::Escaped;
use crate::role::Role;
use crate::signed::key::{Fingerprint, PublicKey};
use crate::signed::manifest::{ManifestHash, SignedManifest};
use crate::signed::name::{FilePath, UserId, UserName};
use crate::signed::statement::SignedStatement;
use crate::signed::timestamp::Timestamp;

/// A command of a client that is logged in. Whether the user may do it is for the server's
/// application to decide.
#[expect(
    clippy::large_enum_variant,
    reason = "few exist at a time, and not for long"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Name, identity and role of the user who is logged in.
    Whoami,
    /// The files whose path starts with `prefix`, in the order of their paths, deleted ones left
    /// out.
    List {
        /// Start of the path, not necessarily a whole part; at most
        /// [`MAX_PATH_LEN`](crate::limits::MAX_PATH_LEN) bytes.
        prefix: String,
        /// Only paths after this one.
        after: Option<FilePath>,
        /// Most entries wanted; a server gives at most
        /// [`MAX_LIST_ENTRIES`](crate::limits::MAX_LIST_ENTRIES).
        limit: u32,
    },
    /// The newest manifest at a path, of a deleted file too.
    Stat {
        /// Path in the store.
        path: FilePath,
    },
    /// Publish a manifest that says "deleted".
    Delete {
        /// The manifest, on top of the present one.
        signed: SignedManifest,
    },
    /// The registered users.
    Users,
    /// The keys of a user.
    Keys {
        /// Name of the user.
        user: UserName,
    },
    /// Append a statement to the key log of the user.
    AddKey {
        /// Its action is `add`, and it is signed by the key that it adds.
        statement: SignedStatement,
    },
    /// Add a user.
    AddUser {
        /// The name to log in with.
        name: UserName,
        /// What the user may do.
        role: Role,
        /// The password; none for a user who logs in by key only.
        password: Option<NewPassword>,
        /// A first key, and what it is called; at most
        /// [`MAX_COMMENT_LEN`](crate::limits::MAX_COMMENT_LEN) bytes.
        key: Option<(PublicKey, String)>,
    },
    /// Remove a user; the files stay.
    RemoveUser {
        /// The user to remove.
        user: UserName,
    },
    /// Give a user another role.
    SetRole {
        /// The user whose role changes.
        user: UserName,
        /// What the user may do from now on.
        role: Role,
    },
}

/// The password of a new user; erased from memory when dropped, and not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPassword(Zeroizing<String>);

impl NewPassword {
    /// Wraps a password. What makes one acceptable is the server's business.
    pub fn new(password: Zeroizing<String>) -> Self {
        Self(password)
    }

    /// The password.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword(..)")
    }
}

/// The answer to a [`Request`], of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The user of this connection.
    Whoami {
        /// The name to log in with.
        name: UserName,
        /// The identity, which outlives the name.
        uid: UserId,
        /// The role at this moment.
        role: Role,
        /// Whether the login was with a key.
        by_key: bool,
    },
    /// A page of the list of files.
    List {
        /// At most [`MAX_LIST_ENTRIES`](crate::limits::MAX_LIST_ENTRIES) files, in the order of
        /// their paths.
        entries: Vec<ListEntry>,
        /// Whether there are more after the last one.
        more: bool,
    },
    /// The newest manifest, if there ever was one.
    Stat {
        /// The manifest, verified.
        current: Option<SignedManifest>,
    },
    /// The deletion is published.
    Deleted,
    /// All users, in the order of their names.
    Users(Vec<UserEntry>),
    /// The keys of the user.
    Keys(Vec<KeyEntry>),
    /// The statement is in the key log.
    KeyAdded,
    /// The user is registered.
    UserAdded {
        /// The identity that was drawn for the user.
        uid: UserId,
    },
    /// The user can no longer log in.
    UserRemoved,
    /// The role takes effect on open connections too.
    RoleSet,
}

/// What kind of request waits for its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Whoami,
    List,
    Stat(FilePath),
    Delete,
    Users,
    Keys,
    AddKey,
    AddUser,
    RemoveUser,
    SetRole,
}

impl Request {
    pub(crate) fn kind(&self) -> RequestKind {
        match self {
            Self::Whoami => RequestKind::Whoami,
            Self::List { .. } => RequestKind::List,
            Self::Stat { path } => RequestKind::Stat(path.clone()),
            Self::Delete { .. } => RequestKind::Delete,
            Self::Users => RequestKind::Users,
            Self::Keys { .. } => RequestKind::Keys,
            Self::AddKey { .. } => RequestKind::AddKey,
            Self::AddUser { .. } => RequestKind::AddUser,
            Self::RemoveUser { .. } => RequestKind::RemoveUser,
            Self::SetRole { .. } => RequestKind::SetRole,
        }
    }
}

impl RequestKind {
    pub(crate) fn fits(&self, reply: &Reply) -> bool {
        match self {
            Self::Whoami => matches!(reply, Reply::Whoami { .. }),
            Self::List => matches!(reply, Reply::List { .. }),
            Self::Stat(_) => matches!(reply, Reply::Stat { .. }),
            Self::Delete => matches!(reply, Reply::Deleted),
            Self::Users => matches!(reply, Reply::Users(_)),
            Self::Keys => matches!(reply, Reply::Keys(_)),
            Self::AddKey => matches!(reply, Reply::KeyAdded),
            Self::AddUser => matches!(reply, Reply::UserAdded { .. }),
            Self::RemoveUser => matches!(reply, Reply::UserRemoved),
            Self::SetRole => matches!(reply, Reply::RoleSet),
        }
    }
}

/// A file in a list: a summary of its manifest by the server. Only the manifest itself is proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// The path within the store.
    pub path: FilePath,
    /// The size in bytes.
    pub size: u64,
    /// The time of last modification that the uploader signed.
    pub mtime: Timestamp,
    /// The permission bits that the uploader signed.
    pub mode: u32,
    /// The version, counted from 1.
    pub version: u64,
    /// The uploader's name at the time.
    pub owner: UserName,
    /// The uploader's identity.
    pub uid: UserId,
    /// The fingerprint of the key that signed.
    pub signer: Fingerprint,
    /// The hash of the manifest.
    pub manifest: ManifestHash,
    /// Whether the stored file is damaged. With version 0 its path is all that is known.
    pub damaged: bool,
}

/// A user in the list of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntry {
    /// The name to log in with.
    pub name: UserName,
    /// The identity, which outlives the name.
    pub uid: UserId,
    /// What the user may do.
    pub role: Role,
    /// The number of registered keys.
    pub keys: u32,
}

/// A key of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// Ed25519 public key.
    pub key: PublicKey,
    /// What the user calls it; at most [`MAX_COMMENT_LEN`](crate::limits::MAX_COMMENT_LEN) bytes.
    /// Untrusted: show it with [`Escaped`](crate::Escaped).
    pub comment: String,
    /// The statement that added it, if it was not added by the administrator.
    pub statement: Option<SignedStatement>,
}

/// Why a request or a transfer failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For the user; cut to [`MAX_MESSAGE_LEN`](crate::limits::MAX_MESSAGE_LEN) bytes on the wire.
    /// Untrusted: show it with [`Escaped`](crate::Escaped).
    pub message: String,
}

impl Refusal {
    /// A refusal with a message.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", Escaped(&self.message))?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// The kinds of failure that programs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RefusalCode {
    /// There is no such file, user or key.
    NotFound,
    /// The role of the user does not allow it.
    Denied,
    /// The manifest is not on top of the current one.
    Conflict,
    /// The request makes no sense.
    BadRequest,
    /// The manifest is malformed or not the one this place takes.
    BadManifest,
    /// The signature does not verify.
    BadSignature,
    /// What is stored does not match its hash or its seal.
    Corrupt,
    /// Disk or quota is full.
    NoSpace,
    /// Too much is going on; try later.
    Busy,
    /// The answer or the file is too large.
    TooLarge,
    /// The server failed; its log says how.
    Internal,
    /// Cancelled by the side that sends this.
    Cancelled,
}

impl RefusalCode {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::NotFound,
        Self::Denied,
        Self::Conflict,
        Self::BadRequest,
        Self::BadManifest,
        Self::BadSignature,
        Self::Corrupt,
        Self::NoSpace,
        Self::Busy,
        Self::TooLarge,
        Self::Internal,
        Self::Cancelled,
    ];

    /// The byte on the wire.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::NotFound => 1,
            Self::Denied => 2,
            Self::Conflict => 3,
            Self::BadRequest => 4,
            Self::BadManifest => 5,
            Self::BadSignature => 6,
            Self::Corrupt => 7,
            Self::NoSpace => 8,
            Self::Busy => 9,
            Self::TooLarge => 10,
            Self::Internal => 11,
            Self::Cancelled => 12,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.byte() == byte)
    }

    /// A short description for the user.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Denied => "not allowed",
            Self::Conflict => "changed meanwhile",
            Self::BadRequest => "bad request",
            Self::BadManifest => "bad manifest",
            Self::BadSignature => "bad signature",
            Self::Corrupt => "stored data is damaged",
            Self::NoSpace => "no space left",
            Self::Busy => "server busy",
            Self::TooLarge => "too large",
            Self::Internal => "server failure",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_codes_map_both_ways() {
        let bytes: Vec<u8> = RefusalCode::ALL.iter().map(|code| code.byte()).collect();
        assert_eq!(bytes, (1..=12).collect::<Vec<u8>>());
        for code in RefusalCode::ALL {
            assert_eq!(RefusalCode::from_byte(code.byte()), Some(code));
        }
        assert_eq!(RefusalCode::from_byte(0), None);
        assert_eq!(RefusalCode::from_byte(13), None);
    }

    #[test]
    fn refusals_do_not_command_the_terminal() {
        let refusal = Refusal::new(RefusalCode::Denied, "no\u{1b}[2J\r\nway – nie");
        assert_eq!(
            refusal.to_string(),
            "not allowed: no\\u{1b}[2J\\r\\nway – nie"
        );
    }
}
