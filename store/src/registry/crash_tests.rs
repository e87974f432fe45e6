//! Failures and crashes at every file operation of a change.

use std::path::Path;
use std::sync::Arc;

use super::tests::name;
use super::*;
use crate::files::Files as _;
use crate::files::memory::{Fault, MemoryFiles};
use crate::limits::MIN_BCRYPT_COST;

fn file(files: &MemoryFiles) -> RegistryFile {
    RegistryFile::on(
        Arc::new(files.clone()),
        "users.json",
        Path::new("users.json"),
    )
}

fn open(files: &MemoryFiles) -> Result<Registry, RegistryError> {
    Registry::with_file(file(files), MIN_BCRYPT_COST)
}

/// Adds users one after the other; gives those acknowledged, and those refused.
fn add_users(files: &MemoryFiles) -> (Vec<String>, Vec<String>) {
    let (mut told, mut refused) = (Vec::new(), Vec::new());
    if let Ok(registry) = open(files) {
        for user in ["alice", "bob", "carol"] {
            let new = NewUser {
                name: name(user),
                role: Role::Admin,
                password: None,
                keys: vec![],
            };
            let done = registry.add(new).is_ok();
            if done { &mut told } else { &mut refused }.push(user.to_owned());
        }
    }
    (told, refused)
}

#[test]
fn a_crash_or_a_failure_at_any_operation_loses_no_user() {
    for fault in [Fault::Crash, Fault::Once] {
        for after in 0.. {
            let files = MemoryFiles::default();
            file(&files).create(&Users::default()).unwrap();
            files.set_fault(after, fault);
            let (told, refused) = add_users(&files);
            if fault == Fault::Once && files.faulted() {
                let left = files.stat("users.json.new").unwrap();
                assert_eq!(left, None, "{fault:?} at operation {after}");
            }
            for seed in 0..8 {
                let context = format!("{fault:?} at operation {after}, seed {seed}");
                let disk = files.after_crash(seed);
                let registry = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(disk.stat("users.json.new").unwrap(), None, "{context}");
                let users: Vec<String> = registry
                    .users()
                    .iter()
                    .map(|user| user.name.to_string())
                    .collect();
                assert!(
                    told.iter().all(|user| users.contains(user)),
                    "{context}: {users:?}"
                );
                let known = |user: &String| told.contains(user) || refused.contains(user);
                assert!(users.iter().all(known), "{context}: {users:?}");
                let new = NewUser {
                    name: name("dave"),
                    role: Role::Guest,
                    password: None,
                    keys: vec![],
                };
                registry
                    .add(new)
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
            }
            if !files.faulted() {
                assert_eq!(told.len(), 3);
                break;
            }
        }
    }
}
