//! Packets that are ready to be sent (RFC 9260 §6.1, §6.10).

use std::net::IpAddr;
use std::time::Instant;

use super::paths::INFO_LEN;
use super::{Association, Control, Report, State, WindowProbe};
use crate::event::{PathState, Transmit};
use crate::limits::{INIT_LEN, MAX_TRAIN, MIN_FRAGMENT};
use crate::packet::{Cause, DATA_HEADER, HEADER_LEN, Header, Writer, padded};
use crate::path::{Heartbeat, Path, PathIndex};

impl Association {
    /// Fills `buffer`, which is empty, with the next datagram or train of datagrams.
    pub(crate) fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        if self.is_closed() {
            return None;
        }
        let mut data = false;
        let (at, segment) = self
            .write_control(now, buffer)
            .or_else(|| self.write_lone_sack(buffer))
            .or_else(|| self.write_data(now, buffer).inspect(|_| data = true))
            .or_else(|| self.write_sack(buffer))
            .or_else(|| self.write_heartbeat(now, buffer))?;
        let path = &mut self.paths[at];
        path.counters.bytes_sent += buffer.len() as u64;
        Some(Transmit {
            path: path.id,
            size: buffer.len(),
            segment_size: segment,
            fragment: data && segment > path.mtu.current(),
        })
    }

    /// Waiting control chunks for one path, as many as fit into a packet.
    fn write_control(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<(PathIndex, usize)> {
        loop {
            let &(at, ref first) = self.control.front()?;
            let header = match first {
                Control::Init { .. } => Header {
                    tag: 0,
                    ..self.header()
                },
                _ => self.header(),
            };
            let mut writer = Writer::new(buffer, header, self.paths[at].mtu.current());
            while let Some((to, control)) = self.control.front() {
                let alone = matches!(control, Control::Init { .. });
                let fits = *to == at
                    && (writer.is_empty() || !alone)
                    && self.write_one(control, at, &mut writer);
                if !fits {
                    break;
                }
                let cookie_ack = matches!(control, Control::CookieAck);
                self.control.pop_front();
                if cookie_ack && !self.paths[at].confirmed() {
                    // To an unconfirmed address only together with a heartbeat (§5.4).
                    let info = self.heartbeat_info(at, now);
                    writer.heartbeat(&info);
                }
                if alone {
                    break;
                }
            }
            if !writer.is_empty() {
                return Some((at, writer.finish()));
            }
            // The chunk is larger than a packet.
            writer.discard();
            self.control.pop_front();
        }
    }

    fn write_one(&self, control: &Control, at: PathIndex, writer: &mut Writer<'_>) -> bool {
        match control {
            Control::Init { preservative } => {
                writer.init(&self.init(), &self.advertised(at), *preservative, INIT_LEN)
            }
            Control::CookieEcho => match &self.state {
                State::CookieEchoed(_, cookie) => writer.cookie_echo(cookie),
                _ => false,
            },
            Control::CookieAck => writer.cookie_ack(),
            Control::HeartbeatAck(content) => writer.heartbeat_ack(content),
            Control::Error(report) => writer.error(&[match report {
                Report::InvalidStream(stream) => Cause::InvalidStream(*stream),
                Report::UnrecognizedChunk(raw) => Cause::UnrecognizedChunk(raw),
                Report::UnrecognizedParameters(raw) => Cause::UnrecognizedParameters(raw),
                Report::CookieWhileShuttingDown => Cause::CookieWhileShuttingDown,
            }]),
            Control::Shutdown => writer.shutdown(self.rx.cumulative()),
            Control::ShutdownAck => writer.shutdown_ack(),
        }
    }

    /// Our addresses to be listed in an INIT on a path: several, of the same UDP port and no
    /// narrower scope.
    fn advertised(&self, at: PathIndex) -> Vec<IpAddr> {
        crate::address::advertised(&self.locals, self.paths[at].id)
    }

    /// A SACK that is due and cannot ride with data, because that goes elsewhere.
    fn write_lone_sack(&mut self, buffer: &mut Vec<u8>) -> Option<(PathIndex, usize)> {
        if self.rx.ack_due() && self.sack_path() != self.data_path() {
            self.write_sack(buffer)
        } else {
            None
        }
    }

    fn write_sack(&mut self, buffer: &mut Vec<u8>) -> Option<(PathIndex, usize)> {
        if !self.rx.ack_due() || self.is_forming() {
            return None;
        }
        let at = self.sack_path();
        let mut writer = Writer::new(buffer, self.header(), self.paths[at].mtu.current());
        self.put_sack(&mut writer);
        Some((at, writer.finish()))
    }

    fn put_sack(&mut self, writer: &mut Writer<'_>) {
        let (cumulative, window) = self.rx.acknowledgement();
        if writer.sack(cumulative, window, self.rx.blocks(), self.rx.duplicates()) {
            self.rx.acknowledged();
            self.ack_tried = true;
        }
    }

    /// A heartbeat, or a padded one that probes for a larger MTU.
    fn write_heartbeat(
        &mut self,
        now: Instant,
        buffer: &mut Vec<u8>,
    ) -> Option<(PathIndex, usize)> {
        if !self.may_heartbeat() {
            return None;
        }
        let due = |path: &crate::path::Path| matches!(path.heartbeat, Heartbeat::Due);
        if let Some(at) = self.paths.iter().position(due) {
            let info = self.heartbeat_info(at, now);
            let mut writer = Writer::new(buffer, self.header(), self.paths[at].mtu.current());
            writer.heartbeat(&info);
            return Some((at, writer.finish()));
        }
        let (at, size) = self
            .paths
            .iter()
            .enumerate()
            .find_map(|(at, path)| Some((at, path.mtu.wanted()?)))?;
        let info = self.mtu_probe_info(at, now);
        let mut writer = Writer::new(buffer, self.header(), size);
        writer.heartbeat(&info);
        writer.pad(size - HEADER_LEN - 8 - padded(INFO_LEN));
        Some((at, writer.finish()))
    }

    /// A train of packets with data for one path: first what is lost, then what is new.
    fn write_data(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<(PathIndex, usize)> {
        if !matches!(
            self.state,
            State::Established | State::ShutdownPending | State::ShutdownReceived
        ) {
            return None;
        }
        let at = self.choose_data_path();
        if !self.paths[at].confirmed() {
            return None;
        }
        let path = &mut self.paths[at];
        path.reduce_if_idle(now);
        if path.flight == 0 {
            path.refill(0, self.config.max_burst);
        }
        let mut segment = None;
        for _ in 0..self.config.max_burst {
            let limit = self.packet_limit(at);
            if buffer.len() + limit > MAX_TRAIN
                || segment.is_some_and(|len| len != limit)
                || !self.may_send(at)
            {
                break;
            }
            let Some(len) = self.write_data_packet(at, limit, segment.is_none(), now, buffer)
            else {
                break;
            };
            segment.get_or_insert(len);
            if len != limit {
                break;
            }
        }
        self.watch_window(at, now);
        let segment = segment?;
        self.paths[at].last_sent = now;
        self.postpone_heartbeat(at, now);
        Some((at, segment))
    }

    /// The path for data: a fast retransmission uses that of the lost chunk, if it is active
    /// (§6.4); all else uses the data path.
    fn choose_data_path(&self) -> PathIndex {
        let before = self.tx.lost_path().filter(|_| self.tx.fast_retransmit());
        match before {
            Some(at) if self.paths[at].state == PathState::Active => at,
            _ => self.data_path(),
        }
    }

    /// The largest packet: the path MTU, or more if a lost chunk was sized for a larger MTU (§6.9).
    fn packet_limit(&self, at: PathIndex) -> usize {
        let limit = self.paths[at].mtu.current();
        self.tx
            .lost_size()
            .map_or(limit, |size| limit.max(HEADER_LEN + size))
    }

    /// Whether congestion control, bursts and the queues let another packet with data go out (§6.1
    /// B to E).
    fn may_send(&self, at: PathIndex) -> bool {
        let path = &self.paths[at];
        let room = path.flight < path.congestion.cwnd() && path.burst > 0;
        if self.tx.has_lost() {
            return room || self.tx.fast_retransmit();
        }
        room && !self.tx.queue.is_empty()
    }

    /// Writes one packet with data. None if there turned out to be nothing to send.
    fn write_data_packet(
        &mut self,
        at: PathIndex,
        limit: usize,
        first: bool,
        now: Instant,
        buffer: &mut Vec<u8>,
    ) -> Option<usize> {
        let fast = self.tx.fast_retransmit();
        let mut writer = Writer::new(buffer, self.header(), limit);
        let oversized = limit > self.paths[at].mtu.current();
        if first && !oversized && self.rx.ack_pending() && at == self.sack_path() {
            self.put_sack(&mut writer);
        }
        self.tx.begin_packet();
        // A chunk must fit every path on which it may be retransmitted (the AMDCS of §7.3).
        let largest = self.smallest_chunk().min(self.paths[at].chunk());
        let mut last = None;
        let mut resent = false;
        while self.tx.resend(&mut self.paths, at, writer.room(), |data| {
            last = writer.data(data);
        }) {
            resent = true;
            if oversized {
                break;
            }
        }
        if !self.tx.has_lost() && !oversized {
            loop {
                let probe = matches!(self.probe, WindowProbe::Due { .. });
                let mut room = writer.room().min(largest);
                if probe {
                    // The peer may drop all of it.
                    room = room.min(DATA_HEADER + MIN_FRAGMENT);
                }
                let sent = self
                    .tx
                    .send_new(&mut self.paths[at], at, room, probe, now, |data| {
                        last = writer.data(data);
                    });
                if !sent {
                    break;
                }
                if let WindowProbe::Due { interval } = self.probe {
                    self.probe = WindowProbe::Sent {
                        interval,
                        answered: false,
                    };
                    break;
                }
            }
        }
        let Some(last) = last else {
            // Perhaps a SACK was written, which is sent by itself.
            return if writer.is_empty() {
                drop_packet(writer)
            } else {
                Some(writer.finish())
            };
        };
        let path = &mut self.paths[at];
        let deadline = now + path.rtt.rto();
        if resent && fast {
            self.tx.fast_retransmitted();
            path.t3 = Some(deadline);
        }
        path.t3.get_or_insert(deadline);
        if self.may_send(at) && !self.tx.window_used() {
            // All packets of a train have one size; the rest of this one is too small for a
            // fragment.
            let room = writer.room();
            if (4..MIN_FRAGMENT + DATA_HEADER).contains(&room) {
                writer.pad(room);
            }
        } else {
            // Nothing can be sent until this is acknowledged (RFC 7053).
            writer.ask_immediate(last);
        }
        Some(writer.finish())
    }

    /// The largest chunk that every usable path carries.
    fn smallest_chunk(&self) -> usize {
        let usable =
            |path: &&Path| matches!(path.state, PathState::Active | PathState::PotentiallyFailed);
        self.paths
            .iter()
            .filter(usable)
            .map(|path| path.chunk())
            .min()
            .unwrap_or(usize::MAX)
    }

    /// Starts zero window probing if only the peer's window keeps data from being sent (§6.1 A).
    fn watch_window(&mut self, at: PathIndex, now: Instant) {
        if !self.tx.window_blocked() {
            return;
        }
        let rto = self.paths[at].rtt.rto();
        let interval = match self.probe {
            WindowProbe::Off => rto,
            WindowProbe::Sent { interval, .. } => (interval * 2).min(self.config.rto_max),
            WindowProbe::Waiting { .. } | WindowProbe::Due { .. } => return,
        };
        self.probe = WindowProbe::Waiting {
            deadline: now + interval,
            interval,
        };
    }
}

/// Discards a packet into which nothing was written.
fn drop_packet(writer: Writer<'_>) -> Option<usize> {
    writer.discard();
    None
}
