//! Replies for refusals and failures; details about failures of the server are only logged.

use towpath_protocol::signed::FilePath;
use towpath_protocol::{Refusal, RefusalCode};
use towpath_store::{CommitError, RegistryError, StoreError};

pub(super) fn refuse(code: RefusalCode, message: impl Into<String>) -> Refusal {
    Refusal {
        code,
        message: message.into(),
    }
}

pub(super) fn not_found(path: &FilePath) -> Refusal {
    refuse(RefusalCode::NotFound, format!("there is no file {path}"))
}

pub(super) fn damaged(path: &FilePath) -> Refusal {
    refuse(
        RefusalCode::Corrupt,
        format!("{path} is damaged on the server; ask its administrator to restore it"),
    )
}

pub(super) fn registry_refusal(error: &RegistryError) -> Refusal {
    match error {
        RegistryError::KeyExists(_) => refuse(
            RefusalCode::Denied,
            "this key is registered already; make another with `towpath keys new`",
        ),
        RegistryError::TooManyKeys => refuse(RefusalCode::Denied, error.to_string()),
        RegistryError::Statement(_)
        | RegistryError::Comment
        | RegistryError::Password(_)
        | RegistryError::LastAdmin
        | RegistryError::UserExists(_) => refuse(RefusalCode::BadRequest, error.to_string()),
        RegistryError::UnknownUser => refuse(RefusalCode::NotFound, error.to_string()),
        RegistryError::Busy(_) => {
            tracing::error!(%error, "the user registry is locked");
            let message = "the server's user registry is locked; try again later";
            refuse(RefusalCode::Busy, message)
        }
        RegistryError::NotAllowed => refuse(
            RefusalCode::Denied,
            "your role or your keys changed meanwhile; ask an administrator",
        ),
        _ => {
            tracing::error!(%error, "the user registry failed");
            let message = "the server cannot use its user registry; its log says why";
            refuse(RefusalCode::Internal, message)
        }
    }
}

pub(super) fn store_refusal(error: &StoreError, path: &FilePath) -> Refusal {
    match error {
        StoreError::NotFound => not_found(path),
        StoreError::Corrupt(reason) => {
            tracing::error!(file = %path, reason, "a stored file is damaged");
            damaged(path)
        }
        StoreError::NoSpace => refuse(RefusalCode::NoSpace, error.to_string()),
        StoreError::Misuse(reason) => refuse(RefusalCode::BadRequest, *reason),
        StoreError::ReadOnly => refuse(RefusalCode::Internal, error.to_string()),
        _ => {
            tracing::error!(file = %path, %error, "the store failed");
            refuse(
                RefusalCode::Internal,
                "the server cannot use its store; its log says why",
            )
        }
    }
}

pub(super) fn commit_refusal(error: &CommitError, path: &FilePath) -> Refusal {
    match error {
        CommitError::Conflict { .. } => refuse(RefusalCode::Conflict, error.to_string()),
        CommitError::Mismatch(_) => refuse(RefusalCode::BadManifest, error.to_string()),
        CommitError::NotFound => not_found(path),
        CommitError::Store(error) => store_refusal(error, path),
        CommitError::Occupied => refuse(RefusalCode::Corrupt, error.to_string()),
        _ => {
            tracing::error!(file = %path, %error, "a file cannot be published");
            refuse(RefusalCode::Internal, error.to_string())
        }
    }
}
