//! Why connections end, and what callers do wrong.

use std::fmt;

use thiserror::Error;

use crate::channel::chunk::Chunk;
use crate::escape::Escaped;

/// Why a connection ended. The first reason is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// Our application closed it.
    Local,
    /// The peer closed it in order.
    Peer,
    /// The peer says that we broke the protocol, or that it cannot go on.
    PeerError {
        /// The machine-readable reason.
        code: CloseCode,
        /// For the user. Untrusted: show it with [`Escaped`](crate::Escaped).
        message: String,
    },
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// TLS failed: the peer does not speak this kind of TLS 1.3, or stream 0 was tampered with.
    Tls(String),
    /// The association ended without notice by the peer: data may be missing.
    Lost,
    /// The peer was silent for too long.
    Timeout(Deadline),
    /// Every login attempt was refused (server only).
    LoginFailed,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("closed"),
            Self::Peer => f.write_str("closed by the peer"),
            Self::PeerError { code, message } => {
                write!(f, "closed by the peer: {code}: {}", Escaped(message))
            }
            Self::Protocol(error) => write!(f, "the peer broke the protocol: {error}"),
            Self::Tls(error) => write!(f, "TLS failed: {}", Escaped(error)),
            Self::Lost => f.write_str("connection lost"),
            Self::Timeout(deadline) => write!(f, "timed out during {deadline}"),
            Self::LoginFailed => f.write_str("login failed"),
        }
    }
}

/// Which deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// Establishing the association.
    Link,
    /// TLS handshake and hello.
    Handshake,
    /// The whole login, all attempts together.
    Login,
    /// The answer to a keepalive.
    Keepalive,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "connecting",
            Self::Handshake => "the handshake",
            Self::Login => "login",
            Self::Keepalive => "keepalive",
        })
    }
}

/// The reason in a Close message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// A message or record could not be parsed.
    Malformed,
    /// A message or record came where it has no place.
    Unexpected,
    /// A record did not open.
    Record,
    /// More data came than credit was given for.
    Credit,
    /// A limit was exceeded.
    Limit,
    /// No common version.
    Version,
    /// Every login attempt was refused.
    LoginFailed,
    /// The login signature is not for this connection.
    LoginSignature,
    /// A deadline passed.
    Timeout,
}

impl CloseCode {
    /// Every code.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Unexpected,
        Self::Record,
        Self::Credit,
        Self::Limit,
        Self::Version,
        Self::LoginFailed,
        Self::LoginSignature,
        Self::Timeout,
    ];

    /// The byte on the wire.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::Unexpected => 2,
            Self::Record => 3,
            Self::Credit => 4,
            Self::Limit => 5,
            Self::Version => 6,
            Self::LoginFailed => 7,
            Self::LoginSignature => 8,
            Self::Timeout => 9,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.byte() == byte)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed message",
            Self::Unexpected => "unexpected message",
            Self::Record => "record not authentic",
            Self::Credit => "credit exceeded",
            Self::Limit => "limit exceeded",
            Self::Version => "no common version",
            Self::LoginFailed => "login failed",
            Self::LoginSignature => "login signature not valid for this connection",
            Self::Timeout => "timed out",
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a peer broke the protocol. Ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A message or record is not one of this protocol, or not whole.
    #[error("malformed message")]
    Malformed,
    /// A message is longer than any may be here.
    #[error("message too long")]
    TooLong,
    /// A message that has no place in this state.
    #[error("unexpected message")]
    Unexpected,
    /// TLS ended up without the protocol `towpath/1` or with algorithms that are not ours.
    #[error("the peer does not speak towpath/1")]
    Alpn,
    /// The hello names another version.
    #[error("the peer speaks another version")]
    Version,
    /// A record before login.
    #[error("record before login")]
    BeforeLogin,
    /// A record on a stream that was not agreed on.
    #[error("record on a stream that was not agreed on")]
    Stream,
    /// A record was changed, replayed, dropped, reordered or moved.
    #[error("record not authentic")]
    Record,
    /// A record that has no place in this state of its transfer.
    #[error("unexpected record")]
    UnexpectedRecord,
    /// More data than credit, or credit taken back, or a window too small.
    #[error("credit violated")]
    Credit,
    /// More requests at once than allowed.
    #[error("too many requests at once")]
    Requests,
    /// A manifest whose signature does not verify, or of another store or path than was asked for.
    #[error("the peer sent a manifest that is not genuine or not the one asked for")]
    Manifest,
    /// A file ended before or went on after the size in its manifest.
    #[error("the data has not the size that the manifest says")]
    Size,
    /// The login signature does not belong to this connection: it may have been relayed from
    /// another one.
    #[error("login signature not valid for this connection")]
    LoginSignature,
}

impl ProtocolError {
    /// The code that the peer gets.
    pub(crate) const fn code(self) -> CloseCode {
        match self {
            Self::Malformed | Self::Manifest => CloseCode::Malformed,
            Self::Unexpected | Self::UnexpectedRecord | Self::BeforeLogin | Self::Size => {
                CloseCode::Unexpected
            }
            Self::TooLong | Self::Requests | Self::Stream => CloseCode::Limit,
            Self::Alpn | Self::Version => CloseCode::Version,
            Self::Record => CloseCode::Record,
            Self::Credit => CloseCode::Credit,
            Self::LoginSignature => CloseCode::LoginSignature,
        }
    }
}

/// A call that this state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UsageError {
    /// Not logged in, not asked for, or already done.
    #[error("not possible in this state")]
    WrongState,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// Every stream carries a transfer.
    #[error("every stream carries a transfer")]
    NoFreeStream,
    /// As many requests are under way as allowed.
    #[error("too many requests at once")]
    TooManyRequests,
    /// There is no such transfer, or it has ended.
    #[error("no such transfer")]
    UnknownTransfer,
    /// The manifest is not for this transfer: other path, store, kind or size.
    #[error("the manifest does not belong to this transfer")]
    WrongManifest,
    /// The reply is not to this kind of request.
    #[error("the reply does not fit the request")]
    WrongReply,
    /// A string is longer than the protocol takes.
    #[error("too long")]
    TooLong,
}

/// Data was not taken; the chunk comes back.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Longer than [`capacity`](crate::client::Connection::capacity): wait for `Writable`.
    #[error("the peer does not take more now")]
    Blocked(Chunk),
    /// There is no such transfer, it has ended, or this side is not to send data in it.
    #[error("no such transfer to write to")]
    Unknown(Chunk),
    /// Longer than [`CHUNK_LEN`](crate::channel::CHUNK_LEN): no record takes it.
    #[error("the chunk is longer than a record takes")]
    TooLong(Chunk),
}

impl WriteError {
    /// The chunk that was not taken.
    pub fn into_chunk(self) -> Chunk {
        match self {
            Self::Blocked(chunk) | Self::Unknown(chunk) | Self::TooLong(chunk) => chunk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_map_both_ways() {
        let bytes: Vec<u8> = CloseCode::ALL.iter().map(|code| code.byte()).collect();
        assert_eq!(bytes, (1..=9).collect::<Vec<u8>>());
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_byte(code.byte()), Some(code));
        }
        assert_eq!(CloseCode::from_byte(0), None);
        assert_eq!(CloseCode::from_byte(10), None);
    }
}
