//! The client's side of a connection.
//!
//! ```text
//! Identified ─ trust() ─▶ UserWanted ─ login_user() ─▶ CredentialWanted ─ login_password() | login_key() ─▶ LoggedIn
//!                                                            ▲                                  │
//!                                                            └────────── LoginRefused ◀─────────┘
//! request() ─▶ Reply
//! get() ─▶ GetAccepted ─▶ Data… ─▶ Finished                      at any point: Aborted, or Truncated and Closed
//! put() ─▶ PutAccepted ─ write()… ─ finish_put() ─▶ Finished     ─▶ ProofWanted ─ finish_put() ─▶ …
//! ```

mod event;
mod login;
mod request;
mod side;
mod state;
mod transfer;

use std::sync::Arc;
use std::time::Instant;

pub use self::event::{Event, TransferEvent};
pub use self::state::Client;
use crate::channel::config::TlsConfigError;
use crate::channel::tls::Tls;
use crate::limits::Limits;

/// What a client's connection is made from.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Of [`tls_client_config`](crate::channel::tls_client_config).
    pub tls: Arc<rustls::ClientConfig>,
    /// What we allow the server, and how long we wait.
    pub limits: Limits,
}

/// A client's connection. The methods of both sides are at [`Connection`](crate::Connection).
pub type Connection = crate::connection::Connection<Client>;

impl Connection {
    /// A connection whose association is being established: begins with
    /// [`LinkChange::Up`](crate::channel::LinkChange::Up).
    ///
    /// # Errors
    /// When the TLS settings are not those of
    /// [`tls_client_config`](crate::channel::tls_client_config) and rustls refuses them.
    pub fn new(config: ClientConfig, now: Instant) -> Result<Self, TlsConfigError> {
        let tls = Tls::client(config.tls)?;
        Ok(Self::with_side(Client::new(), config.limits, tls, now))
    }
}
