//! The path MTU, found by padded heartbeats (RFC 8899, RFC 4820).

use std::time::Instant;

use crate::config::Config;
use crate::limits::{MTU_PROBES, MTU_RAISE};

/// SCTP packet sizes to be probed, in bytes: the MTUs of common links less IP and UDP headers.
///
/// VPN tunnels, PPPoE with IPv6 and IPv4, Ethernet with IPv6 and IPv4, jumbo frames likewise,
/// loopback.
const SIZES: [usize; 9] = [
    1_372, 1_444, 1_452, 1_464, 1_472, 8_952, 8_972, 16_356, 65_504,
];

#[derive(Debug, Clone)]
pub(crate) struct Mtu {
    base: usize,
    max: usize,
    current: usize,
    search: Search,
}

#[derive(Debug, Clone)]
enum Search {
    /// The path is not confirmed.
    Waiting,
    /// A probe of this size is to be sent.
    Ready { size: usize, lost: u32 },
    /// The probe has not been answered.
    Probing {
        size: usize,
        lost: u32,
        nonce: u64,
        sent: Instant,
        deadline: Instant,
    },
    /// The search has ended; it resumes at this time.
    Done { again: Instant },
    /// The configured maximum has been reached.
    Off,
}

impl Mtu {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            base: config.initial_mtu,
            max: config.max_mtu,
            current: config.initial_mtu,
            search: Search::Waiting,
        }
    }

    /// The largest packet that may be sent.
    pub(crate) fn current(&self) -> usize {
        self.current
    }

    /// The path has been confirmed: starts the search.
    pub(crate) fn confirmed(&mut self) {
        if matches!(self.search, Search::Waiting) {
            self.probe_larger();
        }
    }

    /// The size of the probe to be sent.
    pub(crate) fn wanted(&self) -> Option<usize> {
        match self.search {
            Search::Ready { size, .. } => Some(size),
            _ => None,
        }
    }

    /// Starts the timer of the probe, which was sent.
    pub(crate) fn sent(&mut self, nonce: u64, sent: Instant, deadline: Instant) {
        if let Search::Ready { size, lost } = self.search {
            self.search = Search::Probing {
                size,
                lost,
                nonce,
                sent,
                deadline,
            };
        }
    }

    /// Handles a HEARTBEAT ACK. If the nonce is the probe's, gives the time at which that was sent.
    pub(crate) fn answered(&mut self, nonce: u64) -> Option<Instant> {
        match self.search {
            Search::Probing {
                size,
                nonce: expected,
                sent,
                ..
            } if nonce == expected => {
                self.current = size;
                self.probe_larger();
                Some(sent)
            }
            _ => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.search {
            Search::Probing { deadline, .. } => Some(deadline),
            Search::Done { again } => Some(again),
            Search::Waiting | Search::Ready { .. } | Search::Off => None,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self.search {
            Search::Probing {
                size,
                lost,
                deadline,
                ..
            } if deadline <= now => {
                self.search = if lost + 1 < MTU_PROBES {
                    Search::Ready {
                        size,
                        lost: lost + 1,
                    }
                } else {
                    Search::Done {
                        again: now + MTU_RAISE,
                    }
                };
            }
            Search::Done { again } if again <= now => self.probe_larger(),
            _ => {}
        }
    }

    /// Large packets may be lost in a black hole: returns to the base size, and searches again
    /// after [`MTU_RAISE`].
    pub(crate) fn black_hole(&mut self, now: Instant) {
        if self.current > self.base {
            self.current = self.base;
            self.search = Search::Done {
                again: now + MTU_RAISE,
            };
        }
    }

    fn probe_larger(&mut self) {
        let next = SIZES
            .iter()
            .copied()
            .chain([self.max])
            .find(|&size| size > self.current && size <= self.max);
        self.search = next.map_or(Search::Off, |size| Search::Ready { size, lost: 0 });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::start;

    /// Probes until the search ends, on a path that carries packets of `carries` bytes.
    fn search(mtu: &mut Mtu, carries: usize, mut now: Instant) -> Instant {
        for nonce in 0..100 {
            let Some(size) = mtu.wanted() else { break };
            mtu.sent(nonce, now, now + Duration::from_millis(100));
            if size <= carries {
                assert_eq!(mtu.answered(nonce + 1), None, "another nonce");
                assert_eq!(mtu.answered(nonce), Some(now));
            } else {
                now += Duration::from_millis(100);
                mtu.handle_timeout(now);
            }
        }
        assert_eq!(mtu.wanted(), None);
        now
    }

    #[test]
    fn the_search_finds_what_the_path_carries() {
        for (carries, found) in [
            (1_232, 1_232),
            (1_400, 1_372),
            (1_472, 1_472),
            (9_000, 8_972),
            (65_507, 65_504),
        ] {
            let mut mtu = Mtu::new(&Config::default());
            assert_eq!(mtu.wanted(), None, "nothing before the path is confirmed");
            mtu.confirmed();
            search(&mut mtu, carries, start());
            assert_eq!(mtu.current(), found);
        }
    }

    #[test]
    fn a_black_hole_falls_back_and_the_search_resumes_later() {
        let mut mtu = Mtu::new(&Config::default());
        mtu.confirmed();
        let now = search(&mut mtu, 1_472, start());
        mtu.black_hole(now);
        assert_eq!(mtu.current(), 1_232);
        mtu.handle_timeout(now + MTU_RAISE - Duration::from_secs(1));
        assert_eq!(mtu.wanted(), None);
        mtu.handle_timeout(now + MTU_RAISE);
        search(&mut mtu, 1_400, now + MTU_RAISE);
        assert_eq!(mtu.current(), 1_372);
    }
}
