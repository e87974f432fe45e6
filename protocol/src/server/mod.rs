//! The server's side of a connection.
//!
//! ```text
//! Login ─ login() ─▶ Request ─ reply()
//!                    Get ─ accept_get() ─ write()… ─ finish_get() ─▶ Finished              at any point: Aborted, or Truncated and Closed
//!                    Put ─ accept_put() ─▶ Data… ─▶ Proof ─ committed() ─▶ Finished
//!                                                      ▲  └ conflict() ┐
//!                                                      └───────────────┘
//! ```

mod event;
mod login;
mod request;
mod side;
mod state;
mod transfer;

use std::sync::Arc;
use std::time::Instant;

pub use self::event::{ClaimedUser, Credential, Event, LoginTicket, TransferEvent, Verdict};
pub use self::state::Server;
use self::state::Stage;
use crate::channel::config::TlsConfigError;
use crate::channel::tls::Tls;
use crate::limits::Limits;
use crate::signed::name::StoreId;

/// What a server's connection is made from.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Of [`tls_server_config`](crate::channel::tls_server_config).
    pub tls: Arc<rustls::ServerConfig>,
    /// The store that is served.
    pub store: StoreId,
    /// What we allow the client, and how long we wait.
    pub limits: Limits,
}

/// A server's connection. The methods of both sides are at [`Connection`](crate::Connection).
pub type Connection = crate::connection::Connection<Server>;

impl Connection {
    /// A connection whose association is being established: begins with
    /// [`LinkChange::Up`](crate::channel::LinkChange::Up).
    ///
    /// # Errors
    /// When the TLS settings are not those of
    /// [`tls_server_config`](crate::channel::tls_server_config) and rustls refuses them.
    pub fn new(config: ServerConfig, now: Instant) -> Result<Self, TlsConfigError> {
        let tls = Tls::server(config.tls)?;
        let side = Server {
            store: config.store,
            stage: Stage::Handshake,
        };
        Ok(Self::with_side(side, config.limits, tls, now))
    }
}
