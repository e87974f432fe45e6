//! Ed25519 keys as OpenSSH writes them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{Cipher, Kdf, LineEnding};
use zeroize::Zeroizing;

use crate::limits::{KDF_ROUNDS, MAX_KDF_ROUNDS, MAX_PRIVATE_KEY_LEN, MAX_PUBLIC_KEY_LINE_LEN};

/// Why a key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is longer than any key of ours.
    #[error("the key is too long")]
    TooLong,
    /// The text is not a key in OpenSSH's format.
    #[error("this is not an OpenSSH key")]
    Malformed,
    /// The key is not an Ed25519 key.
    #[error("only Ed25519 keys are used here; make one with `ssh-keygen -t ed25519`")]
    NotEd25519,
    /// The public key is no point of the curve in its one spelling, or a point for which anyone can
    /// forge.
    #[error("the key is not a safe Ed25519 public key")]
    Weak,
    /// The private key is encrypted and no passphrase was given.
    #[error("the key needs a passphrase")]
    PassphraseWanted,
    /// The passphrase does not open the private key.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    /// The private key asks for more than 4,096 rounds of key derivation, or for a cipher we do not
    /// have.
    #[error("the encryption of this key is not supported")]
    UnsupportedEncryption,
    /// The private and the public half do not belong together.
    #[error("the two halves of the key do not belong together")]
    Mismatch,
}

/// An Ed25519 private key; wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a seed of 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads a private key file of OpenSSH, opening it with `passphrase` where it is encrypted
    /// (slow by design: up to seconds).
    ///
    /// A passphrase given for a key that is not encrypted is ignored.
    pub fn from_openssh(pem: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        let stored = parse_private(pem)?;
        let key = match (stored.is_encrypted(), passphrase) {
            (false, _) => stored,
            (true, None) => return Err(KeyError::PassphraseWanted),
            (true, Some(passphrase)) => open_private(&stored, passphrase)?,
        };
        let pair = key.key_data().ed25519().ok_or(KeyError::NotEd25519)?;
        let this = Self::from_seed(pair.private.as_ref());
        // A key whose halves differ would sign under a hash that leaks the private half.
        let halves = [&pair.public.0, ed25519(key.public_key().key_data())?];
        match halves
            .iter()
            .all(|half| **half == this.0.verifying_key().to_bytes())
        {
            true => Ok(this),
            false => Err(KeyError::Mismatch),
        }
    }

    /// Whether a private key file of OpenSSH needs a passphrase.
    pub fn is_encrypted(pem: &str) -> Result<bool, KeyError> {
        parse_private(pem).map(|key| key.is_encrypted())
    }

    /// The private key file of OpenSSH, not encrypted.
    pub fn to_openssh(&self, comment: &str) -> Zeroizing<String> {
        self.private_key(comment)
            .and_then(|key| key.to_openssh(LineEnding::LF))
            .expect("writing an Ed25519 key fails only for a comment over 4 GiB")
    }

    /// The private key file of OpenSSH, encrypted under `passphrase` with AES-256-CTR and
    /// bcrypt-pbkdf, with a salt and check number from `random`.
    ///
    /// `Malformed` for an empty passphrase.
    pub fn to_openssh_encrypted(
        &self,
        comment: &str,
        passphrase: &str,
        random: &[u8; 20],
    ) -> Result<Zeroizing<String>, KeyError> {
        let (salt, check) = random.split_at(16);
        let check = check.iter().fold(0, |n, byte| n << 8 | u32::from(*byte));
        let kdf = Kdf::Bcrypt {
            salt: salt.to_vec(),
            rounds: KDF_ROUNDS,
        };
        self.private_key(comment)
            .and_then(|key| key.encrypt_with(Cipher::Aes256Ctr, kdf, check, passphrase))
            .and_then(|key| key.to_openssh(LineEnding::LF))
            .map_err(|_| KeyError::Malformed)
    }

    fn private_key(&self, comment: &str) -> ssh_key::Result<ssh_key::PrivateKey> {
        let pair = Ed25519Keypair {
            public: Ed25519PublicKey(self.0.verifying_key().to_bytes()),
            private: Ed25519PrivateKey::from_bytes(self.0.as_bytes()),
        };
        ssh_key::PrivateKey::new(KeypairData::Ed25519(pair), comment)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs the bytes as they are (RFC 8032), for [`sign`](Self::sign).
    pub(super) fn sign_raw(&self, data: &[u8]) -> [u8; 64] {
        self.0.sign(data).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().fingerprint())
    }
}

fn parse_private(pem: &str) -> Result<ssh_key::PrivateKey, KeyError> {
    if pem.len() > MAX_PRIVATE_KEY_LEN {
        return Err(KeyError::TooLong);
    }
    ssh_key::PrivateKey::from_openssh(pem).map_err(|error| match error {
        ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. } => {
            KeyError::NotEd25519
        }
        _ => KeyError::Malformed,
    })
}

fn open_private(
    stored: &ssh_key::PrivateKey,
    passphrase: &str,
) -> Result<ssh_key::PrivateKey, KeyError> {
    match stored.kdf() {
        Kdf::Bcrypt { rounds, .. } if *rounds <= MAX_KDF_ROUNDS => {}
        _ => return Err(KeyError::UnsupportedEncryption),
    }
    let opened = stored.decrypt(passphrase);
    opened.map_err(|error| match error {
        ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. } => {
            KeyError::UnsupportedEncryption
        }
        _ => KeyError::WrongPassphrase,
    })
}

fn ed25519(data: &KeyData) -> Result<&[u8; 32], KeyError> {
    data.ed25519().map(|key| &key.0).ok_or(KeyError::NotEd25519)
}

/// An Ed25519 public key: a point of the curve in its one spelling and not of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Takes the 32 bytes of RFC 8032 §5.1.5.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Weak)?;
        match is_reduced(&bytes) && !key.is_weak() {
            true => Ok(Self(key)),
            false => Err(KeyError::Weak),
        }
    }

    /// The 32 bytes of RFC 8032 §5.1.5.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Reads a line of a `.pub` file, `ssh-ed25519 AAAA… comment`; white space around it is
    /// ignored.
    pub fn parse_openssh(line: &str) -> Result<Self, KeyError> {
        Self::parse_openssh_with_comment(line).map(|(key, _)| key)
    }

    /// Reads a line of a `.pub` file and gives its comment too (which may be empty, and comes as it
    /// stands: escape it before showing it).
    pub fn parse_openssh_with_comment(line: &str) -> Result<(Self, String), KeyError> {
        if line.len() > MAX_PUBLIC_KEY_LINE_LEN {
            return Err(KeyError::TooLong);
        }
        let line = line.trim();
        if line.contains(['\n', '\r']) {
            return Err(KeyError::Malformed);
        }
        let key = ssh_key::PublicKey::from_openssh(line).map_err(|error| match error {
            ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. } => {
                KeyError::NotEd25519
            }
            _ => KeyError::Malformed,
        })?;
        let public = Self::from_bytes(*ed25519(key.key_data())?)?;
        Ok((public, key.comment().to_owned()))
    }

    /// The key as a line of a `.pub` file without comment: `ssh-ed25519 AAAA…`.
    pub fn to_openssh(&self) -> String {
        ssh_key::PublicKey::from(self.key_data())
            .to_openssh()
            .expect("writing an Ed25519 public key without comment has no way to fail")
    }

    /// The key's fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut blob = [0; 51];
        blob[..4].copy_from_slice(&11_u32.to_be_bytes());
        blob[4..15].copy_from_slice(b"ssh-ed25519");
        blob[15..19].copy_from_slice(&32_u32.to_be_bytes());
        blob[19..].copy_from_slice(self.as_bytes());
        Fingerprint(Sha256::digest(blob).into())
    }

    /// Whether this is a signature of the bytes as they are (RFC 8032), and neither malleable nor
    /// of small order, for [`verify`](Self::verify).
    pub(super) fn verify_raw(&self, data: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(data, &signature).is_ok()
    }

    pub(crate) fn key_data(&self) -> KeyData {
        KeyData::Ed25519(Ed25519PublicKey(*self.as_bytes()))
    }
}

/// Whether the coordinate is below the field's prime 2^255 - 19: otherwise the same point has a
/// second spelling and so a second fingerprint.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    bytes[0] < 0xed || bytes[31] & 0x7f != 0x7f || bytes[1..31].iter().any(|byte| *byte != 0xff)
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_openssh())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// The fingerprint of a public key as `ssh-keygen -l` prints it: `SHA256:` and the unpadded base64
/// of the hash of OpenSSH's encoding of the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// The text is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is `SHA256:` and 43 characters of base64")]
pub struct FingerprintError;

impl Fingerprint {
    /// Takes the SHA-256 of the encoded key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The SHA-256 of the encoded key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&ssh_key::Fingerprint::Sha256(self.0), f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = ssh_key::Fingerprint::from_str(text).map_err(|_| FingerprintError)?;
        let this = parsed.sha256().map(Self).ok_or(FingerprintError)?;
        // Unused bits of the last character would make a second spelling.
        match this.to_string() == text {
            true => Ok(this),
            false => Err(FingerprintError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    #[test]
    fn private_key_files() {
        let pem = key().to_openssh("a comment");
        assert!(!SigningKey::is_encrypted(&pem).unwrap());
        let read = SigningKey::from_openssh(&pem, None).unwrap();
        assert_eq!(read.public(), key().public());
        let pem = key().to_openssh_encrypted("", "secret", &[3; 20]).unwrap();
        assert!(SigningKey::is_encrypted(&pem).unwrap());
        let refused = |passphrase| SigningKey::from_openssh(&pem, passphrase).unwrap_err();
        assert_eq!(refused(None), KeyError::PassphraseWanted);
        assert_eq!(refused(Some("Secret")), KeyError::WrongPassphrase);
        let read = SigningKey::from_openssh(&pem, Some("secret")).unwrap();
        assert_eq!(read.public(), key().public());
    }

    #[test]
    fn public_key_lines() {
        let key = key().public();
        let line = format!("{} alice@example  \n", key.to_openssh());
        let (read, comment) = PublicKey::parse_openssh_with_comment(&line).unwrap();
        assert_eq!((read, comment.as_str()), (key, "alice@example"));
        assert_eq!(PublicKey::parse_openssh(&key.to_openssh()), Ok(key));
    }

    #[test]
    fn fingerprints() {
        let fingerprint = key().public().fingerprint();
        let theirs =
            ssh_key::Fingerprint::new(ssh_key::HashAlg::Sha256, &key().public().key_data());
        assert_eq!(fingerprint.to_string(), theirs.to_string());
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(
            format!("{:?}", key()),
            format!("SigningKey({})", key().public().fingerprint())
        );
    }

    /// Every point of small order in every encoding there is, and other points beyond the field's
    /// prime.
    #[test]
    fn unsafe_public_keys() {
        let zero_with = |first, last| {
            let mut bytes = [0; 32];
            (bytes[0], bytes[31]) = (first, last);
            bytes
        };
        let full_with = |first, last| {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (first, last);
            bytes
        };
        let order_eight = [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ];
        let mut refused = vec![order_eight];
        for sign in [0x00, 0x80] {
            refused.push(zero_with(0, sign));
            refused.push(zero_with(1, sign));
            refused.extend((0xec..=0xff).map(|first| full_with(first, 0x7f | sign)));
        }
        for bytes in refused {
            let verdict = PublicKey::from_bytes(bytes);
            assert_eq!(verdict, Err(KeyError::Weak), "{bytes:02x?}");
        }
        // No point of the curve has this coordinate.
        assert_eq!(PublicKey::from_bytes(zero_with(2, 0)), Err(KeyError::Weak));
    }

    #[test]
    fn the_prime_is_the_bound_of_a_coordinate() {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (0xec, 0x7f);
        assert!(is_reduced(&bytes));
        bytes[0] = 0xed;
        assert!(!is_reduced(&bytes));
        bytes[17] = 0xfe;
        assert!(is_reduced(&bytes));
    }

    #[test]
    fn halves_that_do_not_belong_together() {
        let public = Ed25519PublicKey(*SigningKey::from_seed(&[8; 32]).public().as_bytes());
        let private = Ed25519PrivateKey::from_bytes(&[7; 32]);
        let pair = Ed25519Keypair { public, private };
        let key = ssh_key::PrivateKey::new(KeypairData::Ed25519(pair), "").unwrap();
        let pem = key.to_openssh(LineEnding::LF).unwrap();
        let refused = SigningKey::from_openssh(&pem, None).unwrap_err();
        assert_eq!(refused, KeyError::Mismatch);
    }

    #[test]
    fn private_keys_that_cost_too_much() {
        let kdf = Kdf::Bcrypt {
            salt: vec![1; 16],
            rounds: 1,
        };
        let key = key().private_key("").unwrap();
        let key = key.encrypt_with(Cipher::Aes256Ctr, kdf, 1, "x").unwrap();
        let mut bytes = key.to_bytes().unwrap();
        let rounds = [&16_u32.to_be_bytes()[..], &[1; 16], &1_u32.to_be_bytes()].concat();
        let at = bytes.windows(rounds.len()).position(|w| w == rounds);
        let at = at.unwrap() + rounds.len() - 4;
        bytes[at..at + 4].copy_from_slice(&(MAX_KDF_ROUNDS + 1).to_be_bytes());
        let key = ssh_key::PrivateKey::from_bytes(&bytes).unwrap();
        let pem = key.to_openssh(LineEnding::LF).unwrap();
        let refused = SigningKey::from_openssh(&pem, Some("x")).unwrap_err();
        assert_eq!(refused, KeyError::UnsupportedEncryption);
        let long = "x".repeat(MAX_PRIVATE_KEY_LEN + 1);
        assert_eq!(SigningKey::is_encrypted(&long), Err(KeyError::TooLong));
    }

    #[test]
    fn an_empty_passphrase_encrypts_nothing() {
        let refused = key().to_openssh_encrypted("", "", &[3; 20]).unwrap_err();
        assert_eq!(refused, KeyError::Malformed);
    }

    #[test]
    fn lines_that_are_no_public_key() {
        let line = key().public().to_openssh();
        for (bad, why) in [
            (String::new(), KeyError::Malformed),
            (format!("{line}\n{line}"), KeyError::Malformed),
            (format!("restrict {line}"), KeyError::Malformed),
            (line.replace("ssh-ed25519", "ssh-rsa"), KeyError::NotEd25519),
            (line[..line.len() - 4].to_owned(), KeyError::Malformed),
            (format!("{line}AAAA"), KeyError::Malformed),
            (format!("{line} {}", "x".repeat(1_024)), KeyError::TooLong),
        ] {
            assert_eq!(PublicKey::parse_openssh(&bad), Err(why), "{bad:?}");
        }
    }
}
