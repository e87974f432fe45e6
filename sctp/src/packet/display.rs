//! Packets as text, for logs and tests.

use std::fmt;

use super::cause::Causes;
use super::chunk::{Chunk, Data};
use super::read::Packet;
use super::sack::Sack;

/// The chunks of the packet, joined by ` + `; a malformed chunk, with which reading ends, is `?`.
impl fmt::Display for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, chunk) in self.chunks().enumerate() {
            if at > 0 {
                f.write_str(" + ")?;
            }
            match chunk {
                Ok(chunk) => chunk.fmt(f)?,
                Err(_) => f.write_str("?")?,
            }
        }
        Ok(())
    }
}

/// The chunk's type, with what tells it from others of its type:
///
/// - `DATA 0/3 B12E`: stream, stream sequence number (`U` if unordered), length of the payload
///   between the B and E bits, ` I` if a SACK is asked for at once;
/// - `SACK +2 gaps +1 duplicates`: the numbers of gap blocks and of duplicates, if there are any;
/// - `ABORT [12]`, `ERROR [3]`: the codes of the causes.
impl fmt::Display for Chunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chunk::Data(data) => write_data(data, f),
            Chunk::Init(_) => f.write_str("INIT"),
            Chunk::InitAck(_) => f.write_str("INIT ACK"),
            Chunk::Sack(sack) => write_sack(sack, f),
            Chunk::Heartbeat(_) => f.write_str("HEARTBEAT"),
            Chunk::HeartbeatAck(_) => f.write_str("HEARTBEAT ACK"),
            Chunk::Abort { causes, .. } => write!(f, "ABORT {:?}", codes(*causes)),
            Chunk::Shutdown { .. } => f.write_str("SHUTDOWN"),
            Chunk::ShutdownAck => f.write_str("SHUTDOWN ACK"),
            Chunk::Error(causes) => write!(f, "ERROR {:?}", codes(*causes)),
            Chunk::CookieEcho(_) => f.write_str("COOKIE ECHO"),
            Chunk::CookieAck => f.write_str("COOKIE ACK"),
            Chunk::ShutdownComplete { .. } => f.write_str("SHUTDOWN COMPLETE"),
            Chunk::Pad => f.write_str("PAD"),
            Chunk::Unknown { kind, raw } => write!(f, "UNKNOWN {kind} of {} bytes", raw.len()),
        }
    }
}

fn write_data(data: &Data<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let flag = |set, flag| if set { flag } else { "" };
    write!(f, "DATA {}/", data.stream)?;
    if data.unordered {
        f.write_str("U")?;
    } else {
        write!(f, "{}", data.ssn)?;
    }
    write!(
        f,
        " {}{}{}{}",
        flag(data.begin, "B"),
        data.payload.len(),
        flag(data.end, "E"),
        flag(data.immediate, " I"),
    )
}

fn write_sack(sack: &Sack<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("SACK")?;
    let (gaps, duplicates) = (sack.blocks().len(), sack.duplicates().len());
    if gaps > 0 {
        write!(f, " +{gaps} gaps")?;
    }
    if duplicates > 0 {
        write!(f, " +{duplicates} duplicates")?;
    }
    Ok(())
}

fn codes(causes: Causes<'_>) -> Vec<u16> {
    causes.iter().map(|cause| cause.code()).collect()
}
