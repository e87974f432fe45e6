//! One path of an association: state, timers, congestion window, MTU, statistics.

mod congestion;
mod mtu;
mod rtt;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(crate) use congestion::Congestion;
pub(crate) use mtu::Mtu;
pub(crate) use rtt::Rtt;

use crate::config::Config;
use crate::event::{PathId, PathState, PathStatistics};
use crate::limits::LATE_TIMER;
use crate::packet::HEADER_LEN;
use crate::seq::Tsn;

/// Index of a path among those of its association.
pub(crate) type PathIndex = usize;

#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) id: PathId,
    pub(crate) state: PathState,
    /// Consecutive timeouts (§8.2).
    pub(crate) errors: u32,
    /// Expirations of T3-rtx since data sent on this path was last acknowledged.
    pub(crate) expirations: u32,
    pub(crate) rtt: Rtt,
    pub(crate) congestion: Congestion,
    pub(crate) mtu: Mtu,
    pub(crate) heartbeat: Heartbeat,
    /// Bytes of DATA chunks in flight on this path, with headers and padding.
    pub(crate) flight: usize,
    /// TSNs first sent on this path, in order; those no longer in flight on it are removed lazily.
    pub(crate) fresh: VecDeque<Tsn>,
    /// TSNs retransmitted on this path, with the number of the packet; removed likewise.
    pub(crate) resent: VecDeque<(Tsn, u32)>,
    /// The three highest newly acknowledged TSNs of different packets: what was sent before all of
    /// them and is not acknowledged is lost.
    pub(crate) highest: [(Tsn, u32); 3],
    /// T3-rtx.
    pub(crate) t3: Option<Instant>,
    /// T3-rtx, or the timer of the heartbeat under way, was handled late and has been given more
    /// time.
    pub(crate) t3_deferred: bool,
    pub(crate) heartbeat_deferred: bool,
    /// The TSN whose acknowledgement will measure the round trip, and when it was sent.
    pub(crate) timed: Option<(Tsn, Instant)>,
    /// Bytes that may be sent before the next acknowledgement (`Max.Burst`).
    pub(crate) burst: usize,
    /// When data was last sent on this path.
    pub(crate) last_sent: Instant,
    pub(crate) last_received: Option<Instant>,
    pub(crate) created: Instant,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) retransmissions: u64,
    pub(crate) timeouts: u64,
}

/// The heartbeat of a path (§8.3).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heartbeat {
    /// The association is not established, or is shutting down.
    Off,
    /// The next one is to be sent at this time.
    Idle { due: Instant },
    /// One is to be sent at the next poll.
    Due,
    /// One has not been answered.
    Sent {
        nonce: u64,
        at: Instant,
        deadline: Instant,
    },
}

impl Path {
    pub(crate) fn new(id: PathId, state: PathState, config: &Config, now: Instant) -> Self {
        let mtu = Mtu::new(config);
        Self {
            id,
            state,
            errors: 0,
            expirations: 0,
            rtt: Rtt::new(config),
            congestion: Congestion::new(mtu.current() - HEADER_LEN, id.remote.is_ipv4()),
            mtu,
            heartbeat: Heartbeat::Off,
            flight: 0,
            fresh: VecDeque::new(),
            resent: VecDeque::new(),
            highest: [(0, 0); 3],
            t3: None,
            t3_deferred: false,
            heartbeat_deferred: false,
            timed: None,
            burst: 0,
            last_sent: now,
            last_received: None,
            created: now,
            counters: Counters::default(),
        }
    }

    /// The largest DATA chunk, header included (PMDCS).
    pub(crate) fn chunk(&self) -> usize {
        self.mtu.current() - HEADER_LEN
    }

    /// Whether the peer has been verified to be at this address.
    pub(crate) fn confirmed(&self) -> bool {
        self.state != PathState::Unconfirmed
    }

    /// Allows a burst: what was acknowledged, and `packets` more.
    pub(crate) fn refill(&mut self, acknowledged: usize, packets: usize) {
        self.burst = self.burst.max(acknowledged + packets * self.chunk());
    }

    /// Before data is sent: reduces the congestion window if none was sent for an RTO (§7.2.1).
    pub(crate) fn reduce_if_idle(&mut self, now: Instant) {
        let idle = now.saturating_duration_since(self.last_sent);
        let rto = self.rtt.rto();
        if self.flight == 0 && idle > rto {
            let periods = idle.as_nanos() / rto.as_nanos().max(1);
            let chunk = self.chunk();
            self.congestion
                .idled(u32::try_from(periods).unwrap_or(u32::MAX), chunk);
        }
    }

    /// The new deadline of a timer that waits for an answer, was due at `deadline` and is handled
    /// at `now`; none if it is not late. What the process sent before it did not run may have left
    /// as late as the timer is.
    pub(crate) fn defer(&self, deadline: Instant, now: Instant) -> Option<Instant> {
        let late = now.saturating_duration_since(deadline);
        (late >= LATE_TIMER).then(|| now + late.min(self.rtt.rto()))
    }

    /// The earliest deadline of this path's timers.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let heartbeat = match self.heartbeat {
            Heartbeat::Idle { due } => Some(due),
            Heartbeat::Sent { deadline, .. } => Some(deadline),
            Heartbeat::Off | Heartbeat::Due => None,
        };
        [self.t3, heartbeat, self.mtu.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes a round-trip time measured by data or at set-up.
    pub(crate) fn measured(&mut self, sample: Duration) {
        self.rtt.measured(sample);
    }

    /// Takes a round-trip time measured by a heartbeat.
    pub(crate) fn measured_by_heartbeat(&mut self, sample: Duration) {
        if self.expirations > 0 {
            self.rtt.measured_beside_data(sample);
        } else {
            self.rtt.measured(sample);
        }
    }

    pub(crate) fn statistics(&self, primary: bool) -> PathStatistics {
        PathStatistics {
            path: self.id,
            state: self.state,
            primary,
            srtt: self.rtt.srtt(),
            rto: self.rtt.rto(),
            cwnd: self.congestion.cwnd(),
            in_flight: self.flight,
            mtu: self.mtu.current(),
            bytes_sent: self.counters.bytes_sent,
            bytes_received: self.counters.bytes_received,
            retransmissions: self.counters.retransmissions,
            timeouts: self.counters.timeouts,
        }
    }
}
