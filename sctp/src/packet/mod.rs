//! The wire format: common header, chunks, parameters and error causes (RFC 9260 §3).
//!
//! Reading borrows from the datagram and never allocates; writing appends to the caller's buffer.
//!
//! ```
//! use towpath_sctp::packet::{Chunk, Header, Packet, Writer};
//!
//! let header = Header { source_port: 9260, destination_port: 40_000, tag: 0x1234_5678 };
//! let mut buffer = Vec::new();
//! let mut writer = Writer::new(&mut buffer, header, 1_200);
//! assert!(writer.shutdown(41));
//! writer.finish();
//!
//! let packet = Packet::parse(&buffer)?;
//! assert_eq!(packet.header, header);
//! assert!(matches!(packet.chunks().next(), Some(Ok(Chunk::Shutdown { cumulative: 41 }))));
//! # Ok::<(), towpath_sctp::packet::PacketError>(())
//! ```

mod cause;
mod chunk;
mod display;
mod init;
mod sack;
mod tlv;
mod writer;

pub use cause::{Cause, Causes};
pub(crate) use chunk::DATA_HEADER;
pub use chunk::{Chunk, ChunkError, Chunks, Data, UnknownAction, kind};
pub use init::{Init, InitAddresses, InitParameters};
pub use sack::{GapBlock, Sack};
pub use tlv::{Parameter, Parameters, parameter};
pub use writer::Writer;
pub(crate) use writer::write_addresses;

/// Bytes of the common header.
pub const HEADER_LEN: usize = 12;

/// The common header of a packet, without its checksum (RFC 9260 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The sender's SCTP port, never 0 in a valid packet.
    pub source_port: u16,
    /// The receiver's SCTP port, never 0 in a valid packet.
    pub destination_port: u16,
    /// The verification tag: the receiver's own, 0 for an INIT, or reflected where a chunk's T bit
    /// says so.
    pub tag: u32,
}

/// A datagram that is not an SCTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Shorter than a common header with one chunk, or longer than a packet can be.
    #[error("the datagram's length is no SCTP packet's")]
    Length,
    /// The CRC32c does not match (RFC 9260 §6.8).
    #[error("the checksum does not match")]
    Checksum,
    /// A port is 0 (RFC 9260 §3.1).
    #[error("a port is zero")]
    Port,
}

/// A packet whose length, ports and checksum have been checked.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The common header.
    pub header: Header,
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// What is not an SCTP packet is to be discarded silently.
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

/// CRC32c of a packet with its checksum field taken as zero (RFC 9260 §6.8). `packet` holds at
/// least a header.
fn checksum(packet: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&packet[..8]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &packet[HEADER_LEN..])
}

/// Rounds up to whole 32-bit words, as chunks and parameters are padded.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
