//! What a server's connection remembers.

use super::event::{ClaimedUser, LoginTicket};
use crate::channel::tls::Established;
use crate::signed::manifest::ManifestHash;
use crate::signed::name::{FilePath, StoreId};

/// The server's side of a connection.
pub struct Server {
    pub(super) store: StoreId,
    pub(super) stage: Stage,
}

/// Where the dialogue is.
pub(super) enum Stage {
    Handshake,
    /// The client's hello is to come.
    Hello(Box<Established>),
    /// The client is to name the user.
    AwaitUser {
        binding: [u8; 32],
    },
    /// The client is to give the credential.
    AwaitCredential(Attempt),
    /// The application is to decide.
    Deciding(Attempt),
    Ready,
}

/// The login under way.
pub(super) struct Attempt {
    pub(super) binding: [u8; 32],
    pub(super) user: ClaimedUser,
    /// Counted up with each attempt, so that a late verdict hits no other one.
    pub(super) ticket: LoginTicket,
    /// This one included.
    pub(super) left: u8,
}

/// What a transfer waits for.
pub enum Phase {
    /// The application's answer to a get.
    GetAsked {
        /// Of this file.
        path: FilePath,
        /// From here on.
        offset: u64,
        /// If this is still its manifest.
        manifest: Option<ManifestHash>,
        /// The client's first credit.
        window: u32,
    },
    /// So many bytes of the application in all.
    Sending {
        /// Bytes to send.
        size: u64,
    },
    /// The client's End after a get.
    Sent,
    /// The application's answer to a put.
    PutAsked {
        /// To this path.
        path: FilePath,
    },
    /// The client's data and manifest.
    Receiving {
        /// To this path.
        path: FilePath,
    },
    /// The application's verdict on the manifest.
    Proving {
        /// To this path.
        path: FilePath,
    },
    /// The client's next manifest, after a conflict.
    Conflicted {
        /// To this path.
        path: FilePath,
    },
    /// The client's End after a put.
    Committed,
}
