//! `users.json`: the users, their credentials and roles.
//!
//! The file is replaced as a whole under a lock file of its own (`users.json.lock`: a lock on the
//! file itself would stay with the old one), so that a running server and the offline tool can both
//! change it. It is read again when it changed on disk.

mod document;
mod error;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod password;
mod rules;
mod user;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::path::Path;

use document::Users;
pub use error::RegistryError;
use file::RegistryFile;
pub use password::PasswordError;
use password::PasswordHash;
use rules::{check_asker, checked_key, fresh_uid, keep_an_admin, now, position};
use towpath_protocol::Role;
use towpath_protocol::signed::{UserId, UserName};
pub use user::{NewKey, NewUser, OnBehalf, RetiredUser, User, UserKey};

use crate::limits::{DEFAULT_BCRYPT_COST, MAX_BCRYPT_COST, MIN_BCRYPT_COST};

/// The registry, shared between threads. Every call may read the disk; those that change it and
/// [`Registry::verify_password`] belong on a worker.
pub struct Registry {
    file: RegistryFile,
    cost: u32,
}

impl Registry {
    /// Makes an empty registry of mode 0600 at `path`.
    ///
    /// # Errors
    /// [`RegistryError::Exists`], [`RegistryError::Io`].
    pub fn create(path: &Path) -> Result<(), RegistryError> {
        RegistryFile::at(path)?.create(&Users::default())
    }

    /// Opens the registry at `path`; new passwords are hashed at the default cost.
    ///
    /// # Errors
    /// [`RegistryError`]: missing, readable by others, malformed, of another version.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        Self::open_with_cost(path, DEFAULT_BCRYPT_COST)
    }

    /// Opens the registry at `path` with a bcrypt cost for new hashes; hashes of a lower cost are
    /// renewed at login.
    ///
    /// # Errors
    /// As [`Registry::open`], and [`RegistryError::Cost`].
    pub fn open_with_cost(path: &Path, cost: u32) -> Result<Self, RegistryError> {
        Self::with_file(RegistryFile::at(path)?, cost)
    }

    fn with_file(file: RegistryFile, cost: u32) -> Result<Self, RegistryError> {
        if !(MIN_BCRYPT_COST..=MAX_BCRYPT_COST).contains(&cost) {
            return Err(RegistryError::Cost);
        }
        file.load()?;
        file.tidy();
        Ok(Self { file, cost })
    }

    /// The user of that name. While the file cannot be read, as it was before.
    #[must_use]
    pub fn find(&self, name: &UserName) -> Option<User> {
        self.file
            .current()
            .users
            .iter()
            .find(|user| user.name == *name)
            .cloned()
    }

    /// The user of that uid. While the file cannot be read, as it was before.
    #[must_use]
    pub fn find_uid(&self, uid: UserId) -> Option<User> {
        self.file
            .current()
            .users
            .iter()
            .find(|user| user.uid == uid)
            .cloned()
    }

    /// All users, by name.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        let mut users = self.file.current().users.clone();
        users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// Who was a user once, oldest first.
    #[must_use]
    pub fn retired(&self) -> Vec<RetiredUser> {
        self.file.current().retired.clone()
    }

    /// Calls `f` with the current user, who is not changed until it returns: for the check of a
    /// role at a commit, and the commit.
    ///
    /// Such calls do not wait for each other, only changes do. `f` must not change the registry:
    /// that would wait for itself.
    ///
    /// # Errors
    /// [`RegistryError::UnknownUser`] when they were removed; whatever keeps the file from being
    /// read.
    pub fn with_user<T>(
        &self,
        uid: UserId,
        f: impl FnOnce(&User) -> T,
    ) -> Result<T, RegistryError> {
        self.file.read_locked(|users| {
            let user = users.users.iter().find(|user| user.uid == uid);
            user.map(f).ok_or(RegistryError::UnknownUser)
        })
    }

    /// Adds a user under a new random uid.
    ///
    /// # Errors
    /// [`RegistryError`]: name taken, bad password, key registered already, file.
    pub fn add(&self, new: NewUser<'_>) -> Result<User, RegistryError> {
        self.add_for(None, new)
    }

    /// The same on behalf of a user.
    ///
    /// # Errors
    /// Likewise, and [`RegistryError::NotAllowed`].
    pub fn add_for(
        &self,
        asker: Option<OnBehalf<'_>>,
        new: NewUser<'_>,
    ) -> Result<User, RegistryError> {
        let password = new
            .password
            .map(|password| self.hash(password))
            .transpose()?;
        self.file.change(|users| {
            check_asker(asker, users)?;
            if users.users.iter().any(|known| known.name == new.name) {
                return Err(RegistryError::UserExists(new.name));
            }
            let mut user = User {
                name: new.name,
                uid: fresh_uid(users, getrandom::fill)?,
                role: new.role,
                keys: Vec::new(),
                added: now(),
                password,
            };
            for key in new.keys {
                let key = checked_key(users, &user, key)?;
                user.keys.push(key);
            }
            users.users.push(user.clone());
            Ok(user)
        })
    }

    /// Adds a key to a user.
    ///
    /// # Errors
    /// [`RegistryError`]: unknown user, key registered already, bad comment, a statement that is
    /// not the next of this user's log, too many, file.
    pub fn add_key(&self, uid: UserId, key: NewKey) -> Result<(), RegistryError> {
        self.add_key_for(None, uid, key)
    }

    /// The same on behalf of a user.
    ///
    /// # Errors
    /// Likewise, and [`RegistryError::NotAllowed`].
    pub fn add_key_for(
        &self,
        asker: Option<OnBehalf<'_>>,
        uid: UserId,
        key: NewKey,
    ) -> Result<(), RegistryError> {
        self.file.change(|users| {
            check_asker(asker, users)?;
            let at = position(users, uid)?;
            let key = checked_key(users, &users.users[at], key)?;
            users.users[at].keys.push(key);
            Ok(())
        })
    }

    /// Gives a user another role.
    ///
    /// # Errors
    /// [`RegistryError`]: unknown user, last admin, file.
    pub fn set_role(&self, uid: UserId, role: Role) -> Result<(), RegistryError> {
        self.set_role_for(None, uid, role)
    }

    /// The same on behalf of a user.
    ///
    /// # Errors
    /// Likewise, and [`RegistryError::NotAllowed`].
    pub fn set_role_for(
        &self,
        asker: Option<OnBehalf<'_>>,
        uid: UserId,
        role: Role,
    ) -> Result<(), RegistryError> {
        self.file.change(|users| {
            check_asker(asker, users)?;
            let at = position(users, uid)?;
            if role != Role::Admin {
                keep_an_admin(users, at)?;
            }
            users.users[at].role = role;
            Ok(())
        })
    }

    /// Gives a user another password, or none.
    ///
    /// # Errors
    /// [`RegistryError`]: unknown user, bad password, file.
    pub fn set_password(&self, uid: UserId, password: Option<&[u8]>) -> Result<(), RegistryError> {
        let hash = password.map(|password| self.hash(password)).transpose()?;
        self.file.change(|users| {
            let at = position(users, uid)?;
            users.users[at].password = hash;
            Ok(())
        })
    }

    /// Removes a user; the uid stays retired for ever.
    ///
    /// # Errors
    /// [`RegistryError`]: unknown user, last admin, file.
    pub fn remove(&self, uid: UserId) -> Result<(), RegistryError> {
        self.remove_for(None, uid)
    }

    /// The same on behalf of a user.
    ///
    /// # Errors
    /// Likewise, and [`RegistryError::NotAllowed`].
    pub fn remove_for(
        &self,
        asker: Option<OnBehalf<'_>>,
        uid: UserId,
    ) -> Result<(), RegistryError> {
        self.file.change(|users| {
            check_asker(asker, users)?;
            let at = position(users, uid)?;
            keep_an_admin(users, at)?;
            let User { uid, name, .. } = users.users.remove(at);
            users.retired.push(RetiredUser {
                uid,
                name,
                removed: now(),
            });
            Ok(())
        })
    }

    /// The user of that name, if `password` is theirs; `None` is an invalid name.
    ///
    /// Takes the time of one hash for unknown users, for users without a password and for old
    /// hashes alike; only an invalid password (empty, over 71 bytes, with a NUL) is
    /// refused at once, whoever the user. A hash of a lower cost than configured is renewed.
    #[must_use]
    pub fn verify_password(&self, name: Option<&UserName>, password: &[u8]) -> Option<User> {
        let users = self.file.current();
        let hashes = users.users.iter().filter_map(|user| user.password.as_ref());
        let cost = hashes.map(PasswordHash::cost).fold(self.cost, u32::max);
        let user = users.users.iter().find(|user| Some(&user.name) == name);
        let hash = user.and_then(|user| user.password.as_ref());
        if !password::verify(hash, password, cost) {
            return None;
        }
        let (user, hash) = (user?, hash?);
        if hash.cost() < self.cost
            && let Err(error) = self.renew(user.uid, hash, password)
        {
            tracing::warn!(user = %user.name, %error, "the password hash was not renewed");
        }
        Some(user.clone())
    }

    /// Replaces `old` by a hash at the configured cost, unless the password was changed in the
    /// meantime.
    fn renew(&self, uid: UserId, old: &PasswordHash, password: &[u8]) -> Result<(), RegistryError> {
        let new = self.hash(password)?;
        self.file.change(|users| {
            let at = position(users, uid)?;
            let current = &mut users.users[at].password;
            if current.as_ref() == Some(old) {
                *current = Some(new);
            }
            Ok(())
        })
    }

    fn hash(&self, password: &[u8]) -> Result<PasswordHash, RegistryError> {
        password::check(password)?;
        PasswordHash::new(password, self.cost)
            .map_err(|error| RegistryError::Internal(error.to_string()))
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}
