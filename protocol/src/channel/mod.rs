//! The secure channel: TLS 1.3 on stream 0, and records keyed from it on the streams of the
//! transfers.

pub(crate) mod chunk;
pub(crate) mod config;
pub(crate) mod keys;
pub(crate) mod kind;
pub(crate) mod link;
pub(crate) mod record;
pub(crate) mod streams;
pub(crate) mod tls;

pub use chunk::{CHUNK_LEN, Chunk, TAILROOM};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use config::server_tls_without_certificate;
pub use config::{
    ALPN, ServerFingerprint, ServerFingerprintError, TlsConfigError, tls_client_config,
    tls_server_config,
};
pub use link::{LinkChange, Transmit};
