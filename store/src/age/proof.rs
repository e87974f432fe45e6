//! The `towpath` stanza: manifest and signature, sealed under a key that only holders of the file
//! key have.
//!
//! Sealed rather than plain so that neither names, sizes nor hashes of plaintexts lie in the clear
//! on the disk. Layout of the sealed text, [`PROOF`] bytes:
//! `length(2, big-endian) ‖ manifest ‖ length(2) ‖ signature ‖ zeros`. Layout of the body:
//! `nonce(24) ‖ XChaCha20-Poly1305(sealed text) ‖ tag(16) ‖ HMAC-SHA256(32)`.
//!
//! The HMAC is under a key derived from `storage.key`. The seal does not authenticate the server:
//! age encrypts to a public key, so whoever knows the recipient can choose a file key.

use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use towpath_protocol::limits::{MAX_MANIFEST_LEN, MAX_SIGNATURE_LEN};
use towpath_protocol::signed::{FilePath, StoreId};

use super::kdf::{FileKey, derive};
use super::key::{Identity, StorageKey};
use super::stanza::HeaderError;
use crate::limits::{PROOF, TAG};

/// First argument of the stanza's line.
pub(super) const KIND: &str = "towpath";
/// Second argument: the version of the layout above.
pub(super) const VERSION: &str = "1";
const INFO: &[u8] = b"towpath/v1/proof";
const MAC_INFO: &[u8] = b"towpath/v1/proof-mac";
const NONCE: usize = 24;
const MAC: usize = 32;
const BODY: usize = NONCE + PROOF + TAG + MAC;
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

/// What a proof is authenticated with and bound to.
#[derive(Clone, Copy)]
pub(crate) struct ProofContext<'a> {
    pub(crate) storage: &'a StorageKey,
    pub(crate) store: StoreId,
    pub(crate) path: &'a FilePath,
}

impl ProofContext<'_> {
    /// The MAC of the sealed part of a body, in a file of this key at this path.
    fn mac(&self, identity: &Identity, key: &FileKey, sealed: &[u8]) -> Hmac<sha2::Sha256> {
        let secret = identity.secret().as_bytes();
        let mac_key = derive(secret, self.store.as_bytes(), MAC_INFO);
        let mut mac = Hmac::new_from_slice(&*mac_key).expect("HMAC takes keys of any length");
        let path = self.path.as_str().as_bytes();
        mac.update(&(path.len() as u64).to_be_bytes());
        mac.update(path);
        mac.update(&**key);
        mac.update(sealed);
        mac
    }
}

impl Proof {
    /// Whether the stanza has room for this proof.
    pub(crate) fn fits(&self) -> bool {
        self.manifest.len() + self.signature.len() + 4 <= PROOF
    }

    /// The stanza's body. The proof [`fits`](Proof::fits).
    pub(super) fn seal(
        &self,
        key: &FileKey,
        context: ProofContext<'_>,
    ) -> Result<Vec<u8>, getrandom::Error> {
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
        let (sealed, mac) = body.split_at_mut(BODY - MAC);
        let (nonce, rest) = sealed.split_at_mut(NONCE);
        let (text, tag) = rest.split_at_mut(PROOF);
        let computed = cipher(key)
            .encrypt_inout_detached(&nonce_of(nonce), b"", text.into())
            .expect("3,072 bytes are far below the limit of the cipher");
        tag.copy_from_slice(&computed);
        let computed = context.mac(context.storage.current(), key, sealed);
        mac.copy_from_slice(&computed.finalize().into_bytes());
        Ok(body)
    }

    /// Opens a body.
    ///
    /// # Errors
    /// [`HeaderError::Foreign`] when it was not made with this storage key, store and path;
    /// [`HeaderError::Changed`] when it is not laid out as above.
    pub(super) fn open(
        key: &FileKey,
        mut body: Vec<u8>,
        context: ProofContext<'_>,
    ) -> Result<Self, HeaderError> {
        if body.len() != BODY {
            return Err(HeaderError::Changed);
        }
        let (sealed, mac) = body.split_at_mut(BODY - MAC);
        let genuine = |identity| context.mac(identity, key, sealed).verify_slice(mac).is_ok();
        if !context.storage.identities().any(genuine) {
            return Err(HeaderError::Foreign);
        }
        Self::unseal(key, sealed).ok_or(HeaderError::Changed)
    }

    fn unseal(key: &FileKey, sealed: &mut [u8]) -> Option<Self> {
        let (nonce, rest) = sealed.split_at_mut(NONCE);
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

    fn context<'a>(storage: &'a StorageKey, path: &'a FilePath) -> ProofContext<'a> {
        let store = StoreId::from_bytes([1; 16]);
        ProofContext {
            storage,
            store,
            path,
        }
    }

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).unwrap()
    }

    proptest! {
        #[test]
        fn opens_what_it_sealed(key: [u8; 16], manifest in "\\PC{0,200}", signature in "\\PC{0,100}") {
            let key = FileKey::new(key);
            let proof = Proof { manifest, signature };
            prop_assert!(proof.fits());
            let (storage, path) = (StorageKey::generate(), path("a"));
            let context = context(&storage, &path);
            let body = proof.seal(&key, context).unwrap();
            prop_assert_eq!(body.len(), BODY);
            prop_assert_eq!(Proof::open(&key, body, context), Ok(proof));
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
        let (storage, path) = (StorageKey::generate(), path("a"));
        let context = context(&storage, &path);
        assert_eq!(
            Proof::open(&key, proof.seal(&key, context).unwrap(), context),
            Ok(proof.clone())
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
        let (storage, path) = (StorageKey::generate(), path("a"));
        let context = context(&storage, &path);
        let body = Proof {
            manifest: "manifest".into(),
            signature: "signature".into(),
        }
        .seal(&key, context)
        .unwrap();
        for bit in (0..body.len() * 8).step_by(7) {
            let mut changed = body.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Proof::open(&key, changed, context).is_err(), "bit {bit}");
        }
        // The bits are under the seal as well, which the MAC does not replace.
        for bit in (0..(BODY - MAC) * 8).step_by(7) {
            let mut changed = body[..BODY - MAC].to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Proof::unseal(&key, &mut changed), None, "bit {bit}");
        }
        let other = FileKey::new([3; 16]);
        assert!(Proof::open(&other, body.clone(), context).is_err());
        assert!(Proof::open(&key, body[1..].to_vec(), context).is_err());
    }

    #[test]
    fn a_proof_is_bound_to_storage_key_store_and_path() {
        let key = FileKey::new([2; 16]);
        let (storage, other) = (StorageKey::generate(), StorageKey::generate());
        let (a, b) = (path("a"), path("b"));
        let body = Proof::default().seal(&key, context(&storage, &a)).unwrap();
        let open = |context| Proof::open(&key, body.clone(), context).err();
        assert_eq!(open(context(&storage, &a)), None);
        for wrong in [
            context(&other, &a),
            context(&storage, &b),
            ProofContext {
                store: StoreId::from_bytes([2; 16]),
                ..context(&storage, &a)
            },
        ] {
            assert_eq!(open(wrong), Some(HeaderError::Foreign));
        }
    }
}
