//! Files, keys and users of the store, as the protocol lists them.

use towpath_protocol::signed::{Content, Fingerprint, ManifestHash, Timestamp, UserId, UserName};
use towpath_protocol::{KeyEntry, ListEntry, UserEntry};
use towpath_store::{Listed, User, UserKey};

/// The owner of a damaged file in a listing, when it is not known.
const UNKNOWN: &str = "unknown";

/// The entry of a file; with version 0 when nothing but the path is known.
pub(super) fn list_entry(listed: &Listed) -> Option<ListEntry> {
    let mut entry = ListEntry {
        path: listed.path.clone(),
        size: 0,
        mtime: Timestamp::EPOCH,
        mode: 0,
        version: 0,
        owner: UserName::parse(UNKNOWN).ok()?,
        uid: UserId::from_bytes([0; 16]),
        signer: Fingerprint::from_bytes([0; 32]),
        manifest: ManifestHash::from_bytes([0; 32]),
        damaged: listed.damaged,
    };
    if let Some(signed) = &listed.signed {
        let manifest = signed.manifest();
        if let Content::File {
            size, mtime, mode, ..
        } = manifest.content
        {
            (entry.size, entry.mtime, entry.mode) = (size, mtime, mode);
        }
        entry.version = manifest.version;
        entry.owner = manifest.name.clone();
        entry.uid = manifest.uid;
        entry.signer = manifest.key;
        entry.manifest = signed.hash();
    }
    Some(entry)
}

pub(super) fn key_entry(key: &UserKey) -> KeyEntry {
    KeyEntry {
        key: key.key,
        comment: key.comment.clone(),
        statement: key.statement.clone(),
    }
}

pub(super) fn user_entry(user: &User) -> UserEntry {
    UserEntry {
        name: user.name.clone(),
        uid: user.uid,
        role: user.role,
        keys: u32::try_from(user.keys.len()).unwrap_or(u32::MAX),
    }
}
