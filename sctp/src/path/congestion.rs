//! Congestion control of a path (RFC 9260 §7.2).

/// Congestion window, slow-start threshold and `partial_bytes_acked`, all in bytes of DATA chunks
/// with their headers and padding.
#[derive(Debug, Clone)]
pub(crate) struct Congestion {
    cwnd: usize,
    ssthresh: usize,
    /// `partial_bytes_acked` of congestion avoidance.
    partial: usize,
}

impl Congestion {
    /// For a path whose largest DATA chunk (PMDCS) is `chunk` bytes (§7.2.1).
    pub(crate) fn new(chunk: usize, v4: bool) -> Self {
        Self {
            cwnd: initial(chunk, v4),
            ssthresh: usize::MAX,
            partial: 0,
        }
    }

    pub(crate) fn cwnd(&self) -> usize {
        self.cwnd
    }

    /// Data was acknowledged while `flight` bytes (before this SACK) were outstanding. `limit`
    /// bounds the growth of slow start per SACK: L · PMDCS.
    pub(crate) fn acknowledged(&mut self, bytes: usize, flight: usize, chunk: usize, limit: usize) {
        let used = flight >= self.cwnd;
        if self.cwnd <= self.ssthresh {
            if used {
                self.cwnd += bytes.min(limit);
            }
            return;
        }
        self.partial += bytes;
        if self.partial >= self.cwnd {
            if used {
                self.partial -= self.cwnd;
                self.cwnd += chunk;
            } else {
                self.partial = self.cwnd;
            }
        }
    }

    /// Handles that nothing is outstanding any more (§7.2.2).
    pub(crate) fn drained(&mut self) {
        self.partial = 0;
    }

    /// Handles a loss that gap blocks have shown (§7.2.3).
    pub(crate) fn lost(&mut self, chunk: usize) {
        self.ssthresh = (self.cwnd / 2).max(4 * chunk);
        self.cwnd = self.ssthresh;
        self.partial = 0;
    }

    /// Handles an expiration of T3-rtx (§7.2.3).
    pub(crate) fn timed_out(&mut self, chunk: usize) {
        self.ssthresh = (self.cwnd / 2).max(4 * chunk);
        self.cwnd = chunk;
        self.partial = 0;
    }

    /// Reduces the window after `periods` retransmission timeouts without data (§7.2.1).
    pub(crate) fn idled(&mut self, periods: u32, chunk: usize) {
        let floor = 4 * chunk;
        if self.cwnd > floor {
            self.ssthresh = self.ssthresh.min(self.cwnd);
            self.cwnd = self.cwnd.checked_shr(periods).unwrap_or(0).max(floor);
        }
    }
}

fn initial(chunk: usize, v4: bool) -> usize {
    let base = if v4 { 4_404 } else { 4_344 };
    (4 * chunk).min((2 * chunk).max(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 1_460;

    #[test]
    fn the_initial_window_is_that_of_section_7_2_1() {
        assert_eq!(Congestion::new(1_460, true).cwnd(), 4_404);
        assert_eq!(Congestion::new(1_220, false).cwnd(), 4_344);
        assert_eq!(Congestion::new(500, true).cwnd(), 2_000);
        assert_eq!(Congestion::new(65_000, true).cwnd(), 130_000);
    }

    #[test]
    fn slow_start_grows_by_what_was_acknowledged_and_only_when_the_window_was_used() {
        let mut congestion = Congestion::new(CHUNK, true);
        congestion.acknowledged(2 * CHUNK, 4_404, CHUNK, usize::MAX);
        assert_eq!(congestion.cwnd(), 4_404 + 2 * CHUNK);
        let cwnd = congestion.cwnd();
        congestion.acknowledged(2 * CHUNK, cwnd - 1, CHUNK, usize::MAX);
        assert_eq!(congestion.cwnd(), cwnd);
        congestion.acknowledged(20 * CHUNK, cwnd, CHUNK, 4 * CHUNK);
        assert_eq!(congestion.cwnd(), cwnd + 4 * CHUNK, "bounded per SACK");
    }

    #[test]
    fn congestion_avoidance_adds_one_chunk_a_round_trip() {
        let mut congestion = Congestion {
            cwnd: 20 * CHUNK,
            ssthresh: 10 * CHUNK,
            partial: 0,
        };
        for _ in 0..10 {
            congestion.acknowledged(2 * CHUNK, 20 * CHUNK, CHUNK, usize::MAX);
        }
        assert_eq!(congestion.cwnd(), 21 * CHUNK);
    }

    #[test]
    fn loss_halves_and_a_timeout_starts_over() {
        let mut congestion = Congestion {
            cwnd: 20 * CHUNK,
            ssthresh: usize::MAX,
            partial: 5,
        };
        congestion.lost(CHUNK);
        assert_eq!(
            (congestion.cwnd(), congestion.ssthresh),
            (10 * CHUNK, 10 * CHUNK)
        );
        congestion.timed_out(CHUNK);
        assert_eq!((congestion.cwnd(), congestion.ssthresh), (CHUNK, 5 * CHUNK));
        congestion.timed_out(CHUNK);
        assert_eq!(congestion.ssthresh, 4 * CHUNK, "never under four chunks");
    }

    #[test]
    fn idling_decays_towards_four_chunks_and_remembers_the_threshold() {
        let mut congestion = Congestion {
            cwnd: 64 * CHUNK,
            ssthresh: usize::MAX,
            partial: 0,
        };
        congestion.idled(2, CHUNK);
        assert_eq!(
            (congestion.cwnd(), congestion.ssthresh),
            (16 * CHUNK, 64 * CHUNK)
        );
        congestion.idled(400, CHUNK);
        assert_eq!(congestion.cwnd(), 4 * CHUNK);
    }
}
