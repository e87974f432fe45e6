//! A full disk.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::tests::{append, get, next, path};
use super::*;
use crate::files::memory::MemoryFiles;

/// Puts small files until there is no room; how many.
fn fill(store: &Store) -> usize {
    for count in 0.. {
        let name = format!("file-{count}");
        let manifest = next(store, &name, Some(b"x"));
        let put = store.begin(&path(&name)).and_then(|mut upload| {
            append(&mut upload, b"x")?;
            Ok(upload)
        });
        let refused = match put.map(|upload| upload.commit(&manifest)) {
            Ok(Ok(())) => continue,
            Ok(Err((CommitError::Store(error), None))) | Err(error) => error,
            Ok(Err(other)) => panic!("{other:?}"),
        };
        assert!(matches!(refused, StoreError::NoSpace), "{refused:?}");
        return count;
    }
    unreachable!("the disk has an end")
}

/// Deletes every file, which frees nothing: a deletion is as large as a file of one byte.
fn delete_all(store: &Store, count: usize) {
    for at in 0..count {
        let name = format!("file-{at}");
        let deleted = store.delete(&next(store, &name, None));
        deleted.unwrap_or_else(|error| panic!("{name} of {count}: {error}"));
        assert!(matches!(get(store, &name), Err(StoreError::NotFound)));
    }
}

#[test]
fn uploads_leave_room_for_deletions() {
    let (files, key) = (MemoryFiles::default(), StorageKey::generate());
    open::init(&files, Path::new("memory"), &key).unwrap();
    files.set_capacity(2 << 20);
    let (store, _) =
        super::tests::open_on(Arc::new(files), Path::new("memory"), key, vec![]).unwrap();
    let count = fill(&store);
    assert!(count > 200, "{count} files in half of the disk");
    delete_all(&store, count);
}

/// Unmounts when it drops.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// Only root can mount; the tests run as root in CI.
#[test]
fn a_full_file_system_still_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=3m,mode=700", "none"]);
    let mounted = mount.arg(dir.path()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return;
    }
    let _mounted = Mounted(dir.path());
    let key = StorageKey::generate();
    Store::init(dir.path(), &key).unwrap();
    let (store, _) = Store::open(dir.path(), key, vec![]).unwrap();
    let count = fill(&store);
    assert!(count > 100, "{count} files");
    delete_all(&store, count);
}
