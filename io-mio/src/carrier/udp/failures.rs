//! Which destinations cannot be sent to, so that the log has one line for many failures.

use std::net::SocketAddr;
use std::time::Instant;

use crate::limits::{MAX_ADDRESSES, SEND_FAILURE_QUIET};

/// Destinations to which sending has failed, with the time of the last failure. While there are too
/// many, further ones are not logged.
///
/// A destination often fails for each second datagram: the kernel reports a refusal with the next
/// call, which then sends nothing. So it works again only after it has not failed for a while.
#[derive(Debug, Default)]
pub(super) struct Failures(Vec<(SocketAddr, Instant)>);

impl Failures {
    /// Notes a failure. True if it is to be logged: the first for this destination for a while.
    pub(super) fn failed(&mut self, to: SocketAddr, now: Instant) -> bool {
        let recent = |last: Instant| now.saturating_duration_since(last) < SEND_FAILURE_QUIET;
        if let Some((_, last)) = self.0.iter_mut().find(|(known, _)| *known == to) {
            return !recent(std::mem::replace(last, now));
        }
        if self.0.len() == MAX_ADDRESSES {
            self.0.retain(|&(_, last)| recent(last));
        }
        let room = self.0.len() < MAX_ADDRESSES;
        if room {
            self.0.push((to, now));
        }
        room
    }

    /// Notes that a destination took a datagram. True if it is to be logged: it failed before, but
    /// not lately.
    pub(super) fn worked(&mut self, to: SocketAddr, now: Instant) -> bool {
        let quiet = |last: Instant| now.saturating_duration_since(last) >= SEND_FAILURE_QUIET;
        let at = self
            .0
            .iter()
            .position(|&(known, last)| known == to && quiet(last));
        at.map(|at| self.0.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_destination_that_fails_now_and_then_is_logged_once() {
        let (mut failures, mut now) = (Failures::default(), Instant::now());
        let (mut failed, mut worked) = (0, 0);
        for _ in 0..104 {
            now += Duration::from_secs(1);
            failed += u32::from(failures.failed(address(1), now));
            worked += u32::from(failures.worked(address(1), now));
            worked += u32::from(failures.worked(address(2), now));
        }
        assert_eq!((failed, worked), (1, 0));
        now += SEND_FAILURE_QUIET;
        assert!(failures.worked(address(1), now));
        assert!(!failures.worked(address(1), now), "said once");
        assert!(failures.failed(address(1), now), "a new failure");
        assert!(failures.failed(address(2), now), "of another destination");
    }

    #[test]
    fn destinations_are_bounded() {
        let (mut failures, mut now) = (Failures::default(), Instant::now());
        for _ in 0..2 {
            let logged = (1..1_000).filter(|&port| failures.failed(address(port), now));
            assert_eq!(logged.count(), MAX_ADDRESSES);
            now += SEND_FAILURE_QUIET;
        }
    }
}
