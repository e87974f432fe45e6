//! Type-length-value parameters of control chunks (RFC 9260 §3.2.1).

use super::header::{be16, padded};

/// Parameter types on the wire.
pub mod parameter {
    /// Heartbeat information (RFC 9260 §3.3.5).
    pub const HEARTBEAT_INFO: u16 = 1;
    /// An IPv4 address (§3.3.2.1.1).
    pub const IPV4: u16 = 5;
    /// An IPv6 address (§3.3.2.1.2).
    pub const IPV6: u16 = 6;
    /// The state cookie of an INIT ACK (§3.3.3.1.1).
    pub const COOKIE: u16 = 7;
    /// An unrecognized parameter, returned to its sender (§3.3.3.1.2).
    pub const UNRECOGNIZED: u16 = 8;
    /// Cookie preservative: a request for a longer cookie life (§3.3.2.1.3).
    pub const COOKIE_PRESERVATIVE: u16 = 9;
    /// A host name: deprecated, answered with an ABORT (§3.3.2.1.4).
    pub const HOST_NAME: u16 = 11;
    /// The address families that the sender can use (§3.3.2.1.5).
    pub const SUPPORTED_ADDRESS_TYPES: u16 = 12;
    /// Padding of an INIT (RFC 4820 §4).
    pub const PAD: u16 = 0x8005;
}

/// How a chunk or parameter of an unknown type is handled, which the two highest bits of its type
/// determine (RFC 9260 §3.2, §3.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownAction {
    /// Whether what follows is processed.
    pub proceed: bool,
    /// Whether it is reported to the sender.
    pub report: bool,
}

impl UnknownAction {
    /// The action for a chunk type.
    pub fn for_chunk(kind: u8) -> Self {
        Self {
            proceed: kind & 0x80 != 0,
            report: kind & 0x40 != 0,
        }
    }

    /// The action for a parameter type.
    pub fn for_parameter(kind: u16) -> Self {
        Self {
            proceed: kind & 0x8000 != 0,
            report: kind & 0x4000 != 0,
        }
    }
}

/// One parameter, borrowed from its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Parameter type, one of [`parameter`] if it is known.
    pub kind: u16,
    /// The whole parameter without its padding.
    pub raw: &'a [u8],
}

impl<'a> Parameter<'a> {
    /// The bytes after type and length.
    pub fn value(&self) -> &'a [u8] {
        &self.raw[4..]
    }
}

/// The parameters of a chunk, in order. Iteration ends at the first malformed one.
#[derive(Debug, Clone)]
pub struct Parameters<'a> {
    rest: &'a [u8],
}

impl<'a> Parameters<'a> {
    /// The parameters in `bytes`, which begin with the first one's type.
    pub fn of(bytes: &'a [u8]) -> Self {
        Parameters { rest: bytes }
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Parameter<'a>;

    fn next(&mut self) -> Option<Parameter<'a>> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.len() < 4 {
            return None;
        }
        let len = usize::from(be16(bytes, 2));
        if len < 4 || len > bytes.len() {
            return None;
        }
        self.rest = &bytes[padded(len).min(bytes.len())..];
        Some(Parameter {
            kind: be16(bytes, 0),
            raw: &bytes[..len],
        })
    }
}
