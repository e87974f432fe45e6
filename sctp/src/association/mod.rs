//! One association: state, paths, both halves of the data transfer (RFC 9260 §4 to §9).

mod input;
mod output;
mod paths;
mod setup;
mod shutdown;
mod timers;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::cookie::{Cookie, Ports};
use crate::event::{
    CloseReason, Datagram, Event, Message, PathId, PathState, PathStatistics, SendError,
    UnknownAssociation,
};
use crate::limits::{MAX_ABORT_REASON, MAX_CONTROL_QUEUE, MAX_EVENTS};
use crate::packet::{Cause, Header, Writer};
use crate::path::{Path, PathIndex};
use crate::rng::Rng;
use crate::rx::Rx;
use crate::tx::Tx;

#[derive(Debug)]
pub(crate) struct Association {
    config: Arc<Config>,
    rng: Rng,
    pub(crate) ports: Ports,
    pub(crate) local_tag: u32,
    /// 0 while unknown.
    pub(crate) peer_tag: u32,
    local_tsn: u32,
    /// Tie-tags: random numbers that identify this association in the cookie of a restart
    /// (§5.2.2).
    local_tie: u32,
    peer_tie: u32,
    state: State,
    paths: Vec<Path>,
    /// How many of them, from the first, were given by the application: their addresses need no
    /// verification (§5.4).
    named: usize,
    /// The path for new data while it is active.
    primary: PathIndex,
    /// The path on which data last arrived, and the path for its acknowledgement.
    data_from: PathIndex,
    ack_path: PathIndex,
    /// Whether a SACK has been sent on `ack_path` since it was chosen.
    ack_tried: bool,
    /// Our own addresses, for pairing with those of the peer.
    locals: Arc<[SocketAddr]>,
    tx: Tx,
    rx: Rx,
    /// Streams that we may send on and that we accept.
    outbound: u16,
    inbound: u16,
    /// Consecutive timeouts on all paths (§8.1).
    errors: u32,
    control: VecDeque<(PathIndex, Control)>,
    events: VecDeque<Event>,
    /// Whether `Readable` was reported and `recv` has not given `None` since.
    readable_reported: bool,
    /// Whether `send` was refused because the buffer was full.
    send_refused: bool,
    probe: WindowProbe,
    /// T5-shutdown-guard.
    guard: Option<Instant>,
    /// Packets to be sent after the association has ended.
    final_packets: Vec<Datagram>,
    /// Confirmed addresses have changed since the endpoint looked.
    pub(crate) addresses_changed: bool,
    /// Cookies that the peer has called stale. Not reset by the INIT ACK that brings the next one.
    stale_cookies: u32,
    /// The peer has another association with our SCTP port: the endpoint is to draw another.
    pub(crate) port_refused: bool,
    /// How often that may still happen.
    pub(crate) port_changes_left: u8,
}

/// RFC 9260 §4. Each state owns the timer that only it has.
#[derive(Debug)]
enum State {
    CookieWait(Attempt),
    CookieEchoed(Attempt, Vec<u8>),
    Established,
    ShutdownPending,
    ShutdownSent(Attempt),
    ShutdownReceived,
    ShutdownAckSent(Attempt),
    Closed(CloseReason),
}

/// A chunk that is repeated until it is answered, and its timer: T1-init, T1-cookie, T2-shutdown.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    /// How often it was repeated.
    repeats: u32,
    /// The path on which it was last sent.
    path: PathIndex,
    started: Instant,
    deadline: Instant,
}

/// A control chunk to be sent.
#[derive(Debug)]
enum Control {
    Init { preservative: Option<u32> },
    CookieEcho,
    CookieAck,
    HeartbeatAck(Box<[u8]>),
    Error(Report),
    Shutdown,
    ShutdownAck,
}

/// The cause of an ERROR chunk to be sent.
#[derive(Debug)]
enum Report {
    InvalidStream(u16),
    UnrecognizedChunk(Vec<u8>),
    UnrecognizedParameters(Vec<u8>),
    CookieWhileShuttingDown,
}

/// Probing of a peer's zero window (§6.1 A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WindowProbe {
    Off,
    Waiting {
        deadline: Instant,
        interval: Duration,
    },
    Due {
        interval: Duration,
    },
    /// A probe is in flight; whether a SACK has arrived since it was sent.
    Sent {
        interval: Duration,
        answered: bool,
    },
}

/// A valid cookie, and the ports and path with which it was echoed.
#[derive(Debug)]
pub(crate) struct Accepted<'a> {
    pub(crate) cookie: &'a Cookie,
    pub(crate) ports: Ports,
    pub(crate) path: PathId,
}

impl Association {
    /// Queues a message.
    pub(crate) fn send(&mut self, message: Message) -> Result<(), SendError> {
        match self.state {
            State::Established => {}
            State::CookieWait(_) | State::CookieEchoed(..) => {
                return Err(SendError::Connecting(message));
            }
            _ => return Err(SendError::Closed(message)),
        }
        if message.stream >= self.outbound {
            return Err(SendError::Stream(message));
        }
        let len = message.payload.len();
        if len == 0 || len > self.config.max_message {
            return Err(SendError::Size(message));
        }
        if self.tx.buffered() + len > self.config.send_buffer {
            self.send_refused = true;
            return Err(SendError::Full(message));
        }
        self.tx.push(message);
        Ok(())
    }

    /// The next message from the peer.
    pub(crate) fn recv(&mut self) -> Option<Message> {
        let message = self.rx.recv();
        if message.is_none() {
            self.readable_reported = false;
        }
        message
    }

    /// Bytes that `send` has taken and the peer has not acknowledged cumulatively.
    pub(crate) fn buffered(&self) -> usize {
        self.tx.buffered()
    }

    /// Bytes that `send` has taken and that have not been sent.
    pub(crate) fn unsent(&self) -> usize {
        self.tx.queue.bytes()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// What remains of a closed association: messages that the application has not read, the
    /// reason, final packets.
    pub(crate) fn into_ended(self) -> (VecDeque<Message>, CloseReason, Vec<Datagram>) {
        match self.state {
            // Only after an orderly shutdown can messages still be read.
            State::Closed(CloseReason::Shutdown) => (
                self.rx.into_ready(),
                CloseReason::Shutdown,
                self.final_packets,
            ),
            State::Closed(reason) => (VecDeque::new(), reason, self.final_packets),
            _ => (VecDeque::new(), CloseReason::Aborted, self.final_packets),
        }
    }

    /// Ends it at once with an ABORT that carries the reason.
    pub(crate) fn abort(&mut self, reason: &[u8]) {
        let reason = &reason[..reason.len().min(MAX_ABORT_REASON)];
        self.abort_with(Some(Cause::UserAbort(reason)), CloseReason::Aborted);
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = PathStatistics> + '_ {
        self.paths
            .iter()
            .enumerate()
            .map(|(at, path)| path.statistics(at == self.primary))
    }

    /// Transport addresses that are known to be the peer's: those of confirmed paths; during set-up
    /// those that the application gave.
    pub(crate) fn known_remotes(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let forming = self.is_forming();
        self.paths
            .iter()
            .filter(move |path| forming || path.confirmed())
            .map(|path| path.id.remote)
    }

    /// Whether an address is one of the peer's, confirmed or not.
    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        self.paths.iter().any(|path| path.id.remote.ip() == address)
    }

    /// Whether a transport address, UDP port included, is confirmed as the peer's.
    pub(crate) fn has_remote(&self, remote: SocketAddr) -> bool {
        self.paths
            .iter()
            .any(|path| path.id.remote == remote && path.confirmed())
    }

    /// The peer has restarted (§5.2.4 action A).
    pub(crate) fn restarted(&mut self) {
        self.close(CloseReason::Restarted);
    }

    /// Makes a confirmed path the primary path (§11.1.6).
    pub(crate) fn set_primary(&mut self, id: PathId) -> Result<(), UnknownAssociation> {
        let at = self
            .paths
            .iter()
            .position(|path| path.id == id && path.confirmed())
            .ok_or(UnknownAssociation)?;
        self.primary = at;
        Ok(())
    }

    fn header(&self) -> Header {
        Header {
            source_port: self.ports.local,
            destination_port: self.ports.peer,
            tag: self.peer_tag,
        }
    }

    fn enqueue(&mut self, at: PathIndex, control: Control) {
        if self.control.len() < MAX_CONTROL_QUEUE {
            self.control.push_back((at, control));
        }
    }

    fn report_readable(&mut self) {
        if self.rx.is_readable() && !self.readable_reported {
            self.readable_reported = true;
            self.events.push_back(Event::Readable);
        }
    }

    fn path_changed(&mut self, path: PathId, state: PathState) {
        self.addresses_changed = true;
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(Event::PathChanged { path, state });
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.control.clear();
        self.state = State::Closed(reason);
    }

    /// Aborts because of a protocol violation (§9.1).
    fn violated(&mut self, what: &'static str) {
        self.abort_with(
            Some(Cause::ProtocolViolation(what.as_bytes())),
            CloseReason::Violation(what),
        );
    }

    fn abort_with(&mut self, cause: Option<Cause<'_>>, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        // Without the peer's tag, no ABORT can be sent that it would accept.
        if self.peer_tag != 0 {
            self.push_final_packet(None, |writer| writer.abort(false, cause));
        }
        self.close(reason);
    }

    /// Prepares a packet that is sent after the association has ended.
    fn push_final_packet(
        &mut self,
        to: Option<PathIndex>,
        write: impl FnOnce(&mut Writer<'_>) -> bool,
    ) {
        let path = &self.paths[to.unwrap_or(self.data_path())];
        let mut packet = Vec::new();
        let mut writer = Writer::new(&mut packet, self.header(), path.mtu.current());
        if write(&mut writer) {
            writer.finish();
            self.final_packets.push((path.id, packet));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of an idle association, which bounds how many a server can have.
    #[test]
    fn an_idle_association_is_small() {
        let config = Config::default();
        let fixed = size_of::<Association>() + 2 * usize::from(config.max_inbound_streams);
        let path = size_of::<Path>();
        println!("an idle association takes {fixed} bytes, and {path} for each path");
        assert!(fixed <= 4_096, "{fixed}");
        assert!(path <= 640, "{path}");
    }
}
