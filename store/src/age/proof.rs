//! The `towpath` stanza: manifest and signature, sealed under a key that only holders of the file
//! key have.
//!
//! Sealed rather than plain so that neither names, sizes nor hashes of plaintexts lie in the clear
//! on the disk. Layout of the sealed text, [`PROOF`] bytes:
//! `length(2, big-endian) ‖ manifest ‖ length(2) ‖ signature ‖ zeros`. Layout of the body:
//! `nonce(24) ‖ XChaCha20-Poly1305(sealed text) ‖ tag(16)`.

use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use towpath_protocol::limits::{MAX_MANIFEST_LEN, MAX_SIGNATURE_LEN};

use super::{FileKey, derive};
use crate::limits::{PROOF, TAG};

/// First argument of the stanza's line.
pub(super) const KIND: &str = "towpath";
/// Second argument: the version of the layout above.
pub(super) const VERSION: &str = "1";
const INFO: &[u8] = b"towpath/v1/proof";
const NONCE: usize = 24;
const BODY: usize = NONCE + PROOF + TAG;
const _: () = assert!(
    MAX_MANIFEST_LEN + MAX_SIGNATURE_LEN + 4 <= PROOF,
    "every signed manifest fits"
);

/// Manifest and armored signature as text; both empty in a file that is not published yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) manifest: String,
    pub(crate) signature: String,
}

impl Proof {
    /// Whether the stanza has room for this proof.
    pub(crate) fn fits(&self) -> bool {
        self.manifest.len() + self.signature.len() + 4 <= PROOF
    }

    /// The stanza's body. The proof [`fits`](Proof::fits).
    pub(super) fn seal(&self, key: &FileKey) -> Result<Vec<u8>, getrandom::Error> {
        let mut body = vec![0; BODY];
        getrandom::fill(&mut body[..NONCE])?;
        let mut at = NONCE;
        for part in [&self.manifest, &self.signature] {
            let len = u16::try_from(part.len())
                .expect("the caller checked that both parts fit in 3,072 bytes");
            body[at..at + 2].copy_from_slice(&len.to_be_bytes());
            body[at + 2..at + 2 + part.len()].copy_from_slice(part.as_bytes());
            at += 2 + part.len();
        }
        let (nonce, rest) = body.split_at_mut(NONCE);
        let (text, tag) = rest.split_at_mut(PROOF);
        let sealed = cipher(key)
            .encrypt_inout_detached(&nonce_of(nonce), b"", text.into())
            .expect("3,072 bytes are far below the limit of the cipher");
        tag.copy_from_slice(&sealed);
        Ok(body)
    }

    /// Opens a body; `None` when it was changed or is not laid out as above.
    pub(super) fn open(key: &FileKey, mut body: Vec<u8>) -> Option<Self> {
        if body.len() != BODY {
            return None;
        }
        let (nonce, rest) = body.split_at_mut(NONCE);
        let (text, tag) = rest.split_at_mut(PROOF);
        let tag: [u8; TAG] = (&*tag).try_into().ok()?;
        cipher(key)
            .decrypt_inout_detached(&nonce_of(nonce), b"", (&mut *text).into(), &Tag::from(tag))
            .ok()?;
        let (manifest, rest) = split_part(text)?;
        let (signature, padding) = split_part(rest)?;
        padding.iter().all(|&byte| byte == 0).then(|| Self {
            manifest: manifest.into(),
            signature: signature.into(),
        })
    }
}

fn split_part(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (part, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    Some((std::str::from_utf8(part).ok()?, rest))
}

fn cipher(key: &FileKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&*derive(&**key, b"", INFO)).into())
}

fn nonce_of(bytes: &[u8]) -> XNonce {
    XNonce::try_from(bytes).expect("the body was split at the length of the nonce")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn opens_what_it_sealed(key: [u8; 16], manifest in "\\PC{0,200}", signature in "\\PC{0,100}") {
            let key = FileKey::new(key);
            let proof = Proof { manifest, signature };
            prop_assert!(proof.fits());
            let body = proof.seal(&key).unwrap();
            prop_assert_eq!(body.len(), BODY);
            prop_assert_eq!(Proof::open(&key, body), Some(proof));
        }
    }

    #[test]
    fn the_largest_proof_fits_and_one_byte_more_does_not() {
        let proof = Proof {
            manifest: "m".repeat(PROOF - 14),
            signature: "s".repeat(10),
        };
        assert!(proof.fits());
        let key = FileKey::new([1; 16]);
        assert_eq!(
            Proof::open(&key, proof.seal(&key).unwrap()),
            Some(proof.clone())
        );
        assert!(
            !Proof {
                signature: "s".repeat(11),
                ..proof
            }
            .fits()
        );
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let key = FileKey::new([2; 16]);
        let body = Proof {
            manifest: "manifest".into(),
            signature: "signature".into(),
        }
        .seal(&key)
        .unwrap();
        for bit in (0..body.len() * 8).step_by(7) {
            let mut changed = body.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Proof::open(&key, changed), None, "bit {bit}");
        }
        assert_eq!(Proof::open(&FileKey::new([3; 16]), body.clone()), None);
        assert_eq!(Proof::open(&key, body[1..].to_vec()), None);
    }
}
