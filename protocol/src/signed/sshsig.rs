//! SSHSIG signatures, the format of `ssh-keygen -Y sign` (OpenSSH's PROTOCOL.sshsig).

use sha2::{Digest, Sha512};
use ssh_key::{Algorithm, HashAlg, LineEnding, Signature, SshSig};

use crate::limits::MAX_SIGNATURE_LEN;
use crate::signed::key::{PublicKey, SigningKey};

/// What a signature is for. A signature for one purpose is not valid for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// Logging in: `login@towpath`.
    Login,
    /// Redeeming an invite: `register@towpath`.
    Register,
    /// A statement of a key log: `key@towpath`.
    Key,
    /// A manifest: `file@towpath`.
    File,
}

impl Namespace {
    /// Every namespace.
    pub const ALL: [Self; 4] = [Self::Login, Self::Register, Self::Key, Self::File];

    /// The namespace as `ssh-keygen -n` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login@towpath",
            Self::Register => "register@towpath",
            Self::Key => "key@towpath",
            Self::File => "file@towpath",
        }
    }
}

/// Why a signature was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The text is longer than any signature of ours.
    #[error("the signature is too long")]
    TooLong,
    /// The text is not an armored SSHSIG exactly as `ssh-keygen` writes it.
    #[error("this is not an SSH signature")]
    Malformed,
    /// The signature is not by a safe Ed25519 key.
    #[error("the signature is not by a safe Ed25519 key")]
    Key,
    /// The message was not hashed with SHA-512.
    #[error("the signature does not use SHA-512")]
    HashAlgorithm,
    /// The signature was made for another purpose.
    #[error("the signature was made for another purpose")]
    OtherNamespace,
    /// The signature is by another key.
    #[error("the signature is by another key")]
    OtherKey,
    /// The signature does not belong to the message.
    #[error("the signature does not match")]
    Invalid,
}

impl SigningKey {
    /// Signs `message` for one purpose: an armored SSHSIG (Ed25519, SHA-512) that
    /// `ssh-keygen -Y verify` checks. Ends with a line feed.
    pub fn sign(&self, namespace: Namespace, message: &[u8]) -> String {
        let signed = signed_data(namespace, message);
        armor(&self.public(), namespace, &self.sign_raw(&signed))
    }
}

impl PublicKey {
    /// Checks an armored SSHSIG: its one canonical spelling, this key, this purpose, Ed25519 with
    /// SHA-512, and no malleable or small-order signature.
    pub fn verify(
        &self,
        namespace: Namespace,
        message: &[u8],
        armored: &str,
    ) -> Result<(), SignatureError> {
        let signature = dearmor(armored)?;
        if signature.key != *self {
            return Err(SignatureError::OtherKey);
        }
        if signature.namespace != namespace {
            return Err(SignatureError::OtherNamespace);
        }
        let signed = signed_data(namespace, message);
        match self.verify_raw(&signed, &signature.bytes) {
            true => Ok(()),
            false => Err(SignatureError::Invalid),
        }
    }
}

/// The key that an armored SSHSIG says it is by. Proves nothing until [`PublicKey::verify`] accepts
/// it.
pub fn signer_of(armored: &str) -> Result<PublicKey, SignatureError> {
    dearmor(armored).map(|parsed| parsed.key)
}

/// A signature of the one kind we make, taken apart and not verified.
pub(crate) struct Parsed {
    pub(crate) key: PublicKey,
    pub(crate) namespace: Namespace,
    pub(crate) bytes: [u8; 64],
}

/// Takes an armored signature apart and accepts only the spelling that [`armor`] gives it.
pub(crate) fn dearmor(armored: &str) -> Result<Parsed, SignatureError> {
    if armored.len() > MAX_SIGNATURE_LEN {
        return Err(SignatureError::TooLong);
    }
    let parsed = SshSig::from_pem(armored).map_err(|error| match error {
        ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. } => {
            SignatureError::Key
        }
        _ => SignatureError::Malformed,
    })?;
    let key = parsed.public_key().ed25519().ok_or(SignatureError::Key)?;
    let key = PublicKey::from_bytes(key.0).map_err(|_| SignatureError::Key)?;
    if parsed.algorithm() != Algorithm::Ed25519 {
        return Err(SignatureError::Key);
    }
    if parsed.hash_alg() != HashAlg::Sha512 {
        return Err(SignatureError::HashAlgorithm);
    }
    let namespace = Namespace::ALL
        .into_iter()
        .find(|namespace| namespace.as_str() == parsed.namespace())
        .ok_or(SignatureError::OtherNamespace)?;
    let bytes = parsed.signature_bytes().try_into();
    let bytes = bytes.map_err(|_| SignatureError::Malformed)?;
    // Version, reserved bytes, line lengths, padding and what surrounds the armor: all fixed by
    // comparing.
    match armor(&key, namespace, &bytes) == armored {
        true => Ok(Parsed {
            key,
            namespace,
            bytes,
        }),
        false => Err(SignatureError::Malformed),
    }
}

/// Armors a signature; ends with a line feed.
pub(crate) fn armor(key: &PublicKey, namespace: Namespace, bytes: &[u8; 64]) -> String {
    let armored = Signature::new(Algorithm::Ed25519, bytes.as_slice()).and_then(|signature| {
        SshSig::new(
            key.key_data(),
            namespace.as_str(),
            HashAlg::Sha512,
            signature,
        )?
        .to_pem(LineEnding::LF)
    });
    armored.expect("every part has the length and the algorithm that the encoder demands")
}

/// What is signed in place of `message` (PROTOCOL.sshsig §3).
pub(crate) fn signed_data(namespace: Namespace, message: &[u8]) -> Vec<u8> {
    let mut data = b"SSHSIG".to_vec();
    let mut string = |bytes: &[u8]| {
        let len = u32::try_from(bytes.len()).expect("namespaces and hashes are under 100 bytes");
        data.extend_from_slice(&len.to_be_bytes());
        data.extend_from_slice(bytes);
    };
    string(namespace.as_str().as_bytes());
    string(b"");
    string(b"sha512");
    string(&Sha512::digest(message));
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_message_key_and_purpose() {
        let key = SigningKey::from_seed(&[7; 32]);
        let public = key.public();
        let armored = key.sign(Namespace::File, b"message");
        assert_eq!(signer_of(&armored), Ok(public));
        assert_eq!(public.verify(Namespace::File, b"message", &armored), Ok(()));
        let verdict = public.verify(Namespace::File, b"messagf", &armored);
        assert_eq!(verdict, Err(SignatureError::Invalid));
        let verdict = public.verify(Namespace::Key, b"message", &armored);
        assert_eq!(verdict, Err(SignatureError::OtherNamespace));
        let other = SigningKey::from_seed(&[8; 32]).public();
        let verdict = other.verify(Namespace::File, b"message", &armored);
        assert_eq!(verdict, Err(SignatureError::OtherKey));
    }

    #[test]
    fn the_library_agrees_on_what_is_signed() {
        for namespace in Namespace::ALL {
            let theirs = SshSig::signed_data(namespace.as_str(), HashAlg::Sha512, b"x").unwrap();
            assert_eq!(signed_data(namespace, b"x"), theirs);
        }
    }
}
