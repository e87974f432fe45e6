//! Writing and reading a whole header.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use hmac::{Hmac, Mac};
use x25519_dalek::PublicKey;
use zeroize::Zeroizing;

use super::key::random_secret;
use super::stanza::{self, Stanza, base64, fixed};
use super::{FileKey, Proof, Recipient, StorageKey, derive, proof};
use crate::limits::{FILE_KEY, TAG};

/// First line of a header.
pub(super) const VERSION_LINE: &str = "age-encryption.org/v1";
const X25519: &str = "X25519";
const X25519_INFO: &[u8] = b"age-encryption.org/v1/X25519";

/// The recipients' stanzas of one file, made once, so that its header can be written again with
/// another proof and keep its length.
pub(crate) struct Header {
    recipients: String,
}

/// What a header gave to a holder of the storage key.
pub(crate) struct Opened {
    pub(crate) key: FileKey,
    pub(crate) proof: Proof,
    /// Bytes of the header; the payload's nonce follows.
    pub(crate) len: usize,
}

/// Why a header does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    /// Not the text of an age v1 header.
    #[error("not a readable age header: {0}")]
    Malformed(&'static str),
    /// None of the identities is a recipient.
    #[error("encrypted for another storage key")]
    NotForUs,
    /// The MAC or the seal of the proof is wrong.
    #[error("the header was changed")]
    Changed,
    /// An age file, but not of a Towpath store.
    #[error("an age file without a Towpath proof")]
    NoProof,
}

impl Header {
    /// Wraps `key` for every recipient.
    ///
    /// # Errors
    /// When the system has no randomness for the ephemeral secrets.
    pub(crate) fn new<'a>(
        key: &FileKey,
        recipients: impl IntoIterator<Item = &'a Recipient>,
    ) -> Result<Self, getrandom::Error> {
        let mut text = String::new();
        for recipient in recipients {
            let secret = random_secret()?;
            let share = PublicKey::from(&secret);
            let shared = secret.diffie_hellman(recipient.public());
            let wrap = wrap_key(shared.as_bytes(), &share, recipient.public());
            let mut body = [0; FILE_KEY + TAG];
            body[..FILE_KEY].copy_from_slice(&**key);
            let tag = wrap
                .encrypt_inout_detached(&Nonce::default(), b"", (&mut body[..FILE_KEY]).into())
                .expect("16 bytes are far below the limit of the cipher");
            body[FILE_KEY..].copy_from_slice(&tag);
            stanza::emit(&mut text, &[X25519, &base64(share.as_bytes())], &body);
        }
        Ok(Self { recipients: text })
    }

    /// The header's bytes with this proof, which [`fits`](Proof::fits); of the same length for
    /// every proof.
    ///
    /// # Errors
    /// When the system has no randomness for the nonce.
    pub(crate) fn emit(&self, key: &FileKey, proof: &Proof) -> Result<Vec<u8>, getrandom::Error> {
        let mut text = format!("{VERSION_LINE}\n{}", self.recipients);
        stanza::emit(&mut text, &[proof::KIND, proof::VERSION], &proof.seal(key)?);
        text.push_str("---");
        let mac = mac(key, text.as_bytes()).finalize().into_bytes();
        text.push(' ');
        text.push_str(&base64(&mac));
        text.push('\n');
        Ok(text.into_bytes())
    }

    /// Opens the header at the beginning of `bytes`.
    pub(crate) fn open(bytes: &[u8], storage: &StorageKey) -> Result<Opened, HeaderError> {
        let mut parts = stanza::parse(bytes)?;
        let mut key = None;
        for stanza in parts.stanzas.iter().filter(|stanza| stanza.kind == X25519) {
            let (share, wrapped) = x25519(stanza)?;
            if key.is_none() {
                key = unwrap(storage, &share, &wrapped);
            }
        }
        let key = key.ok_or(HeaderError::NotForUs)?;
        mac(&key, parts.covered.as_bytes())
            .verify_slice(&parts.mac)
            .map_err(|_| HeaderError::Changed)?;

        let is_proof =
            |stanza: &Stanza<'_>| stanza.kind == proof::KIND && stanza.args == [proof::VERSION];
        let found = parts
            .stanzas
            .iter()
            .position(is_proof)
            .ok_or(HeaderError::NoProof)?;
        let body = parts.stanzas.swap_remove(found).body;
        if parts.stanzas.iter().any(is_proof) {
            return Err(HeaderError::Malformed("it has two proofs"));
        }
        let proof = Proof::open(&key, body).ok_or(HeaderError::Changed)?;
        Ok(Opened {
            key,
            proof,
            len: parts.len,
        })
    }
}

fn x25519(stanza: &Stanza<'_>) -> Result<([u8; 32], [u8; FILE_KEY + TAG]), HeaderError> {
    const BAD: HeaderError = HeaderError::Malformed("an X25519 stanza has the wrong shape");
    let [share] = stanza.args[..] else {
        return Err(BAD);
    };
    let wrapped = stanza.body.as_slice().try_into().map_err(|_| BAD)?;
    Ok((fixed(share).ok_or(BAD)?, wrapped))
}

fn unwrap(
    storage: &StorageKey,
    share: &[u8; 32],
    wrapped: &[u8; FILE_KEY + TAG],
) -> Option<FileKey> {
    let share = PublicKey::from(*share);
    let (sealed, tag) = wrapped.split_first_chunk::<FILE_KEY>()?;
    let tag: [u8; TAG] = tag.try_into().ok()?;
    storage.identities().find_map(|identity| {
        let shared = identity.secret().diffie_hellman(&share);
        // A point of low order would give a key that anyone can compute (RFC 7748 §6.1; age
        // requires the check).
        if !shared.was_contributory() {
            return None;
        }
        let mut key = Zeroizing::new(*sealed);
        wrap_key(shared.as_bytes(), &share, identity.recipient().public())
            .decrypt_inout_detached(
                &Nonce::default(),
                b"",
                (&mut key[..]).into(),
                &Tag::from(tag),
            )
            .ok()?;
        Some(key)
    })
}

fn wrap_key(shared: &[u8; 32], share: &PublicKey, recipient: &PublicKey) -> ChaCha20Poly1305 {
    let mut salt = [0; 64];
    salt[..32].copy_from_slice(share.as_bytes());
    salt[32..].copy_from_slice(recipient.as_bytes());
    ChaCha20Poly1305::new((&*derive(shared, &salt, X25519_INFO)).into())
}

fn mac(key: &FileKey, covered: &[u8]) -> Hmac<sha2::Sha256> {
    let key = derive(&**key, b"", b"header");
    let mut mac = Hmac::new_from_slice(&*key).expect("HMAC takes keys of any length");
    mac.update(covered);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> Proof {
        Proof {
            manifest: "the manifest".into(),
            signature: "the signature".into(),
        }
    }

    #[test]
    fn every_recipient_opens_it_and_nobody_else() {
        let (ours, theirs, stranger) = (
            StorageKey::generate(),
            StorageKey::generate(),
            StorageKey::generate(),
        );
        let key = FileKey::new([9; 16]);
        let header = Header::new(
            &key,
            &[ours.recipient().clone(), theirs.recipient().clone()],
        )
        .unwrap();
        let bytes = header.emit(&key, &proof()).unwrap();
        for storage in [&ours, &theirs] {
            let opened = Header::open(&bytes, storage).unwrap();
            assert_eq!(
                (&*opened.key, opened.len, opened.proof),
                (&*key, bytes.len(), proof())
            );
        }
        assert_eq!(
            Header::open(&bytes, &stranger).err(),
            Some(HeaderError::NotForUs)
        );
    }

    #[test]
    fn the_length_does_not_depend_on_the_proof() {
        let storage = StorageKey::generate();
        let key = FileKey::new([9; 16]);
        let header = Header::new(&key, [storage.recipient()]).unwrap();
        let blank = header.emit(&key, &Proof::default()).unwrap();
        assert_eq!(blank.len(), header.emit(&key, &proof()).unwrap().len());
        assert_eq!(
            Header::open(&blank, &storage).unwrap().proof,
            Proof::default()
        );
        assert!(blank.len() + crate::limits::PAYLOAD_NONCE <= crate::limits::MAX_HEADER);
    }

    #[test]
    fn a_header_for_all_recipients_is_within_its_bound() {
        let storage = StorageKey::generate();
        let key = FileKey::new([9; 16]);
        let header =
            Header::new(&key, [storage.recipient(); crate::limits::MAX_RECIPIENTS]).unwrap();
        let bytes = header.emit(&key, &proof()).unwrap();
        assert!(bytes.len() + crate::limits::PAYLOAD_NONCE <= crate::limits::MAX_HEADER);
        assert_eq!(Header::open(&bytes, &storage).unwrap().proof, proof());
    }

    #[test]
    fn an_age_file_of_someone_else_has_no_proof() {
        let storage = StorageKey::generate();
        let key = FileKey::new([9; 16]);
        let header = Header::new(&key, [storage.recipient()]).unwrap();
        let mut text = format!("{VERSION_LINE}\n{}---", header.recipients);
        let mac = mac(&key, text.as_bytes()).finalize().into_bytes();
        text.push_str(&format!(" {}\n", base64(&mac)));
        assert_eq!(
            Header::open(text.as_bytes(), &storage).err(),
            Some(HeaderError::NoProof)
        );
    }

    #[test]
    fn a_share_of_low_order_is_refused() {
        let storage = StorageKey::generate();
        assert!(unwrap(&storage, &[0; 32], &[0; 32]).is_none());
    }
}
