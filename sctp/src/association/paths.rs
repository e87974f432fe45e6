//! Path selection, verification, heartbeats, failure detection and new addresses (RFC 9260 §5.4,
//! §6.4, §8.2, §8.3; RFC 7829; RFC 6951 §5.4).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Association, State};
use crate::address::{pairs, scope};
use crate::event::{CloseReason, PathId, PathState};
use crate::limits::MAX_PATHS;
use crate::packet::{Parameter, Parameters, parameter};
use crate::path::{Heartbeat, Path, PathIndex};

/// Bytes of our heartbeat information: the path's index and a nonce.
pub(super) const INFO_LEN: usize = 12;

impl Association {
    /// The path for new data and retransmissions: the primary path while it is active, else another
    /// active one, else the one with the fewest errors (RFC 7829 §3.2).
    pub(super) fn data_path(&self) -> PathIndex {
        let primary = &self.paths[self.primary];
        if primary.state == PathState::Active {
            return self.primary;
        }
        let rank = |path: &Path| {
            let state = match path.state {
                PathState::Active => 0,
                PathState::PotentiallyFailed => 1,
                PathState::Inactive => 2,
                PathState::Unconfirmed => 3,
            };
            // Among equals, the pair that shares no address with the primary path.
            let same = u8::from(path.id.local == primary.id.local)
                + u8::from(path.id.remote == primary.id.remote);
            (
                state,
                if state == 0 { 0 } else { path.errors },
                same,
                path.rtt.srtt(),
            )
        };
        let best = self
            .paths
            .iter()
            .enumerate()
            .min_by_key(|(_, path)| rank(path));
        best.map_or(self.primary, |(at, _)| at)
    }

    /// The path for a SACK: the one on which data arrives, if it is confirmed (§6.4).
    pub(super) fn sack_path(&self) -> PathIndex {
        if self.paths[self.ack_path].confirmed() {
            self.ack_path
        } else {
            self.data_path()
        }
    }

    /// The next active path after this one, or this one if there is no other.
    pub(super) fn next_active(&self, at: PathIndex) -> PathIndex {
        let count = self.paths.len();
        let others = (1..count).map(|step| (at + step) % count);
        others
            .into_iter()
            .find(|&other| self.paths[other].state == PathState::Active)
            .unwrap_or(at)
    }

    /// Timers are late here by so much.
    pub(crate) fn set_timer_slack(&mut self, slack: Duration) {
        for path in &mut self.paths {
            path.rtt.set_slack(slack);
        }
    }

    /// The path on which a packet arrived. A new pair of addresses, or a new UDP port, becomes an
    /// unconfirmed path, which carries only heartbeats; none if there are too many paths.
    pub(super) fn arrival(&mut self, id: PathId, now: Instant) -> Option<PathIndex> {
        if let Some(at) = self.paths.iter().position(|path| path.id == id) {
            return Some(at);
        }
        // A wildcard socket has reported the address that it uses for this peer.
        let wildcard = |path: &Path| {
            let PathId { local, remote } = path.id;
            remote == id.remote && local.ip().is_unspecified() && local.port() == id.local.port()
        };
        if let Some(at) = self.paths.iter().position(wildcard) {
            self.paths[at].id = id;
            return Some(at);
        }
        // During set-up, only the application and the cookie determine addresses.
        if self.is_forming() || scope(id.remote.ip()).is_none() {
            return None;
        }
        let mut path = Path::new(id, PathState::Unconfirmed, &self.config, now);
        path.heartbeat = Heartbeat::Due;
        if self.paths.len() < MAX_PATHS {
            self.paths.push(path);
            return Some(self.paths.len() - 1);
        }
        let at = self.replaceable()?;
        self.control.retain(|&(to, _)| to != at);
        self.paths[at] = path;
        Some(at)
    }

    /// Another address of ours: a path from it to each of the peer's that it can reach, to be
    /// verified.
    pub(crate) fn add_local(&mut self, local: SocketAddr, now: Instant) {
        if self.is_closed() || self.locals.contains(&local) {
            return;
        }
        self.locals = self.locals.iter().copied().chain([local]).collect();
        let mut remotes: Vec<SocketAddr> = Vec::new();
        for path in &self.paths {
            if !remotes.contains(&path.id.remote) {
                remotes.push(path.id.remote);
            }
        }
        for id in pairs(&[local], &remotes) {
            // During set-up, INITs are sent on the paths that the application gave; heartbeats
            // follow later.
            if self.is_forming() {
                if self.paths.len() < MAX_PATHS && self.paths.iter().all(|path| path.id != id) {
                    let path = Path::new(id, PathState::Unconfirmed, &self.config, now);
                    self.paths.push(path);
                }
            } else {
                self.arrival(id, now);
            }
        }
    }

    /// A path that may be replaced: it has failed, has nothing in flight and is not the primary.
    fn replaceable(&self) -> Option<PathIndex> {
        let idle = |(at, path): &(PathIndex, &Path)| {
            let failed = matches!(path.state, PathState::Inactive | PathState::Unconfirmed)
                && path.errors > 0;
            failed
                && path.flight == 0
                && *at != self.primary
                && *at != self.ack_path
                && !self.tx.has_lost()
        };
        self.paths
            .iter()
            .enumerate()
            .filter(idle)
            .max_by_key(|(_, path)| (path.state, path.errors))
            .map(|(at, _)| at)
    }

    pub(super) fn set_state(&mut self, at: PathIndex, state: PathState) {
        let path = &mut self.paths[at];
        let before = std::mem::replace(&mut path.state, state);
        if before == state {
            return;
        }
        let id = path.id;
        self.path_changed(id, state);
        if state == PathState::Active {
            self.paths[at].mtu.confirmed();
            if before == PathState::Unconfirmed {
                self.supersede(at);
            }
        }
    }

    /// A path was confirmed. If another differs only in the peer's UDP port, and nothing has
    /// arrived on it since this one was first used, a NAT has changed the peer's port: data moves
    /// at once.
    fn supersede(&mut self, new: PathIndex) {
        let PathId { local, remote } = self.paths[new].id;
        let created = self.paths[new].created;
        for old in 0..self.paths.len() {
            let path = &self.paths[old];
            let sibling =
                old != new && path.id.local == local && path.id.remote.ip() == remote.ip();
            let silent = path.last_received.is_none_or(|heard| heard < created);
            if !sibling || !silent {
                continue;
            }
            if self.primary == old {
                self.primary = new;
            }
            // SACKs since then were sent to the old port: repeat them, or the peer waits for its
            // timer.
            self.rx.ack_now();
            if self.paths[old].state != PathState::Active {
                continue;
            }
            self.tx.mark_path_lost(&mut self.paths[old], old);
            self.paths[old].t3 = None;
            // A heartbeat finds out whether it still works.
            self.paths[old].heartbeat = Heartbeat::Due;
            self.set_state(old, PathState::PotentiallyFailed);
        }
    }

    /// The association is established: starts verification of unconfirmed paths and heartbeats on
    /// confirmed ones (§5.4, §8.3).
    pub(super) fn start_heartbeats(&mut self, now: Instant) {
        let mut waiting = 0;
        for at in 0..self.paths.len() {
            self.paths[at].heartbeat = if self.paths[at].confirmed() {
                Heartbeat::Idle {
                    due: now + self.pause(at),
                }
            } else {
                waiting += 1;
                let round = (waiting - 1) / self.config.heartbeat_burst;
                match round {
                    0 => Heartbeat::Due,
                    _ => Heartbeat::Idle {
                        due: now + self.config.rto_min * round,
                    },
                }
            };
            if self.paths[at].confirmed() {
                self.paths[at].mtu.confirmed();
            }
        }
    }

    /// Time until the next heartbeat: the interval and the RTO, with half an RTO of jitter either
    /// way.
    fn pause(&mut self, at: PathIndex) -> Duration {
        // A backed-off timeout must not delay the detection that a path works again.
        let rto = self.paths[at].rtt.rto().min(self.config.rto_initial);
        let thousandths = (self.rng.next_u64() % 1_001) as u32;
        self.config.heartbeat_interval + rto / 2 + rto * thousandths / 1_000
    }

    /// Data was sent, whose acknowledgement measures the path: postpones the next heartbeat.
    pub(super) fn postpone_heartbeat(&mut self, at: PathIndex, now: Instant) {
        if let Heartbeat::Idle { due } = &mut self.paths[at].heartbeat {
            let later = now + self.config.heartbeat_interval;
            // Not for each packet: the timer need not be exact.
            if later.saturating_duration_since(*due) > self.config.heartbeat_interval / 8
                && self.paths[at].state == PathState::Active
            {
                self.paths[at].heartbeat = Heartbeat::Idle { due: later };
            }
        }
    }

    /// The information of a heartbeat that is about to be sent; starts its timer.
    pub(super) fn heartbeat_info(&mut self, at: PathIndex, now: Instant) -> [u8; INFO_LEN] {
        let nonce = self.rng.next_u64();
        let path = &self.paths[at];
        let enough = path
            .rtt
            .srtt()
            .map_or(Duration::ZERO, |srtt| srtt * 4)
            .max(self.config.rto_initial);
        let timeout = path.rtt.rto().min(enough);
        self.paths[at].heartbeat_deferred = false;
        self.paths[at].heartbeat = Heartbeat::Sent {
            nonce,
            at: now,
            deadline: now + timeout,
        };
        info(at, nonce)
    }

    /// Likewise for a padded heartbeat that probes for a larger MTU.
    pub(super) fn mtu_probe_info(&mut self, at: PathIndex, now: Instant) -> [u8; INFO_LEN] {
        let nonce = self.rng.next_u64();
        let deadline = now + self.paths[at].rtt.rto();
        self.paths[at].mtu.sent(nonce, now, deadline);
        info(at, nonce)
    }

    /// Handles a HEARTBEAT ACK: with the nonce that was sent on the path, it confirms and measures
    /// that.
    pub(super) fn handle_heartbeat_ack(&mut self, content: &[u8], now: Instant) {
        let Some((at, nonce)) = read_info(content) else {
            return;
        };
        let Some(path) = self.paths.get_mut(at) else {
            return;
        };
        if let Some(sent) = path.mtu.answered(nonce) {
            path.errors = 0;
            path.measured_by_heartbeat(now.saturating_duration_since(sent));
            return;
        }
        let Heartbeat::Sent {
            nonce: expected,
            at: sent,
            ..
        } = path.heartbeat
        else {
            return;
        };
        if nonce != expected {
            return;
        }
        path.measured_by_heartbeat(now.saturating_duration_since(sent));
        path.errors = 0;
        // Heartbeats alone must not keep an association whose data is not acknowledged (§8.1).
        if !self.tx.is_outstanding() {
            self.errors = 0;
        }
        self.set_state(at, PathState::Active);
        let due = now + self.pause(at);
        self.paths[at].heartbeat = Heartbeat::Idle { due };
    }

    /// A heartbeat was not answered in time (§8.3).
    pub(super) fn heartbeat_lost(&mut self, at: PathIndex, now: Instant) {
        if self.paths[at].t3.is_some() {
            // T3-rtx runs on this path: repeats the heartbeat without counting an error twice.
            self.paths[at].heartbeat = Heartbeat::Due;
            return;
        }
        let carries_data = at == self.data_path();
        self.count_error(at, carries_data);
        if self.is_closed() {
            return;
        }
        let urgent = self.paths[at].state != PathState::Inactive
            && self.paths[at].errors <= self.config.path_max_retrans;
        let path = &mut self.paths[at];
        if urgent {
            // Once an RTO until the path is confirmed, active again or inactive.
            if path.confirmed() {
                path.rtt.back_off();
            }
            // An unconfirmed path carries nothing that could congest it, and until it is confirmed
            // there is no alternative path: no back-off, up to Path.Max.Retrans repetitions.
            path.heartbeat = Heartbeat::Due;
        } else {
            let due = now + self.pause(at);
            self.paths[at].heartbeat = Heartbeat::Idle { due };
        }
    }

    /// A timer expired on a path: counts an error there, and for the association if `association`
    /// (§8.1, §8.2).
    pub(super) fn count_error(&mut self, at: PathIndex, association: bool) {
        let path = &mut self.paths[at];
        path.errors = path.errors.saturating_add(1);
        let state = match path.state {
            PathState::Unconfirmed => PathState::Unconfirmed,
            _ if path.errors > self.config.path_max_retrans => PathState::Inactive,
            PathState::Inactive => PathState::Inactive,
            _ if path.errors > self.config.potentially_failed_retrans => {
                PathState::PotentiallyFailed
            }
            state => state,
        };
        self.set_state(at, state);
        if association {
            self.errors += 1;
            // The limit holds for each path: with an RTO of 100 ms, one limit for the sum over all
            // paths would be reached within seconds.
            let paths = self
                .paths
                .iter()
                .filter(|path| path.confirmed())
                .count()
                .max(1);
            if self.errors as usize > self.config.association_max_retrans as usize * paths {
                self.abort_with(None, CloseReason::Unreachable);
            }
        }
    }

    /// Data sent once, on this path, was acknowledged: the path works.
    pub(super) fn path_works(&mut self, at: PathIndex) {
        self.paths[at].errors = 0;
        self.paths[at].expirations = 0;
        if matches!(
            self.paths[at].state,
            PathState::PotentiallyFailed | PathState::Inactive
        ) {
            self.set_state(at, PathState::Active);
        }
    }

    /// Whether heartbeats may be sent in this state (§8.3).
    pub(super) fn may_heartbeat(&self) -> bool {
        matches!(
            self.state,
            State::Established | State::ShutdownPending | State::ShutdownReceived
        )
    }
}

fn info(at: PathIndex, nonce: u64) -> [u8; INFO_LEN] {
    let mut info = [0; INFO_LEN];
    // There are at most MAX_PATHS.
    info[..4].copy_from_slice(&u32::try_from(at).unwrap_or(u32::MAX).to_be_bytes());
    info[4..].copy_from_slice(&nonce.to_be_bytes());
    info
}

fn read_info(content: &[u8]) -> Option<(PathIndex, u64)> {
    let item: Parameter<'_> = Parameters::of(content).next()?;
    let value: [u8; INFO_LEN] = item.value().try_into().ok()?;
    let [a, b, c, d, nonce @ ..] = value;
    let at = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    (item.kind == parameter::HEARTBEAT_INFO).then_some((at, u64::from_be_bytes(nonce)))
}
