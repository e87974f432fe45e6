//! What a client's connection tells its application.

use std::time::Duration;

use crate::channel::chunk::Chunk;
use crate::channel::config::ServerFingerprint;
use crate::error::CloseReason;
use crate::ids::{RequestId, TransferId};
use crate::request::{Refusal, Reply};
use crate::role::Role;
use crate::signed::manifest::SignedManifest;
use crate::signed::name::{StoreId, UserId};

/// What happened, in order. [`Event::Closed`] is always the last.
#[derive(Debug)]
pub enum Event {
    /// The handshake is over. Answer with [`trust`](super::Connection::trust) or
    /// [`close`](super::Connection::close); nothing about the user is sent before.
    Identified {
        /// The store that the server says it holds.
        store: StoreId,
        /// The fingerprint of the key that the server has proved to hold.
        fingerprint: ServerFingerprint,
    },
    /// The server asks for the user name: [`login_user`](super::Connection::login_user).
    UserWanted,
    /// The server asks for proof: [`login_password`](super::Connection::login_password) or
    /// [`login_key`](super::Connection::login_key).
    CredentialWanted {
        /// Attempts left, this one included.
        attempts_left: u32,
    },
    /// The login succeeded: requests and transfers may begin.
    LoggedIn {
        /// The user's identity, which outlives the name.
        uid: UserId,
        /// The user's role at this moment.
        role: Role,
    },
    /// The login was refused; [`Event::CredentialWanted`] follows unless no attempt is left, then
    /// [`Event::Closed`].
    LoginRefused {
        /// Attempts left.
        attempts_left: u32,
        /// The attempt was refused unseen, for too many came before it: when to try again.
        retry_after: Option<Duration>,
    },
    /// The answer to a request. A reply is always of the kind that was asked for.
    Reply(RequestId, Result<Reply, Refusal>),
    /// A transfer went on or ended.
    Transfer(TransferId, TransferEvent),
    /// The connection ended.
    Closed(CloseReason),
}

/// What happened to a transfer. Nothing follows [`Finished`](Self::Finished),
/// [`Aborted`](Self::Aborted) and [`Truncated`](Self::Truncated).
#[derive(Debug)]
pub enum TransferEvent {
    /// A get begins; data follows.
    GetAccepted {
        /// The manifest of what comes: verified, of this store, this path, a file.
        signed: SignedManifest,
        /// Where the data begins: as asked, or 0.
        offset: u64,
    },
    /// A put may send its data; [`Writable`](Self::Writable) follows at once.
    PutAccepted {
        /// The current manifest at the path, of a deleted file too: the new one goes on top of it.
        current: Option<SignedManifest>,
    },
    /// Data of a get, in order and never empty; call
    /// [`consumed`](super::Connection::consumed) when it has been dealt with.
    Data(Chunk),
    /// A whole chunk can be written again; comes once for each time that the capacity fell below a
    /// chunk.
    Writable,
    /// The manifest of a put is not on top of the current one: sign again and call
    /// [`finish_put`](super::Connection::finish_put) again, or abort.
    ProofWanted {
        /// The current manifest at the path.
        current: Option<SignedManifest>,
    },
    /// A get has delivered every byte that its manifest promised, or a put is published.
    Finished,
    /// The server ended the transfer without success.
    Aborted(Refusal),
    /// The connection ended before the transfer did; [`Event::Closed`] says why. A put may or may
    /// not have been published.
    Truncated,
}
