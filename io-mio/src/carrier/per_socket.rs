//! A carrier with one socket for each association, whatever the kind of socket.

mod association;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use association::{Association, Phase};
use bytes::{Bytes, BytesMut};
pub(crate) use socket::{MessageSocket, SocketFamily, take_message};

use crate::carrier::{
    AssociationId, Carrier, CarrierEvent, CloseMode, Inbound, LostReason, PathInfo, Peer,
    Readiness, Registrar, SendError,
};
use crate::limits::{
    ACCEPT_BACKOFF, ACCEPT_BATCH, SEND_QUEUE, SEND_QUEUE_HARD, SEND_RETRY, VISIT_MESSAGES,
};
use crate::ready::ReadyQueue;

/// Sources below this are listening sockets; associations are numbered from here.
const FIRST_ASSOCIATION: u64 = 1024;

/// The carrier over a [`SocketFamily`].
pub(crate) struct PerSocket<N: SocketFamily> {
    family: N,
    listeners: Vec<Listening<N::Listener>>,
    associations: BTreeMap<AssociationId, Association<N::Socket>>,
    next: u64,
    /// Peers that were accepted and associations that are closed.
    events: VecDeque<(AssociationId, CarrierEvent)>,
    ready: ReadyQueue<AssociationId>,
    /// Associations that are being closed and are ready.
    closing: ReadyQueue<AssociationId>,
    registrar: Option<Registrar>,
    scratch: BytesMut,
    /// When to retry to send without a wake-up.
    retry: Option<Instant>,
}

struct Listening<L> {
    socket: L,
    state: Accepting,
    /// A failure was logged.
    failing: bool,
}

/// Invariant: `Ready` until `accept` returns `WouldBlock`, so that no edge is lost.
enum Accepting {
    Idle,
    Ready,
    /// Descriptors or memory ran out; retried then.
    Backoff(Instant),
}

impl<N: SocketFamily> PerSocket<N> {
    pub(crate) fn new(family: N, listeners: Vec<N::Listener>) -> Self {
        assert!(
            (listeners.len() as u64) < FIRST_ASSOCIATION,
            "listening sockets are counted by the caller"
        );
        let listeners = listeners
            .into_iter()
            .map(|socket| Listening {
                socket,
                state: Accepting::Ready,
                failing: false,
            })
            .collect();
        Self {
            family,
            listeners,
            associations: BTreeMap::new(),
            next: FIRST_ASSOCIATION,
            events: VecDeque::new(),
            ready: ReadyQueue::default(),
            closing: ReadyQueue::default(),
            registrar: None,
            scratch: BytesMut::new(),
            retry: None,
        }
    }

    /// Accepts up to the budget; true if the listener may have more.
    fn accept(&mut self, index: usize, now: Instant) -> bool {
        for _ in 0..ACCEPT_BATCH {
            let listening = &mut self.listeners[index];
            let error = match self.family.accept(&listening.socket) {
                Ok((socket, addresses)) => {
                    listening.failing = false;
                    match self.adopt(socket) {
                        Ok(id) => {
                            let peer = Peer {
                                addresses,
                                carrier: N::KIND,
                            };
                            self.events.push_back((id, CarrierEvent::Accepted { peer }));
                            self.enqueue(id);
                        }
                        Err(error) => {
                            tracing::error!(%error, "cannot register an accepted socket; it is dropped")
                        }
                    }
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::WouldBlock => {
                    listening.state = Accepting::Idle;
                    return false;
                }
                // The peer gave up before it was accepted.
                ErrorKind::Interrupted
                | ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset => {}
                _ => {
                    if !listening.failing {
                        tracing::error!(%error, carrier = N::KIND, "cannot accept; retrying");
                    }
                    listening.failing = true;
                    listening.state = Accepting::Backoff(now + ACCEPT_BACKOFF);
                    return false;
                }
            }
        }
        true
    }

    fn adopt(&mut self, socket: N::Socket) -> io::Result<AssociationId> {
        let id = AssociationId(self.next);
        let registrar = self
            .registrar
            .as_ref()
            .ok_or_else(|| io::Error::other("the carrier was not added to a loop"))?;
        registrar.register(socket.as_fd(), id.0)?;
        self.next += 1;
        self.associations.insert(id, Association::new(socket));
        Ok(id)
    }

    /// Queues an association for its session, or for `advance_close`.
    fn enqueue(&mut self, id: AssociationId) {
        match self.associations.get(&id) {
            Some(association) if association.is_closing() => self.closing.insert(id),
            Some(_) => self.ready.insert(id),
            None => false,
        };
    }

    /// Retries to send for all that wait. The kernel also refuses when memory is short, and gives
    /// no wake-up for that.
    fn retry_all(&mut self, now: Instant) {
        let waiting = |association: &Association<N::Socket>| {
            association.starved || !association.queue.is_empty()
        };
        let ids: Vec<_> = self
            .associations
            .iter()
            .filter(|(_, found)| waiting(found))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.handle_ready(
                id.0,
                Readiness {
                    readable: false,
                    writable: true,
                },
            );
            if self.associations.get(&id).is_some_and(waiting) {
                self.retry = Some(now + SEND_RETRY);
            }
        }
    }

    /// Removes an association; returns the socket, to be closed.
    fn remove(&mut self, id: AssociationId) -> Option<N::Socket> {
        let association = self.associations.remove(&id)?;
        if let Some(registrar) = &self.registrar
            && let Err(error) = registrar.deregister(association.socket.as_fd())
        {
            tracing::warn!(%error, "cannot deregister a socket");
        }
        Some(association.socket)
    }

    /// Advances an association that is being closed as far as possible.
    fn advance_close(&mut self, id: AssociationId) {
        let Some(association) = self.associations.get_mut(&id) else {
            return;
        };
        let mut over = false;
        if association.phase == Phase::Flushing {
            association.flush();
            if association.failed.is_some() {
                over = true;
            } else if association.queue.is_empty() {
                match association.socket.shutdown() {
                    Ok(()) => association.phase = Phase::Shutdown,
                    Err(_) => over = true, // the association ended by itself
                }
            }
        }
        // The peer's messages are discarded, but its end must be read. The budget and the driver's
        // deadline bound what a peer can cost.
        let mut budget = VISIT_MESSAGES;
        while !over && association.readable && budget > 0 {
            budget -= 1;
            match association.socket.receive(&mut self.scratch) {
                Ok(Inbound::PeerClosed | Inbound::Lost(_)) => over = true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => association.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => over = true,
            }
        }
        if over {
            drop(self.remove(id));
            self.events.push_back((id, CarrierEvent::Closed));
        } else if association.readable {
            self.enqueue(id); // the budget ran out
        }
    }
}

impl<N: SocketFamily> Carrier for PerSocket<N> {
    fn kind(&self) -> &'static str {
        N::KIND
    }

    fn register(&mut self, registrar: Registrar) -> io::Result<()> {
        for (listening, source) in self.listeners.iter().zip(0u64..) {
            registrar.register(listening.socket.as_fd(), source)?;
        }
        self.registrar = Some(registrar);
        Ok(())
    }

    fn handle_ready(&mut self, source: u64, readiness: Readiness) {
        if source < FIRST_ASSOCIATION {
            // A back-off is not cut short: more peers do not free descriptors.
            if let Some(listening) = self.listeners.get_mut(source as usize)
                && matches!(listening.state, Accepting::Idle)
            {
                listening.state = Accepting::Ready;
            }
            return;
        }
        let id = AssociationId(source);
        let Some(association) = self.associations.get_mut(&id) else {
            return;
        };
        association.readable |= readiness.readable;
        association.writable |= readiness.writable;
        let mut wake = readiness.readable;
        if readiness.writable && association.phase != Phase::Ended {
            association.flush();
            wake |= association.failed.is_some();
            wake |= association.phase == Phase::Flushing;
            wake |= association.starved && association.unsent() < SEND_QUEUE;
        }
        if wake {
            association.starved = false;
            self.enqueue(id);
        }
    }

    fn drive(&mut self, now: Instant) -> bool {
        for _ in 0..self.closing.len() {
            if let Some(id) = self.closing.pop() {
                self.advance_close(id);
            }
        }
        let mut more = !self.closing.is_empty();
        for index in 0..self.listeners.len() {
            if matches!(self.listeners[index].state, Accepting::Ready) {
                more |= self.accept(index, now);
            }
        }
        more
    }

    fn handle_timeout(&mut self, now: Instant) {
        for listening in &mut self.listeners {
            if matches!(listening.state, Accepting::Backoff(until) if until <= now) {
                listening.state = Accepting::Ready;
            }
        }
        if self.retry.is_some_and(|due| due <= now) {
            self.retry = None;
            self.retry_all(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let backoffs = self
            .listeners
            .iter()
            .filter_map(|listening| match listening.state {
                Accepting::Backoff(until) => Some(until),
                Accepting::Idle | Accepting::Ready => None,
            });
        backoffs.chain(self.retry).min()
    }

    fn poll_event(&mut self) -> Option<(AssociationId, CarrierEvent)> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        loop {
            let id = self.ready.pop()?;
            let association = self.associations.get(&id);
            if association.is_some_and(|association| !association.is_closing()) {
                return Some((id, CarrierEvent::Ready));
            }
        }
    }

    fn connect(&mut self, remotes: &[SocketAddr], _now: Instant) -> io::Result<AssociationId> {
        let socket = self.family.connect(remotes)?;
        let id = self.adopt(socket)?;
        self.enqueue(id);
        Ok(id)
    }

    fn receive(&mut self, id: AssociationId, _now: Instant) -> Option<Inbound> {
        let association = self.associations.get_mut(&id)?;
        if association.phase != Phase::Open {
            return None;
        }
        while association.readable {
            match association.socket.receive(&mut self.scratch) {
                Ok(inbound) => {
                    if matches!(inbound, Inbound::PeerClosed | Inbound::Lost(_)) {
                        association.phase = Phase::Ended;
                    }
                    return Some(inbound);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => association.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    association.phase = Phase::Ended;
                    return Some(Inbound::Lost(LostReason::Socket(error.to_string())));
                }
            }
        }
        let reason = association.failed.take()?;
        association.phase = Phase::Ended;
        Some(Inbound::Lost(reason))
    }

    fn send(
        &mut self,
        id: AssociationId,
        stream: u16,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), SendError> {
        let association = self.associations.get_mut(&id).ok_or(SendError::Gone)?;
        if association.phase != Phase::Open || association.failed.is_some() {
            return Err(SendError::Gone);
        }
        if association.queued + payload.len() > SEND_QUEUE_HARD {
            association.starved = true;
            return Err(SendError::Full(payload));
        }
        if payload.is_empty() {
            association.fail(LostReason::Protocol("an empty message was to be sent"));
            self.enqueue(id);
            return Err(SendError::Gone);
        }
        association.queued += payload.len();
        association.queue.push_back((stream, payload));
        association.flush();
        if association.failed.is_some() {
            self.enqueue(id);
        }
        self.retry.get_or_insert(now + SEND_RETRY);
        Ok(())
    }

    fn queued(&mut self, id: AssociationId) -> usize {
        let Some(association) = self.associations.get_mut(&id) else {
            return 0;
        };
        let unsent = association.unsent();
        association.starved = unsent >= SEND_QUEUE;
        unsent
    }

    fn close(&mut self, id: AssociationId, mode: CloseMode, _now: Instant) {
        let Some(association) = self.associations.get_mut(&id) else {
            return;
        };
        match (mode, association.phase) {
            (CloseMode::Abort, _) => {
                if let Some(socket) = self.remove(id) {
                    socket.abort();
                }
            }
            (CloseMode::Graceful, Phase::Ended) => {
                drop(self.remove(id));
                self.events.push_back((id, CarrierEvent::Closed));
            }
            (CloseMode::Graceful, Phase::Open) => {
                association.phase = Phase::Flushing;
                self.advance_close(id);
            }
            (CloseMode::Graceful, Phase::Flushing | Phase::Shutdown) => {}
        }
    }

    fn paths(&self, id: AssociationId) -> Vec<PathInfo> {
        self.associations
            .get(&id)
            .map(|association| association.socket.paths())
            .unwrap_or_default()
    }

    fn stop_listening(&mut self) {
        // Closing the socket also ends its registration.
        self.listeners.clear();
    }

    fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .flat_map(|listening| self.family.local_addresses(&listening.socket))
            .collect()
    }
}
