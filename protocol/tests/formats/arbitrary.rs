//! Values of every format, all of them valid.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use towpath_protocol::signed::{
    Blake3Hash, Content, FilePath, KeyAction, KeyStatement, Manifest, ManifestHash, SigningKey,
    StatementHash, StoreId, Timestamp, UserId, UserName,
};

pub(crate) fn signing_key() -> impl Strategy<Value = SigningKey> {
    any::<[u8; 32]>().prop_map(|seed| SigningKey::from_seed(&seed))
}

/// Mostly letters of many scripts, now and then any character at all; what the rules refuse is
/// drawn again.
pub(crate) fn file_path() -> impl Strategy<Value = FilePath> {
    let part = prop_oneof![
        4 => "[ -.0-\\[\\]-~]{1,20}",
        2 => "[À-ÿΑ-ωА-яא-תء-ي一-丿가-각ก-๛🌀-🌿]{1,12}",
        1 => "\\PC{1,12}",
    ];
    vec(part, 1..5).prop_filter_map("a path that the rules refuse", |parts| {
        FilePath::parse(&parts.join("/")).ok()
    })
}

pub(crate) fn user_name() -> impl Strategy<Value = UserName> {
    "[a-z0-9][a-z0-9._-]{0,31}".prop_map(|text| UserName::parse(&text).unwrap())
}

pub(crate) fn timestamp() -> impl Strategy<Value = Timestamp> {
    let seconds = Timestamp::MIN.seconds..=Timestamp::MAX.seconds;
    (seconds, 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn file() -> impl Strategy<Value = Content> {
    let size = prop_oneof![Just(0), 0..=200_000_u64, Just(i64::MAX as u64)];
    (size, any::<[u8; 32]>(), timestamp(), 0..=0o777_u32).prop_map(|(size, hash, mtime, mode)| {
        Content::File {
            size,
            hash: Blake3Hash::from_bytes(hash),
            mtime,
            mode,
        }
    })
}

/// A manifest that names `key`.
pub(crate) fn manifest_by(key: &SigningKey) -> impl Strategy<Value = Manifest> + use<> {
    let key = key.public().fingerprint();
    let history = prop_oneof![
        file().prop_map(|content| (content, 1, None)),
        (
            prop_oneof![file(), Just(Content::Deleted)],
            2..=u64::MAX,
            any::<[u8; 32]>()
        )
            .prop_map(|(content, version, previous)| (
                content,
                version,
                Some(ManifestHash::from_bytes(previous))
            )),
    ];
    let who = (any::<[u8; 16]>(), user_name(), timestamp());
    (any::<[u8; 16]>(), file_path(), history, who).prop_map(
        move |(store, path, (content, version, previous), (uid, name, signed_at))| Manifest {
            store: StoreId::from_bytes(store),
            path,
            content,
            version,
            previous,
            uid: UserId::from_bytes(uid),
            name,
            key,
            signed_at,
        },
    )
}

pub(crate) fn manifest() -> impl Strategy<Value = Manifest> {
    signing_key().prop_flat_map(|key| manifest_by(&key))
}

pub(crate) fn statement() -> impl Strategy<Value = KeyStatement> {
    let keep = btree_set(any::<[u8; 32]>(), 0..8).prop_map(|hashes| {
        let keep = hashes.into_iter().map(ManifestHash::from_bytes).collect();
        KeyAction::Compromise { keep }
    });
    let action = prop_oneof![Just(KeyAction::Add), Just(KeyAction::Retire), keep];
    let history = prop_oneof![
        Just((1, None, KeyAction::Add)),
        (2..=u64::MAX, any::<[u8; 32]>(), action).prop_map(|(sequence, previous, action)| (
            sequence,
            Some(StatementHash::from_bytes(previous)),
            action
        )),
    ];
    let who = (any::<[u8; 16]>(), any::<[u8; 16]>(), user_name());
    (who, history, signing_key()).prop_map(
        |((store, uid, name), (sequence, previous, action), key)| KeyStatement {
            store: StoreId::from_bytes(store),
            uid: UserId::from_bytes(uid),
            name,
            sequence,
            previous,
            action,
            key: key.public(),
        },
    )
}
