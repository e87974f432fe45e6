//! The kinds of records.

use crate::channel::chunk::Chunk;
use crate::error::ProtocolError;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// The client begins a transfer.
    Open,
    /// The server answers.
    Reply,
    /// Data.
    Data,
    /// The receiver of data takes more: the total number of bytes that it has ever allowed, in 8
    /// bytes.
    Credit,
    /// The client proves what it has sent.
    Proof,
    /// This side has sent all, and all went well. Empty.
    End,
    /// This side gives up.
    Abort,
}

impl RecordKind {
    const ALL: [Self; 7] = [
        Self::Open,
        Self::Reply,
        Self::Data,
        Self::Credit,
        Self::Proof,
        Self::End,
        Self::Abort,
    ];

    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Reply => 2,
            Self::Data => 3,
            Self::Credit => 4,
            Self::Proof => 5,
            Self::End => 6,
            Self::Abort => 7,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.byte() == byte)
    }
}

pub(crate) fn encode_credit(total: u64) -> Chunk {
    Chunk::from_slice(&total.to_be_bytes())
}

pub(crate) fn decode_credit(body: &[u8]) -> Result<u64, ProtocolError> {
    body.try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| ProtocolError::Malformed)
}
