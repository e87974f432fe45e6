//! One path of an association: its state, timers, windows and figures.

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
use crate::packet::HEADER_LEN;
use crate::seq::Tsn;

/// Where a path stands among those of its association.
pub(crate) type PathIndex = usize;

#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) id: PathId,
    pub(crate) state: PathState,
    /// Consecutive timeouts (§8.2).
    pub(crate) errors: u32,
    /// Expirations of T3-rtx since data sent here was last acknowledged.
    pub(crate) expirations: u32,
    pub(crate) rtt: Rtt,
    pub(crate) congestion: Congestion,
    pub(crate) mtu: Mtu,
    pub(crate) heartbeat: Heartbeat,
    /// Bytes of DATA chunks in flight here, with headers and padding.
    pub(crate) flight: usize,
    /// TSNs sent here for the first time, in order; those that are no longer in flight here are
    /// dropped lazily.
    pub(crate) fresh: VecDeque<Tsn>,
    /// TSNs sent here again, with the number of that transmission; pruned likewise.
    pub(crate) resent: VecDeque<(Tsn, u32)>,
    /// The three highest newly acknowledged TSNs of different packets: what was sent before all of
    /// them is lost.
    pub(crate) highest: [(Tsn, u32); 3],
    /// T3-rtx.
    pub(crate) t3: Option<Instant>,
    /// The TSN whose acknowledgement will measure the round trip, and when it was sent.
    pub(crate) timed: Option<(Tsn, Instant)>,
    /// Bytes that may be sent before the next acknowledgement (`Max.Burst`).
    pub(crate) burst: usize,
    /// When data was last sent here.
    pub(crate) last_sent: Instant,
    pub(crate) last_received: Option<Instant>,
    pub(crate) created: Instant,
    pub(crate) figures: Figures,
}

#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) retransmissions: u64,
    pub(crate) timeouts: u64,
}

/// The heartbeat of a path (§8.3).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heartbeat {
    /// Not before the association is up.
    Off,
    /// The next one is due then.
    Idle { due: Instant },
    /// One is to be sent as soon as packets are polled.
    Due,
    /// One is under way.
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
            timed: None,
            burst: 0,
            last_sent: now,
            last_received: None,
            created: now,
            figures: Figures::default(),
        }
    }

    /// The largest DATA chunk, header included (PMDCS).
    pub(crate) fn chunk(&self) -> usize {
        self.mtu.current() - HEADER_LEN
    }

    /// Whether the peer is known to be reachable at this address.
    pub(crate) fn confirmed(&self) -> bool {
        self.state != PathState::Unconfirmed
    }

    /// Lets a burst go out: what was acknowledged, and `packets` more.
    pub(crate) fn refill(&mut self, acknowledged: usize, packets: usize) {
        self.burst = self.burst.max(acknowledged + packets * self.chunk());
    }

    /// Decays the congestion window if nothing was sent for long (§7.2.1), before something is.
    pub(crate) fn wake(&mut self, now: Instant) {
        let idle = now.saturating_duration_since(self.last_sent);
        let rto = self.rtt.rto();
        if self.flight == 0 && idle > rto {
            let periods = idle.as_nanos() / rto.as_nanos().max(1);
            let chunk = self.chunk();
            self.congestion
                .idled(u32::try_from(periods).unwrap_or(u32::MAX), chunk);
        }
    }

    /// The earliest moment at which something of this path times out.
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

    /// A round trip measured by data or at set-up.
    pub(crate) fn measured(&mut self, sample: Duration) {
        self.rtt.measured(sample);
    }

    /// A round trip measured by a heartbeat.
    pub(crate) fn heard(&mut self, sample: Duration) {
        if self.expirations > 0 {
            self.rtt.measured_aside(sample);
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
            bytes_sent: self.figures.bytes_sent,
            bytes_received: self.figures.bytes_received,
            retransmissions: self.figures.retransmissions,
            timeouts: self.figures.timeouts,
        }
    }
}
