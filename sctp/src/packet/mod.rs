//! The wire format: common header, chunks, parameters and error causes (RFC 9260 §3).
//!
//! Reading borrows from the datagram and does not allocate; writing appends to the caller's buffer.
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
mod header;
mod init;
mod read;
mod sack;
mod tlv;
mod writer;

pub use cause::{Cause, Causes};
pub(crate) use chunk::DATA_HEADER;
pub use chunk::{Chunk, ChunkError, Chunks, Data, kind};
pub(crate) use header::padded;
pub use header::{HEADER_LEN, Header};
pub use init::{Init, InitAddresses, InitParameters};
pub use read::{Packet, PacketError};
pub use sack::{GapBlock, Sack};
pub use tlv::{Parameter, Parameters, UnknownAction, parameter};
pub use writer::Writer;
pub(crate) use writer::write_addresses;

#[cfg(test)]
mod tests;
