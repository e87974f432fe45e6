//! Packets in words, so that tests read as arrows.

use towpath_sctp::packet::{Chunk, Packet};

/// The chunks of a packet, as `DATA 0/3 B12E` (stream, sequence number, payload), `SACK +2 gaps`,
/// `INIT ACK` and so on, joined by ` + `.
pub fn describe(packet: &[u8]) -> String {
    let Ok(packet) = Packet::parse(packet) else {
        return String::from("?");
    };
    let chunks: Vec<String> = packet
        .chunks()
        .map(|chunk| chunk.map_or_else(|_| String::from("?"), |c| word(&c)))
        .collect();
    chunks.join(" + ")
}

fn word(chunk: &Chunk<'_>) -> String {
    match chunk {
        Chunk::Data(data) => format!(
            "DATA {}/{} {}{}{}{}",
            data.stream,
            if data.unordered {
                String::from("U")
            } else {
                data.ssn.to_string()
            },
            if data.begin { "B" } else { "" },
            data.payload.len(),
            if data.end { "E" } else { "" },
            if data.immediate { " I" } else { "" },
        ),
        Chunk::Init(_) => "INIT".into(),
        Chunk::InitAck(_) => "INIT ACK".into(),
        Chunk::Sack(sack) => {
            let mut word = String::from("SACK");
            if sack.blocks().len() > 0 {
                word += &format!(" +{} gaps", sack.blocks().len());
            }
            if sack.duplicates().len() > 0 {
                word += &format!(" +{} duplicates", sack.duplicates().len());
            }
            word
        }
        Chunk::Heartbeat(_) => "HEARTBEAT".into(),
        Chunk::HeartbeatAck(_) => "HEARTBEAT ACK".into(),
        Chunk::Abort { causes, .. } => format!(
            "ABORT {:?}",
            causes.iter().map(|cause| cause.code()).collect::<Vec<_>>()
        ),
        Chunk::Shutdown { .. } => "SHUTDOWN".into(),
        Chunk::ShutdownAck => "SHUTDOWN ACK".into(),
        Chunk::Error(causes) => format!(
            "ERROR {:?}",
            causes.iter().map(|cause| cause.code()).collect::<Vec<_>>()
        ),
        Chunk::CookieEcho(_) => "COOKIE ECHO".into(),
        Chunk::CookieAck => "COOKIE ACK".into(),
        Chunk::ShutdownComplete { .. } => "SHUTDOWN COMPLETE".into(),
        Chunk::Pad => "PAD".into(),
        other => format!("{other:?}"),
    }
}
