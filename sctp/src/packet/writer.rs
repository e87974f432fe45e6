//! Writing packets into a caller's buffer.

use std::net::IpAddr;

use super::cause::Cause;
use super::chunk::{
    DATA_HEADER, Data, FLAG_BEGIN, FLAG_END, FLAG_IMMEDIATE, FLAG_REFLECTED, FLAG_UNORDERED, kind,
};
use super::header::{HEADER_LEN, Header, checksum, padded};
use super::init::Init;
use super::sack::GapBlock;
use super::tlv::parameter;

/// Appends one packet to a buffer, chunk by chunk.
///
/// Each method that writes a chunk gives true if it fitted; a chunk that does not fit changes
/// nothing. [`finish`](Self::finish) writes the checksum.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
    limit: usize,
}

impl<'a> Writer<'a> {
    /// Starts a packet of at most `limit` bytes at the buffer's end.
    pub fn new(buffer: &'a mut Vec<u8>, header: Header, limit: usize) -> Self {
        let start = buffer.len();
        let mut head = [0; HEADER_LEN];
        head[..2].copy_from_slice(&header.source_port.to_be_bytes());
        head[2..4].copy_from_slice(&header.destination_port.to_be_bytes());
        head[4..8].copy_from_slice(&header.tag.to_be_bytes());
        buffer.extend_from_slice(&head);
        Writer {
            buffer,
            start,
            limit: limit.min(usize::from(u16::MAX)) & !3,
        }
    }

    /// Bytes left for chunks, with their headers and padding.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.buffer.len() - self.start)
    }

    /// Whether no chunk has been written.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() - self.start <= HEADER_LEN
    }

    /// Writes the checksum and gives the packet's length.
    pub fn finish(self) -> usize {
        let packet = &mut self.buffer[self.start..];
        let sum = checksum(packet).to_le_bytes();
        packet[8..HEADER_LEN].copy_from_slice(&sum);
        packet.len()
    }

    /// Removes the packet from the buffer.
    pub fn discard(self) {
        self.buffer.truncate(self.start);
    }

    fn put(&mut self, kind: u8, flags: u8, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.put_padded(kind, flags, |out| {
            fill(out);
            0
        })
    }

    /// Writes a chunk; `fill` says how many bytes at the end are the last parameter's padding,
    /// which the chunk's length does not count (RFC 9260 §3.2).
    fn put_padded(
        &mut self,
        kind: u8,
        flags: u8,
        fill: impl FnOnce(&mut Vec<u8>) -> usize,
    ) -> bool {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&[kind, flags, 0, 0]);
        let padding = fill(self.buffer);
        let len = self.buffer.len() - at - padding;
        let end = at + padded(len);
        if end - self.start > self.limit {
            self.buffer.truncate(at);
            return false;
        }
        self.buffer.resize(end, 0);
        // The packet is at most 65,535 bytes, so is the chunk.
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        self.buffer[at + 2..at + 4].copy_from_slice(&len.to_be_bytes());
        true
    }

    /// Writes a DATA chunk. Gives its offset in the buffer, for
    /// [`ask_immediate`](Self::ask_immediate).
    pub fn data(&mut self, data: &Data<'_>) -> Option<usize> {
        if DATA_HEADER + padded(data.payload.len()) > self.room() {
            return None;
        }
        let at = self.buffer.len();
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = flag(data.end, FLAG_END)
            | flag(data.begin, FLAG_BEGIN)
            | flag(data.unordered, FLAG_UNORDERED)
            | flag(data.immediate, FLAG_IMMEDIATE);
        self.put(kind::DATA, flags, |out| {
            let mut head = [0; DATA_HEADER - 4];
            head[..4].copy_from_slice(&data.tsn.to_be_bytes());
            head[4..6].copy_from_slice(&data.stream.to_be_bytes());
            head[6..8].copy_from_slice(&data.ssn.to_be_bytes());
            head[8..].copy_from_slice(&data.ppid.to_be_bytes());
            out.extend_from_slice(&head);
            out.extend_from_slice(data.payload);
        })
        .then_some(at)
    }

    /// Sets the I bit of a written DATA chunk, which asks for a SACK at once (RFC 7053).
    pub fn ask_immediate(&mut self, at: usize) {
        self.buffer[at + 1] |= FLAG_IMMEDIATE;
    }

    /// Writes an INIT with addresses and an optional cookie preservative in milliseconds, padded so
    /// that the packet has `pad_to` bytes.
    pub fn init(
        &mut self,
        init: &Init<'_>,
        addresses: &[IpAddr],
        preservative: Option<u32>,
        pad_to: usize,
    ) -> bool {
        let start = self.start;
        self.put_padded(kind::INIT, 0, |out| {
            fixed(out, init);
            write_addresses(out, addresses);
            if let Some(milliseconds) = preservative {
                write_parameter(
                    out,
                    parameter::COOKIE_PRESERVATIVE,
                    &milliseconds.to_be_bytes(),
                );
            }
            let len = out.len() - start;
            if len + 4 <= pad_to {
                write_parameter(out, parameter::PAD, &vec![0; pad_to - len - 4]);
            }
            0
        })
    }

    /// Writes an INIT ACK with cookie, addresses and unrecognized parameters (each a complete
    /// parameter).
    pub fn init_ack<'p>(
        &mut self,
        init: &Init<'_>,
        cookie: &[u8],
        addresses: &[IpAddr],
        unrecognized: impl Iterator<Item = &'p [u8]>,
    ) -> bool {
        self.put_padded(kind::INIT_ACK, 0, |out| {
            fixed(out, init);
            write_addresses(out, addresses);
            let padding = write_parameter(out, parameter::COOKIE, cookie);
            unrecognized.fold(padding, |_, raw| {
                write_parameter(out, parameter::UNRECOGNIZED, raw)
            })
        })
    }

    /// Writes a SACK with as many of the gap blocks, then of the duplicates, as fit.
    pub fn sack(
        &mut self,
        cumulative: u32,
        window: u32,
        blocks: impl Iterator<Item = GapBlock>,
        duplicates: &[u32],
    ) -> bool {
        let room = self.room().saturating_sub(16) / 4;
        self.put(kind::SACK, 0, |out| {
            out.extend_from_slice(&cumulative.to_be_bytes());
            out.extend_from_slice(&window.to_be_bytes());
            let counts = out.len();
            out.extend_from_slice(&[0; 4]);
            let mut written = 0u16;
            for block in blocks.take(room) {
                out.extend_from_slice(&block.start.to_be_bytes());
                out.extend_from_slice(&block.end.to_be_bytes());
                written += 1;
            }
            let listed = duplicates.len().min(room - usize::from(written));
            for tsn in &duplicates[..listed] {
                out.extend_from_slice(&tsn.to_be_bytes());
            }
            out[counts..counts + 2].copy_from_slice(&written.to_be_bytes());
            // At most room, which is under 2^14.
            let listed = u16::try_from(listed).unwrap_or(u16::MAX);
            out[counts + 2..counts + 4].copy_from_slice(&listed.to_be_bytes());
        })
    }

    /// Writes a HEARTBEAT with `info` as its Heartbeat Information.
    pub fn heartbeat(&mut self, info: &[u8]) -> bool {
        self.put_padded(kind::HEARTBEAT, 0, |out| {
            write_parameter(out, parameter::HEARTBEAT_INFO, info)
        })
    }

    /// Writes a HEARTBEAT ACK: the heartbeat's content, unchanged.
    pub fn heartbeat_ack(&mut self, content: &[u8]) -> bool {
        self.put(kind::HEARTBEAT_ACK, 0, |out| out.extend_from_slice(content))
    }

    /// Writes an ABORT; `reflected` is its T bit.
    pub fn abort(&mut self, reflected: bool, cause: Option<Cause<'_>>) -> bool {
        self.put_padded(kind::ABORT, u8::from(reflected) * FLAG_REFLECTED, |out| {
            write_causes(out, cause.as_slice())
        })
    }

    /// Writes an ERROR with these causes.
    pub fn error(&mut self, causes: &[Cause<'_>]) -> bool {
        self.put_padded(kind::ERROR, 0, |out| write_causes(out, causes))
    }

    /// Writes a SHUTDOWN with the last TSN received in sequence.
    pub fn shutdown(&mut self, cumulative: u32) -> bool {
        self.put(kind::SHUTDOWN, 0, |out| {
            out.extend_from_slice(&cumulative.to_be_bytes())
        })
    }

    /// Writes a SHUTDOWN ACK, which has no content.
    pub fn shutdown_ack(&mut self) -> bool {
        self.put(kind::SHUTDOWN_ACK, 0, |_| {})
    }

    /// Writes a SHUTDOWN COMPLETE; `reflected` is its T bit.
    pub fn shutdown_complete(&mut self, reflected: bool) -> bool {
        self.put(
            kind::SHUTDOWN_COMPLETE,
            u8::from(reflected) * FLAG_REFLECTED,
            |_| {},
        )
    }

    /// Writes a COOKIE ECHO: the cookie of the INIT ACK, unchanged.
    pub fn cookie_echo(&mut self, cookie: &[u8]) -> bool {
        self.put(kind::COOKIE_ECHO, 0, |out| out.extend_from_slice(cookie))
    }

    /// Writes a COOKIE ACK, which has no content.
    pub fn cookie_ack(&mut self) -> bool {
        self.put(kind::COOKIE_ACK, 0, |_| {})
    }

    /// Writes a PAD chunk of exactly `len` bytes, header included; `len` is a multiple of 4, at
    /// least 4 (RFC 4820).
    pub fn pad(&mut self, len: usize) -> bool {
        self.put(kind::PAD, 0, |out| {
            out.resize(out.len() + len.saturating_sub(4), 0)
        })
    }

    /// Writes a chunk of any type, e.g. one that this crate does not implement.
    pub fn raw(&mut self, kind: u8, flags: u8, value: &[u8]) -> bool {
        self.put(kind, flags, |out| out.extend_from_slice(value))
    }
}

fn fixed(out: &mut Vec<u8>, init: &Init<'_>) {
    out.extend_from_slice(&init.tag.to_be_bytes());
    out.extend_from_slice(&init.window.to_be_bytes());
    out.extend_from_slice(&init.outbound.to_be_bytes());
    out.extend_from_slice(&init.inbound.to_be_bytes());
    out.extend_from_slice(&init.tsn.to_be_bytes());
}

/// Writes addresses as parameters: of INIT and INIT ACK, and in the cause of a refused restart.
pub(crate) fn write_addresses(out: &mut Vec<u8>, addresses: &[IpAddr]) {
    for address in addresses {
        match address {
            IpAddr::V4(address) => write_parameter(out, parameter::IPV4, &address.octets()),
            IpAddr::V6(address) => write_parameter(out, parameter::IPV6, &address.octets()),
        };
    }
}

/// Writes a parameter and gives the length of its padding.
fn write_parameter(out: &mut Vec<u8>, kind: u16, value: &[u8]) -> usize {
    // A value longer than a packet cannot be written: the chunk will not fit and is removed.
    let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
    let padding = padded(value.len()) - value.len();
    out.resize(out.len() + padding, 0);
    padding
}

/// Writes causes and gives the length of the last one's padding.
fn write_causes(out: &mut Vec<u8>, causes: &[Cause<'_>]) -> usize {
    let mut padding = 0;
    for cause in causes {
        let at = out.len();
        out.extend_from_slice(&cause.code().to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        cause.write_value(out);
        let len = out.len() - at;
        let field = u16::try_from(len).unwrap_or(u16::MAX);
        out[at + 2..at + 4].copy_from_slice(&field.to_be_bytes());
        padding = padded(len) - len;
        out.resize(out.len() + padding, 0);
    }
    padding
}
