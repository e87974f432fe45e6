//! The lines that `towpath --stats` prints, one for each transfer.

/// `stats transfer=NAME bytes=N seconds=S longest_stall_ms=N`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// What was transferred.
    pub transfer: String,
    /// Bytes of content.
    pub bytes: u64,
    /// From request to end.
    pub seconds: f64,
    /// Longest time without progress.
    pub longest_stall_ms: u64,
}

impl Stats {
    /// All lines in a text, in their order.
    #[must_use]
    pub fn all_in(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let fields = line.strip_prefix("stats ")?;
        // The name comes first and may hold spaces: fields are looked for from the end.
        let (fields, stall) = fields.rsplit_once(" longest_stall_ms=")?;
        let (fields, seconds) = fields.rsplit_once(" seconds=")?;
        let (name, bytes) = fields.rsplit_once(" bytes=")?;
        Some(Self {
            transfer: name.strip_prefix("transfer=")?.to_owned(),
            bytes: bytes.parse().ok()?,
            seconds: seconds.parse().ok()?,
            longest_stall_ms: stall.parse().ok()?,
        })
    }
}

/// The last `longest_stall_ms=N` in a log.
#[must_use]
pub fn last_logged_stall(log: &str) -> Option<u64> {
    let (_, rest) = log.rsplit_once("longest_stall_ms=")?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_others_are_passed_over() {
        let text =
            "done\nstats transfer=two words bytes=5 seconds=0.250 longest_stall_ms=12\nstats x\n";
        let expected = Stats {
            transfer: "two words".into(),
            bytes: 5,
            seconds: 0.25,
            longest_stall_ms: 12,
        };
        assert_eq!(Stats::all_in(text), vec![expected]);
    }

    #[test]
    fn the_last_stall_in_a_log() {
        assert_eq!(
            last_logged_stall("a longest_stall_ms=7 b\nc longest_stall_ms=81\n"),
            Some(81)
        );
        assert_eq!(last_logged_stall("nothing"), None);
    }
}
