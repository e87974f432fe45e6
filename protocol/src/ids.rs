//! Identifiers of requests and transfers.

use std::fmt;

/// One request of the client, counted up within the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u32);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One transfer: its stream, and which of the transfers on that stream it is. Never used again
/// within the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId {
    pub(crate) stream: u16,
    pub(crate) generation: u32,
}

impl TransferId {
    /// The stream that carries the transfer, from 1.
    pub const fn stream(self) -> u16 {
        self.stream
    }

    /// How many transfers this stream has carried, this one included.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stream, self.generation)
    }
}
