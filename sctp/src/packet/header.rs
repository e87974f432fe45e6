//! The common header, its checksum, and how numbers and lengths are written (RFC 9260 §3.1).

/// Bytes of the common header.
pub const HEADER_LEN: usize = 12;

/// The common header of a packet, without its checksum (RFC 9260 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The sender's SCTP port, never 0 in a valid packet.
    pub source_port: u16,
    /// The receiver's SCTP port, never 0 in a valid packet.
    pub destination_port: u16,
    /// Verification tag: the receiver's, or 0 with an INIT, or the sender's with a chunk whose T
    /// bit is set.
    pub tag: u32,
}

/// CRC32c of a packet with its checksum field taken as zero (RFC 9260 §6.8). `packet` holds at
/// least a header.
pub(super) fn checksum(packet: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&packet[..8]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &packet[HEADER_LEN..])
}

/// Rounds up to whole 32-bit words, as chunks and parameters are padded.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
