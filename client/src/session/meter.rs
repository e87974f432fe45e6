//! How fast a transfer went, and how long it stood still.

use std::fmt;
use std::time::{Duration, Instant};

use crate::escape::Word;

/// Which way a transfer goes.
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

/// Watches one transfer.
#[derive(Clone, Debug)]
pub struct Meter {
    started: Instant,
    moved: Instant,
    longest: Duration,
    bytes: u64,
}

impl Meter {
    /// The transfer was asked for.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            moved: now,
            longest: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Bytes came, or left under new credit, or the peer confirmed the end (0 bytes).
    pub fn progress(&mut self, bytes: u64, now: Instant) {
        self.longest = self.longest.max(now.saturating_duration_since(self.moved));
        self.moved = now;
        self.bytes += bytes;
    }

    /// The figures, at the end.
    #[must_use]
    pub fn report(&self, direction: Direction, name: &str) -> Report {
        Report {
            direction,
            name: name.to_owned(),
            bytes: self.bytes,
            time: self.moved.saturating_duration_since(self.started),
            longest_stall: self.longest,
        }
    }
}

/// One transfer's figures.
#[derive(Clone, Debug)]
pub struct Report {
    direction: Direction,
    name: String,
    bytes: u64,
    time: Duration,
    longest_stall: Duration,
}

impl Report {
    /// The lines of `--stats`, one `key=value` for each figure, for programs.
    ///
    /// `link` says how the bytes went: `transport=… paths=…`.
    #[must_use]
    pub fn stats_lines(&self, link: &str) -> String {
        let name = Word(&self.name);
        format!(
            "stats transfer={name} bytes={} seconds={:.3} longest_stall_ms={}\nlink transfer={name} direction={} {link}\n",
            self.bytes,
            self.time.as_secs_f64(),
            self.longest_stall.as_millis(),
            self.direction,
        )
    }

    /// The line for a person.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} {}: {} in {:.1} s{}",
            self.direction,
            towpath_protocol::Escaped(&self.name),
            human_size(self.bytes),
            self.time.as_secs_f64(),
            self.rate()
        )
    }

    /// ` (512.0 MB/s)`; nothing for a file so small that its rate says only how long a round trip
    /// takes.
    fn rate(&self) -> String {
        let seconds = self.time.as_secs_f64();
        if self.bytes < 1_000_000 || seconds == 0.0 {
            return String::new();
        }
        format!(" ({:.1} MB/s)", self.bytes as f64 / 1e6 / seconds)
    }
}

/// A size as a person reads it: `17 B`, `1.5 MB`, in powers of 1,000.
#[must_use]
pub fn human_size(bytes: u64) -> String {
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
            .report(Direction::Get, "a b")
            .stats_lines("transport=unix paths=-");
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
