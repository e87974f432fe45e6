//! What somebody who can write to the store's directory, but has no storage key, gets.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use towpath_protocol::signed::StoreId;

use super::shared::{PARTIAL, stored_name};
use super::tests::{Bench, begin, bytes, get, next, path, put, signed};
use super::*;
use crate::age::{FileKey, Header, Payload, Proof, ProofContext};
use crate::limits::{CHUNK, FILE_KEY, MAX_HEADER, PAYLOAD_NONCE};

fn proof(signed: &SignedManifest) -> Proof {
    Proof {
        manifest: signed.text().to_owned(),
        signature: signed.signature().to_owned(),
    }
}

/// age encrypts to a public key, and recipient, store id and the format lie open: whoever can write
/// to the directory can make a file that the storage key opens, with a manifest of a real user.
#[test]
fn a_file_made_with_the_public_recipient_is_not_served_and_is_reported() {
    let mut bench = Bench::new();
    put(bench.store(), "genuine", b"genuine");
    let description = fs::read_to_string(bench.root().join(".towpath/store")).unwrap();
    let recipient: Recipient = description
        .lines()
        .find_map(|line| line.strip_prefix("recipient "))
        .unwrap()
        .parse()
        .unwrap();
    let data = b"planted";
    let (key, nonce) = (FileKey::new([5; FILE_KEY]), [6; PAYLOAD_NONCE]);
    let header = Header::new(&key, [&recipient]).unwrap();
    for name in ["new", "genuine"] {
        let manifest = next(bench.store(), name, Some(data));
        // Under a storage key of their own: that of the server they do not have.
        let context = ProofContext {
            storage: &StorageKey::generate(),
            store: bench.store().id(),
            path: &path(name),
        };
        let mut file = header.emit(&key, &proof(&manifest), context).unwrap();
        file.extend_from_slice(&nonce);
        let mut chunk = *data;
        let tag = Payload::new(&key, &nonce).seal(0, true, &mut chunk);
        file.extend_from_slice(&chunk);
        file.extend_from_slice(&tag);
        fs::write(bench.stored(name), file).unwrap();
    }
    // While the server runs, and after a restart.
    assert!(matches!(
        get(bench.store(), "new"),
        Err(StoreError::NotFound)
    ));
    let refused = get(bench.store(), "genuine");
    assert!(
        matches!(refused, Err(StoreError::Corrupt(_))),
        "{refused:?}"
    );
    bench.reopen();
    for name in ["new", "genuine"] {
        let served = get(bench.store(), name);
        assert!(served.is_err(), "{name} is served: {served:?}");
    }
    let names: Vec<&str> = bench
        .report
        .unreadable
        .iter()
        .map(|(name, _)| &**name)
        .collect();
    assert_eq!(names, ["genuine.age", "new.age"], "{:?}", bench.report);
    assert_eq!(bench.report.files, 0);
}

/// A complete file of this server's own making, with a manifest that a commit would not take.
fn publish_unchecked(store: &Store, name: &str, data: &[u8], signed: &SignedManifest) {
    let mut upload = begin(store, name, data);
    upload.complete().unwrap();
    let partial = &mut upload.0;
    let path = path(name);
    let context = partial.shared.proof_context(&path);
    let header = partial
        .header
        .emit(&partial.key, &proof(signed), context)
        .unwrap();
    partial.file.write_at(&header, 0).unwrap();
    let (from, to) = (partial.name.clone(), stored_name(&path));
    partial.shared.files.rename(&from, &to).unwrap();
    partial.name.clear();
}

#[test]
fn a_manifest_of_another_store_or_path_is_refused_on_load() {
    let mut bench = Bench::new();
    let id = bench.store().id();
    let elsewhere = StoreId::from_bytes([9; 16]);
    for (name, manifest) in [
        ("good", signed(id, None, "good", Some(b"x"))),
        ("store", signed(elsewhere, None, "store", Some(b"x"))),
        ("path", signed(id, None, "another", Some(b"x"))),
    ] {
        publish_unchecked(bench.store(), name, b"x", &manifest);
    }
    bench.reopen();
    assert_eq!(get(bench.store(), "good").unwrap(), b"x");
    let reasons: Vec<(&str, &str)> = bench
        .report
        .unreadable
        .iter()
        .map(|(name, reason)| (&**name, reason.rsplit_once(": ").unwrap().1))
        .collect();
    assert_eq!(
        reasons,
        [
            ("path.age", "it was moved here from another path"),
            ("store.age", "it belongs to another store")
        ]
    );
}

/// Where the body of the proof begins: after its nonce comes the sealed text.
fn proof_nonce(stored: &[u8]) -> Vec<u8> {
    let line = b"-> towpath 1\n";
    let at = stored.windows(line.len()).position(|window| window == line);
    stored[at.unwrap() + line.len()..][..32].to_vec()
}

#[test]
fn file_keys_and_nonces_are_random() {
    let bench = Bench::new();
    let (data, mut keys, mut payload, mut proofs) = (bytes(CHUNK), vec![], vec![], vec![]);
    for name in ["a", "b", "c"] {
        let (path, manifest) = (path(name), next(bench.store(), name, Some(&data)));
        let upload = begin(bench.store(), name, &data);
        let partial = fs::read(bench.root().join(&upload.0.name)).unwrap();
        proofs.push(proof_nonce(&partial));
        upload.commit(&manifest).unwrap();
        let stored = fs::read(bench.stored(name)).unwrap();
        // The empty proof of an upload and the one that replaces it are under the same key.
        proofs.push(proof_nonce(&stored));
        let context = bench.store().shared.proof_context(&path);
        let opened = Header::open(&stored[..MAX_HEADER], context).unwrap();
        keys.push(opened.key.to_vec());
        payload.push(stored[opened.len..][..PAYLOAD_NONCE].to_vec());
    }
    for (what, all) in [
        ("file key", keys),
        ("payload nonce", payload),
        ("proof nonce", proofs),
    ] {
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "a {what} came twice: {all:?}");
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let mut bench = Bench::new();
    bench.store = None;
    let open = |mode| {
        fs::set_permissions(bench.root(), fs::Permissions::from_mode(mode)).unwrap();
        Store::open(&bench.root(), bench.key(), Vec::new()).map(drop)
    };
    for mode in [0o777, 0o720, 0o702] {
        let refused = open(mode);
        assert!(
            matches!(refused, Err(OpenError::Exposed { mode: found, .. }) if found == mode),
            "{mode:o}: {refused:?}"
        );
    }
    open(0o755).unwrap();
    open(0o700).unwrap();
}

/// Only root can give a directory away; the tests run as root in CI.
#[test]
fn a_directory_of_another_user_is_refused() {
    let mut bench = Bench::new();
    bench.store = None;
    if std::os::unix::fs::chown(bench.root(), Some(12_345), None).is_err() {
        return;
    }
    let refused = Store::open(&bench.root(), bench.key(), Vec::new()).map(drop);
    assert!(
        matches!(refused, Err(OpenError::Owner { uid: 12_345, .. })),
        "{refused:?}"
    );
}

/// As STORAGE.md says to make one.
#[test]
fn a_backup_without_the_uploads_under_way_starts() {
    let mut bench = Bench::new();
    put(bench.store(), "a", b"kept");
    bench.store = None;
    fs::remove_dir_all(bench.root().join(PARTIAL)).unwrap();
    bench.reopen();
    assert_eq!(get(bench.store(), "a").unwrap(), b"kept");
    put(bench.store(), "b", b"new");
}
