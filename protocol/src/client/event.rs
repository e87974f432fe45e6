//! What a client's connection tells its application.

use crate::channel::{Chunk, ServerKey};
use crate::error::CloseReason;
use crate::signed::{SignedManifest, StoreId, UserId};
use crate::{Refusal, Reply, RequestId, Role, TransferId};

/// What happened, in order. [`Event::Closed`] is always the last.
#[derive(Debug)]
pub enum Event {
    /// The handshake is over: this server is there. Answer with [`trust`](super::Connection::trust)
    /// or [`close`](super::Connection::close); nothing about the user leaves before.
    Identified {
        /// The store that the server says it holds.
        store: StoreId,
        /// The key that the server has proved to hold.
        server_key: ServerKey,
    },
    /// The server asks who we are: [`login_user`](super::Connection::login_user).
    UserWanted,
    /// The server asks for proof: [`login_password`](super::Connection::login_password) or
    /// [`login_key`](super::Connection::login_key).
    CredentialWanted {
        /// Attempts left, this one included.
        attempts_left: u32,
    },
    /// The login succeeded: requests and transfers may begin.
    LoggedIn {
        /// Who we are.
        uid: UserId,
        /// What we may do at this moment.
        role: Role,
    },
    /// The login was refused; [`Event::CredentialWanted`] follows unless no attempt is left, then
    /// [`Event::Closed`].
    LoginRefused {
        /// Attempts left.
        attempts_left: u32,
    },
    /// The answer to a request. A reply is always of the kind that was asked for.
    Reply {
        /// Which request.
        id: RequestId,
        /// The answer.
        result: Result<Reply, Refusal>,
    },
    /// A get begins; data follows.
    GetAccepted {
        /// Which transfer.
        transfer: TransferId,
        /// The manifest of what comes: verified, of this store, this path, a file.
        signed: SignedManifest,
        /// Where the data begins: as asked, or 0.
        offset: u64,
    },
    /// A put may send its data; [`Event::Writable`] follows at once.
    PutAccepted {
        /// Which transfer.
        transfer: TransferId,
        /// The current manifest at the path, of a deleted file too: the new one goes on top of it.
        current: Option<SignedManifest>,
    },
    /// Data of a get, in order; call [`consumed`](super::Connection::consumed) when it has been
    /// dealt with.
    Data {
        /// Which transfer.
        transfer: TransferId,
        /// The data, never empty.
        chunk: Chunk,
    },
    /// A whole chunk can be written again; comes once for each time that the capacity fell below a
    /// chunk.
    Writable {
        /// Which transfer.
        transfer: TransferId,
    },
    /// The manifest of a put is not on top of the current one: sign again and call
    /// [`finish_put`](super::Connection::finish_put) again, or abort.
    ProofWanted {
        /// Which transfer.
        transfer: TransferId,
        /// The current manifest at the path.
        current: Option<SignedManifest>,
    },
    /// A get has delivered every byte that its manifest promised, or a put is published.
    Finished {
        /// Which transfer.
        transfer: TransferId,
    },
    /// The server ended a transfer.
    Refused {
        /// Which transfer.
        transfer: TransferId,
        /// Why.
        refusal: Refusal,
    },
    /// The connection ended before the transfer did; [`Event::Closed`] says why. A put may or may
    /// not have been published.
    Truncated {
        /// Which transfer.
        transfer: TransferId,
    },
    /// The connection ended.
    Closed(CloseReason),
}
