//! What passes between a connection and the carrier under it: outgoing messages and changes of the
//! link.

use bytes::Bytes;

/// One message that the connection wants sent, whole and in order within its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The SCTP stream, below the number that [`LinkChange::Up`] announced.
    pub stream: u16,
    /// The message: one record, or a piece of the TLS byte stream on stream 0.
    pub payload: Bytes,
}

/// What happened to the association that carries a connection (RFC 6458 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkChange {
    /// The association is established; comes once, before any message.
    Up {
        /// How many streams can be used in both directions: numbers `0..streams`.
        streams: u16,
    },
    /// A path of the association became active, inactive or primary; for display only.
    PathChanged,
    /// The peer ended the association in order: everything it sent has been delivered.
    PeerClosed,
    /// The association is gone: aborted, timed out, or restarted by the peer; messages may be
    /// missing.
    Lost,
}
