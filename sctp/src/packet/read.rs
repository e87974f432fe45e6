//! A datagram as a packet.

use super::chunk::Chunks;
use super::header::{HEADER_LEN, Header, checksum};

/// Why a datagram is not an SCTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Shorter than a common header with one chunk, or longer than a packet can be.
    #[error("invalid packet length")]
    Length,
    /// The CRC32c does not match (RFC 9260 §6.8).
    #[error("checksum mismatch")]
    Checksum,
    /// A port is 0 (RFC 9260 §3.1).
    #[error("SCTP port 0")]
    Port,
}

/// A packet whose length, ports and checksum have been checked.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Ports and verification tag.
    pub header: Header,
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// The datagram is not an SCTP packet, and is to be discarded silently.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let Some((head, body)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Err(PacketError::Length);
        };
        if body.len() < 4 || datagram.len() > usize::from(u16::MAX) {
            return Err(PacketError::Length);
        }
        let [s0, s1, d0, d1, t0, t1, t2, t3, c0, c1, c2, c3] = *head;
        if checksum(datagram) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(PacketError::Checksum);
        }
        let header = Header {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            tag: u32::from_be_bytes([t0, t1, t2, t3]),
        };
        if header.source_port == 0 || header.destination_port == 0 {
            return Err(PacketError::Port);
        }
        Ok(Packet { header, body })
    }

    /// The packet's chunks in order. Iteration ends after the first malformed one.
    pub fn chunks(&self) -> Chunks<'a> {
        Chunks::new(self.body)
    }
}
