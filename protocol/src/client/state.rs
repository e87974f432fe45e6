//! What a client's connection remembers.

use crate::channel::config::ServerFingerprint;
use crate::channel::tls::Established;
use crate::signed::manifest::ManifestHash;
use crate::signed::name::{FilePath, StoreId, UserName};

/// The client's side of a connection.
pub struct Client {
    pub(super) stage: Stage,
    /// There from the server's hello on.
    pub(super) server: Option<Server>,
    pub(super) next_request: u32,
}

impl Client {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Handshake,
            server: None,
            next_request: 0,
        }
    }
}

/// Where the dialogue is.
pub(super) enum Stage {
    Handshake,
    /// The server's hello is to come.
    Hello(Box<Established>),
    /// The application is to trust the server.
    Trust,
    /// The same, and the server has asked for the user.
    TrustAsked,
    /// The server is to ask for the user.
    AwaitUserPrompt,
    /// The application is to name the user.
    UserWanted,
    /// The server is to ask for the credential.
    AwaitCredentialPrompt(UserName),
    /// The application is to give the credential.
    CredentialWanted(UserName),
    /// The server is to decide.
    AwaitVerdict(UserName),
    Ready,
}

/// What the handshake and the hello have said about the server.
pub(super) struct Server {
    pub(super) store: StoreId,
    pub(super) fingerprint: ServerFingerprint,
    pub(super) binding: [u8; 32],
}

/// What a transfer waits for.
pub enum Phase {
    /// The server's answer to a get.
    GetAsked {
        /// Of this file.
        path: FilePath,
        /// From here on.
        offset: u64,
        /// If this is still its manifest.
        manifest: Option<ManifestHash>,
    },
    /// So many more bytes, and then the server's End.
    Getting {
        /// Bytes to come.
        left: u64,
    },
    /// The server's answer to a put.
    PutAsked {
        /// To this path.
        path: FilePath,
    },
    /// The application's data and manifest.
    Putting {
        /// To this path.
        path: FilePath,
    },
    /// The server's verdict on the manifest of a file of this size.
    Proving {
        /// To this path.
        path: FilePath,
        /// Bytes sent.
        size: u64,
    },
    /// The application's next manifest, after a conflict.
    Conflicted {
        /// To this path.
        path: FilePath,
        /// Bytes sent.
        size: u64,
    },
    /// The server's End.
    Committed,
}
