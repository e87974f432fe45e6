//! The endpoint: any number of associations over one set of sockets.

mod arrival;
mod local;
mod ready;
mod slack;
mod stateless;
mod table;
mod throttle;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arrival::Arrival;
use slack::Slack;
use table::Table;
use throttle::Throttle;

use crate::address::{pairs, scope};
use crate::association::Association;
use crate::config::{Config, EndpointConfig, Shard};
use crate::cookie::{Ports, Secrets};
use crate::event::{
    AssociationHandle, ConnectError, Datagram, Event, Message, PathId, PathStatistics, SendError,
    Transmit, UnknownAssociation,
};
use crate::limits::{MAX_PATHS, MAX_PORT_CHANGES, PORT_DRAWS, SECRET_LIFE};
use crate::packet::{Chunk, Packet};
use crate::rng::Rng;

/// An SCTP endpoint: takes datagrams and time in, hands datagrams, events and messages out.
///
/// The caller calls [`handle_datagram`](Self::handle_datagram) and
/// [`handle_timeout`](Self::handle_timeout); after any call it drains
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event) and waits until
/// [`poll_timeout`](Self::poll_timeout) at most. If a batch of datagrams is handled before
/// draining, one SACK acknowledges all of them.
///
/// Times given to one endpoint must not decrease.
#[derive(Debug)]
pub struct Endpoint {
    config: Arc<Config>,
    listen: Option<u16>,
    addresses: Arc<[SocketAddr]>,
    shard: Shard,
    max_associations: usize,
    rng: Rng,
    secrets: Secrets,
    throttle: Throttle,
    table: Table,
    slack: Slack,
    /// Replies that belong to no association, and final packets of closed associations.
    replies: VecDeque<Datagram>,
}

impl Endpoint {
    /// Creates an endpoint. `seed` is its only source of randomness: it must be unpredictable, and
    /// must not be used twice outside tests.
    pub fn new(config: EndpointConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let secrets = Secrets::new(rng.fork(), now);
        let throttle = Throttle::new(config.stateless_replies, &mut rng, now);
        Self {
            config: Arc::new(config.association.clamped()),
            listen: config.listen,
            addresses: config.addresses.into(),
            shard: config.shard,
            max_associations: config.max_associations,
            rng,
            secrets,
            throttle,
            table: Table::default(),
            slack: Slack::new(now),
            replies: VecDeque::new(),
        }
    }

    /// Handles a received datagram. Malformed datagrams are ignored.
    pub fn handle_datagram(&mut self, path: PathId, datagram: &[u8], now: Instant) {
        let path = PathId::new(path.local, path.remote);
        let Ok(packet) = Packet::parse(datagram) else {
            return;
        };
        if scope(path.remote.ip()).is_none() || path.remote.port() == 0 {
            return;
        }
        let arrival = Arrival {
            path,
            packet,
            len: datagram.len(),
        };
        let tag = packet.header.tag;
        let mut chunks = packet.chunks();
        match chunks.next() {
            Some(Ok(Chunk::Init(init))) => {
                // An INIT must be alone in its packet, with tag 0 (§8.5.1 A).
                if tag == 0 && chunks.next().is_none() {
                    self.handle_init(arrival, &init, now);
                }
                return;
            }
            Some(Ok(Chunk::CookieEcho(cookie))) => {
                return self.handle_cookie_echo(arrival, cookie, now);
            }
            Some(_) if tag != 0 => {}
            _ => return,
        }
        match self.table.by_tag(tag) {
            Some(index) => {
                let slack = self.slack.observe(self.table.next_deadline(), now);
                let Some(association) = self.table.association(index) else {
                    return;
                };
                if association.ports == arrival.ports() {
                    association.set_timer_slack(slack);
                    association.handle_packet(path, packet.chunks(), datagram.len(), now);
                    if association.port_refused {
                        self.change_port(index, now);
                    }
                    self.settle(index, now);
                }
            }
            None => self.handle_out_of_the_blue(arrival, now),
        }
    }

    /// Handles the timers that have expired. To be called at the time that
    /// [`poll_timeout`](Self::poll_timeout) gives; an earlier call has no effect.
    ///
    /// Every datagram that has arrived before `now` is to be handled first: an answer that waits in
    /// a socket is not lost. A call that comes late shows that the process did not run. Answers are
    /// then waited for once more, for as long as the call is late but no longer than a timeout; and
    /// `RTO.Min` is raised by the largest lateness of the last seconds, at most one second.
    pub fn handle_timeout(&mut self, now: Instant) {
        let slack = self.slack.observe(self.table.next_deadline(), now);
        while let Some(index) = self.table.expired(now) {
            let Some(association) = self.table.association(index) else {
                return;
            };
            association.set_timer_slack(slack);
            association.handle_timeout(now);
            self.settle(index, now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; none if no timer runs.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.table.next_deadline()
    }

    /// The next datagram, or train of datagrams for segmentation offload, in `buffer`, whose
    /// content is replaced.
    ///
    /// To be called until it gives none. If the caller cannot send, the packets are lost and will
    /// be retransmitted.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        buffer.clear();
        if let Some((path, packet)) = self.replies.pop_front() {
            buffer.extend_from_slice(&packet);
            return Some(Transmit {
                path,
                size: packet.len(),
                segment_size: packet.len(),
                fragment: false,
            });
        }
        while let Some(index) = self.table.pop_sending() {
            let transmit = self
                .table
                .association(index)
                .and_then(|association| association.poll_transmit(now, buffer));
            if transmit.is_some() {
                // There may be more, after the other associations' turn.
                self.table.mark_sending(index);
            }
            self.table.refresh_deadline(index);
            if transmit.is_some() {
                return transmit;
            }
        }
        None
    }

    /// The next event and the association that it concerns. To be called until it gives none.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<(AssociationHandle, Event)> {
        self.table.poll_event()
    }

    /// Initiates an association with the peer at `remotes` (IP addresses and UDP ports) and its
    /// SCTP port `port`, from each of the endpoint's addresses that can reach one of them.
    /// [`Event::Connected`] or [`Event::Closed`] follows.
    ///
    /// # Errors
    /// None of the addresses can be used, or there are too many associations.
    pub fn connect(
        &mut self,
        remotes: &[SocketAddr],
        port: u16,
        now: Instant,
    ) -> Result<AssociationHandle, ConnectError> {
        self.begin(None, self.pairs(remotes), port, now)
    }

    /// As [`connect`](Self::connect), but from the given SCTP port. `connect` takes a random one,
    /// which an attacker has to guess, and another when the peer has an association with it.
    ///
    /// # Errors
    /// As for `connect`, and if the port is in use with this peer.
    pub fn connect_from(
        &mut self,
        local: u16,
        remotes: &[SocketAddr],
        port: u16,
        now: Instant,
    ) -> Result<AssociationHandle, ConnectError> {
        self.begin(Some(local), self.pairs(remotes), port, now)
    }

    /// The paths between our addresses and the usable ones of the peer's, the likeliest first.
    fn pairs(&self, remotes: &[SocketAddr]) -> Vec<PathId> {
        let usable: Vec<SocketAddr> = remotes
            .iter()
            .copied()
            .filter(|remote| scope(remote.ip()).is_some() && remote.port() != 0)
            .collect();
        pairs(&self.addresses, &usable)
    }

    fn begin(
        &mut self,
        local: Option<u16>,
        mut pairs: Vec<PathId>,
        port: u16,
        now: Instant,
    ) -> Result<AssociationHandle, ConnectError> {
        if port == 0 || local == Some(0) {
            return Err(ConnectError::Port);
        }
        if self.table.live() >= self.max_associations {
            return Err(ConnectError::TooMany);
        }
        pairs.truncate(MAX_PATHS);
        if pairs.is_empty() {
            return Err(ConnectError::NoPath);
        }
        let remotes: Vec<SocketAddr> = pairs.iter().map(|pair| pair.remote).collect();
        let ports = self
            .free_port(local, port, &remotes)
            .ok_or(ConnectError::InUse)?;
        let tag = self.own_tag();
        let (config, locals) = (Arc::clone(&self.config), Arc::clone(&self.addresses));
        let mut association =
            Association::connect(config, self.rng.fork(), ports, tag, locals, &pairs, now);
        if local.is_none() {
            association.port_changes_left = MAX_PORT_CHANGES;
        }
        Ok(self.table.insert(association))
    }

    /// Queues a message.
    ///
    /// # Errors
    /// The error gives the message back. [`SendError::Full`] is back pressure, not a failure.
    pub fn send(&mut self, handle: AssociationHandle, message: Message) -> Result<(), SendError> {
        let Some((index, association)) = self.table.by_handle(handle) else {
            return Err(SendError::Closed(message));
        };
        association.send(message)?;
        self.table.mark_sending(index);
        Ok(())
    }

    /// The next message of an association, if there is one.
    #[must_use]
    pub fn recv(&mut self, handle: AssociationHandle) -> Option<Message> {
        let message = self.table.recv(handle);
        if message.is_some() && self.table.by_handle(handle).is_some() {
            // A window update may be due.
            self.table.mark_sending(handle.index);
        }
        message
    }

    /// Bytes that [`send`](Self::send) has taken and the peer has not acknowledged cumulatively; 0
    /// for a closed association.
    #[must_use]
    pub fn buffered(&self, handle: AssociationHandle) -> usize {
        self.table
            .by_handle_ref(handle)
            .map_or(0, Association::buffered)
    }

    /// Begins an orderly shutdown: what is queued is still delivered, nothing more is queued.
    /// [`Event::Closed`] follows.
    ///
    /// # Errors
    /// The association has ended.
    pub fn shutdown(
        &mut self,
        handle: AssociationHandle,
        now: Instant,
    ) -> Result<(), UnknownAssociation> {
        let (index, association) = self.table.by_handle(handle).ok_or(UnknownAssociation)?;
        association.shutdown(now);
        self.settle(index, now);
        Ok(())
    }

    /// Aborts an association at once. The ABORT carries `reason`, truncated to
    /// [`MAX_ABORT_REASON`](crate::limits::MAX_ABORT_REASON) bytes.
    ///
    /// # Errors
    /// The association has ended.
    pub fn abort(
        &mut self,
        handle: AssociationHandle,
        reason: &[u8],
        now: Instant,
    ) -> Result<(), UnknownAssociation> {
        let (index, association) = self.table.by_handle(handle).ok_or(UnknownAssociation)?;
        association.abort(reason);
        self.settle(index, now);
        Ok(())
    }

    /// Makes a confirmed path the primary path, to which new data goes while it is active.
    ///
    /// # Errors
    /// The association has ended, or it has no such confirmed path.
    pub fn set_primary(
        &mut self,
        handle: AssociationHandle,
        path: PathId,
    ) -> Result<(), UnknownAssociation> {
        let (index, association) = self.table.by_handle(handle).ok_or(UnknownAssociation)?;
        association.set_primary(PathId::new(path.local, path.remote))?;
        self.table.mark_sending(index);
        Ok(())
    }

    /// Statistics of each path; none for a closed association.
    #[must_use]
    pub fn paths(&self, handle: AssociationHandle) -> Vec<PathStatistics> {
        self.table
            .by_handle_ref(handle)
            .map(|association| association.paths().collect())
            .unwrap_or_default()
    }

    /// Number of associations, including those being set up.
    #[must_use]
    pub fn associations(&self) -> usize {
        self.table.live()
    }

    fn settle(&mut self, index: u32, now: Instant) {
        // Until then, its cookie is authenticated by a secret that is still valid.
        let until =
            now + self.config.cookie_life.min(SECRET_LIFE) + crate::limits::MAX_COOKIE_EXTENSION;
        let final_packets = self.table.settle(index, until, now);
        self.replies.extend(final_packets);
    }

    /// The given SCTP port, or a random one, unless the peer has an association with the same
    /// ports.
    fn free_port(
        &mut self,
        wanted: Option<u16>,
        peer: u16,
        remotes: &[SocketAddr],
    ) -> Option<Ports> {
        let tries = if wanted.is_some() { 1 } else { PORT_DRAWS };
        (0..tries).find_map(|_| {
            let local = wanted.unwrap_or_else(|| self.rng.port());
            let ports = Ports { local, peer };
            let taken = remotes
                .iter()
                .any(|&remote| self.table.by_address(remote, ports).is_some());
            (!taken).then_some(ports)
        })
    }

    /// Draws another SCTP port for an association whose INIT the peer took for the restart of
    /// another one (RFC 9260 §5.2.2).
    fn change_port(&mut self, index: u32, now: Instant) {
        let Some(association) = self.table.association(index) else {
            return;
        };
        association.port_refused = false;
        let peer = association.ports.peer;
        let remotes: Vec<SocketAddr> = association.known_remotes().collect();
        // If no port is free, the timer repeats the INIT from the old one.
        if let Some(ports) = self.free_port(None, peer, &remotes)
            && let Some(association) = self.table.association(index)
        {
            association.set_ports(ports, now);
        }
    }
}
