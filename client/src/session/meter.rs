//! Rate and longest stall of a transfer.

use std::fmt;
use std::time::{Duration, Instant};

use towpath_protocol::Escaped;

use crate::escape::Word;
use crate::session::link::Link;

/// Direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Put,
    /// From the server.
    Get,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put => "put",
            Self::Get => "get",
        })
    }
}

/// Measures one transfer.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    started: Instant,
    moved: Instant,
    longest: Duration,
    bytes: u64,
}

impl Meter {
    /// Starts with the request of the transfer.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            started: now,
            moved: now,
            longest: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Records progress: bytes received, bytes sent under new credit, or the peer's confirmation of
    /// the end (0 bytes).
    pub(crate) fn progress(&mut self, bytes: u64, now: Instant) {
        self.longest = self.longest.max(now.saturating_duration_since(self.moved));
        self.moved = now;
        self.bytes += bytes;
    }

    /// The statistics, at the end; `link` describes transport and paths.
    pub(crate) fn report(&self, direction: Direction, name: &str, link: &Link) -> TransferReport {
        TransferReport {
            direction,
            name: name.to_owned(),
            bytes: self.bytes,
            duration: self.moved.saturating_duration_since(self.started),
            longest_stall: self.longest,
            link: link.to_string(),
            to_output: false,
        }
    }
}

/// The statistics of one transfer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TransferReport {
    /// Direction.
    pub direction: Direction,
    /// The path on the server, not escaped.
    pub name: String,
    /// Bytes that were transferred; less than the file's size when a get continued.
    pub bytes: u64,
    /// Time from the request to the confirmation.
    pub duration: Duration,
    /// The longest time without progress.
    pub longest_stall: Duration,
    /// Transport and network paths: `transport=… paths=…`.
    pub link: String,
    /// Whether the content was written to standard output.
    pub to_output: bool,
}

impl TransferReport {
    /// Two lines of `key=value` for programs, as `--stats` prints them.
    #[must_use]
    pub fn statistics(&self) -> String {
        let name = Word(&self.name);
        format!(
            "stats transfer={name} bytes={} seconds={:.3} longest_stall_ms={}\nlink transfer={name} direction={} {}\n",
            self.bytes,
            self.duration.as_secs_f64(),
            self.longest_stall.as_millis(),
            self.direction,
            self.link,
        )
    }

    /// One line for the user.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} {}: {} in {:.1} s{}",
            self.direction,
            Escaped(&self.name),
            human_size(self.bytes),
            self.duration.as_secs_f64(),
            self.rate()
        )
    }

    /// ` (512.0 MB/s)`; empty for a small file, whose rate would only show the round-trip time.
    fn rate(&self) -> String {
        let seconds = self.duration.as_secs_f64();
        if self.bytes < 1_000_000 || seconds == 0.0 {
            return String::new();
        }
        format!(" ({:.1} MB/s)", self.bytes as f64 / 1e6 / seconds)
    }
}

/// A size for display: `17 B`, `1.5 MB`, in powers of 1,000.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_found_and_the_lines_are_stable() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = Meter::new(start);
        meter.progress(1_000_000, at(100));
        meter.progress(1_000_000, at(900));
        meter.progress(0, at(1000));
        let lines = meter
            .report(Direction::Get, "a b", &Link::new("unix"))
            .statistics();
        let stats = "stats transfer=a\\u{20}b bytes=2000000 seconds=1.000 longest_stall_ms=800\n";
        assert_eq!(
            lines,
            format!("{stats}link transfer=a\\u{{20}}b direction=get transport=unix paths=-\n")
        );
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_950, "1.0 MB"),
            (5_368_709_120, "5.4 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }
}
