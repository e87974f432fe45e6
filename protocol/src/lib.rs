//! Sans-IO state machines of the Towpath secure file transfer protocol.

mod link;

pub use link::{LinkChange, Transmit};
mod hex;
mod key;
pub mod limits;
mod manifest;
mod name;
mod role;
mod sshsig;
mod statement;
mod text;
mod timestamp;

pub use hex::HexError;
pub use key::{Fingerprint, FingerprintError, KeyError, PublicKey, SigningKey};
pub use manifest::{
    Blake3Hash, Content, Manifest, ManifestError, ManifestHash, SignedManifest, SignedManifestError,
};
pub use name::{FilePath, PathError, StoreId, UserId, UserName, UserNameError};
pub use role::{Action, Role, RoleError};
pub use sshsig::{Namespace, SignatureError, signer_of};
pub use statement::{KeyAction, KeyStatement, SignedStatement, StatementError, StatementHash};
pub use timestamp::{Timestamp, TimestampError};
