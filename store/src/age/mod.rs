//! The `age` v1 container (<https://age-encryption.org/v1>), as the store writes and reads it.
//!
//! A stored file is a header (one X25519 stanza for each recipient, the sealed proof, a MAC over
//! all of it), a nonce of 16 bytes and the content in chunks of 64 KiB, each sealed with
//! ChaCha20-Poly1305. `age -d -i storage.key` opens it and skips the proof.

mod bech32;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod header;
mod kdf;
mod key;
mod payload;
mod proof;
mod stanza;

pub(crate) use header::Header;
pub(crate) use kdf::FileKey;
pub use key::{KeyFileError, Recipient, RecipientError, StorageKey};
pub(crate) use payload::{Payload, chunks, sealed_len};
pub(crate) use proof::{Proof, ProofContext};
pub(crate) use stanza::HeaderError;
