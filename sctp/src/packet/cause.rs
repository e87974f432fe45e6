//! Error causes of ABORT and ERROR chunks (RFC 9260 §3.3.10).

use super::header::{be16, be32};
use super::tlv::Parameters;

/// Cause codes on the wire.
pub(crate) mod code {
    pub(crate) const INVALID_STREAM: u16 = 1;
    pub(crate) const MISSING_PARAMETER: u16 = 2;
    pub(crate) const STALE_COOKIE: u16 = 3;
    pub(crate) const OUT_OF_RESOURCE: u16 = 4;
    pub(crate) const UNRESOLVABLE_ADDRESS: u16 = 5;
    pub(crate) const UNRECOGNIZED_CHUNK: u16 = 6;
    pub(crate) const INVALID_PARAMETER: u16 = 7;
    pub(crate) const UNRECOGNIZED_PARAMETERS: u16 = 8;
    pub(crate) const NO_USER_DATA: u16 = 9;
    pub(crate) const COOKIE_WHILE_SHUTTING_DOWN: u16 = 10;
    pub(crate) const RESTART_WITH_NEW_ADDRESSES: u16 = 11;
    pub(crate) const USER_ABORT: u16 = 12;
    pub(crate) const PROTOCOL_VIOLATION: u16 = 13;
    /// From the additional considerations for UDP encapsulation.
    pub(crate) const RESTART_WITH_NEW_PORT: u16 = 14;
}

/// An error cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause<'a> {
    /// DATA for a stream that does not exist: its identifier.
    InvalidStream(u16),
    /// A mandatory parameter is missing: its type.
    MissingParameter(u16),
    /// The cookie had expired this many microseconds before; 0 if unknown.
    StaleCookie(u32),
    /// The sender has no resources for an association.
    OutOfResource,
    /// An address parameter that cannot be used, as it was received.
    UnresolvableAddress(&'a [u8]),
    /// A chunk of a type unknown to the sender, as it was received.
    UnrecognizedChunk(&'a [u8]),
    /// A fixed field of an INIT or INIT ACK is invalid.
    InvalidParameter,
    /// Parameters of an INIT ACK of types unknown to the sender, as they were received.
    UnrecognizedParameters(&'a [u8]),
    /// A DATA chunk without payload: its TSN.
    NoUserData(u32),
    /// A COOKIE ECHO arrived while the sender was shutting down.
    CookieWhileShuttingDown,
    /// A restart with addresses that the association does not have, as address parameters.
    RestartWithNewAddresses(&'a [u8]),
    /// The application aborted the association, for this reason.
    UserAbort(&'a [u8]),
    /// Another protocol violation, with an explanation.
    ProtocolViolation(&'a [u8]),
    /// A restart from a UDP port that the association does not have.
    RestartWithNewPort {
        /// UDP port of the association.
        current: u16,
        /// UDP port of the restart.
        new: u16,
    },
    /// A cause with another code.
    Other(u16),
}

impl<'a> Cause<'a> {
    /// The cause code on the wire.
    pub fn code(&self) -> u16 {
        match self {
            Cause::InvalidStream(_) => code::INVALID_STREAM,
            Cause::MissingParameter(_) => code::MISSING_PARAMETER,
            Cause::StaleCookie(_) => code::STALE_COOKIE,
            Cause::OutOfResource => code::OUT_OF_RESOURCE,
            Cause::UnresolvableAddress(_) => code::UNRESOLVABLE_ADDRESS,
            Cause::UnrecognizedChunk(_) => code::UNRECOGNIZED_CHUNK,
            Cause::InvalidParameter => code::INVALID_PARAMETER,
            Cause::UnrecognizedParameters(_) => code::UNRECOGNIZED_PARAMETERS,
            Cause::NoUserData(_) => code::NO_USER_DATA,
            Cause::CookieWhileShuttingDown => code::COOKIE_WHILE_SHUTTING_DOWN,
            Cause::RestartWithNewAddresses(_) => code::RESTART_WITH_NEW_ADDRESSES,
            Cause::UserAbort(_) => code::USER_ABORT,
            Cause::ProtocolViolation(_) => code::PROTOCOL_VIOLATION,
            Cause::RestartWithNewPort { .. } => code::RESTART_WITH_NEW_PORT,
            Cause::Other(code) => *code,
        }
    }

    pub(super) fn write_value(&self, out: &mut Vec<u8>) {
        match self {
            Cause::InvalidStream(stream) => {
                out.extend_from_slice(&stream.to_be_bytes());
                out.extend_from_slice(&[0; 2]);
            }
            Cause::MissingParameter(kind) => {
                out.extend_from_slice(&1u32.to_be_bytes());
                out.extend_from_slice(&kind.to_be_bytes());
            }
            Cause::StaleCookie(number) | Cause::NoUserData(number) => {
                out.extend_from_slice(&number.to_be_bytes())
            }
            Cause::UnresolvableAddress(bytes)
            | Cause::UnrecognizedChunk(bytes)
            | Cause::UnrecognizedParameters(bytes)
            | Cause::RestartWithNewAddresses(bytes)
            | Cause::UserAbort(bytes)
            | Cause::ProtocolViolation(bytes) => out.extend_from_slice(bytes),
            Cause::RestartWithNewPort { current, new } => {
                out.extend_from_slice(&current.to_be_bytes());
                out.extend_from_slice(&new.to_be_bytes());
            }
            Cause::OutOfResource
            | Cause::InvalidParameter
            | Cause::CookieWhileShuttingDown
            | Cause::Other(_) => {}
        }
    }
}

/// The causes of an ABORT or ERROR, in order. Iteration ends at the first malformed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Causes<'a> {
    bytes: &'a [u8],
}

impl<'a> Causes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Causes { bytes }
    }

    /// Iterates over the causes.
    pub fn iter(&self) -> impl Iterator<Item = Cause<'a>> + use<'a> {
        Parameters::of(self.bytes).map_while(|item| {
            let value = item.value();
            let word = || (value.len() == 4).then(|| be32(value, 0));
            Some(match item.kind {
                code::INVALID_STREAM if value.len() >= 2 => Cause::InvalidStream(be16(value, 0)),
                code::MISSING_PARAMETER if value.len() >= 6 => {
                    Cause::MissingParameter(be16(value, 4))
                }
                code::STALE_COOKIE => Cause::StaleCookie(word()?),
                code::OUT_OF_RESOURCE => Cause::OutOfResource,
                code::UNRESOLVABLE_ADDRESS => Cause::UnresolvableAddress(value),
                code::UNRECOGNIZED_CHUNK => Cause::UnrecognizedChunk(value),
                code::INVALID_PARAMETER => Cause::InvalidParameter,
                code::UNRECOGNIZED_PARAMETERS => Cause::UnrecognizedParameters(value),
                code::NO_USER_DATA => Cause::NoUserData(word()?),
                code::COOKIE_WHILE_SHUTTING_DOWN => Cause::CookieWhileShuttingDown,
                code::RESTART_WITH_NEW_ADDRESSES => Cause::RestartWithNewAddresses(value),
                code::USER_ABORT => Cause::UserAbort(value),
                code::PROTOCOL_VIOLATION => Cause::ProtocolViolation(value),
                code::RESTART_WITH_NEW_PORT if value.len() == 4 => Cause::RestartWithNewPort {
                    current: be16(value, 0),
                    new: be16(value, 2),
                },
                code::INVALID_STREAM | code::MISSING_PARAMETER | code::RESTART_WITH_NEW_PORT => {
                    return None;
                }
                other => Cause::Other(other),
            })
        })
    }
}
