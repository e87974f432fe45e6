//! Packets that belong to an association, chunk by chunk.

use std::time::{Duration, Instant};

use super::{Association, Control, Report, State, WindowProbe};
use crate::event::{CloseReason, Event, PathId};
use crate::limits::{MAX_HEARTBEAT_INFO, MAX_REPORTED_CHUNK};
use crate::packet::{Cause, Causes, Chunk, Chunks, Data, Sack, UnknownAction};
use crate::path::PathIndex;
use crate::rx::Received;
use crate::tx::Acknowledged;

/// Round trip assumed for the receive window before one has been measured.
const ASSUMED_RTT: Duration = Duration::from_millis(100);

/// Headers of an ERROR chunk and of its cause.
const ERROR_HEADERS: usize = 8;

/// Summary of the DATA chunks of one packet.
#[derive(Debug, Default)]
struct Seen {
    data: bool,
    fresh: bool,
    urgent: bool,
}

impl Association {
    /// Takes the chunks of a packet whose verification tag is right. `len` is the packet's length.
    pub(crate) fn handle_packet(
        &mut self,
        id: PathId,
        chunks: Chunks<'_>,
        len: usize,
        now: Instant,
    ) {
        let at = self.arrival(id, now);
        if let Some(at) = at {
            let path = &mut self.paths[at];
            path.last_received = Some(now);
            path.counters.bytes_received += len as u64;
        }
        let mut seen = Seen::default();
        // After a malformed chunk, the start of the next one is unknown.
        for chunk in chunks.map_while(Result::ok) {
            let proceed = self.handle_chunk(at, &chunk, &mut seen, now);
            if !proceed || self.is_closed() {
                break;
            }
        }
        if seen.data && !self.is_closed() {
            self.data_done(at, &seen, now);
        }
        self.progress_shutdown(now);
        self.report_readable();
    }

    /// True if the rest of the packet is to be processed.
    fn handle_chunk(
        &mut self,
        at: Option<PathIndex>,
        chunk: &Chunk<'_>,
        seen: &mut Seen,
        now: Instant,
    ) -> bool {
        match chunk {
            Chunk::Data(data) => self.handle_data(data, seen),
            Chunk::Sack(sack) => self.handle_sack(sack, now),
            Chunk::InitAck(init) => self.handle_init_ack(at, init, now),
            Chunk::CookieAck => self.handle_cookie_ack(at, now),
            Chunk::Heartbeat(content) => self.handle_heartbeat(at, content),
            Chunk::HeartbeatAck(content) => self.handle_heartbeat_ack(content, now),
            Chunk::Abort {
                reflected: false,
                causes,
            } => self.handle_abort(*causes),
            Chunk::Error(causes) => self.handle_error(*causes, now),
            Chunk::Shutdown { cumulative } => self.handle_shutdown(at, *cumulative, now),
            Chunk::ShutdownAck => self.handle_shutdown_ack(at),
            Chunk::ShutdownComplete { reflected: false } => self.handle_shutdown_complete(),
            // With the T bit the tag is the peer's (§8.5.1), for which the endpoint has looked.
            Chunk::Abort { .. } | Chunk::ShutdownComplete { .. } => return false,
            // The endpoint handles a COOKIE ECHO, which is valid only as the first chunk.
            Chunk::CookieEcho(_) | Chunk::Pad => {}
            Chunk::Init(_) => return false,
            Chunk::Unknown { kind, raw } => {
                let action = UnknownAction::for_chunk(*kind);
                if action.report
                    && let Some(at) = at
                {
                    // Only heartbeats go to an address that is not confirmed (§5.4).
                    let to = match self.paths[at].confirmed() {
                        true => at,
                        false => self.data_path(),
                    };
                    let most = MAX_REPORTED_CHUNK.min(self.paths[to].chunk() - ERROR_HEADERS);
                    let raw = raw[..raw.len().min(most)].to_vec();
                    self.enqueue(to, Control::Error(Report::UnrecognizedChunk(raw)));
                }
                return action.proceed;
            }
        }
        true
    }

    fn handle_data(&mut self, data: &Data<'_>, seen: &mut Seen) {
        if !matches!(
            self.state,
            State::Established | State::ShutdownPending | State::ShutdownSent(_)
        ) {
            return;
        }
        if data.payload.is_empty() {
            return self.abort_with(
                Some(Cause::NoUserData(data.tsn)),
                CloseReason::Violation("sent data without data"),
            );
        }
        seen.data = true;
        match self.rx.handle_data(data) {
            Ok(Received::New) => {
                seen.fresh = true;
                seen.urgent |= data.immediate;
            }
            Ok(Received::Duplicate) => {}
            Ok(Received::Dropped) => seen.urgent = true,
            Ok(Received::InvalidStream) => {
                seen.fresh = true;
                seen.urgent = true;
                self.enqueue(
                    self.sack_path(),
                    Control::Error(Report::InvalidStream(data.stream)),
                );
            }
            Err(what) => self.violated(what),
        }
    }

    /// After the last chunk of a packet with data: decides on its acknowledgement (§6.2, §6.7).
    fn data_done(&mut self, at: Option<PathIndex>, seen: &Seen, now: Instant) {
        if let Some(at) = at {
            let again = !seen.fresh && at == self.data_from;
            self.data_from = at;
            if !again {
                self.ack_path = at;
                self.ack_tried = false;
            } else if self.ack_tried {
                // Duplicates on the same path after they were acknowledged: the SACK may have been
                // lost on the way back (§6.4). A batch of duplicates counts once.
                self.ack_path = self.next_active(self.ack_path);
                self.ack_tried = false;
            }
        }
        self.rx.packet_done(seen.urgent, seen.fresh, now);
        let rtt = self
            .paths
            .iter()
            .filter_map(|path| path.rtt.srtt())
            .min()
            .unwrap_or(ASSUMED_RTT);
        self.rx.adapt_window(rtt, now);
        if let State::ShutdownSent(_) = self.state {
            self.repeat_shutdown(now);
        }
    }

    fn handle_sack(&mut self, sack: &Sack<'_>, now: Instant) {
        let accept = matches!(
            self.state,
            State::Established | State::ShutdownPending | State::ShutdownReceived
        );
        if !accept {
            return;
        }
        match self
            .tx
            .handle_sack(sack, &mut self.paths, now, self.config.max_burst)
        {
            Ok(Some(outcome)) => self.acknowledged(&outcome),
            Ok(None) => {}
            Err(what) => self.violated(what),
        }
    }

    /// Updates error counters and the window probe after newly acknowledged data (§8.1, §8.2).
    pub(super) fn acknowledged(&mut self, outcome: &Acknowledged) {
        for at in 0..self.paths.len() {
            if outcome.unambiguous[at] {
                self.path_works(at);
            }
        }
        if outcome.bytes.iter().any(|&bytes| bytes > 0) {
            self.errors = 0;
        }
        if let WindowProbe::Sent { interval, .. } = self.probe {
            self.probe = WindowProbe::Sent {
                interval,
                answered: true,
            };
        }
        if !self.tx.is_shut() {
            self.probe = WindowProbe::Off;
        }
        if self.send_refused && self.tx.buffered() <= self.config.send_buffer / 2 {
            self.send_refused = false;
            if matches!(self.state, State::Established) {
                self.events.push_back(Event::Writable);
            }
        }
    }

    /// Echoes a heartbeat's content on the path on which it arrived (§8.3).
    fn handle_heartbeat(&mut self, at: Option<PathIndex>, content: &[u8]) {
        let answers = matches!(
            self.state,
            State::CookieEchoed(..)
                | State::Established
                | State::ShutdownPending
                | State::ShutdownReceived
        );
        if let Some(at) = at
            && answers
            && content.len() <= MAX_HEARTBEAT_INFO
        {
            self.enqueue(at, Control::HeartbeatAck(content.into()));
        }
    }

    pub(crate) fn handle_abort(&mut self, causes: Causes<'_>) {
        let first = causes.iter().next();
        let restart = matches!(
            first,
            Some(Cause::RestartWithNewAddresses(_) | Cause::RestartWithNewPort { .. })
        );
        if restart && self.port_changes_left > 0 && matches!(self.state, State::CookieWait(_)) {
            self.port_changes_left -= 1;
            self.port_refused = true;
            return;
        }
        let reason = match first {
            Some(Cause::UserAbort(reason)) => {
                reason[..reason.len().min(crate::limits::MAX_ABORT_REASON)].to_vec()
            }
            _ => Vec::new(),
        };
        self.close(CloseReason::AbortedByPeer {
            cause: first.map(|cause| cause.code()),
            reason,
        });
    }

    fn handle_error(&mut self, causes: Causes<'_>, now: Instant) {
        if causes
            .iter()
            .any(|cause| matches!(cause, Cause::StaleCookie(_)))
        {
            self.handle_stale_cookie(now);
        }
    }
}
