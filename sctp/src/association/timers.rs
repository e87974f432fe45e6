//! Timers (RFC 9260 §5.1, §6.3.3, §9.2).

use std::time::Instant;

use super::{Association, Control, State, WindowProbe};
use crate::event::{CloseReason, PathState};
use crate::limits::MTU_BLACK_HOLE;
use crate::packet::Cause;
use crate::path::{Heartbeat, PathIndex};

impl Association {
    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::CookieWait(attempt)
            | State::CookieEchoed(attempt, _)
            | State::ShutdownSent(attempt)
            | State::ShutdownAckSent(attempt) => Some(attempt.deadline),
            State::Closed(_) => return None,
            State::Established | State::ShutdownPending | State::ShutdownReceived => None,
        };
        let probe = match self.probe {
            WindowProbe::Waiting { deadline, .. } => Some(deadline),
            _ => None,
        };
        let paths = self.paths.iter().filter_map(|path| path.deadline()).min();
        [state, probe, paths, self.rx.deadline(), self.guard]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.rx.handle_timeout(now);
        self.attempt_timeout(now);
        if self.guard.is_some_and(|guard| guard <= now) && !self.is_closed() {
            let what = Cause::ProtocolViolation(b"shutdown timed out");
            self.abort_with(Some(what), CloseReason::Unreachable);
        }
        if let WindowProbe::Waiting { deadline, interval } = self.probe
            && deadline <= now
        {
            self.probe = WindowProbe::Due { interval };
        }
        for at in 0..self.paths.len() {
            if self.is_closed() {
                return;
            }
            self.paths[at].mtu.handle_timeout(now);
            if let Some(deadline) = self.paths[at].t3
                && deadline <= now
            {
                let path = &mut self.paths[at];
                let later = path.defer(deadline, now);
                if !path.t3_deferred && later.is_some() {
                    (path.t3, path.t3_deferred) = (later, true);
                } else {
                    self.t3_expired(at, now);
                }
            }
            match self.paths[at].heartbeat {
                Heartbeat::Idle { due } if due <= now => {
                    let wanted = self.may_heartbeat();
                    self.paths[at].heartbeat = if wanted {
                        Heartbeat::Due
                    } else {
                        Heartbeat::Off
                    };
                }
                Heartbeat::Sent {
                    nonce,
                    at: sent,
                    deadline,
                } if deadline <= now => {
                    let path = &mut self.paths[at];
                    if !path.heartbeat_deferred
                        && let Some(deadline) = path.defer(deadline, now)
                    {
                        path.heartbeat_deferred = true;
                        path.heartbeat = Heartbeat::Sent {
                            nonce,
                            at: sent,
                            deadline,
                        };
                    } else if self.may_heartbeat() {
                        self.heartbeat_lost(at, now);
                    } else {
                        self.paths[at].heartbeat = Heartbeat::Off;
                    }
                }
                _ => {}
            }
        }
    }

    /// T3-rtx (§6.3.3).
    fn t3_expired(&mut self, at: PathIndex, now: Instant) {
        let path = &mut self.paths[at];
        path.t3 = None;
        path.t3_deferred = false;
        path.counters.timeouts += 1;
        path.rtt.back_off();
        self.tx.mark_path_lost(path, at);
        if let WindowProbe::Sent {
            interval,
            answered: true,
        } = self.probe
            && self.tx.is_shut()
        {
            // A peer with a zero window that still sends SACKs is slow, not unreachable (§6.1 A).
            self.probe = WindowProbe::Sent {
                interval,
                answered: false,
            };
            return;
        }
        let chunk = path.chunk();
        path.congestion.timed_out(chunk);
        self.tx.abandon_recovery();
        path.expirations += 1;
        if path.expirations >= MTU_BLACK_HOLE {
            path.mtu.black_hole(now);
        }
        self.count_error(at, true);
        let path = &mut self.paths[at];
        if path.state == PathState::PotentiallyFailed
            && let Heartbeat::Idle { .. } = path.heartbeat
        {
            // RFC 7829 §3.3: a heartbeat at once.
            path.heartbeat = Heartbeat::Due;
        }
    }

    /// T1-init, T1-cookie and T2-shutdown.
    fn attempt_timeout(&mut self, now: Instant) {
        let (limit, reason) = match self.state {
            State::CookieWait(_) | State::CookieEchoed(..) => {
                (self.config.max_init_retransmits, CloseReason::SetupTimeout)
            }
            _ => (
                self.config.association_max_retrans,
                CloseReason::Unreachable,
            ),
        };
        let (State::CookieWait(mut attempt)
        | State::CookieEchoed(mut attempt, _)
        | State::ShutdownSent(mut attempt)
        | State::ShutdownAckSent(mut attempt)) = self.state
        else {
            return;
        };
        if attempt.deadline > now {
            return;
        }
        if attempt.repeats >= limit {
            return self.abort_with(None, reason);
        }
        let before = attempt.path;
        self.paths[before].rtt.back_off();
        let forming = matches!(self.state, State::CookieWait(_) | State::CookieEchoed(..));
        if !forming {
            self.count_error(before, false);
        }
        attempt.repeats += 1;
        attempt.started = now;
        attempt.path = match self.state {
            // The addresses that the application gave, in turn (§5.1).
            State::CookieWait(_) | State::CookieEchoed(..) => (before + 1) % self.named,
            _ => self.data_path(),
        };
        attempt.deadline = now + self.paths[attempt.path].rtt.rto();
        let control = match &mut self.state {
            State::CookieWait(current) => {
                *current = attempt;
                Control::Init { preservative: None }
            }
            State::CookieEchoed(current, _) => {
                *current = attempt;
                Control::CookieEcho
            }
            State::ShutdownSent(current) => {
                *current = attempt;
                Control::Shutdown
            }
            State::ShutdownAckSent(current) => {
                *current = attempt;
                Control::ShutdownAck
            }
            State::Established
            | State::ShutdownPending
            | State::ShutdownReceived
            | State::Closed(_) => return,
        };
        // Replaces one that still waits for the same path.
        let same = std::mem::discriminant(&control);
        self.control
            .retain(|(to, waiting)| *to != attempt.path || std::mem::discriminant(waiting) != same);
        self.enqueue(attempt.path, control);
    }
}
