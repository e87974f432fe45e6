//! The storage of a Towpath server: files encrypted at rest, the registry of users, and the log.
//!
//! [`Store`] holds the files, each one an `age` file with its signed manifest in the header;
//! [`Registry`] holds `users.json`; [`log`] writes `server.log`. The format is described in
//! `docs/STORAGE.md`.
#![forbid(unsafe_code)]

mod age;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod fuzzing_tests;
pub mod limits;
pub mod log;
mod registry;
mod store;

pub use age::{KeyFileError, Recipient, RecipientError, StorageKey};
pub use registry::{
    NewKey, NewUser, OnBehalf, PasswordError, Registry, RegistryError, RetiredUser, User, UserKey,
};
pub use store::{
    CommitError, Damage, Download, Listed, Mismatch, OpenError, OpenReport, Store, StoreError,
    Upload,
};
