//! The store against a map from paths to contents, and the refusal of file systems that mix up
//! names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use towpath_protocol::channel::Chunk;
use towpath_protocol::signed::Content;

use super::tests::{bytes, get, next, path, put};
use super::*;
use crate::files::memory::MemoryFiles;
use crate::files::{Files, Guard, Kind, Lock, OpenFile, Space, Stat};
use crate::limits::CHUNK;

#[derive(Clone, Debug)]
enum Step {
    Put(&'static str, usize),
    Delete(&'static str),
    /// A manifest on top of a version that is not current.
    Stale(&'static str),
    Read(&'static str, u64),
    List(String, Option<&'static str>, usize),
    Reopen,
}

/// Prefixes of each other, a file beside a directory of its name, the first and the last of an
/// order.
const PATHS: [&str; 8] = ["a", "a/b", "a/bc", "ab", "b/a", "é", "~", "a b"];

fn step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(&PATHS[..]);
    let size = prop_oneof![
        0..3_usize,
        CHUNK - 1..CHUNK + 2,
        2 * CHUNK - 1..2 * CHUNK + 2
    ];
    prop_oneof![
        5 => (name(), size).prop_map(|(name, size)| Step::Put(name, size)),
        3 => name().prop_map(Step::Delete),
        1 => name().prop_map(Step::Stale),
        3 => (name(), 0..4_u64).prop_map(|(name, chunk)| Step::Read(name, chunk)),
        4 => (prop_oneof![Just(""), Just("a"), Just("a/"), Just("b"), Just("zz")], prop::option::of(name()), 0..5_usize)
            .prop_map(|(prefix, after, limit)| Step::List(prefix.to_owned(), after, limit)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn behaves_like_a_map(steps in prop::collection::vec(step(), 0..30)) {
        let (files, key) = (MemoryFiles::default(), StorageKey::generate());
        open::init(&files, Path::new("memory"), &key).unwrap();
        let reopen = || super::tests::open_on(Arc::new(files.clone()), Path::new("memory"), key.copy(), vec![]).unwrap();
        let mut store = reopen().0;
        let mut model = BTreeMap::<&str, Vec<u8>>::new();
        let mut versions = BTreeMap::<&str, u64>::new();
        for step in steps {
            match step {
                Step::Put(name, size) => {
                    put(&store, name, &bytes(size));
                    model.insert(name, bytes(size));
                    *versions.entry(name).or_default() += 1;
                }
                Step::Delete(name) => {
                    if versions.contains_key(name) {
                        let deleted = store.delete(&next(&store, name, None));
                        prop_assert_eq!(deleted.is_ok(), model.remove(name).is_some());
                        *versions.get_mut(name).unwrap() += u64::from(deleted.is_ok());
                    }
                }
                Step::Stale(name) => {
                    let stale = next(&store, name, Some(b"stale"));
                    put(&store, name, b"new");
                    model.insert(name, b"new".to_vec());
                    *versions.entry(name).or_default() += 1;
                    let upload = super::tests::begin(&store, name, b"stale");
                    let conflict = matches!(upload.commit(&stale), Err((CommitError::Conflict { .. }, Some(_))));
                    prop_assert!(conflict);
                }
                Step::Read(name, chunk) => match (store.read(&path(name)), model.get(name)) {
                    (Ok(mut download), Some(data)) => {
                        download.seek_chunk(chunk);
                        let mut buffer = Chunk::new();
                        let more = download.next(&mut buffer).unwrap();
                        let expected = data.get(chunk as usize * CHUNK..).unwrap_or(&[]);
                        prop_assert_eq!(more, !expected.is_empty());
                        prop_assert!(buffer[..] == expected[..expected.len().min(CHUNK)]);
                    }
                    (Err(StoreError::NotFound), None) => {}
                    (result, _) => prop_assert!(false, "{:?}", result),
                },
                Step::List(prefix, after, limit) => {
                    let matching: Vec<&str> = model
                        .keys()
                        .copied()
                        .filter(|name| name.starts_with(&prefix) && after.is_none_or(|after| *name > after))
                        .collect();
                    let after = after.map(path);
                    let (page, more) = store.list(&prefix, after.as_ref(), limit);
                    let names: Vec<&str> = page.iter().map(|entry| entry.path.as_str()).collect();
                    prop_assert_eq!(&names[..], &matching[..matching.len().min(limit)]);
                    prop_assert_eq!(more, matching.len() > limit);
                }
                Step::Reopen => {
                    drop(store);
                    let report;
                    (store, report) = reopen();
                    prop_assert_eq!((report.files, report.unreadable_count, report.leftovers), (model.len(), 0, 0));
                }
            }
        }
        for name in PATHS {
            prop_assert_eq!(get(&store, name).ok(), model.get(name).cloned());
            let version = store.stat(&path(name)).map(|signed| signed.manifest().version);
            prop_assert_eq!(version, versions.get(name).copied());
        }
        let (listed, more) = store.list("", None, 100);
        prop_assert!(!more && listed.len() == model.len());
        for entry in listed {
            let signed = entry.signed.unwrap();
            let manifest = signed.manifest();
            let name = manifest.path.as_str();
            let Content::File { size, mode, .. } = manifest.content else {
                panic!("a deletion is listed");
            };
            prop_assert_eq!((size, manifest.version), (model[name].len() as u64, versions[name]));
            prop_assert_eq!((manifest.name.as_str(), mode), ("alice", 0o644));
        }
    }
}

/// A file system that takes names for the same when they differ in case only.
struct Folding(MemoryFiles);

impl Files for Folding {
    fn create(&self, name: &str) -> io::Result<Box<dyn OpenFile>> {
        self.0.create(&name.to_lowercase())
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn OpenFile>> {
        self.0.open(&name.to_lowercase())
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(&from.to_lowercase(), &to.to_lowercase())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(&name.to_lowercase())
    }
    fn create_dir(&self, name: &str) -> io::Result<()> {
        self.0.create_dir(&name.to_lowercase())
    }
    fn sync_dir(&self, name: &str) -> io::Result<()> {
        self.0.sync_dir(&name.to_lowercase())
    }
    fn entries(&self, name: &str) -> io::Result<Vec<(OsString, Kind)>> {
        self.0.entries(&name.to_lowercase())
    }
    fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        self.0.stat(&name.to_lowercase())
    }
    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
    fn lock(&self, name: &str, lock: Lock) -> io::Result<Option<Box<dyn Guard>>> {
        self.0.lock(&name.to_lowercase(), lock)
    }
}

#[test]
fn a_file_system_that_folds_names_is_refused() {
    let (files, key) = (MemoryFiles::default(), StorageKey::generate());
    open::init(&files, Path::new("memory"), &key).unwrap();
    let folding = super::tests::open_on(
        Arc::new(Folding(files.clone())),
        Path::new("memory"),
        key.copy(),
        vec![],
    );
    assert!(matches!(folding, Err(OpenError::Names(_))));
    assert!(super::tests::open_on(Arc::new(files), Path::new("memory"), key, vec![]).is_ok());
}
