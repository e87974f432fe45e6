//! Writing and reading a whole header.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use hmac::{Hmac, Mac};
use x25519_dalek::PublicKey;

use super::kdf::{FileKey, derive};
use super::key::{Recipient, StorageKey, random_secret};
use super::proof::{self, Proof, ProofContext};
use super::stanza::{self, HeaderError, Stanza, VERSION_LINE, base64, fixed};
use crate::limits::{FILE_KEY, TAG};

const X25519: &str = "X25519";
const X25519_INFO: &[u8] = b"age-encryption.org/v1/X25519";

/// The recipients' stanzas of one file, made once, so that its header can be written again with
/// another proof and keep its length.
pub(crate) struct Header {
    recipients: String,
}

/// The content of a header, decrypted with the storage key.
pub(crate) struct Opened {
    pub(crate) key: FileKey,
    pub(crate) proof: Proof,
    /// Bytes of the header; the payload's nonce follows.
    pub(crate) len: usize,
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
    pub(crate) fn emit(
        &self,
        key: &FileKey,
        proof: &Proof,
        context: ProofContext<'_>,
    ) -> Result<Vec<u8>, getrandom::Error> {
        let mut text = format!("{VERSION_LINE}\n{}", self.recipients);
        let proof = proof.seal(key, context)?;
        stanza::emit(&mut text, &[proof::KIND, proof::VERSION], &proof);
        text.push_str("---");
        let mac = mac(key, text.as_bytes()).finalize().into_bytes();
        text.push(' ');
        text.push_str(&base64(&mac));
        text.push('\n');
        Ok(text.into_bytes())
    }

    /// Opens the header at the beginning of `bytes`.
    pub(crate) fn open(bytes: &[u8], context: ProofContext<'_>) -> Result<Opened, HeaderError> {
        let mut parts = stanza::parse(bytes)?;
        let mut key = None;
        for stanza in parts.stanzas.iter().filter(|stanza| stanza.kind == X25519) {
            let (share, wrapped) = x25519(stanza)?;
            if key.is_none() {
                key = unwrap(context.storage, &share, &wrapped)?;
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
        let proof = Proof::open(&key, body, context)?;
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
) -> Result<Option<FileKey>, HeaderError> {
    let share = PublicKey::from(*share);
    let mut tag = [0; TAG];
    tag.copy_from_slice(&wrapped[FILE_KEY..]);
    for identity in storage.identities() {
        let shared = identity.secret().diffie_hellman(&share);
        // A point of low order would give a key that anyone can compute (RFC 7748 §6.1; age v1
        // makes it a failure of the header).
        if !shared.was_contributory() {
            return Err(HeaderError::Malformed("an X25519 share is of low order"));
        }
        let mut key = FileKey::default();
        key.copy_from_slice(&wrapped[..FILE_KEY]);
        let opened = wrap_key(shared.as_bytes(), &share, identity.recipient().public())
            .decrypt_inout_detached(
                &Nonce::default(),
                b"",
                (&mut key[..]).into(),
                &Tag::from(tag),
            );
        if opened.is_ok() {
            return Ok(Some(key));
        }
    }
    Ok(None)
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
    use towpath_protocol::signed::{FilePath, StoreId};

    use super::*;

    /// The storage key with what else a proof is bound to.
    struct Ours {
        storage: StorageKey,
        path: FilePath,
    }

    impl Ours {
        fn new() -> Self {
            Self {
                storage: StorageKey::generate(),
                path: FilePath::parse("a").unwrap(),
            }
        }

        fn context(&self) -> ProofContext<'_> {
            ProofContext {
                storage: &self.storage,
                store: StoreId::from_bytes([1; 16]),
                path: &self.path,
            }
        }
    }

    fn proof() -> Proof {
        Proof {
            manifest: "the manifest".into(),
            signature: "the signature".into(),
        }
    }

    #[test]
    fn every_recipient_opens_it_and_nobody_else() {
        let (ours, theirs, stranger) = (Ours::new(), Ours::new(), Ours::new());
        let key = FileKey::new([9; 16]);
        let header =
            Header::new(&key, [ours.storage.recipient(), theirs.storage.recipient()]).unwrap();
        let bytes = header.emit(&key, &proof(), ours.context()).unwrap();
        let opened = Header::open(&bytes, ours.context()).unwrap();
        assert_eq!(
            (&*opened.key, opened.len, opened.proof),
            (&*key, bytes.len(), proof())
        );
        // A recovery key decrypts the file; only the storage key authenticates the proof.
        let open = |ours: &Ours| Header::open(&bytes, ours.context()).err();
        assert_eq!(open(&theirs), Some(HeaderError::Foreign));
        assert_eq!(open(&stranger), Some(HeaderError::NotForUs));
    }

    #[test]
    fn the_length_does_not_depend_on_the_proof() {
        let ours = Ours::new();
        let key = FileKey::new([9; 16]);
        let header = Header::new(&key, [ours.storage.recipient()]).unwrap();
        let blank = header
            .emit(&key, &Proof::default(), ours.context())
            .unwrap();
        assert_eq!(
            blank.len(),
            header.emit(&key, &proof(), ours.context()).unwrap().len()
        );
        assert_eq!(
            Header::open(&blank, ours.context()).unwrap().proof,
            Proof::default()
        );
        assert!(blank.len() + crate::limits::PAYLOAD_NONCE <= crate::limits::MAX_HEADER);
    }

    #[test]
    fn a_header_for_all_recipients_is_within_its_bound() {
        let ours = Ours::new();
        let key = FileKey::new([9; 16]);
        let header = Header::new(
            &key,
            [ours.storage.recipient(); crate::limits::MAX_RECIPIENTS],
        )
        .unwrap();
        let bytes = header.emit(&key, &proof(), ours.context()).unwrap();
        assert!(bytes.len() + crate::limits::PAYLOAD_NONCE <= crate::limits::MAX_HEADER);
        assert_eq!(Header::open(&bytes, ours.context()).unwrap().proof, proof());
    }

    #[test]
    fn an_age_file_of_someone_else_has_no_proof() {
        let ours = Ours::new();
        let key = FileKey::new([9; 16]);
        let header = Header::new(&key, [ours.storage.recipient()]).unwrap();
        let mut text = format!("{VERSION_LINE}\n{}---", header.recipients);
        let mac = mac(&key, text.as_bytes()).finalize().into_bytes();
        text.push_str(&format!(" {}\n", base64(&mac)));
        assert_eq!(
            Header::open(text.as_bytes(), ours.context()).err(),
            Some(HeaderError::NoProof)
        );
    }

    /// A point of order 8 on Curve25519 (RFC 7748 §6.1).
    const ORDER_8: &str = "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEdc";

    /// What `x25519_low_order` and `x25519_identity` of the CCTV age vectors expect: a header
    /// failure. Here the file key is wrapped under the all-zero secret that such a share gives, and
    /// the MAC is right, so that only the check of the share can refuse it.
    #[test]
    fn a_share_of_low_order_is_refused() {
        let ours = Ours::new();
        let key = FileKey::new([9; 16]);
        for share in [[0; 32], fixed(ORDER_8).unwrap()] {
            let share = PublicKey::from(share);
            let mut body = [0; FILE_KEY + TAG];
            body[..FILE_KEY].copy_from_slice(&*key);
            let tag = wrap_key(&[0; 32], &share, ours.storage.recipient().public())
                .encrypt_inout_detached(&Nonce::default(), b"", (&mut body[..FILE_KEY]).into())
                .unwrap();
            body[FILE_KEY..].copy_from_slice(&tag);
            let mut header = Header::new(&key, []).unwrap();
            let arguments = [X25519, &base64(share.as_bytes())];
            stanza::emit(&mut header.recipients, &arguments, &body);
            let bytes = header.emit(&key, &proof(), ours.context()).unwrap();
            let refused = Header::open(&bytes, ours.context()).err();
            assert!(
                matches!(refused, Some(HeaderError::Malformed(_))),
                "{refused:?}"
            );
        }
    }
}
