//! How late the caller looks at timers.

use std::time::{Duration, Instant};

use crate::limits::{MAX_TIMER_SLACK, TIMER_SLACK_HALF_LIFE};

/// The largest lateness of late, halved with time: on a busy machine a process does not run for
/// tens or hundreds of milliseconds, and neither does a peer on the same machine.
#[derive(Debug)]
pub(crate) struct Slack {
    value: Duration,
    since: Instant,
}

impl Slack {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            value: Duration::ZERO,
            since: now,
        }
    }

    /// The caller looks at `now`; the next timer was due at `due`. Gives the slack to be expected
    /// of later timers.
    pub(crate) fn observe(&mut self, due: Option<Instant>, now: Instant) -> Duration {
        while now.saturating_duration_since(self.since) >= TIMER_SLACK_HALF_LIFE {
            self.value /= 2;
            self.since = if self.value.is_zero() {
                now
            } else {
                self.since + TIMER_SLACK_HALF_LIFE
            };
        }
        let late = due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        let late = late.min(MAX_TIMER_SLACK);
        if late > self.value {
            (self.value, self.since) = (late, now);
        }
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn the_slack_is_the_largest_lateness_of_late() {
        let now = start();
        let ms = Duration::from_millis;
        let mut slack = Slack::new(now);
        assert_eq!(slack.observe(None, now), ms(0));
        assert_eq!(slack.observe(Some(now + ms(50)), now), ms(0), "not due");
        assert_eq!(slack.observe(Some(now), now + ms(80)), ms(80));
        assert_eq!(slack.observe(Some(now), now + ms(81)), ms(81));
        assert_eq!(slack.observe(Some(now + ms(80)), now + ms(90)), ms(81));
        let later = now + ms(81) + TIMER_SLACK_HALF_LIFE;
        assert_eq!(slack.observe(None, later), ms(81) / 2);
        let resumed = later + Duration::from_secs(3_600);
        assert_eq!(slack.observe(Some(later), resumed), MAX_TIMER_SLACK);
        assert_eq!(
            slack.observe(None, resumed + 40 * TIMER_SLACK_HALF_LIFE),
            ms(0)
        );
    }
}
