//! The keys of a file: its file key, and what is derived from it.

use zeroize::Zeroizing;

use crate::limits::FILE_KEY;

/// The symmetric key of one file, from which the header MAC, the payload key and the key of the
/// proof are derived.
pub(crate) type FileKey = Zeroizing<[u8; FILE_KEY]>;

/// HKDF-SHA256 to one 32-byte key, as age uses it throughout.
pub(super) fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    hkdf::Hkdf::<sha2::Sha256>::new(Some(salt), secret)
        .expand(info, &mut *key)
        .expect("HKDF-SHA256 gives up to 8,160 bytes, and this asks for 32");
    key
}
