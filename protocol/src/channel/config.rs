//! What both sides tell rustls, and who the server is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature,
};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The application protocol that both sides insist on (RFC 7301).
pub const ALPN: &[u8] = b"towpath/1";

/// TLS was given a certificate or key that it cannot use.
#[derive(Debug, Error)]
#[error("certificate or key cannot be used for TLS: {0}")]
pub struct TlsConfigError(#[from] rustls::Error);

/// The only algorithms that Towpath speaks: two AEADs, hybrid key exchange preferred.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
        ],
        ..aws_lc_rs::default_provider()
    })
}

/// The TLS settings of a client: TLS 1.3 with the `towpath/1` protocol, no resumption, no early
/// data.
///
/// Every server certificate passes whose key signed the handshake. Whether that key is the right
/// one is for the application to decide once the handshake is over.
///
/// # Errors
/// None in practice: it would take a provider without TLS 1.3.
pub fn tls_client_config(time: Arc<dyn TimeProvider>) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let provider = provider();
    let verifier = AnyCertificate(provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// The TLS settings of a server: TLS 1.3 with the `towpath/1` protocol, no tickets, no early data.
///
/// # Errors
/// When the key is of no kind that TLS signs with, or is not that of the first certificate of
/// `chain`.
pub fn tls_server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    time: Arc<dyn TimeProvider>,
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let config = ServerConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(hardened(config))
}

/// The same for a server that has no certificate, and so never finishes a handshake.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn server_tls_without_certificate(
    resolver: Arc<dyn rustls::server::ResolvesServerCert>,
    time: Arc<dyn TimeProvider>,
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let config = ServerConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    Ok(hardened(config))
}

fn hardened(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// Accepts whose certificate it is, but not who does not hold its key.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        ParsedCertificate::try_from(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The identity of a server: SHA-256 of its certificate's SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
///
/// A new certificate for the same key is the same identity. Written `SHA256:` and unpadded base64,
/// like the fingerprints of OpenSSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerFingerprint([u8; 32]);

/// Not a server's fingerprint: `SHA256:` and 43 characters of base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "not a server fingerprint; one looks like SHA256:4IYCyIk5QYc7b4sM0Ys3m2QXwM3nT6k9vVbVd1J3b2A"
)]
pub struct ServerFingerprintError;

impl ServerFingerprint {
    /// The fingerprint with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The SHA-256.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The fingerprint of the key in a certificate.
    ///
    /// # Errors
    /// When the certificate cannot be parsed.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, TlsConfigError> {
        let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        Ok(Self(Sha256::digest(spki.as_ref()).into()))
    }
}

impl fmt::Display for ServerFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", ssh_key::Fingerprint::Sha256(self.0))
    }
}

impl FromStr for ServerFingerprint {
    type Err = ServerFingerprintError;

    fn from_str(text: &str) -> Result<Self, ServerFingerprintError> {
        match text.parse() {
            Ok(ssh_key::Fingerprint::Sha256(bytes)) => Ok(Self(bytes)),
            Ok(_) | Err(_) => Err(ServerFingerprintError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_fingerprint_text() {
        let key = ServerFingerprint::from_bytes([0xA5; 32]);
        let text = key.to_string();
        assert_eq!(text, "SHA256:paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaU");
        assert_eq!(text.parse(), Ok(key));
        for wrong in [
            "",
            "SHA256:",
            "SHA512:paWl",
            &text[..49],
            &format!("{text}="),
            &text[7..],
        ] {
            assert_eq!(
                wrong.parse::<ServerFingerprint>(),
                Err(ServerFingerprintError),
                "{wrong:?}"
            );
        }
    }
}
