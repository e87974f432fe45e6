//! The endpoint as a carrier: datagrams in, datagrams out, and what sessions hear of it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use towpath_sctp::{
    AssociationHandle, ConnectError, Event, Message, PathId, PathState, PathStatistics,
    SendError as Refused,
};

use super::association::{Association, path_info};
use super::interfaces;
use super::socket::Received;
use super::{LinkFaults, Role, UdpSctp};
use crate::carrier::{
    AssociationId, Carrier, CarrierEvent, CloseMode, Inbound, LostReason, PathInfo, Peer,
    Readiness, Registrar, SendError,
};
use crate::limits::{
    INTERFACE_SCAN, MAX_ADDRESSES, RECEIVE_ROUNDS, SEND_QUEUE, SEND_QUEUE_HARD, TRANSMIT_BATCH,
    TRANSMIT_EARLY,
};

const KIND: &str = "udp";

fn passes(faults: Option<&LinkFaults>, path: PathId, bytes: usize) -> bool {
    faults.is_none_or(|faults| faults.passes(path.local.ip(), bytes))
}

impl UdpSctp {
    fn at(&mut self, now: Instant) -> Instant {
        self.clock = self.clock.max(now);
        self.clock
    }

    /// Hands what the endpoint has to send to the sockets, up to a budget; true if there may be
    /// more.
    fn transmit(&mut self, now: Instant) -> bool {
        for _ in 0..TRANSMIT_BATCH {
            if self.sockets.all.iter().any(|socket| socket.is_full()) {
                return false; // goes on when that socket is writable or given up
            }
            let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.train) else {
                return false;
            };
            let bytes = &self.train[..transmit.size];
            if !passes(self.config.link_faults.as_ref(), transmit.path, bytes.len()) {
                continue;
            }
            match self.sockets.from(transmit.path.local) {
                Some(socket) => socket.send(&transmit, bytes, now),
                None => tracing::debug!(path = %transmit.path, "a path without a socket"),
            }
        }
        true
    }

    /// Reads one socket, up to a budget; true if there may be more. What was read is answered batch
    /// by batch, so that the peer's acknowledgements do not wait for the end of a flood.
    fn read(&mut self, at: usize, now: Instant) -> bool {
        let mut sane = false;
        for _ in 0..RECEIVE_ROUNDS {
            let (endpoint, faults) = (&mut self.endpoint, self.config.link_faults.as_ref());
            let received = self.sockets.all[at].receive(&mut self.buffers, |path, datagram| {
                if passes(faults, path, datagram.len()) {
                    endpoint.handle_datagram(path, datagram, now);
                }
            });
            match received {
                Received::Some => sane = true,
                Received::Drained => return false,
                Received::Failed => continue,
            }
            self.transmit(now);
        }
        // Nothing but errors: the next datagram is a new edge.
        self.sockets.all[at].readable = sane;
        sane
    }

    /// Takes the endpoint's events.
    fn collect(&mut self) {
        while let Some((handle, event)) = self.endpoint.poll_event() {
            if let Event::Connected {
                outbound,
                inbound,
                accepted,
            } = event
            {
                let known = self.ids.get(&handle).copied();
                let id = match known {
                    Some(id) => id,
                    None if accepted => self.adopt(handle, Vec::new()),
                    None => continue,
                };
                if accepted {
                    let addresses = peer_addresses(&self.endpoint.paths(handle));
                    let peer = Peer {
                        addresses,
                        carrier: KIND,
                    };
                    self.events.push_back((id, CarrierEvent::Accepted { peer }));
                }
                if let Some(association) = self.associations.get_mut(&id) {
                    association.handle_connected(outbound.min(inbound));
                }
                self.enqueue(id);
                continue;
            }
            let Some(&id) = self.ids.get(&handle) else {
                continue;
            };
            let Some(association) = self.associations.get_mut(&id) else {
                continue;
            };
            match event {
                Event::PathChanged { path, state } => {
                    tracing::debug!(association = id.0, %path, ?state, "a path changed");
                    association.handle_path(path);
                }
                Event::Readable if association.is_closing() => {
                    while self.endpoint.recv(handle).is_some() {}
                    continue;
                }
                Event::PeerClosing => association.handle_peer_closing(),
                Event::Closed(reason) => {
                    self.ids.remove(&handle);
                    if association.is_closing() {
                        self.forget(id);
                        self.events.push_back((id, CarrierEvent::Closed));
                        continue;
                    }
                    association.handle_closed(reason);
                }
                _ => {}
            }
            self.enqueue(id);
        }
    }

    fn adopt(&mut self, handle: AssociationHandle, remotes: Vec<SocketAddr>) -> AssociationId {
        let id = AssociationId(self.next);
        self.next += 1;
        self.associations
            .insert(id, Association::new(handle, remotes));
        self.ids.insert(handle, id);
        id
    }

    fn forget(&mut self, id: AssociationId) {
        if let Some(association) = self.associations.remove(&id) {
            self.ids.remove(&association.handle);
        }
        self.crowded.remove(&id);
        if let Role::Client { scan, .. } = &mut self.role
            && self.associations.is_empty()
        {
            *scan = None;
        }
    }

    /// Queues an association for its session.
    fn enqueue(&mut self, id: AssociationId) {
        if self.associations.get(&id).is_some_and(Association::is_open) {
            self.ready.insert(id);
        }
    }

    /// Wakes the sessions whose queues have become short enough.
    fn relieve(&mut self) {
        let relieved: Vec<AssociationId> = self
            .crowded
            .iter()
            .copied()
            .filter(|id| {
                self.associations
                    .get(id)
                    .is_none_or(|association| self.endpoint.unsent(association.handle) < SEND_QUEUE)
            })
            .collect();
        for id in relieved {
            self.crowded.remove(&id);
            self.enqueue(id);
        }
    }

    /// Ends an association for a fault of its own session or peer.
    fn fail(&mut self, id: AssociationId, why: &'static str, now: Instant) {
        let Some(association) = self.associations.get_mut(&id) else {
            return;
        };
        let (handle, live) = (association.handle, association.is_live());
        association.end(Inbound::Lost(LostReason::Protocol(why)));
        if live {
            self.ids.remove(&handle);
            // One that ended by itself at this moment needs no abort.
            if self.endpoint.abort(handle, why.as_bytes(), now).is_err() {
                tracing::debug!(association = id.0, "already gone");
            }
        }
        self.enqueue(id);
    }

    /// Opens sockets towards a peer from the addresses `hosts` of this host. Gives the addresses
    /// that suit, and those of the new sockets.
    fn open_towards(
        &mut self,
        hosts: &[interfaces::Local],
        remotes: &[SocketAddr],
    ) -> io::Result<(Vec<interfaces::Local>, Vec<SocketAddr>)> {
        let Role::Client { chosen, .. } = &self.role else {
            return Err(io::Error::new(
                ErrorKind::Unsupported,
                "this endpoint only listens",
            ));
        };
        let locals = interfaces::towards(hosts, chosen, remotes);
        if locals.is_empty() {
            return Err(io::Error::new(
                ErrorKind::NetworkUnreachable,
                "no address of this host reaches the peer",
            ));
        }
        let new = self.sockets.open(&locals)?;
        self.endpoint.set_addresses(self.sockets.addresses());
        Ok((locals, new))
    }

    /// Looks for interfaces that have come up, and gives them to the associations.
    fn scan(&mut self, now: Instant) {
        let open = |association: &&Association| association.is_live() && association.is_open();
        let wanted: Vec<_> = self
            .associations
            .values()
            .filter(open)
            .map(|association| (association.handle, association.remotes.clone()))
            .collect();
        let hosts = match interfaces::all() {
            Ok(hosts) => hosts,
            Err(error) => {
                tracing::debug!(%error, "cannot look for interfaces");
                return;
            }
        };
        for (handle, remotes) in wanted {
            let (locals, new) = match self.open_towards(&hosts, &remotes) {
                Ok(opened) => opened,
                Err(error) => {
                    tracing::debug!(%error, "no interface reaches the peer now");
                    continue;
                }
            };
            for local in self.sockets.bound(&locals) {
                if new.contains(&local) {
                    tracing::info!(%local, "another interface is used");
                }
                if self.endpoint.add_local(handle, local, now).is_err() {
                    tracing::debug!("an association ended meanwhile");
                }
            }
        }
    }
}

impl Carrier for UdpSctp {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn register(&mut self, registrar: Registrar) -> io::Result<()> {
        self.sockets.register(registrar)
    }

    fn handle_ready(&mut self, source: u64, readiness: Readiness) {
        let socket = usize::try_from(source)
            .ok()
            .and_then(|at| self.sockets.all.get_mut(at));
        if let Some(socket) = socket {
            socket.readable |= readiness.readable;
            if readiness.writable {
                socket.resume(self.clock);
            }
        }
    }

    fn drive(&mut self, now: Instant) -> bool {
        let now = self.at(now);
        let mut more = false;
        for at in 0..self.sockets.all.len() {
            if self.sockets.all[at].readable {
                more |= self.read(at, now);
            }
        }
        more |= self.transmit(now);
        self.collect();
        self.relieve();
        more
    }

    fn handle_timeout(&mut self, now: Instant) {
        let now = self.at(now);
        for socket in &mut self.sockets.all {
            socket.give_up(now);
        }
        if let Role::Client {
            scan: Some(due), ..
        } = &mut self.role
            && *due <= now
        {
            *due = now + INTERFACE_SCAN;
            self.scan(now);
        }
        self.endpoint.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let scan = match self.role {
            Role::Client { scan, .. } => scan,
            Role::Server { .. } => None,
        };
        let blocked = self
            .sockets
            .all
            .iter()
            .filter_map(|socket| socket.deadline())
            .min();
        [self.endpoint.poll_timeout(), scan, blocked]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll_event(&mut self) -> Option<(AssociationId, CarrierEvent)> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        loop {
            let id = self.ready.pop()?;
            if self.associations.contains_key(&id) {
                return Some((id, CarrierEvent::Ready));
            }
        }
    }

    fn connect(&mut self, remotes: &[SocketAddr], now: Instant) -> io::Result<AssociationId> {
        let now = self.at(now);
        let invalid = |why| io::Error::new(ErrorKind::InvalidInput, why);
        let port = remotes
            .first()
            .ok_or_else(|| invalid("no address to connect to"))?
            .port();
        if remotes.len() > MAX_ADDRESSES {
            return Err(invalid("too many addresses"));
        }
        if remotes.iter().any(|remote| remote.port() != port) {
            return Err(invalid("the addresses have different ports"));
        }
        let mut remotes = remotes.to_vec();
        for remote in &mut remotes {
            remote.set_port(self.config.peer_port);
        }
        let (locals, _) = self.open_towards(&interfaces::all()?, &remotes)?;
        let paths = self.sockets.paths(&locals, &remotes);
        let handle = self
            .endpoint
            .connect_over(&paths, port, now)
            .map_err(|error| {
                let kind = match error {
                    ConnectError::NoPath | ConnectError::Port => ErrorKind::InvalidInput,
                    ConnectError::InUse => ErrorKind::AddrInUse,
                    _ => ErrorKind::Other,
                };
                io::Error::new(kind, error)
            })?;
        if let Role::Client { chosen, scan } = &mut self.role
            && chosen.is_empty()
            && scan.is_none()
        {
            *scan = Some(now + INTERFACE_SCAN);
        }
        let id = self.adopt(handle, remotes);
        self.transmit(now);
        Ok(id)
    }

    fn receive(&mut self, id: AssociationId, now: Instant) -> Option<Inbound> {
        let now = self.at(now);
        let association = self.associations.get_mut(&id)?;
        if !association.is_open() {
            return None;
        }
        if let Some(streams) = association.take_news() {
            return Some(Inbound::Up { streams });
        }
        let handle = association.handle;
        while let Some(path) = association.next_change() {
            let paths = self.endpoint.paths(handle);
            if let Some(path) = paths.iter().find(|statistics| statistics.path == path) {
                return Some(Inbound::PathChanged(path_info(path)));
            }
        }
        match self.endpoint.recv(handle) {
            Some(message) if message.unordered => {
                self.fail(id, "an unordered message", now);
            }
            Some(message) => {
                return Some(Inbound::Message {
                    stream: message.stream,
                    // Alone in its buffer, so not copied.
                    payload: BytesMut::from(message.payload),
                });
            }
            None => {}
        }
        self.associations.get_mut(&id)?.take_end()
    }

    fn send(
        &mut self,
        id: AssociationId,
        stream: u16,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), SendError> {
        let now = self.at(now);
        let association = self.associations.get_mut(&id).ok_or(SendError::Gone)?;
        if !association.is_writable() {
            return Err(SendError::Gone);
        }
        let handle = association.handle;
        if self.endpoint.unsent(handle) + payload.len() > SEND_QUEUE_HARD {
            self.crowded.insert(id);
            return Err(SendError::Full(payload));
        }
        match self.endpoint.send(handle, Message::new(stream, payload)) {
            Ok(()) => {
                if self.endpoint.unsent(handle) >= TRANSMIT_EARLY {
                    self.transmit(now);
                }
                Ok(())
            }
            // The endpoint says when it has room.
            Err(Refused::Full(message)) => Err(SendError::Full(message.payload)),
            Err(Refused::Size(message)) if message.payload.is_empty() => {
                self.fail(id, "an empty message was to be sent", now);
                Err(SendError::Gone)
            }
            Err(Refused::Size(_)) => {
                self.fail(id, "a message that is too long was to be sent", now);
                Err(SendError::Gone)
            }
            Err(Refused::Stream(_)) => {
                self.fail(
                    id,
                    "a message was to be sent on a stream that the peer does not have",
                    now,
                );
                Err(SendError::Gone)
            }
            Err(_) => Err(SendError::Gone),
        }
    }

    fn queued(&mut self, id: AssociationId) -> usize {
        let Some(association) = self.associations.get(&id) else {
            return 0;
        };
        let unsent = self.endpoint.unsent(association.handle);
        if unsent >= SEND_QUEUE {
            self.crowded.insert(id);
        }
        unsent
    }

    fn close(&mut self, id: AssociationId, mode: CloseMode, now: Instant) {
        let now = self.at(now);
        let Some(association) = self.associations.get_mut(&id) else {
            return;
        };
        let (handle, live) = (association.handle, association.is_live());
        match mode {
            CloseMode::Abort => {
                self.forget(id);
                if live && self.endpoint.abort(handle, b"", now).is_err() {
                    tracing::debug!(association = id.0, "already gone");
                }
            }
            CloseMode::Graceful if association.is_closing() => {}
            CloseMode::Graceful => {
                association.close();
                self.crowded.remove(&id);
                while self.endpoint.recv(handle).is_some() {}
                if !live {
                    self.forget(id);
                    self.events.push_back((id, CarrierEvent::Closed));
                } else if self.endpoint.shutdown(handle, now).is_err() {
                    // Its last event is on its way, and `collect` finds it.
                    tracing::debug!(association = id.0, "already gone");
                }
            }
        }
        // The caller may not come back: what is to be said is said now.
        self.transmit(now);
        self.collect();
    }

    fn paths(&self, id: AssociationId) -> Vec<PathInfo> {
        let Some(association) = self.associations.get(&id) else {
            return Vec::new();
        };
        self.endpoint
            .paths(association.handle)
            .iter()
            .map(path_info)
            .collect()
    }

    fn stop_listening(&mut self) {
        self.endpoint.stop_listening();
    }

    /// With the SCTP port, as [`connect`](Carrier::connect) takes them; see
    /// [`UdpSctp::udp_addresses`].
    fn local_addresses(&self) -> Vec<SocketAddr> {
        match self.role {
            Role::Server { port } => {
                let bound = self.sockets.addresses();
                bound
                    .iter()
                    .map(|address| SocketAddr::new(address.ip(), port))
                    .collect()
            }
            Role::Client { .. } => Vec::new(),
        }
    }
}

/// The peer's proven addresses, the primary one first.
fn peer_addresses(paths: &[PathStatistics]) -> Vec<SocketAddr> {
    let proven = |path: &&PathStatistics| path.state != PathState::Unconfirmed;
    let mut out: Vec<SocketAddr> = Vec::new();
    let (primary, others): (Vec<_>, Vec<_>) =
        paths.iter().filter(proven).partition(|path| path.primary);
    for path in primary.into_iter().chain(others) {
        if !out.contains(&path.path.remote) {
            out.push(path.path.remote);
        }
    }
    out
}
