//! Round-trip time and retransmission timeout of a path (RFC 9260 §6.3).

use std::time::Duration;

use crate::config::Config;

/// Clock granularity (the G of RFC 9260 §6.3.1).
const GRANULARITY: Duration = Duration::from_micros(10);

#[derive(Debug, Clone)]
pub(crate) struct Rtt {
    smoothed: Option<Smoothed>,
    rto: Duration,
    min: Duration,
    max: Duration,
    /// By how much timers are late here, which `RTO.Min` is raised by.
    slack: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Smoothed {
    srtt: Duration,
    variation: Duration,
}

impl Rtt {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            smoothed: None,
            rto: config.rto_initial,
            min: config.rto_min,
            max: config.rto_max,
            slack: Duration::ZERO,
        }
    }

    /// Takes a measurement (rules C2, C3, C6, C7). It ends any back-off.
    pub(crate) fn measured(&mut self, sample: Duration) {
        let next = match self.smoothed {
            None => Smoothed {
                srtt: sample,
                variation: sample / 2,
            },
            Some(Smoothed { srtt, variation }) => Smoothed {
                srtt: srtt * 7 / 8 + sample / 8,
                variation: variation * 3 / 4 + srtt.abs_diff(sample) / 4,
            },
        };
        let next = Smoothed {
            variation: next.variation.max(GRANULARITY),
            ..next
        };
        self.rto = (next.srtt + next.variation * 4).clamp(self.min, self.max);
        self.smoothed = Some(next);
    }

    /// Takes a measurement from a heartbeat after T3-rtx has expired: the back-off stays, since
    /// data may still be lost.
    pub(crate) fn measured_beside_data(&mut self, sample: Duration) {
        let backed_off = self.rto;
        self.measured(sample);
        self.rto = self.rto.max(backed_off);
    }

    /// Doubles the timeout after an expiration (rule E2).
    pub(crate) fn back_off(&mut self) {
        self.rto = (self.rto() * 2).min(self.max);
    }

    /// The timeout: at least `RTO.Min` and the timer slack together.
    pub(crate) fn rto(&self) -> Duration {
        self.rto.max((self.min + self.slack).min(self.max))
    }

    /// Timers are late by so much.
    pub(crate) fn set_slack(&mut self, slack: Duration) {
        self.slack = slack;
    }

    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.smoothed.map(|smoothed| smoothed.srtt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_timeout_follows_the_rules_of_section_6_3_1() {
        let config = Config {
            rto_min: MS(1),
            ..Config::default()
        };
        let mut rtt = Rtt::new(&config);
        assert_eq!((rtt.rto(), rtt.srtt()), (MS(1_000), None));
        rtt.measured(MS(80));
        assert_eq!((rtt.rto(), rtt.srtt()), (MS(80 + 4 * 40), Some(MS(80))));
        rtt.measured(MS(160));
        // RTTVAR = 3/4 · 40 + 1/4 · 80 = 50; SRTT = 7/8 · 80 + 1/8 · 160 = 90.
        assert_eq!((rtt.rto(), rtt.srtt()), (MS(90 + 4 * 50), Some(MS(90))));
    }

    #[test]
    fn the_timeout_stays_between_its_bounds_and_collapses_after_backing_off() {
        let config = Config {
            rto_max: MS(3_000),
            ..Config::default()
        };
        let mut rtt = Rtt::new(&config);
        rtt.measured(MS(1));
        assert_eq!(rtt.rto(), MS(100), "RTO.Min");
        for expected in [200, 400, 800, 1_600, 3_000, 3_000] {
            rtt.back_off();
            assert_eq!(rtt.rto(), MS(expected));
        }
        rtt.measured(MS(1));
        assert_eq!(rtt.rto(), MS(100));
        rtt.set_slack(MS(250));
        assert_eq!(rtt.rto(), MS(350), "RTO.Min and the timer slack");
        rtt.back_off();
        rtt.set_slack(MS(0));
        assert_eq!(rtt.rto(), MS(700));
        rtt.measured(MS(1));
        assert_eq!(rtt.rto(), MS(100));
    }
}
