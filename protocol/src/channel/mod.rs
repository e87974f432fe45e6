//! The secure channel: TLS 1.3 on stream 0, and records keyed from it on the streams of the
//! transfers.

mod config;
pub(crate) mod keys;
pub(crate) mod record;
pub(crate) mod tls;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use config::server_tls_without_certificate;
pub use config::{
    ALPN, ServerKey, ServerKeyError, TlsConfigError, tls_client_config, tls_server_config,
};
