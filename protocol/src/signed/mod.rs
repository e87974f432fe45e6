//! What is signed, and the types it is made of: usable without a connection.
//!
//! A [`SignedManifest`] says what a file is and who uploaded it; a [`SignedStatement`] says which
//! keys a user has. Both are canonical text ([`Manifest`], [`KeyStatement`]) with an OpenSSH
//! signature (SSHSIG) in one [`Namespace`] for each purpose.

pub(crate) mod canonical;
pub(crate) mod hex;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod manifest;
pub(crate) mod name;
pub(crate) mod sshsig;
pub(crate) mod statement;
pub(crate) mod timestamp;

pub use hex::HexError;
pub use key::{Fingerprint, FingerprintError, KeyError, PublicKey, SigningKey};
pub use manifest::{
    Blake3Hash, Content, Manifest, ManifestError, ManifestHash, SignedManifest, SignedManifestError,
};
pub use name::{FilePath, PathError, StoreId, UserId, UserName, UserNameError};
pub use sshsig::{Namespace, SignatureError, signer_of};
pub use statement::{KeyAction, KeyStatement, SignedStatement, StatementError, StatementHash};
pub use timestamp::{Timestamp, TimestampError};
