//! The payload: ChaCha20-Poly1305 in the STREAM construction (age v1, "Payload").

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};

use super::kdf::{FileKey, derive};
use crate::limits::{CHUNK, PAYLOAD_NONCE, TAG};

/// Seals and opens the chunks of one file in place.
pub(crate) struct Payload {
    cipher: ChaCha20Poly1305,
}

impl Payload {
    /// Derives the payload key from the file key and the nonce that follows the header.
    pub(crate) fn new(key: &FileKey, nonce: &[u8; PAYLOAD_NONCE]) -> Self {
        let key = derive(&**key, nonce, b"payload");
        Self {
            cipher: ChaCha20Poly1305::new((&*key).into()),
        }
    }

    /// Seals chunk `index` in place and returns its tag. A chunk is sealed once: another text under
    /// the same index would repeat the nonce.
    pub(crate) fn seal(&self, index: u64, last: bool, chunk: &mut [u8]) -> [u8; TAG] {
        self.cipher
            .encrypt_inout_detached(&nonce(index, last), b"", chunk.into())
            .expect("a chunk of 64 KiB is far below the limit of the cipher")
            .into()
    }

    /// Opens chunk `index` in place; `false` when it, its place or its being the last was changed.
    /// `chunk` is then invalid.
    pub(crate) fn open(&self, index: u64, last: bool, chunk: &mut [u8], tag: &[u8; TAG]) -> bool {
        let tag = Tag::from(*tag);
        self.cipher
            .decrypt_inout_detached(&nonce(index, last), b"", chunk.into(), &tag)
            .is_ok()
    }
}

/// A counter of 11 bytes, big-endian, and one byte that marks the last chunk.
fn nonce(index: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce.into()
}

/// Chunks of a file of `size` bytes: at least one, for the empty file has one empty last chunk.
pub(crate) fn chunks(size: u64) -> u64 {
    size.div_ceil(CHUNK as u64).max(1)
}

/// Bytes that the sealed chunks of a file of `size` bytes take; `None` for sizes no disk has.
pub(crate) fn sealed_len(size: u64) -> Option<u64> {
    size.checked_add(chunks(size).checked_mul(TAG as u64)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_chunks() {
        for (size, expected) in [
            (0, 1),
            (1, 1),
            (65_535, 1),
            (65_536, 1),
            (65_537, 2),
            (131_072, 2),
            (131_073, 3),
        ] {
            assert_eq!(chunks(size), expected, "{size}");
            assert_eq!(sealed_len(size), Some(size + 16 * expected));
        }
        assert_eq!(sealed_len(u64::MAX), None);
    }

    #[test]
    fn the_counter_stands_before_the_flag() {
        assert_eq!(nonce(1, false)[..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(
            nonce(u64::MAX, true)[..],
            [0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 1]
        );
    }

    #[test]
    fn a_chunk_opens_only_at_its_place() {
        let payload = Payload::new(&FileKey::new([1; 16]), &[2; 16]);
        let mut chunk = *b"some text";
        let tag = payload.seal(3, false, &mut chunk);
        let opens = |index, last| payload.open(index, last, &mut chunk.clone(), &tag);
        assert!(opens(3, false));
        assert!(!opens(3, true));
        assert!(!opens(2, false));
    }
}
