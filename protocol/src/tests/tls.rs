//! What TLS has to hold by itself.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConnection, HandshakeKind, ServerConnection};

use super::pair::{FixedTime, Host, Pair, client_tls};
use crate::channel::LinkChange;
use crate::channel::config::server_tls_without_certificate;
use crate::client::Event as C;
use crate::{CloseReason, Limits};

/// Shows a certificate, and signs with a key that need not be its own.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn key() -> rcgen::KeyPair {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()
}

fn certificate(key: &rcgen::KeyPair) -> CertificateDer<'static> {
    let names = vec!["towpath".to_owned()];
    let params = rcgen::CertificateParams::new(names).unwrap();
    params.self_signed(key).unwrap().der().clone()
}

/// The first thing that a client has to say of a server that shows `shown` and signs with `key`.
fn meets(shown: CertificateDer<'static>, key: &rcgen::KeyPair) -> C {
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let signer = any_supported_type(&private).unwrap();
    let resolver = Shows(Arc::new(CertifiedKey::new(vec![shown], signer)));
    let server = server_tls_without_certificate(Arc::new(resolver), Arc::new(FixedTime)).unwrap();
    let mut pair = Pair::with_tls(1, client_tls(), server, Limits::default());
    pair.link(LinkChange::Up { streams: 65 });
    pair.run();
    pair.client_event()
}

#[test]
fn a_server_without_the_key_of_its_certificate_is_not_identified() {
    let (owner, thief) = (key(), key());
    assert!(matches!(
        meets(certificate(&owner), &owner),
        C::Identified { .. }
    ));
    let event = meets(certificate(&owner), &thief);
    assert!(
        matches!(&event, C::Closed(CloseReason::Tls(_))),
        "{event:?}"
    );
}

/// Moves handshake messages and what follows them until both are quiet.
fn exchange(client: &mut ClientConnection, server: &mut ServerConnection) {
    loop {
        let (mut out, mut back) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut out).unwrap();
        }
        let mut rest = &out[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
        while server.wants_write() {
            server.write_tls(&mut back).unwrap();
        }
        let mut rest = &back[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
        if out.is_empty() && back.is_empty() {
            return;
        }
    }
}

#[test]
fn no_session_is_resumed_even_by_a_client_that_wants_to() {
    let host = Host::new();
    let mut eager = (*client_tls()).clone();
    eager.resumption = rustls::client::Resumption::in_memory_sessions(4);
    eager.enable_early_data = true;
    let eager = Arc::new(eager);
    for _ in 0..2 {
        let name = ServerName::try_from("towpath.invalid").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&eager), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(&host.tls)).unwrap();
        exchange(&mut client, &mut server);
        assert!(!client.is_handshaking() && !server.is_handshaking());
        assert_eq!(client.tls13_tickets_received(), 0);
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
    }
}
