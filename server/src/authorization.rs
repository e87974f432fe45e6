//! Authorization: what a user may do, and which user a signed statement must name.

use towpath_protocol::signed::{Content, FilePath, SignedManifest, StoreId, UserId, UserName};
use towpath_protocol::{Action, Refusal, RefusalCode, Role};
use towpath_store::{OnBehalf, User};

use super::jobs::AuthenticatedUser;
use super::refusals::refuse;

/// Owner of the file; `None` for a deletion.
pub(super) fn owner_of_file(signed: &SignedManifest) -> Option<UserId> {
    match signed.manifest().content {
        Content::File { .. } => Some(signed.manifest().uid),
        Content::Deleted => None,
    }
}

/// Overwriting requires the rights to delete and to upload.
pub(super) fn allow_overwrite(
    user: &User,
    current: Option<&SignedManifest>,
) -> Result<(), Refusal> {
    match current.and_then(owner_of_file) {
        Some(owner) => allow(user, Action::Delete { owner }),
        None => Ok(()),
    }
}

/// The owner of a damaged file whose proof is lost is unknown: only an administrator may replace
/// it, by explicit request.
pub(super) fn allow_replacing(user: &User, path: &FilePath, asked: bool) -> Result<(), Refusal> {
    match (user.role, asked) {
        (Role::Admin, true) => Ok(()),
        (Role::Admin, false) => Err(refuse(
            RefusalCode::Corrupt,
            format!(
                "whose {path} is cannot be read any more; restore it from a backup, or replace it with --replace-damaged"
            ),
        )),
        (_, true) => Err(refuse(
            RefusalCode::Denied,
            format!("only an administrator may replace {path}, which is damaged"),
        )),
        (_, false) => Err(refuse(
            RefusalCode::Corrupt,
            format!(
                "whose {path} is cannot be read any more; ask an administrator to restore or replace it"
            ),
        )),
    }
}

/// Refuses what the role of `user` does not allow.
pub(super) fn allow(user: &User, action: Action) -> Result<(), Refusal> {
    if user.role.allows(action, user.uid) {
        return Ok(());
    }
    let what = match action {
        Action::Upload => "upload",
        Action::Download => "download",
        Action::List => "list files",
        Action::Delete { owner } if owner == user.uid => "delete or replace files",
        Action::Delete { .. } => "delete or replace another user's file",
        Action::ManageUsers => "manage users",
        Action::ChangeRoles => "change roles",
    };
    let message = format!("a {} may not {what}; ask an administrator", user.role);
    Err(refuse(RefusalCode::Denied, message))
}

/// Refuses a signed statement of another store or another user.
pub(super) fn check_author(
    here: &StoreId,
    caller: &AuthenticatedUser,
    store: StoreId,
    uid: UserId,
    name: &UserName,
) -> Result<(), Refusal> {
    let wrong = if store != *here {
        "it was signed for another server"
    } else if uid != caller.uid || *name != caller.name {
        "it names another user"
    } else {
        return Ok(());
    };
    Err(refuse(
        RefusalCode::BadManifest,
        format!("the statement is not taken: {wrong}"),
    ))
}

/// Requests are authorized again under the registry's lock, since hashing a password takes time.
pub(super) fn on_behalf<'a>(
    caller: &AuthenticatedUser,
    may: &'a dyn Fn(&User) -> bool,
) -> Option<OnBehalf<'a>> {
    Some(OnBehalf {
        uid: caller.uid,
        may,
    })
}
