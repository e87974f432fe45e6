//! What the store writes, opened by the `age` tool itself.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use towpath_protocol::channel::Chunk;
use towpath_protocol::signed::{
    Blake3Hash, Content, FilePath, Manifest, SignedManifest, SigningKey, Timestamp, UserId,
    UserName,
};
use towpath_store::limits::CHUNK;
use towpath_store::{Recipient, StorageKey, Store};

fn age(arguments: &[&str]) -> Output {
    let run = Command::new("age").args(arguments).output();
    run.unwrap_or_else(|error| {
        panic!("these tests run the age tool (Debian: apt-get install age), which failed: {error}")
    })
}

/// Decrypts with `age -d`.
fn decrypt(key: &Path, file: &Path) -> Result<Vec<u8>, String> {
    let output = age(&["-d", "-i", key.to_str().unwrap(), file.to_str().unwrap()]);
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A new key pair of `age-keygen`: the file, and its recipient.
fn keygen(dir: &Path, name: &str) -> (PathBuf, String) {
    let path = dir.join(name);
    let run = Command::new("age-keygen").arg("-o").arg(&path).output();
    let run = run.unwrap_or_else(|error| {
        panic!("these tests run age-keygen (Debian: apt-get install age): {error}")
    });
    assert!(run.status.success(), "{run:?}");
    let output = Command::new("age-keygen")
        .arg("-y")
        .arg(&path)
        .output()
        .unwrap();
    let recipient = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    (path, recipient)
}

fn put(store: &Store, path: &str, data: &[u8]) {
    let key = SigningKey::from_seed(&[7; 32]);
    let path = FilePath::parse(path).unwrap();
    let manifest = Manifest {
        store: store.id(),
        path: path.clone(),
        content: Content::File {
            size: data.len() as u64,
            hash: Blake3Hash::from_bytes(*blake3::hash(data).as_bytes()),
            mtime: Timestamp::EPOCH,
            mode: 0o600,
        },
        version: 1,
        previous: None,
        uid: UserId::from_bytes([1; 16]),
        name: UserName::parse("alice").unwrap(),
        key: key.public().fingerprint(),
        signed_at: Timestamp::EPOCH,
    };
    let mut upload = store.begin(&path).unwrap();
    for part in data.chunks(CHUNK) {
        upload.append(&mut Chunk::from_slice(part)).unwrap();
    }
    upload
        .commit(&SignedManifest::sign(manifest, &key).unwrap())
        .unwrap();
}

#[test]
fn age_opens_stored_files_of_every_size_and_finds_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (root, key) = (dir.path().join("files"), dir.path().join("storage.key"));
    StorageKey::generate().save_new(&key).unwrap();
    Store::init(&root, &StorageKey::load(&key).unwrap()).unwrap();
    let (store, _) = Store::open(&root, StorageKey::load(&key).unwrap(), vec![]).unwrap();
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 200_000] {
        let data: Vec<u8> = (0..size).map(|at| (at * 7 + at / 251) as u8).collect();
        put(&store, &format!("dir/{size}"), &data);
        let file = root.join(format!("dir/{size}.age"));
        assert!(decrypt(&key, &file).as_ref() == Ok(&data), "{size} bytes");

        let stored = fs::read(&file).unwrap();
        for changed in [stored.len() - 1, stored.len() - size - 20, 400, 4_000] {
            let mut bytes = stored.clone();
            bytes[changed] ^= 1;
            fs::write(&file, bytes).unwrap();
            decrypt(&key, &file).expect_err(&format!("{size} bytes, byte {changed} changed"));
        }
    }
}

#[test]
fn age_agrees_on_the_public_half_of_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let key = StorageKey::generate();
    let path = dir.path().join("storage.key");
    key.save_new(&path).unwrap();
    let output = Command::new("age-keygen").arg("-y").arg(&path).output();
    let output = output.unwrap_or_else(|error| {
        panic!("these tests run age-keygen (Debian: apt-get install age): {error}")
    });
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        key.recipient().to_string()
    );
}

#[test]
fn a_key_of_age_keygen_serves_as_storage_key_and_as_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("files");
    let (key, recipient) = keygen(dir.path(), "storage.key");
    let (recovery, recovery_recipient) = keygen(dir.path(), "recovery.key");
    let (stranger, _) = keygen(dir.path(), "stranger.key");
    let storage = StorageKey::load(&key).unwrap();
    assert_eq!(storage.recipient().to_string(), recipient);
    Store::init(&root, &storage).unwrap();
    let recovery_recipient: Recipient = recovery_recipient.parse().unwrap();
    let (store, _) = Store::open(&root, storage, vec![recovery_recipient]).unwrap();
    let data = vec![42; CHUNK + 7];
    put(&store, "a", &data);
    let file = root.join("a.age");
    assert_eq!(decrypt(&key, &file), Ok(data.clone()));
    assert_eq!(decrypt(&recovery, &file), Ok(data.clone()));
    let refused = decrypt(&stranger, &file).unwrap_err();
    assert!(refused.contains("no identity matched"), "{refused}");

    // The other way round: a file that age wrote is reported, not served.
    let plain = dir.path().join("plain");
    fs::write(&plain, "hello").unwrap();
    let foreign = root.join("foreign.age");
    let output = age(&[
        "-r",
        &recipient,
        "-o",
        foreign.to_str().unwrap(),
        plain.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{output:?}");
    drop(store);
    let (store, report) = Store::open(&root, StorageKey::load(&key).unwrap(), vec![]).unwrap();
    assert_eq!(report.files, 1);
    let [(name, reason)] = &report.unreadable[..] else {
        panic!("{report:?}")
    };
    assert!(
        name == "foreign.age" && reason.contains("without a Towpath manifest"),
        "{reason}"
    );
    store.verify(&FilePath::parse("a").unwrap()).unwrap();
}
