//! Locks by path, and the directories that are known to survive a crash.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Condvar, Mutex, PoisonError};

use towpath_protocol::signed::FilePath;

/// Lets one thread at a time publish at a path; others wait. Paths do not wait for each other.
#[derive(Default)]
pub(super) struct PathLocks {
    held: Mutex<BTreeSet<FilePath>>,
    freed: Condvar,
}

/// Frees the path when it drops.
pub(super) struct PathGuard<'a> {
    locks: &'a PathLocks,
    path: FilePath,
}

impl PathLocks {
    pub(super) fn lock(&self, path: &FilePath) -> PathGuard<'_> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while !held.insert(path.clone()) {
            held = self
                .freed
                .wait(held)
                .unwrap_or_else(PoisonError::into_inner);
        }
        PathGuard {
            locks: self,
            path: path.clone(),
        }
    }
}

impl Drop for PathGuard<'_> {
    fn drop(&mut self) {
        self.locks
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.path);
        self.locks.freed.notify_all();
    }
}

/// Directories whose names are synced in their parents.
///
/// That a directory exists does not tell: another thread, or a process that was killed, may have
/// made it without syncing yet.
#[derive(Default)]
pub(super) struct DurableDirs(HashSet<String>);

impl DurableDirs {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    pub(super) fn insert(&mut self, name: &str) {
        self.0.insert(name.to_owned());
    }
}

/// The directories above a stored file, outermost first: `a` and `a/b` for `a/b/c.age`.
pub(super) fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn ancestors_come_outermost_first() {
        assert_eq!(ancestors("a/b/c.age").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(ancestors("c.age").count(), 0);
    }

    #[test]
    fn one_holder_for_each_path() {
        let locks = PathLocks::default();
        let path = FilePath::parse("a").unwrap();
        let inside = AtomicU32::new(0);
        let _other = locks.lock(&FilePath::parse("b").unwrap());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _held = locks.lock(&path);
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
