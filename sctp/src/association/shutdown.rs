//! Orderly shutdown (RFC 9260 §9.2).

use std::time::Instant;

use super::{Association, Attempt, Control, Report, State};
use crate::event::{CloseReason, Event};
use crate::path::PathIndex;

impl Association {
    /// Begins the shutdown: what is queued is still sent. An association that is being set up is
    /// aborted.
    pub(crate) fn shutdown(&mut self, now: Instant) {
        match self.state {
            State::CookieWait(_) | State::CookieEchoed(..) => self.abort(b""),
            State::Established => {
                self.state = State::ShutdownPending;
                self.guard = Some(now + self.config.shutdown_guard);
                self.progress_shutdown(now);
            }
            _ => {}
        }
    }

    /// Moves on once everything that was sent has been acknowledged.
    pub(super) fn progress_shutdown(&mut self, now: Instant) {
        if !self.tx.is_drained() {
            return;
        }
        match self.state {
            State::ShutdownPending => {
                self.state = State::ShutdownSent(self.attempt(now));
                self.enqueue(self.data_path(), Control::Shutdown);
            }
            State::ShutdownReceived => {
                self.state = State::ShutdownAckSent(self.attempt(now));
                self.enqueue(self.data_path(), Control::ShutdownAck);
            }
            _ => {}
        }
    }

    fn attempt(&self, now: Instant) -> Attempt {
        let path = self.data_path();
        Attempt {
            repeats: 0,
            path,
            started: now,
            deadline: now + self.paths[path].rtt.rto(),
        }
    }

    /// Data arrives after our SHUTDOWN: acknowledges it with another SHUTDOWN and restarts
    /// T2-shutdown.
    pub(super) fn repeat_shutdown(&mut self, now: Instant) {
        self.state = State::ShutdownSent(self.attempt(now));
        if !self
            .control
            .iter()
            .any(|(_, control)| matches!(control, Control::Shutdown))
        {
            self.enqueue(self.sack_path(), Control::Shutdown);
        }
        if self.rx.has_gaps() || self.rx.has_duplicates() {
            self.rx.ack_now();
        }
    }

    /// Handles a SHUTDOWN. Once everything is acknowledged, the SHUTDOWN ACK is sent where the
    /// SHUTDOWN came from (§6.4), even if that path is not confirmed: if a NAT has changed the
    /// peer's port, no heartbeat can confirm it any more, and the answer is no larger.
    pub(super) fn handle_shutdown(
        &mut self,
        from: Option<PathIndex>,
        cumulative: u32,
        now: Instant,
    ) {
        match self.state {
            State::Established | State::ShutdownPending | State::ShutdownReceived => {
                let burst = self.config.max_burst;
                let acknowledged =
                    self.tx
                        .handle_cumulative(cumulative, &mut self.paths, now, burst);
                match acknowledged {
                    Ok(Some(outcome)) => self.acknowledged(&outcome),
                    Ok(None) => {}
                    Err(what) => return self.violated(what),
                }
                if !matches!(self.state, State::ShutdownReceived) {
                    self.state = State::ShutdownReceived;
                    self.guard.get_or_insert(now + self.config.shutdown_guard);
                    self.events.push_back(Event::PeerClosing);
                }
            }
            // Both sides have sent SHUTDOWN: each answers.
            State::ShutdownSent(_) => {
                self.state = State::ShutdownAckSent(self.attempt(now));
                self.control
                    .retain(|(_, control)| !matches!(control, Control::Shutdown));
                self.enqueue(from.unwrap_or(self.data_path()), Control::ShutdownAck);
            }
            State::ShutdownAckSent(_) => {
                self.enqueue(from.unwrap_or(self.data_path()), Control::ShutdownAck)
            }
            State::CookieWait(_) | State::CookieEchoed(..) | State::Closed(_) => {}
        }
    }

    pub(super) fn handle_shutdown_ack(&mut self, from: Option<PathIndex>) {
        match self.state {
            State::ShutdownSent(_) | State::ShutdownAckSent(_) => {
                self.push_final_packet(from, |writer| writer.shutdown_complete(false));
                self.close(CloseReason::Shutdown);
            }
            _ => {}
        }
    }

    pub(crate) fn handle_shutdown_complete(&mut self) {
        if let State::ShutdownAckSent(_) = self.state {
            self.close(CloseReason::Shutdown);
        }
    }

    /// Repeats the SHUTDOWN ACK if SHUTDOWN COMPLETE is outstanding, since the peer, which sends an
    /// INIT or COOKIE ECHO, has ended already (§9.2). True if that is the case.
    pub(crate) fn repeat_shutdown_ack(&mut self, cookie: bool) -> bool {
        if !matches!(self.state, State::ShutdownAckSent(_)) {
            return false;
        }
        let at = self.data_path();
        self.enqueue(at, Control::ShutdownAck);
        if cookie {
            self.enqueue(at, Control::Error(Report::CookieWhileShuttingDown));
        }
        true
    }
}
