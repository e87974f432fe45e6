//! The endpoint with its sockets and associations: datagrams in, datagrams out, events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use towpath_sctp::{AssociationHandle, Endpoint, Event, PathId, PathState, PathStatistics};

use super::association::Association;
use super::config::UdpConfig;
use super::interfaces;
use super::link_faults::LinkFaults;
use super::socket::{ReceiveBuffers, Received};
use super::sockets::Sockets;
use crate::carrier::{AssociationId, CarrierEvent, Inbound, LostReason, Peer};
use crate::limits::{RECEIVE_ROUNDS, SEND_QUEUE, TRANSMIT_BATCH};
use crate::ready::ReadyQueue;

pub(super) const KIND: &str = "udp";

/// An endpoint of SCTP over UDP; see the [module](super).
///
/// As for any carrier, the addresses to connect to have SCTP ports; the peer's UDP port is in the
/// configuration.
pub struct UdpSctp {
    pub(super) config: UdpConfig,
    pub(super) endpoint: Endpoint,
    pub(super) sockets: Sockets,
    pub(super) role: Role,
    pub(super) associations: BTreeMap<AssociationId, Association>,
    pub(super) ids: BTreeMap<AssociationHandle, AssociationId>,
    pub(super) next: u64,
    /// Associations whose sessions wait until less is queued.
    pub(super) crowded: BTreeSet<AssociationId>,
    /// Peers that were accepted and associations that are closed.
    pub(super) events: VecDeque<(AssociationId, CarrierEvent)>,
    pub(super) ready: ReadyQueue<AssociationId>,
    pub(super) buffers: ReceiveBuffers,
    pub(super) train: Vec<u8>,
    /// The latest time that was given: the endpoint's time is monotonic.
    pub(super) clock: Instant,
}

pub(super) enum Role {
    Server {
        port: u16,
    },
    Client {
        /// Local addresses chosen by the user; none means those of all interfaces.
        chosen: Vec<IpAddr>,
        /// When to look for new interfaces; none without associations.
        scan: Option<Instant>,
    },
}

impl UdpSctp {
    pub(super) fn new(
        config: &UdpConfig,
        endpoint: Endpoint,
        sockets: Sockets,
        role: Role,
    ) -> Self {
        Self {
            config: config.clone(),
            endpoint,
            sockets,
            role,
            associations: BTreeMap::new(),
            ids: BTreeMap::new(),
            next: 0,
            crowded: BTreeSet::new(),
            events: VecDeque::new(),
            ready: ReadyQueue::default(),
            buffers: ReceiveBuffers::new(),
            train: Vec::new(),
            clock: Instant::now(),
        }
    }

    /// The UDP addresses of the sockets that are open, with the ports really bound.
    #[must_use]
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        self.sockets.addresses()
    }

    pub(super) fn at(&mut self, now: Instant) -> Instant {
        self.clock = self.clock.max(now);
        self.clock
    }

    /// Passes the endpoint's packets to the sockets, up to a budget; true if there may be
    /// more.
    pub(super) fn transmit(&mut self, now: Instant) -> bool {
        for _ in 0..TRANSMIT_BATCH {
            if self.sockets.all.iter().any(|socket| socket.is_full()) {
                return false; // continues when that socket is writable or given up
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

    /// Reads one socket, up to a budget; true if there may be more. Answers are sent after each
    /// batch, so that acknowledgements are not delayed by a long burst.
    pub(super) fn read(&mut self, at: usize, now: Instant) -> bool {
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
        // Only errors: the next datagram is a new edge.
        self.sockets.all[at].readable = sane;
        sane
    }

    /// Handles the endpoint's events.
    pub(super) fn collect(&mut self) {
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
                    tracing::trace!(association = id.0, %path, ?state, "a path changed");
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

    pub(super) fn adopt(
        &mut self,
        handle: AssociationHandle,
        remotes: Vec<SocketAddr>,
    ) -> AssociationId {
        let id = AssociationId(self.next);
        self.next += 1;
        self.associations
            .insert(id, Association::new(handle, remotes));
        self.ids.insert(handle, id);
        id
    }

    pub(super) fn forget(&mut self, id: AssociationId) {
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
    pub(super) fn enqueue(&mut self, id: AssociationId) {
        if self.associations.get(&id).is_some_and(Association::is_open) {
            self.ready.insert(id);
        }
    }

    /// Wakes the sessions whose queues have become short enough.
    pub(super) fn relieve(&mut self) {
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

    /// Ends an association because its session or its peer violated the protocol.
    pub(super) fn fail(&mut self, id: AssociationId, why: &'static str, now: Instant) {
        let Some(association) = self.associations.get_mut(&id) else {
            return;
        };
        let (handle, live) = (association.handle, association.is_live());
        association.end(Inbound::Lost(LostReason::Protocol(why)));
        if live {
            self.ids.remove(&handle);
            // One that has just ended by itself needs no abort.
            if self.endpoint.abort(handle, why.as_bytes(), now).is_err() {
                tracing::debug!(association = id.0, "already gone");
            }
        }
        self.enqueue(id);
    }

    /// Opens sockets towards a peer from the addresses `hosts` of this host. Returns the addresses
    /// that reach it, and those of the new sockets.
    pub(super) fn open_towards(
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
            let to: Vec<String> = remotes.iter().map(|to| to.ip().to_string()).collect();
            return Err(io::Error::new(
                ErrorKind::NetworkUnreachable,
                format!("no route to {}", to.join(", ")),
            ));
        }
        let new = self.sockets.open(&locals)?;
        self.endpoint.set_addresses(self.sockets.addresses());
        Ok((locals, new))
    }

    /// Looks for new interfaces, and adds them to the associations.
    pub(super) fn scan(&mut self, now: Instant) {
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
                    tracing::info!(%local, "a new interface is used");
                }
                if self.endpoint.add_local(handle, local, now).is_err() {
                    tracing::debug!("an association ended meanwhile");
                }
            }
        }
    }
}

fn passes(faults: Option<&LinkFaults>, path: PathId, bytes: usize) -> bool {
    faults.is_none_or(|faults| faults.passes(path.local.ip(), bytes))
}

/// The peer's confirmed addresses, the primary one first.
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
