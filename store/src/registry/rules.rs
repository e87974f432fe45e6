//! What every change of the registry must keep to.

use std::time::SystemTime;

use towpath_protocol::Role;
use towpath_protocol::signed::{KeyAction, PublicKey, SignedStatement, Timestamp, UserId};

use super::document::{Users, comment_is_fine};
use super::error::RegistryError;
use super::user::{NewKey, OnBehalf, User, UserKey};
use crate::limits::MAX_KEYS;

/// Refuses a change that the user who asks for it may not make.
pub(super) fn check_asker(asker: Option<OnBehalf<'_>>, users: &Users) -> Result<(), RegistryError> {
    let Some(asker) = asker else { return Ok(()) };
    let user = users.users.iter().find(|user| user.uid == asker.uid);
    match user {
        Some(user) if (asker.may)(user) => Ok(()),
        _ => Err(RegistryError::NotAllowed),
    }
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_system_time(SystemTime::now())
}

pub(super) fn position(users: &Users, uid: UserId) -> Result<usize, RegistryError> {
    let at = users.users.iter().position(|user| user.uid == uid);
    at.ok_or(RegistryError::UnknownUser)
}

/// Refuses when the user at `at` is the only admin.
pub(super) fn keep_an_admin(users: &Users, at: usize) -> Result<(), RegistryError> {
    let admins = users
        .users
        .iter()
        .filter(|user| user.role == Role::Admin)
        .count();
    if users.users[at].role == Role::Admin && admins == 1 {
        return Err(RegistryError::LastAdmin);
    }
    Ok(())
}

/// A random uid that is not in use and was not used before.
pub(super) fn fresh_uid(
    users: &Users,
    mut random: impl FnMut(&mut [u8]) -> Result<(), getrandom::Error>,
) -> Result<UserId, RegistryError> {
    loop {
        let mut bytes = [0; 16];
        random(&mut bytes).map_err(|error| RegistryError::Internal(error.to_string()))?;
        let uid = UserId::from_bytes(bytes);
        let current = users.users.iter().any(|user| user.uid == uid);
        if !current && users.retired.iter().all(|retired| retired.uid != uid) {
            return Ok(uid);
        }
    }
}

pub(super) fn checked_key(
    users: &Users,
    user: &User,
    new: NewKey,
) -> Result<UserKey, RegistryError> {
    let mut holders = users.users.iter().chain([user]);
    if let Some(holder) = holders.find(|user| user.has_key(&new.key)) {
        return Err(RegistryError::KeyExists(holder.name.clone()));
    }
    if user.keys.len() >= MAX_KEYS {
        return Err(RegistryError::TooManyKeys);
    }
    if !comment_is_fine(&new.comment) {
        return Err(RegistryError::Comment);
    }
    if let Some(signed) = &new.statement {
        check_statement(user, &new.key, signed)?;
    }
    Ok(UserKey {
        key: new.key,
        comment: new.comment,
        added: now(),
        statement: new.statement,
    })
}

/// A key log only grows, by the next statement.
fn check_statement(
    user: &User,
    key: &PublicKey,
    new: &SignedStatement,
) -> Result<(), RegistryError> {
    let statement = new.statement();
    if statement.uid != user.uid || statement.name != user.name {
        return Err(RegistryError::Statement("is another user's"));
    }
    if statement.action != KeyAction::Add || statement.key != *key {
        return Err(RegistryError::Statement("does not add this key"));
    }
    let last = user
        .keys
        .iter()
        .rev()
        .find_map(|key| key.statement.as_ref());
    let (sequence, previous) = match last {
        Some(last) => (last.statement().sequence.checked_add(1), Some(last.hash())),
        None => (Some(1), None),
    };
    if Some(statement.sequence) != sequence || statement.previous != previous {
        return Err(RegistryError::Statement(
            "does not follow the last one of the key log",
        ));
    }
    Ok(())
}
