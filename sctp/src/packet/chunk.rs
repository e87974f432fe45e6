//! Chunks: reading them in order, and what to do with unknown ones (RFC 9260 §3.2, §3.3).

use super::cause::Causes;
use super::header::{be16, be32, padded};
use super::init::Init;
use super::sack::Sack;

/// Chunk types on the wire.
pub mod kind {
    /// Payload data (RFC 9260 §3.3.1).
    pub const DATA: u8 = 0;
    /// Initiation (§3.3.2).
    pub const INIT: u8 = 1;
    /// Initiation acknowledgement (§3.3.3).
    pub const INIT_ACK: u8 = 2;
    /// Selective acknowledgement (§3.3.4).
    pub const SACK: u8 = 3;
    /// Heartbeat request (§3.3.5).
    pub const HEARTBEAT: u8 = 4;
    /// Heartbeat acknowledgement (§3.3.6).
    pub const HEARTBEAT_ACK: u8 = 5;
    /// Abort (§3.3.7).
    pub const ABORT: u8 = 6;
    /// Shutdown (§3.3.8).
    pub const SHUTDOWN: u8 = 7;
    /// Shutdown acknowledgement (§3.3.9).
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Operation error (§3.3.10).
    pub const ERROR: u8 = 9;
    /// State cookie (§3.3.11).
    pub const COOKIE_ECHO: u8 = 10;
    /// Cookie acknowledgement (§3.3.12).
    pub const COOKIE_ACK: u8 = 11;
    /// Shutdown complete (§3.3.13).
    pub const SHUTDOWN_COMPLETE: u8 = 14;
    /// Padding (RFC 4820 §3).
    pub const PAD: u8 = 132;
}

/// Bytes of a DATA chunk before its payload.
pub(crate) const DATA_HEADER: usize = 16;

pub(crate) const FLAG_END: u8 = 1;
pub(crate) const FLAG_BEGIN: u8 = 2;
pub(crate) const FLAG_UNORDERED: u8 = 4;
pub(crate) const FLAG_IMMEDIATE: u8 = 8;
/// The T bit of ABORT and SHUTDOWN COMPLETE: the verification tag is reflected.
pub(crate) const FLAG_REFLECTED: u8 = 1;

/// A fragment of a user message (RFC 9260 §3.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data<'a> {
    /// Transmission sequence number.
    pub tsn: u32,
    /// Stream identifier.
    pub stream: u16,
    /// Stream sequence number; not used for unordered data.
    pub ssn: u16,
    /// Payload protocol identifier, which SCTP does not interpret.
    pub ppid: u32,
    /// U bit: whether the message is unordered.
    pub unordered: bool,
    /// B bit: whether it is the first fragment of its message.
    pub begin: bool,
    /// E bit: whether it is the last fragment of its message.
    pub end: bool,
    /// I bit: whether the sender asks for a SACK at once (RFC 7053).
    pub immediate: bool,
    /// At least one byte in a valid chunk; an empty one is answered with an ABORT (§6.2).
    pub payload: &'a [u8],
}

/// A chunk, borrowed from its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Chunk<'a> {
    /// Payload data.
    Data(Data<'a>),
    /// Initiation.
    Init(Init<'a>),
    /// Initiation acknowledgement.
    InitAck(Init<'a>),
    /// Selective acknowledgement.
    Sack(Sack<'a>),
    /// Heartbeat: the parameters, to be sent back unchanged.
    Heartbeat(&'a [u8]),
    /// Heartbeat acknowledgement: the parameters that were sent.
    HeartbeatAck(&'a [u8]),
    /// Ends the association at once (§9.1).
    Abort {
        /// T bit: whether the verification tag is the sender's own.
        reflected: bool,
        /// Error causes, of which there may be none.
        causes: Causes<'a>,
    },
    /// Begins an orderly shutdown (§9.2).
    Shutdown {
        /// The last TSN that the sender has received in sequence.
        cumulative: u32,
    },
    /// Acknowledges a SHUTDOWN once everything has been acknowledged (§9.2).
    ShutdownAck,
    /// Errors that do not end the association by themselves.
    Error(Causes<'a>),
    /// The state cookie of the INIT ACK.
    CookieEcho(&'a [u8]),
    /// Acknowledges a COOKIE ECHO: the association is established.
    CookieAck,
    /// Acknowledges a SHUTDOWN ACK: the association has ended (§9.2).
    ShutdownComplete {
        /// T bit: whether the verification tag is the sender's own.
        reflected: bool,
    },
    /// Padding, ignored.
    Pad,
    /// A chunk of a type that this crate does not implement.
    Unknown {
        /// Chunk type; see [`UnknownAction`](super::UnknownAction).
        kind: u8,
        /// The whole chunk without its padding.
        raw: &'a [u8],
    },
}

/// A malformed chunk; it and what follows it in its packet are discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The length field is less than 4 or exceeds the packet.
    #[error("invalid chunk length")]
    Length,
    /// The content does not match the type.
    #[error("malformed chunk of type {0}")]
    Malformed(u8),
}

/// The chunks of a packet, in order.
#[derive(Debug, Clone)]
pub struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Chunks { rest: body }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, ChunkError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.rest;
        if bytes.is_empty() {
            return None;
        }
        self.rest = &[];
        if bytes.len() < 4 {
            return Some(Err(ChunkError::Length));
        }
        let len = usize::from(be16(bytes, 2));
        if len < 4 || len > bytes.len() {
            return Some(Err(ChunkError::Length));
        }
        let chunk = read(&bytes[..len]);
        if chunk.is_ok() {
            // The last chunk's padding may be missing.
            self.rest = &bytes[padded(len).min(bytes.len())..];
        }
        Some(chunk)
    }
}

/// Reads one chunk. `raw` is as long as its length field says, at least 4 bytes.
fn read(raw: &[u8]) -> Result<Chunk<'_>, ChunkError> {
    let (kind, flags, value) = (raw[0], raw[1], &raw[4..]);
    let malformed = ChunkError::Malformed(kind);
    Ok(match kind {
        kind::DATA => {
            if raw.len() < DATA_HEADER {
                return Err(malformed);
            }
            Chunk::Data(Data {
                tsn: be32(raw, 4),
                stream: be16(raw, 8),
                ssn: be16(raw, 10),
                ppid: be32(raw, 12),
                unordered: flags & FLAG_UNORDERED != 0,
                begin: flags & FLAG_BEGIN != 0,
                end: flags & FLAG_END != 0,
                immediate: flags & FLAG_IMMEDIATE != 0,
                payload: &raw[DATA_HEADER..],
            })
        }
        kind::INIT => Chunk::Init(Init::read(value).ok_or(malformed)?),
        kind::INIT_ACK => Chunk::InitAck(Init::read(value).ok_or(malformed)?),
        kind::SACK => Chunk::Sack(Sack::read(value).ok_or(malformed)?),
        kind::HEARTBEAT => Chunk::Heartbeat(value),
        kind::HEARTBEAT_ACK => Chunk::HeartbeatAck(value),
        kind::ABORT => Chunk::Abort {
            reflected: flags & FLAG_REFLECTED != 0,
            causes: Causes::new(value),
        },
        kind::SHUTDOWN => match value.try_into() {
            Ok(tsn) => Chunk::Shutdown {
                cumulative: u32::from_be_bytes(tsn),
            },
            Err(_) => return Err(malformed),
        },
        kind::SHUTDOWN_ACK if value.is_empty() => Chunk::ShutdownAck,
        kind::ERROR => Chunk::Error(Causes::new(value)),
        kind::COOKIE_ECHO => Chunk::CookieEcho(value),
        kind::COOKIE_ACK if value.is_empty() => Chunk::CookieAck,
        kind::SHUTDOWN_COMPLETE if value.is_empty() => Chunk::ShutdownComplete {
            reflected: flags & FLAG_REFLECTED != 0,
        },
        kind::SHUTDOWN_ACK | kind::COOKIE_ACK | kind::SHUTDOWN_COMPLETE => return Err(malformed),
        kind::PAD => Chunk::Pad,
        kind => Chunk::Unknown { kind, raw },
    })
}
