//! Stored files that cannot be read when the store is opened.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use towpath_protocol::signed::SigningKey;

use super::tests::{Bench, append, begin, bytes, get, next, path, put, signed};
use super::*;
use crate::files::memory::MemoryFiles;

/// What is listed: path, version, whether it is damaged.
fn listed(store: &Store) -> Vec<(String, u64, bool)> {
    let (entries, more) = store.list("", None, 100);
    assert!(!more);
    let entry = |entry: Listed| {
        let version = entry.signed.map_or(0, |signed| signed.manifest().version);
        (entry.path.to_string(), version, entry.damaged)
    };
    entries.into_iter().map(entry).collect()
}

fn corrupt(result: Result<Vec<u8>, StoreError>) -> &'static str {
    match result {
        Err(StoreError::Corrupt(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// A store with `cut`, whose proof is whole, and `garbage`, of which nothing is left.
fn damaged() -> (Bench, Vec<u8>) {
    let mut bench = Bench::new();
    for name in ["a", "cut", "garbage", "z"] {
        put(bench.store(), name, &bytes(100));
    }
    let whole = fs::read(bench.stored("cut")).unwrap();
    fs::write(bench.stored("cut"), &whole[..whole.len() - 1]).unwrap();
    fs::write(bench.stored("garbage"), "garbage").unwrap();
    bench.reopen();
    (bench, whole)
}

#[test]
fn damaged_files_are_listed_and_refused_as_such() {
    let (bench, _) = damaged();
    let store = bench.store();
    let entry = |name: &str, version, damaged| (name.to_owned(), version, damaged);
    let all = [
        entry("a", 1, false),
        entry("cut", 1, true),
        entry("garbage", 0, true),
        entry("z", 1, false),
    ];
    assert_eq!(listed(store), all);
    // Page by page as well.
    for limit in 1..4 {
        let (mut pages, mut after) = (vec![], None);
        loop {
            let (page, more) = store.list("", after.as_ref(), limit);
            assert!(page.len() <= limit);
            after = page.last().map(|entry| entry.path.clone());
            pages.extend(page.into_iter().map(|entry| entry.path.to_string()));
            if !more {
                break;
            }
        }
        assert_eq!(pages, ["a", "cut", "garbage", "z"], "{limit} a page");
    }
    assert_eq!(store.list("g", None, 10).0.len(), 1);
    assert_eq!(corrupt(get(store, "cut")), "it was cut");
    assert_eq!(
        corrupt(get(store, "garbage")),
        "its header is not that of an age file"
    );
    assert_eq!(store.damage(&path("cut")), Some(Damage::Content));
    assert_eq!(store.damage(&path("garbage")), Some(Damage::Proof));
    assert_eq!(store.damage(&path("a")), None);
}

#[test]
fn where_the_proof_opens_the_next_version_takes_its_place() {
    let (mut bench, _) = damaged();
    let current = bench.store().stat(&path("cut")).unwrap();
    assert_eq!(
        put(bench.store(), "cut", b"new").manifest().previous,
        Some(current.hash())
    );
    assert_eq!(get(bench.store(), "cut").unwrap(), b"new");
    bench.reopen();
    assert_eq!((bench.report.files, bench.report.unreadable_count), (3, 1));
    assert!(listed(bench.store()).contains(&("cut".to_owned(), 2, false)));
}

#[test]
fn a_damaged_file_can_be_deleted_or_sent_again() {
    let (bench, _) = damaged();
    let current = bench.store().stat(&path("cut")).unwrap();
    begin(bench.store(), "cut", &bytes(100))
        .commit(&current)
        .unwrap();
    assert_eq!(get(bench.store(), "cut").unwrap(), bytes(100));

    let (bench, _) = damaged();
    let store = bench.store();
    store.delete(&next(store, "cut", None)).unwrap();
    assert!(matches!(get(store, "cut"), Err(StoreError::NotFound)));
    assert!(!listed(store).iter().any(|(name, ..)| name == "cut"));
}

#[test]
fn where_the_proof_is_lost_only_an_upload_made_for_it_takes_its_place() {
    let (mut bench, _) = damaged();
    let store = bench.store();
    let first = signed(store.id(), None, "garbage", Some(b"new"));
    let refused = begin(store, "garbage", b"new").commit(&first);
    assert!(
        matches!(refused, Err((CommitError::Occupied, None))),
        "{refused:?}"
    );
    assert_eq!(fs::read(bench.stored("garbage")).unwrap(), b"garbage");
    // Whoever replaces it may know which version it was.
    let known = signed(store.id(), None, "garbage", Some(&bytes(100)));
    let third = {
        let second = signed(store.id(), Some(&known), "garbage", Some(b"second"));
        signed(store.id(), Some(&second), "garbage", Some(b"new"))
    };
    let mut upload = store.begin_replacing(&path("garbage")).unwrap();
    append(&mut upload, b"new").unwrap();
    upload.commit(&third).unwrap();
    assert_eq!(get(store, "garbage").unwrap(), b"new");
    bench.reopen();
    assert_eq!(get(bench.store(), "garbage").unwrap(), b"new");

    // Elsewhere such an upload is like any other.
    let store = bench.store();
    let mut manifest = next(store, "a", Some(b"x")).manifest().clone();
    (manifest.version, manifest.previous) = (1, None);
    let stale = SignedManifest::sign(manifest, &SigningKey::from_seed(&[7; 32])).unwrap();
    let mut upload = store.begin_replacing(&path("a")).unwrap();
    append(&mut upload, b"x").unwrap();
    let refused = upload.commit(&stale);
    assert!(
        matches!(refused, Err((CommitError::Conflict { .. }, Some(_)))),
        "{refused:?}"
    );
}

#[test]
fn a_file_repaired_in_place_is_served_again() {
    let (bench, whole) = damaged();
    let store = bench.store();
    fs::write(bench.stored("cut"), &whole).unwrap();
    assert_eq!(get(store, "cut").unwrap(), bytes(100));
    assert!(listed(store).contains(&("cut".to_owned(), 1, false)));
    assert_eq!(store.damage(&path("cut")), None);
    fs::remove_file(bench.stored("garbage")).unwrap();
    assert_eq!(corrupt(get(store, "garbage")), "it is gone from the disk");
}

#[test]
fn an_unreadable_directory_is_named_and_does_not_stop_the_start() {
    let (files, key) = (MemoryFiles::default(), StorageKey::generate());
    open::init(&files, Path::new("memory"), &key).unwrap();
    let open = || {
        super::tests::open_on(
            Arc::new(files.clone()),
            Path::new("memory"),
            key.copy(),
            vec![],
        )
    };
    let (store, _) = open().unwrap();
    for name in ["a", "dir/b", "dir/c"] {
        put(&store, name, name.as_bytes());
    }
    drop(store);
    files.set_unreadable("dir", true);
    let (store, report) = open().unwrap();
    assert_eq!((report.files, report.unreadable_count), (1, 1));
    let (name, reason) = &report.unreadable[0];
    assert_eq!(name, "dir/");
    assert!(
        reason.contains("injected failure of a directory"),
        "{reason}"
    );
    assert_eq!(get(&store, "a").unwrap(), b"a");
    let entry = |name: &str, version, damaged| (name.to_owned(), version, damaged);
    assert_eq!(
        listed(&store),
        [entry("a", 1, false), entry("dir", 0, true)]
    );
    assert_eq!(
        corrupt(get(&store, "dir")),
        "it is a directory that cannot be read"
    );
    assert_eq!(corrupt(get(&store, "dir/b")), "it cannot be read");
    assert_eq!(store.damage(&path("dir/new")), Some(Damage::Proof));
    assert!(matches!(get(&store, "dir2"), Err(StoreError::NotFound)));

    files.set_unreadable("dir", false);
    assert_eq!(get(&store, "dir/b").unwrap(), b"dir/b");
    assert!(matches!(get(&store, "dir/none"), Err(StoreError::NotFound)));
    put(&store, "dir/new", b"new");
    assert_eq!(put(&store, "dir/b", b"2").manifest().version, 2);
}
