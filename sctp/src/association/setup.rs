//! Set-up: the initiator's side, and an association from a returned cookie (RFC 9260 §5).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Accepted, Association, Attempt, Control, Report, State, WindowProbe};
use crate::address::{acceptable, nearest, pairs};
use crate::config::Config;
use crate::cookie::{Cookie, Ports};
use crate::event::{CloseReason, Event, PathId, PathState};
use crate::limits::{
    MAX_COOKIE_EXTENSION, MAX_PATHS, MAX_PEER_COOKIE, MAX_REPORTED, MIN_RECEIVE_WINDOW,
};
use crate::packet::{Cause, Init, InitParameters, parameter};
use crate::path::Path;
use crate::rng::Rng;
use crate::rx::Rx;
use crate::tx::Tx;

impl Association {
    /// Initiates an association: an INIT is to be polled. `pairs` is not empty.
    pub(crate) fn connect(
        config: Arc<Config>,
        mut rng: Rng,
        ports: Ports,
        local_tag: u32,
        locals: Arc<[SocketAddr]>,
        pairs: &[PathId],
        now: Instant,
    ) -> Self {
        let paths: Vec<Path> = pairs
            .iter()
            .map(|&pair| Path::new(pair, PathState::Unconfirmed, &config, now))
            .collect();
        let attempt = Attempt {
            repeats: 0,
            path: 0,
            started: now,
            deadline: now + config.rto_initial,
        };
        let local_tsn = rng.next_u32();
        let mut association = Self::new(
            config,
            rng,
            ports,
            local_tag,
            local_tsn,
            State::CookieWait(attempt),
            paths,
            locals,
        );
        association
            .control
            .push_back((0, Control::Init { preservative: None }));
        association
    }

    /// Makes an established association from a cookie (§5.1.5).
    pub(crate) fn accept(
        config: Arc<Config>,
        rng: Rng,
        locals: Arc<[SocketAddr]>,
        accepted: &Accepted<'_>,
        now: Instant,
    ) -> Self {
        let Accepted {
            cookie,
            ports,
            path,
        } = *accepted;
        let first = PathId::new(path.local, cookie.remote);
        // Only the address to which the INIT ACK was sent is confirmed.
        let mut paths = vec![Path::new(first, PathState::Active, &config, now)];
        if path != first {
            paths.push(Path::new(path, PathState::Unconfirmed, &config, now));
        }
        for &address in cookie.addresses.iter() {
            let remote = SocketAddr::new(address, cookie.remote.port());
            let id = PathId::new(nearest(&locals, remote).unwrap_or(path.local), remote);
            if paths.len() < MAX_PATHS && paths.iter().all(|path| path.id.remote != remote) {
                paths.push(Path::new(id, PathState::Unconfirmed, &config, now));
            }
        }
        let state = State::Established;
        let mut association = Self::new(
            config,
            rng,
            ports,
            cookie.local_tag,
            cookie.local_tsn,
            state,
            paths,
            locals,
        );
        association.adopt(cookie);
        association.established(true, now);
        let at = association
            .paths
            .iter()
            .position(|known| known.id == path)
            .unwrap_or(0);
        association.control.push_back((at, Control::CookieAck));
        association
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields that differ between initiator and listener"
    )]
    fn new(
        config: Arc<Config>,
        mut rng: Rng,
        ports: Ports,
        local_tag: u32,
        local_tsn: u32,
        state: State,
        paths: Vec<Path>,
        locals: Arc<[SocketAddr]>,
    ) -> Self {
        Self {
            local_tie: rng.next_u32() | 1,
            peer_tie: rng.next_u32() | 1,
            rng,
            ports,
            local_tag,
            peer_tag: 0,
            local_tsn,
            state,
            named: paths.len(),
            paths,
            primary: 0,
            data_from: 0,
            ack_path: 0,
            ack_tried: false,
            locals,
            tx: Tx::new(local_tsn, MIN_RECEIVE_WINDOW),
            // Replaced as soon as the peer's initial TSN is known; until then no data is accepted.
            rx: Rx::new(0, 0, &config),
            outbound: config.streams,
            inbound: config.max_inbound_streams,
            errors: 0,
            control: VecDeque::new(),
            events: VecDeque::new(),
            readable_reported: false,
            send_refused: false,
            probe: WindowProbe::Off,
            guard: None,
            final_packets: Vec::new(),
            addresses_changed: true,
            stale_cookies: 0,
            port_refused: false,
            port_changes_left: 0,
            config,
        }
    }

    /// Begins again from another SCTP port, since the peer has an association with the last one.
    pub(crate) fn set_ports(&mut self, ports: Ports, now: Instant) {
        let State::CookieWait(attempt) = &mut self.state else {
            return;
        };
        let at = attempt.path;
        attempt.started = now;
        attempt.deadline = now + self.paths[at].rtt.rto();
        self.ports = ports;
        self.addresses_changed = true;
        self.control.clear();
        self.enqueue(at, Control::Init { preservative: None });
    }

    /// The INIT that we send or sent.
    pub(super) fn init(&self) -> Init<'static> {
        let Config {
            receive_window,
            streams,
            max_inbound_streams,
            ..
        } = *self.config;
        Init::new(
            self.local_tag,
            receive_window,
            streams,
            max_inbound_streams,
            self.local_tsn,
        )
    }

    /// The cookie with which an INIT that collides with ours is answered: our own parameters, and
    /// tie-tags (§5.2.1). None if the INIT is to be ignored.
    pub(crate) fn collide(&self, init: &Init<'_>, path: PathId) -> Option<Cookie> {
        let known = self
            .paths
            .iter()
            .any(|known| known.id.remote.ip() == path.remote.ip());
        let (local_tie, peer_tie) = match self.state {
            State::CookieWait(_) if known => (0, 0),
            State::CookieEchoed(..) if known => (self.local_tie, self.peer_tie),
            _ => return None,
        };
        Some(Cookie {
            local_tie,
            peer_tie,
            ..self.cookie(init, self.local_tag, self.local_tsn, path)
        })
    }

    /// The cookie with which the INIT of a peer that may have restarted is answered: a new tag, and
    /// the tie-tags of this association (§5.2.2).
    pub(crate) fn restart_cookie(
        &self,
        init: &Init<'_>,
        tag: u32,
        tsn: u32,
        path: PathId,
    ) -> Cookie {
        let ties = Cookie {
            local_tie: self.local_tie,
            peer_tie: self.peer_tie,
            ..self.cookie(init, tag, tsn, path)
        };
        Cookie {
            addresses: self.paths.iter().map(|path| path.id.remote.ip()).collect(),
            ..ties
        }
    }

    fn cookie(&self, init: &Init<'_>, local_tag: u32, local_tsn: u32, path: PathId) -> Cookie {
        Cookie {
            local_tag,
            local_tsn,
            peer_tag: init.tag,
            peer_tsn: init.tsn,
            peer_window: init.window,
            outbound: self.config.streams.min(init.inbound),
            inbound: self.config.max_inbound_streams.min(init.outbound),
            local_tie: 0,
            peer_tie: 0,
            life: u32::try_from(self.config.cookie_life.as_millis()).unwrap_or(u32::MAX),
            remote: path.remote,
            addresses: init
                .digest()
                .addresses
                .iter()
                .copied()
                .filter(|&a| acceptable(a, path.remote.ip()))
                .collect(),
        }
    }

    /// Whether a cookie's tie-tags are ours (§5.2.4 action A).
    pub(crate) fn is_tied(&self, cookie: &Cookie) -> bool {
        cookie.local_tie == self.local_tie && cookie.peer_tie == self.peer_tie
    }

    pub(crate) fn is_forming(&self) -> bool {
        matches!(self.state, State::CookieWait(_) | State::CookieEchoed(..))
    }

    /// Handles an INIT ACK (§5.1 C, §5.2.3).
    pub(super) fn handle_init_ack(&mut self, from: Option<usize>, init: &Init<'_>, now: Instant) {
        let State::CookieWait(attempt) = self.state else {
            return;
        };
        let digest = init.digest();
        let cookie = match self.check_init_ack(init, &digest) {
            Ok(cookie) => cookie.to_vec(),
            Err((cause, what)) => {
                self.peer_tag = init.tag;
                return self.abort_with(Some(cause), CloseReason::Violation(what));
            }
        };
        self.peer_tag = init.tag;
        self.tx.set_window(init.window);
        self.outbound = self.config.streams.min(init.inbound);
        self.inbound = self.config.max_inbound_streams.min(init.outbound);
        self.rx = Rx::new(init.tsn, self.inbound, &self.config);

        let at = from.unwrap_or(attempt.path);
        self.primary = at;
        self.ack_path = at;
        // The application gave this address, and the peer has answered from it.
        self.set_state(at, PathState::Active);
        if attempt.repeats == 0 {
            self.paths[at].measured(now.saturating_duration_since(attempt.started));
        }
        self.add_remotes(at, &digest, now);

        let rto = self.paths[at].rtt.rto();
        self.control.clear();
        self.control.push_back((at, Control::CookieEcho));
        let reported: Vec<u8> = digest
            .unrecognized()
            .flat_map(|item| reportable(item.raw))
            .collect();
        if !reported.is_empty() {
            self.enqueue(at, Control::Error(Report::UnrecognizedParameters(reported)));
        }
        let attempt = Attempt {
            repeats: 0,
            path: at,
            started: now,
            deadline: now + rto,
        };
        self.state = State::CookieEchoed(attempt, cookie);
    }

    fn check_init_ack<'a>(
        &self,
        init: &Init<'a>,
        digest: &InitParameters<'a>,
    ) -> Result<&'a [u8], (Cause<'a>, &'static str)> {
        if let Some(name) = digest.host_name {
            return Err((Cause::UnresolvableAddress(name.raw), "sent a host name"));
        }
        if init.tag == 0
            || init.outbound == 0
            || init.inbound == 0
            || init.window < MIN_RECEIVE_WINDOW
        {
            return Err((Cause::InvalidParameter, "sent an invalid INIT ACK"));
        }
        match digest.cookie {
            None => Err((Cause::MissingParameter(parameter::COOKIE), "sent no cookie")),
            Some(cookie) if cookie.is_empty() || cookie.len() > MAX_PEER_COOKIE => Err((
                Cause::InvalidParameter,
                "sent a cookie of an impossible size",
            )),
            Some(cookie) => Ok(cookie),
        }
    }

    /// Adds paths to the addresses listed in the INIT ACK (§5.1.2 C), the likeliest pairs first.
    fn add_remotes(&mut self, at: usize, digest: &InitParameters<'_>, now: Instant) {
        let source = self.paths[at].id.remote;
        let mut remotes = Vec::new();
        for &address in digest
            .addresses
            .iter()
            .filter(|&&address| acceptable(address, source.ip()))
        {
            if self.paths.iter().all(|path| path.id.remote.ip() != address) {
                remotes.push(SocketAddr::new(address, source.port()));
            }
        }
        let locals = Arc::clone(&self.locals);
        for id in pairs(&locals, &remotes) {
            if self.paths.len() < MAX_PATHS {
                self.paths
                    .push(Path::new(id, PathState::Unconfirmed, &self.config, now));
            }
        }
    }

    /// Handles a COOKIE ACK (§5.1 E, §5.2.5).
    pub(super) fn handle_cookie_ack(&mut self, from: Option<usize>, now: Instant) {
        let State::CookieEchoed(attempt, _) = self.state else {
            return;
        };
        if let Some(at) = from.filter(|&at| at < self.named) {
            self.primary = at;
            self.set_state(at, PathState::Active);
        }
        if attempt.repeats == 0 {
            self.paths[attempt.path].measured(now.saturating_duration_since(attempt.started));
        }
        self.control
            .retain(|(_, control)| !matches!(control, Control::CookieEcho));
        self.established(false, now);
    }

    /// The echoed cookie was stale: requests one with a longer life (§5.2.6).
    pub(super) fn handle_stale_cookie(&mut self, now: Instant) {
        let State::CookieEchoed(attempt, _) = self.state else {
            return;
        };
        self.stale_cookies += 1;
        if self.stale_cookies > self.config.max_init_retransmits {
            return self.close(CloseReason::SetupTimeout);
        }
        let round_trip = now
            .saturating_duration_since(attempt.started)
            .min(MAX_COOKIE_EXTENSION);
        let extension = u32::try_from(round_trip.as_millis())
            .unwrap_or(0)
            .saturating_add(1_000);
        self.peer_tag = 0;
        self.control.clear();
        self.control.push_back((
            attempt.path,
            Control::Init {
                preservative: Some(extension),
            },
        ));
        let deadline = now + self.paths[attempt.path].rtt.rto();
        self.state = State::CookieWait(Attempt {
            repeats: attempt.repeats + 1,
            started: now,
            deadline,
            ..attempt
        });
    }

    /// Handles a COOKIE ECHO for this association (§5.2.4 actions B and D).
    pub(crate) fn handle_own_cookie(&mut self, cookie: &Cookie, path: PathId, now: Instant) {
        let Some(at) = self.arrival(path, now) else {
            return;
        };
        if self.is_forming() {
            self.adopt(cookie);
            self.primary = at;
            self.set_state(at, PathState::Active);
            self.control.clear();
            self.established(false, now);
        } else if cookie.peer_tag != self.peer_tag {
            return;
        }
        self.enqueue(at, Control::CookieAck);
    }

    /// Takes the peer's parameters from a cookie.
    fn adopt(&mut self, cookie: &Cookie) {
        self.peer_tag = cookie.peer_tag;
        self.tx.set_window(cookie.peer_window);
        self.outbound = cookie.outbound;
        self.inbound = cookie.inbound;
        self.rx = Rx::new(cookie.peer_tsn, self.inbound, &self.config);
    }

    fn established(&mut self, accepted: bool, now: Instant) {
        self.state = State::Established;
        // Addresses named by the application and not confirmed are no longer assumed to be the
        // peer's.
        self.addresses_changed = true;
        self.errors = 0;
        self.events.push_back(Event::Connected {
            outbound: self.outbound,
            inbound: self.inbound,
            accepted,
        });
        self.start_heartbeats(now);
    }
}

/// A parameter or chunk as an error cause reports it, padded; longer ones are truncated.
fn reportable(raw: &[u8]) -> Vec<u8> {
    let mut bytes = raw[..raw.len().min(MAX_REPORTED)].to_vec();
    bytes.resize(crate::packet::padded(bytes.len()), 0);
    bytes
}
