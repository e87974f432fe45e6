//! The `age` v1 container (<https://age-encryption.org/v1>), as the store writes and reads it.
//!
//! A stored file is a header (one X25519 stanza for each recipient, the sealed proof, a MAC over
//! all of it), a nonce of 16 bytes and the content in chunks of 64 KiB, each sealed with
//! ChaCha20-Poly1305. `age -d -i storage.key` opens it and skips the proof.

mod bech32;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod header;
mod key;
mod payload;
mod proof;
mod stanza;

pub(crate) use header::{Header, HeaderError};
pub use key::{KeyFileError, Recipient, RecipientError, StorageKey};
pub(crate) use payload::{Payload, chunks, sealed_len};
pub(crate) use proof::{Proof, ProofContext};
use zeroize::Zeroizing;

use crate::limits::FILE_KEY;

/// The symmetric key of one file, from which the header MAC, the payload key and the key of the
/// proof are derived.
pub(crate) type FileKey = Zeroizing<[u8; FILE_KEY]>;

/// HKDF-SHA256 to one 32-byte key, as age uses it throughout.
pub(crate) fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    hkdf::Hkdf::<sha2::Sha256>::new(Some(salt), secret)
        .expand(info, &mut *key)
        .expect("HKDF-SHA256 gives up to 8,160 bytes, and this asks for 32");
    key
}
