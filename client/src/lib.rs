//! The Towpath client: a blocking [`Client`] for programs, and the command line `towpath`.
//!
//! [`Client::connect`] logs in to a server over one or several network paths; the client then
//! lists, gets and puts files until it is closed. The module `run` and everything that needs a
//! terminal require the feature `cli`.
//!
//! Invariants: nothing about the user is sent before the server is trusted; nothing appears under a
//! file's own name before size, hash, signature and pins are verified; text from peers and files is
//! escaped before it is shown.

#![forbid(unsafe_code)]

mod client;
mod drive;
mod error;
mod escape;
mod interaction;
mod limits;
mod local;
mod session;
mod transport;
mod url;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod exit;
#[cfg(feature = "cli")]
mod plan;
#[cfg(feature = "cli")]
pub mod run;
#[cfg(feature = "cli")]
pub mod terminal;

pub use client::{Client, ConnectOptions};
pub use error::{Error, ErrorKind};
pub use interaction::{Interaction, NonInteractive};
pub use local::identity::generate_key;
pub use session::meter::{Direction, TransferReport};
pub use towpath_protocol::ListEntry;
pub use towpath_protocol::channel::ServerFingerprint;
pub use towpath_protocol::signed::{FilePath, PublicKey, SignedManifest, UserName};
pub use transport::Transport;
pub use url::{Address, Url, UrlError};
