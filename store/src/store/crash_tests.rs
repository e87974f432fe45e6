//! Failures and crashes at every single file operation.
//!
//! What was acknowledged is there afterwards; what was not is there as a whole or not at all; and
//! the store goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::tests::{append, bytes, get, path, signed};
use super::*;
use crate::files::memory::{Fault, MemoryFiles};
use crate::limits::CHUNK;

/// What is at each path: the manifest and the content, none for a deletion.
type Contents = BTreeMap<&'static str, (SignedManifest, Option<Vec<u8>>)>;

/// One step of a client.
#[derive(Clone, Copy)]
enum Step {
    Put(&'static str, usize),
    Delete(&'static str),
}

/// New directories, several versions, a deletion and a return.
const STEPS: [Step; 7] = [
    Step::Put("d/a", 10),
    Step::Put("d/a", CHUNK + 1),
    Step::Put("d/e/f", 0),
    Step::Put("b", CHUNK),
    Step::Delete("d/a"),
    Step::Put("d/a", 3),
    Step::Put("d/g", 4),
];

struct Bench {
    files: MemoryFiles,
    key: StorageKey,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            files: MemoryFiles::default(),
            key: StorageKey::generate(),
        };
        open::init(&bench.files, Path::new("memory"), &bench.key).unwrap();
        bench
    }

    fn open(&self, files: &MemoryFiles) -> Result<(Store, OpenReport), OpenError> {
        super::tests::open_on(
            Arc::new(files.clone()),
            Path::new("memory"),
            self.key.copy(),
            Vec::new(),
        )
    }
}

/// What a client was told, and what it tried in vain since then.
#[derive(Default)]
struct Told {
    acknowledged: Contents,
    attempted: Vec<(&'static str, SignedManifest, Option<Vec<u8>>)>,
}

impl Told {
    fn run(&mut self, store: &Store, step: Step) -> bool {
        let (name, data) = match step {
            Step::Put(name, size) => (name, Some(bytes(size))),
            Step::Delete(name) => (name, None),
        };
        // On top of what the client knows to be published, as a client does that was told nothing
        // else.
        let known = store.stat(&path(name));
        if known.is_none() && data.is_none() {
            return false; // nothing that a deletion could name
        }
        let manifest = signed(store.id(), known.as_ref(), name, data.as_deref());
        let done = match &data {
            Some(data) => put(store, data, &manifest),
            None => store.delete(&manifest).is_ok(),
        };
        if done {
            self.attempted.retain(|(attempted, ..)| *attempted != name);
            self.acknowledged.insert(name, (manifest, data));
        } else {
            self.attempted.push((name, manifest, data));
        }
        done
    }

    /// Compares a store with what its client may expect.
    fn check(&self, store: &Store, context: &str) {
        let names: std::collections::BTreeSet<_> = self
            .acknowledged
            .keys()
            .copied()
            .chain(self.attempted.iter().map(|(name, ..)| *name))
            .collect();
        for name in names {
            let found = store.stat(&path(name));
            let acknowledged = self.acknowledged.get(name);
            let attempts = self
                .attempted
                .iter()
                .filter(|(attempted, ..)| *attempted == name);
            let mut possible = attempts
                .map(|(_, manifest, data)| (manifest, data))
                .chain(acknowledged.map(|(m, d)| (m, d)));
            let Some(found) = found else {
                assert!(
                    acknowledged.is_none(),
                    "{context}: {name} was acknowledged and is lost"
                );
                continue;
            };
            let expected = possible.find(|(manifest, _)| **manifest == found);
            let Some((_, expected)) = expected else {
                panic!("{context}: {name} is {found:?}")
            };
            match (get(store, name), expected) {
                (Ok(data), Some(expected)) => {
                    assert!(data == *expected, "{context}: {name} has other content")
                }
                (Err(StoreError::NotFound), None) => {}
                (result, _) => panic!("{context}: {name}: {result:?}"),
            }
        }
        let (listed, _) = store.list("", None, 100);
        assert!(
            listed.iter().all(|entry| store.read(&entry.path).is_ok()),
            "{context}"
        );
    }
}

fn put(store: &Store, data: &[u8], manifest: &SignedManifest) -> bool {
    let Ok(mut upload) = store.begin(&manifest.manifest().path) else {
        return false;
    };
    append(&mut upload, data).is_ok() && upload.commit(manifest).is_ok()
}

/// Runs the steps with a fault after `after` operations; `None` when they end before it.
fn run(bench: &Bench, after: u64, fault: Fault) -> Option<Told> {
    let mut told = Told::default();
    let (store, _) = bench.open(&bench.files).unwrap();
    bench.files.set_fault(after, fault);
    for step in STEPS {
        // A client that is refused tries once more, and then goes on.
        if !told.run(&store, step) {
            told.run(&store, step);
        }
    }
    bench.files.faulted().then_some(told)
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let mut points = 0;
    for after in 0.. {
        let bench = Bench::new();
        let Some(told) = run(&bench, after, Fault::Crash) else {
            break;
        };
        points += 1;
        for seed in 0..6 {
            let context = format!("crash after {after} operations, seed {seed}");
            let disk = bench.files.after_crash(seed);
            let (store, report) = bench.open(&disk).unwrap();
            assert_eq!(
                (report.unreadable, report.foreign),
                (vec![], vec![]),
                "{context}"
            );
            told.check(&store, &context);
            let mut healed = Told::default();
            assert!(healed.run(&store, Step::Put("d/a", 77)), "{context}");
            healed.check(&store, &context);
        }
    }
    assert!(points > 60, "only {points} operations");
}

/// A client that asks again is told that its version is current: from then on it is acknowledged.
#[test]
fn what_is_shown_after_a_kill_survives_a_crash() {
    for after in 0.. {
        let bench = Bench::new();
        let Some(mut told) = run(&bench, after, Fault::Crash) else {
            break;
        };
        let disk = bench.files.after_kill();
        let (store, _) = bench.open(&disk).unwrap();
        told.check(&store, &format!("kill after {after} operations"));
        for (name, manifest, data) in std::mem::take(&mut told.attempted) {
            if store.stat(&path(name)).as_ref() == Some(&manifest) {
                match &data {
                    Some(data) => assert!(put(&store, data, &manifest)),
                    None => store.delete(&manifest).unwrap(),
                }
                told.acknowledged.insert(name, (manifest, data));
            }
        }
        // Beside a file that the killed process left, in a directory of its.
        told.run(&store, Step::Put("d/e/h", 5));
        for seed in 0..6 {
            let disk = disk.after_crash(seed);
            let (store, _) = bench.open(&disk).unwrap();
            told.check(
                &store,
                &format!("kill after {after} operations, then a crash, seed {seed}"),
            );
        }
    }
}

#[test]
fn a_failure_of_any_operation_loses_nothing_acknowledged() {
    let mut refusals = 0;
    for after in 0.. {
        let bench = Bench::new();
        let Some(told) = run(&bench, after, Fault::Once) else {
            break;
        };
        refusals += usize::from(!told.attempted.is_empty());
        for seed in 0..6 {
            let context = format!("failure of operation {after}, seed {seed}");
            let disk = bench.files.after_crash(seed);
            let (store, report) = bench.open(&disk).unwrap();
            assert_eq!(report.unreadable, vec![], "{context}");
            told.check(&store, &context);
        }
    }
    assert!(
        refusals > 5,
        "only {refusals} failures that a second try did not mend"
    );
}

#[test]
fn a_failed_operation_leaves_the_running_store_whole() {
    for after in 0.. {
        let bench = Bench::new();
        let (store, _) = bench.open(&bench.files).unwrap();
        let mut told = Told::default();
        assert!(told.run(&store, Step::Put("d/a", 9)));
        let begun = store.begin(&path("y")).unwrap();
        bench.files.set_fault(after, Fault::Once);
        let done = told.run(&store, Step::Put("d/a", CHUNK + 1));
        if !bench.files.faulted() {
            break;
        }
        match store.read(&path("d/a")) {
            // After a directory was not synced, it is unknown which version a crash would leave, so
            // none is served.
            Err(StoreError::ReadOnly) => {
                assert!(!done);
                assert!(matches!(store.begin(&path("x")), Err(StoreError::ReadOnly)));
                let refused = begun.commit(&signed(store.id(), None, "y", Some(b"")));
                assert!(matches!(
                    refused,
                    Err((CommitError::Store(StoreError::ReadOnly), None))
                ));
            }
            _ => told.check(&store, &format!("failure of operation {after}")),
        }
    }
}

#[test]
fn a_crash_while_making_a_store_leaves_none_or_one() {
    let key = StorageKey::generate();
    for after in 0.. {
        let files = MemoryFiles::default();
        files.set_fault(after, Fault::Crash);
        let made = open::init(&files, Path::new("memory"), &key);
        for seed in 0..8 {
            let disk = files.after_crash(seed);
            let opened = super::tests::open_on(
                Arc::new(disk.clone()),
                Path::new("memory"),
                key.copy(),
                Vec::new(),
            );
            match (&made, opened) {
                (Ok(id), Ok((store, _))) => assert_eq!(store.id(), *id),
                (Err(_), Ok(_)) => {}
                (Err(_), Err(OpenError::Missing(_))) => {
                    open::init(&disk, Path::new("memory"), &key).unwrap();
                }
                (_, Err(error)) => panic!("{after}, {seed}: {error}"),
            }
        }
        if !files.faulted() {
            assert!(made.is_ok());
            break;
        }
    }
}
