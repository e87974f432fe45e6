//! The receive window, which follows twice the bandwidth-delay product.

use std::time::{Duration, Instant};

/// The shortest time over which the rate of reading is measured: shorter ones measure batches.
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Window {
    size: usize,
    max: usize,
    /// What the application has read since this moment.
    since: Option<Instant>,
    read: usize,
}

impl Window {
    pub(crate) fn new(size: usize, max: usize) -> Self {
        Self {
            size,
            max,
            since: None,
            read: 0,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Counts a message that the application has read.
    pub(crate) fn consumed(&mut self, bytes: usize) {
        self.read = self.read.saturating_add(bytes);
    }

    /// Once a round trip: if the application has read more than half a window, the window limits
    /// the rate, and grows.
    pub(crate) fn adapt(&mut self, rtt: Duration, now: Instant) {
        let Some(since) = self.since else {
            self.since = Some(now);
            self.read = 0;
            return;
        };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < rtt.max(SHORTEST) {
            return;
        }
        // Bytes per round trip, if more than one has passed.
        let scaled = self.read as u128 * rtt.max(SHORTEST).as_nanos() / elapsed.as_nanos().max(1);
        let wanted = usize::try_from(scaled)
            .unwrap_or(usize::MAX)
            .saturating_mul(2);
        if wanted > self.size {
            self.size = wanted.max(self.size * 2).min(self.max);
        }
        self.since = Some(now);
        self.read = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const RTT: Duration = Duration::from_millis(10);

    #[test]
    fn the_window_grows_while_it_limits_the_rate() {
        let mut window = Window::new(100_000, 1_000_000);
        let mut now = start();
        window.adapt(RTT, now);
        // 400,000 bytes each round trip call for a window of 800,000.
        for expected in [800_000, 800_000, 800_000] {
            now += RTT;
            window.consumed(400_000);
            window.adapt(RTT, now);
            assert_eq!(window.size(), expected);
        }
        now += RTT;
        window.consumed(800_000);
        window.adapt(RTT, now);
        assert_eq!(window.size(), 1_000_000, "the configured bound");
    }

    #[test]
    fn slow_reading_does_not_grow_it() {
        let mut window = Window::new(100_000, 1_000_000);
        let mut now = start();
        window.adapt(RTT, now);
        for _ in 0..100 {
            now += RTT * 10;
            window.consumed(400_000);
            window.adapt(RTT, now);
            assert_eq!(window.size(), 100_000, "40,000 bytes each round trip");
        }
    }
}
