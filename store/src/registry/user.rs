//! Users, their keys, and what a change of them is made of.

use towpath_protocol::Role;
use towpath_protocol::signed::{PublicKey, SignedStatement, Timestamp, UserId, UserName};

use super::password::PasswordHash;

/// A user as the registry has them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// Name to log in with.
    pub name: UserName,
    /// Identity that files belong to; random, never given to anyone else.
    pub uid: UserId,
    /// Role, which decides what the user may do.
    pub role: Role,
    /// Keys to log in and to sign with.
    pub keys: Vec<UserKey>,
    /// Time at which the user was added.
    pub added: Timestamp,
    pub(super) password: Option<PasswordHash>,
}

impl User {
    /// Whether they can log in by password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Whether `key` is one of theirs.
    #[must_use]
    pub fn has_key(&self, key: &PublicKey) -> bool {
        self.keys.iter().any(|known| known.key == *key)
    }
}

/// A key of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserKey {
    /// Ed25519 public key.
    pub key: PublicKey,
    /// What the user calls it.
    pub comment: String,
    /// Time at which the key was added.
    pub added: Timestamp,
    /// The statement that added it, if it was not added by the administrator.
    pub statement: Option<SignedStatement>,
}

/// A key to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Ed25519 public key.
    pub key: PublicKey,
    /// At most [`MAX_COMMENT`](crate::limits::MAX_COMMENT) bytes, no control characters.
    pub comment: String,
    /// The next statement of the user's key log, when the user adds it.
    pub statement: Option<SignedStatement>,
}

/// A user to be added.
pub struct NewUser<'a> {
    /// Name to log in with.
    pub name: UserName,
    /// Role, which decides what the user may do.
    pub role: Role,
    /// 1 to 71 bytes without NUL; none for a user who logs in by key only.
    pub password: Option<&'a [u8]>,
    /// Their keys.
    pub keys: Vec<NewKey>,
}

/// For whom a change is made. It is decided under the lock whether they may: what was read before
/// may have changed by then.
#[derive(Clone, Copy)]
pub struct OnBehalf<'a> {
    /// Who asks for it.
    pub uid: UserId,
    /// Whether they may, as they are now.
    pub may: &'a dyn Fn(&User) -> bool,
}

/// Who a uid belonged to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredUser {
    /// The identity, which is never issued again.
    pub uid: UserId,
    /// The name, which another user may have by now.
    pub name: UserName,
    /// Time at which the user was removed.
    pub removed: Timestamp,
}
