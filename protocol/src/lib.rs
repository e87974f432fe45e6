//! Sans-IO state machines of the Towpath secure file transfer protocol.

mod channel;
mod chunk;
pub mod client;
mod close;
mod control;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hex;
mod ids;
mod key;
pub mod limits;
mod link;
mod login;
mod manifest;
mod name;
mod role;
pub mod server;
mod session;
mod sshsig;
mod statement;
#[cfg(test)]
mod tests;
mod text;
mod timestamp;
mod transfer;
mod wire;

pub use channel::{
    ALPN, ServerKey, ServerKeyError, TlsConfigError, tls_client_config, tls_server_config,
};
pub use chunk::{CHUNK_LEN, Chunk, TAILROOM};
pub use close::{CloseCode, CloseReason, Deadline, ProtocolError, UsageError, WriteError};
pub use control::{KeyEntry, ListEntry, Refusal, RefusalCode, Reply, Request, UserEntry};
pub use hex::HexError;
pub use ids::{RequestId, TransferId};
pub use key::{Fingerprint, FingerprintError, KeyError, PublicKey, SigningKey};
pub use limits::Limits;
pub use link::{LinkChange, Transmit};
pub use manifest::{
    Blake3Hash, Content, Manifest, ManifestError, ManifestHash, SignedManifest, SignedManifestError,
};
pub use name::{FilePath, PathError, StoreId, UserId, UserName, UserNameError};
pub use role::{Action, Role, RoleError};
pub use sshsig::{Namespace, SignatureError, signer_of};
pub use statement::{KeyAction, KeyStatement, SignedStatement, StatementError, StatementHash};
pub use timestamp::{Timestamp, TimestampError};
