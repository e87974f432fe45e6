//! TLS on stream 0, bytes in and bytes out.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection,
};
use rustls_pki_types::ServerName;
use zeroize::{Zeroize, Zeroizing};

use crate::channel::config::{ALPN, ServerFingerprint};
use crate::channel::keys::{EXPORTER_LABEL, Root, Secret};
use crate::channel::record::Algorithm;
use crate::error::ProtocolError;
use crate::limits::{MAX_REQUEST_LEN, TLS_MESSAGE_LEN};

/// Label of the channel binding (RFC 9266 §2).
const BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// A TLS session whose transport is messages.
pub(crate) struct Tls {
    connection: Box<Connection>,
    /// Decrypted and not yet taken; holds passwords for a moment.
    inbox: Zeroizing<Vec<u8>>,
    /// How much of `inbox` is already taken, and zeroised.
    taken: usize,
    outbox: VecDeque<Bytes>,
    /// Bytes in `outbox`.
    queued: usize,
    peer_closed: bool,
}

/// What a finished handshake yields.
pub(crate) struct Established {
    pub(crate) algorithm: Algorithm,
    pub(crate) root: Root,
    /// RFC 9266 `tls-exporter`.
    pub(crate) binding: [u8; 32],
}

impl Tls {
    pub(crate) fn client(config: Arc<ClientConfig>) -> Result<Self, rustls::Error> {
        let name = ServerName::try_from("towpath.invalid").expect("the name is a valid DNS name");
        Ok(Self::new(ClientConnection::new(config, name)?.into()))
    }

    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self::new(ServerConnection::new(config)?.into()))
    }

    fn new(connection: Connection) -> Self {
        let mut tls = Self {
            connection: Box::new(connection),
            // Before login nothing longer arrives, so a password is never left behind by a
            // reallocation.
            inbox: Zeroizing::new(Vec::with_capacity(MAX_REQUEST_LEN)),
            taken: 0,
            outbox: VecDeque::new(),
            queued: 0,
            peer_closed: false,
        };
        tls.collect();
        tls
    }

    /// Takes one message of stream 0.
    ///
    /// On an error TLS has an alert for the peer in the outbox.
    pub(crate) fn receive(&mut self, mut payload: &[u8]) -> Result<(), rustls::Error> {
        while !payload.is_empty() && !self.peer_closed {
            // Reading from memory fails only on a full plaintext buffer, which `drain` has emptied.
            match self.connection.read_tls(&mut payload) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(rustls::Error::General(error.to_string())),
            }
            let processed = self.connection.process_new_packets();
            self.collect();
            let state = processed?;
            self.drain(state.plaintext_bytes_to_read());
            self.peer_closed = state.peer_has_closed();
        }
        Ok(())
    }

    /// Moves what TLS has decrypted into the inbox.
    fn drain(&mut self, available: usize) {
        let rest = self.inbox.len() - self.taken;
        self.inbox.copy_within(self.taken.., 0);
        self.inbox[rest..].zeroize();
        self.inbox.truncate(rest);
        self.taken = 0;
        let start = self.inbox.len();
        self.inbox.resize(start + available, 0);
        self.connection
            .reader()
            .read_exact(&mut self.inbox[start..])
            .expect("rustls has just said that so many bytes can be read");
    }

    /// Whether the handshake is over.
    pub(crate) fn is_established(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// The finished handshake; `None` while it goes on.
    pub(crate) fn established(&self) -> Result<Option<Established>, ProtocolError> {
        if self.connection.is_handshaking() {
            return Ok(None);
        }
        if self.connection.alpn_protocol() != Some(ALPN) {
            return Err(ProtocolError::Alpn);
        }
        let suite = self
            .connection
            .negotiated_cipher_suite()
            .map(|suite| suite.suite());
        let algorithm = match suite {
            Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => Algorithm::Aes256Gcm,
            Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => Algorithm::ChaCha20Poly1305,
            // Only with a configuration that is not ours.
            _ => return Err(ProtocolError::Alpn),
        };
        Ok(Some(Established {
            algorithm,
            root: Root::new(self.export(EXPORTER_LABEL)),
            binding: *self.export(BINDING_LABEL),
        }))
    }

    fn export(&self, label: &[u8]) -> Secret {
        let mut secret = Zeroizing::new([0; 32]);
        self.connection
            .export_keying_material(&mut secret[..], label, None)
            .expect("the handshake is over and 32 bytes are no more than TLS exports");
        secret
    }

    /// The fingerprint of the server's key, at the client after the handshake.
    pub(crate) fn server_fingerprint(&self) -> Option<ServerFingerprint> {
        let certificate = self.connection.peer_certificates()?.first()?;
        ServerFingerprint::of_certificate(certificate).ok()
    }

    /// Whether the peer's `close_notify` has come.
    pub(crate) fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Plaintext that has arrived and is not yet taken.
    pub(crate) fn inbox(&self) -> &[u8] {
        &self.inbox[self.taken..]
    }

    /// Takes the first `len` bytes out of the inbox, with their traces.
    pub(crate) fn take(&mut self, len: usize) {
        self.inbox[self.taken..self.taken + len].zeroize();
        self.taken += len;
    }

    /// Encrypts `plaintext` into the outbox.
    pub(crate) fn send(&mut self, mut plaintext: &[u8]) {
        while !plaintext.is_empty() {
            let written = self
                .connection
                .writer()
                .write(plaintext)
                .expect("rustls buffers what it takes and never fails");
            plaintext = &plaintext[written..];
            self.collect();
        }
    }

    /// Queues the `close_notify` alert (RFC 8446 §6.1).
    pub(crate) fn close_notify(&mut self) {
        self.connection.send_close_notify();
        self.collect();
    }

    /// Moves what TLS wants to send into the outbox.
    fn collect(&mut self) {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection
                .write_tls(&mut bytes)
                .expect("writing to memory never fails");
        }
        let mut bytes = Bytes::from(bytes);
        while !bytes.is_empty() {
            let message = bytes.split_to(bytes.len().min(TLS_MESSAGE_LEN));
            self.queued += message.len();
            self.outbox.push_back(message);
        }
    }

    /// The next message for stream 0.
    pub(crate) fn poll(&mut self) -> Option<Bytes> {
        let message = self.outbox.pop_front()?;
        self.queued -= message.len();
        Some(message)
    }

    /// Drops what waits: there is no one left to send it to.
    pub(crate) fn discard(&mut self) {
        self.outbox.clear();
        self.queued = 0;
    }

    /// Bytes that wait for [`Tls::poll`].
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }
}
