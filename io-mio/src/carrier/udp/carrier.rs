//! The endpoint as a carrier.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use towpath_sctp::{ConnectError, Message, SendError as Refused};

use super::association::path_info;
use super::endpoint::{KIND, Role, UdpSctp};
use super::interfaces;
use crate::carrier::{
    AssociationId, Carrier, CarrierEvent, CloseMode, Inbound, PathInfo, Readiness, Registrar,
    SendError,
};
use crate::limits::{INTERFACE_SCAN, MAX_ADDRESSES, SEND_QUEUE, SEND_QUEUE_HARD, TRANSMIT_EARLY};

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
            // The endpoint reports when it has room.
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
                    // Its last event is queued, and `collect` takes it.
                    tracing::debug!(association = id.0, "already gone");
                }
            }
        }
        // The loop may not call again: the last packets are sent now.
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
