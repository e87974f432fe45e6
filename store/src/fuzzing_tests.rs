//! The fuzz targets over random changes of valid inputs: what they assert is tried in every test
//! run.

use std::sync::LazyLock;

use proptest::prelude::*;

use crate::StorageKey;
use crate::fuzzing::{header, key_file, users};

const HEADER: &str = "age-encryption.org/v1\n-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-> towpath 1\nAAAA\n-> x y z\n\n\
    --- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nrest";

fn changed(text: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let bytes = text.as_bytes().to_vec();
    let len = bytes.len();
    let with = prop_oneof![
        Just(vec![]),
        any::<u8>().prop_map(|byte| vec![byte]),
        Just(b"\n".to_vec()),
        "[A-Za-z0-9+/=\" ,-]{1,3}".prop_map(String::into_bytes)
    ];
    let change = (0..len, 0..3_usize, with);
    prop::collection::vec(change, 0..3).prop_map(move |changes| {
        let mut bytes = bytes.clone();
        for (at, cut, with) in changes {
            let at = at.min(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, with);
        }
        bytes
    })
}

/// A key file of this run.
static KEY_FILE: LazyLock<String> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("storage.key");
    StorageKey::generate().save_new(&path).unwrap();
    std::fs::read_to_string(path).unwrap()
});

const USERS: &str = include_str!("../../users.json");

#[test]
fn the_unchanged_inputs_are_accepted() {
    assert!(header(HEADER.as_bytes()));
    assert!(key_file(KEY_FILE.as_bytes()));
    assert!(users(USERS.as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn headers(bytes in changed(HEADER)) {
        let accepted = header(&bytes);
        prop_assert!(!accepted || bytes.starts_with(b"age-encryption.org/v1\n"));
    }

    #[test]
    fn key_files(bytes in changed(&KEY_FILE)) {
        let accepted = key_file(&bytes);
        prop_assert!(!accepted || bytes.windows(16).any(|window| window == b"AGE-SECRET-KEY-1"));
    }

    #[test]
    fn registries(bytes in changed(USERS)) {
        let accepted = users(&bytes);
        prop_assert!(!accepted || serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
    }
}
