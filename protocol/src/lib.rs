//! Sans-IO state machines of the Towpath secure file transfer protocol.
//!
//! A [`client::Connection`] and a [`server::Connection`] are one state machine ([`Connection`])
//! with two sides: messages and time in, messages and events out. They own no socket, no file, no
//! clock and no thread: the application carries the messages, keeps files and users, and decides
//! whom to trust. Any transport fits that delivers whole messages in order within numbered streams;
//! Towpath uses SCTP.
//!
//! - Stream 0 is a TLS 1.3 connection: login by password or key, and small requests ([`Request`],
//!   [`Reply`]).
//! - Each transfer has a stream of its own, of AEAD records under keys exported from TLS, with
//!   credit granted by its receiver: a slow transfer stops neither requests nor other transfers.
//! - Every file comes with a [`SignedManifest`](signed::SignedManifest): the uploader signs
//!   content, path and version, and the signature outlives connection and server. It is verified
//!   here before the application gets it.
//!
//! ```
//! use std::{sync::Arc, time::Instant};
//! use bytes::BytesMut;
//! use rustls::{pki_types::PrivateKeyDer, time_provider::DefaultTimeProvider};
//! use towpath_protocol::channel::*;
//! use towpath_protocol::signed::*;
//! use towpath_protocol::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (now, time) = (Instant::now(), Arc::new(DefaultTimeProvider));
//! let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
//! let parameters = rcgen::CertificateParams::new(vec!["towpath".to_owned()])?;
//! let certificate = parameters.self_signed(&pair)?;
//! let key = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
//! let mut server = server::Connection::new(server::ServerConfig {
//!     tls: tls_server_config(vec![certificate.der().clone()], key, time.clone())?,
//!     store: StoreId::from_bytes([1; 16]),
//!     limits: Limits::default(),
//! }, now)?;
//! let mut client = client::Connection::new(client::ClientConfig {
//!     tls: tls_client_config(time)?,
//!     limits: Limits::default(),
//! }, now)?;
//!
//! // The carrier says that the association is up, with 16 streams.
//! client.handle_link(LinkChange::Up { streams: 16 }, now);
//! server.handle_link(LinkChange::Up { streams: 16 }, now);
//!
//! let mut listed = None;
//! while !client.is_closed() {
//!     // What the carrier would do: messages there and back.
//!     while let Some(message) = client.poll_transmit() {
//!         server.handle_message(message.stream, BytesMut::from(message.payload), now);
//!     }
//!     while let Some(message) = server.poll_transmit() {
//!         client.handle_message(message.stream, BytesMut::from(message.payload), now);
//!     }
//!     // What the server's application does: users and files are its own.
//!     while let Some(event) = server.poll_event() {
//!         match event {
//!             server::Event::Login { ticket, .. } => {
//!                 let (uid, role) = (UserId::from_bytes([2; 16]), Role::Guest);
//!                 server.login(ticket, server::Verdict::Accepted { uid, role }, now);
//!             }
//!             server::Event::Request(id, Request::List { .. }) => {
//!                 server.reply(id, Ok(Reply::List { entries: vec![], more: false }));
//!             }
//!             _ => {}
//!         }
//!     }
//!     // What the client's application does.
//!     while let Some(event) = client.poll_event() {
//!         match event {
//!             client::Event::Identified { fingerprint, .. } => {
//!                 assert_eq!(fingerprint, ServerFingerprint::of_certificate(certificate.der())?);
//!                 client.trust()?; // nothing about the user leaves before
//!             }
//!             client::Event::UserWanted => client.login_user(&UserName::parse("alice")?)?,
//!             client::Event::CredentialWanted { .. } => {
//!                 client.login_key(&SigningKey::from_seed(&[7; 32]))?;
//!             }
//!             client::Event::LoggedIn { .. } => {
//!                 let prefix = String::new();
//!                 client.request(Request::List { prefix, after: None, limit: 100 })?;
//!             }
//!             client::Event::Reply(_, result) => {
//!                 listed = Some(result);
//!                 client.close(now);
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//! assert!(matches!(listed, Some(Ok(Reply::List { .. }))));
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//! - [`client`] and [`server`]: events, and the order of calls; [`Connection`] has all methods.
//! - [`signed`]: manifests, key statements, keys, names: what is signed, as OpenSSH signs it;
//!   usable by itself.
//! - [`channel`]: TLS settings, the server's fingerprint, and [`Chunk`](channel::Chunk), the buffer
//!   of a transfer that is sealed and opened in place.
//! - [`Role`] and [`Action`]: who may do what.
//! - [`Escaped`]: untrusted text for terminals and logs.
//! - [`Limits`] and [`limits`]: what may be tuned, what may not, and why.
//!
//! The wire format is in Towpath's `docs/PROTOCOL.md`, with test vectors.

#![forbid(unsafe_code)]

pub mod channel;
pub mod client;
mod connection;
mod deadlines;
mod error;
mod escape;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod ids;
pub mod limits;
mod request;
mod role;
pub mod server;
pub mod signed;
#[cfg(test)]
mod tests;
mod wire;

pub use connection::Connection;
pub use error::{CloseCode, CloseReason, Deadline, ProtocolError, UsageError, WriteError};
pub use escape::{Escaped, is_hidden};
pub use ids::{RequestId, TransferId};
pub use limits::Limits;
pub use request::{
    KeyEntry, ListEntry, NewPassword, Refusal, RefusalCode, Reply, Request, UserEntry,
};
pub use role::{Action, Role, RoleError};
