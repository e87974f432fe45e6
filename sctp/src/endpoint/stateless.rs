//! Packets that belong to no association, or create one (RFC 9260 §5.1, §5.2, §8.4).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Endpoint;
use super::arrival::Arrival;
use crate::address::{acceptable, advertised};
use crate::association::{Accepted, Association};
use crate::cookie::{Cookie, CookieError};
use crate::limits::{MAX_COOKIE_EXTENSION, MAX_STATELESS_REPLIES, MIN_RECEIVE_WINDOW};
use crate::packet::{Cause, Chunk, Header, Init, InitAddresses, Writer, write_addresses};

impl Endpoint {
    /// Answers an INIT (§5.1 B).
    pub(super) fn handle_init(&mut self, arrival: Arrival<'_>, init: &Init<'_>, now: Instant) {
        if init.tag == 0 || !self.throttle.allow(arrival.path.remote.ip(), now) {
            return;
        }
        let refuse = |endpoint: &mut Self, cause| {
            endpoint.reply(arrival, init.tag, |w| w.abort(false, cause))
        };
        if init.window < MIN_RECEIVE_WINDOW || init.outbound == 0 || init.inbound == 0 {
            return refuse(self, Some(Cause::InvalidParameter));
        }
        let digest = init.digest();
        if let Some(name) = digest.host_name {
            return refuse(self, Some(Cause::UnresolvableAddress(name.raw)));
        }
        let (source, ports) = (arrival.path.remote, arrival.ports());
        let named: InitAddresses = digest
            .addresses
            .iter()
            .copied()
            .filter(|&address| acceptable(address, source.ip()))
            .collect();
        // By the source alone: an address that an INIT lists proves nothing, and may be that of
        // another client behind another NAT.
        if let Some(index) = self.table.by_address(source, ports) {
            return self.handle_known_init(arrival, init, index, &named, now);
        }
        if self.listen != Some(ports.local) {
            return refuse(self, None);
        }
        if self.table.live() >= self.max_associations {
            return refuse(self, Some(Cause::OutOfResource));
        }
        let (tag, tsn) = (self.fresh_tag(), self.rng.next_u32());
        let config = &self.config;
        let cookie = Cookie {
            local_tag: tag,
            local_tsn: tsn,
            peer_tag: init.tag,
            peer_tsn: init.tsn,
            peer_window: init.window,
            outbound: config.streams.min(init.inbound),
            inbound: config.max_inbound_streams.min(init.outbound),
            local_tie: 0,
            peer_tie: 0,
            life: u32::try_from(config.cookie_life.as_millis()).unwrap_or(u32::MAX),
            remote: arrival.path.remote,
            addresses: named,
        };
        self.send_init_ack(arrival, init, cookie, now);
    }

    /// An INIT from a peer with which there is an association (§5.2.1, §5.2.2, §9.2).
    fn handle_known_init(
        &mut self,
        arrival: Arrival<'_>,
        init: &Init<'_>,
        index: u32,
        named: &InitAddresses,
        now: Instant,
    ) {
        let (tag, tsn) = (self.fresh_tag(), self.rng.next_u32());
        let path = arrival.path;
        let listening = self.listen == Some(arrival.ports().local);
        let Some(association) = self.table.association(index) else {
            return;
        };
        if association.repeat_shutdown_ack(false) {
            return self.settle(index, now);
        }
        if association.is_forming() {
            if let Some(cookie) = association.collide(init, path) {
                self.send_init_ack(arrival, init, cookie, now);
            }
            return;
        }
        let added: Vec<IpAddr> = [path.remote.ip()]
            .into_iter()
            .chain(named.iter().copied())
            .filter(|&address| !association.has_address(address))
            .collect();
        if !added.is_empty() {
            let mut list = Vec::new();
            write_addresses(&mut list, &added);
            return self.reply(arrival, init.tag, |w| {
                w.abort(false, Some(Cause::RestartWithNewAddresses(&list)))
            });
        }
        if !listening {
            return self.reply(arrival, init.tag, |w| w.abort(false, None));
        }
        let cookie = association.restart_cookie(init, tag, tsn, path);
        self.send_init_ack(arrival, init, cookie, now);
    }

    fn send_init_ack(
        &mut self,
        arrival: Arrival<'_>,
        init: &Init<'_>,
        mut cookie: Cookie,
        now: Instant,
    ) {
        let digest = init.digest();
        if let Some(extension) = digest.preservative {
            let most = u32::try_from(MAX_COOKIE_EXTENSION.as_millis()).unwrap_or(u32::MAX);
            cookie.life = cookie.life.saturating_add(extension.min(most));
        }
        let sealed = self.secrets.seal(&cookie, arrival.ports(), now);
        // For the INIT of a restart that lists fewer addresses than the association has.
        cookie.addresses = InitAddresses::default();
        let bare = self.secrets.seal(&cookie, arrival.ports(), now);
        let config = &self.config;
        let ours = Init::new(
            cookie.local_tag,
            config.receive_window,
            config.streams.min(init.inbound),
            config.max_inbound_streams,
            cookie.local_tsn,
        );
        let addresses = advertised(&self.addresses, arrival.path);
        let reports = || digest.unrecognized().map(|item| item.raw);
        // What exceeds the amplification limit is left out: reports first, then our addresses, then
        // the peer's.
        self.reply(arrival, init.tag, |writer| {
            writer.init_ack(&ours, &sealed, &addresses, reports())
                || writer.init_ack(&ours, &sealed, &addresses, std::iter::empty())
                || writer.init_ack(&ours, &sealed, &[], std::iter::empty())
                || writer.init_ack(&ours, &bare, &[], std::iter::empty())
        });
    }

    /// Handles a COOKIE ECHO (§5.1.5, §5.2.4).
    pub(super) fn handle_cookie_echo(&mut self, arrival: Arrival<'_>, sealed: &[u8], now: Instant) {
        let (ports, tag, path) = (arrival.ports(), arrival.packet.header.tag, arrival.path);
        let existing = self.table.by_tag(tag);
        let cookie = match self.secrets.open(sealed, ports, now) {
            Ok(cookie) => cookie,
            Err(CookieError::Forged) => return,
            Err(CookieError::Stale(cookie, late)) => {
                let same = existing.and_then(|index| self.table.association(index));
                // A repeated cookie of an existing association stays valid (§5.2.4, 3).
                if same.is_none_or(|association| association.peer_tag != cookie.peer_tag) {
                    if cookie.local_tag == tag && self.throttle.allow(path.remote.ip(), now) {
                        let late = u32::try_from(late.as_micros()).unwrap_or(u32::MAX);
                        self.reply(arrival, cookie.peer_tag, |w| {
                            w.error(&[Cause::StaleCookie(late)])
                        });
                    }
                    return;
                }
                *cookie
            }
        };
        if cookie.local_tag != tag {
            return;
        }
        if let Some(index) = existing {
            if let Some(association) = self
                .table
                .association(index)
                .filter(|association| association.ports == ports)
            {
                association.handle_own_cookie(&cookie, path, now);
                association.handle_packet(path, arrival.packet.chunks(), arrival.len, now);
                self.settle(index, now);
            }
            return;
        }
        let known = [cookie.remote, path.remote];
        if let Some(index) = known
            .into_iter()
            .find_map(|remote| self.table.by_address(remote, ports))
        {
            let Some(association) = self.table.association(index) else {
                return;
            };
            // Action A; without its tie-tags it is a late cookie (action C) or not for it.
            let restart = association.is_tied(&cookie) && association.peer_tag != cookie.peer_tag;
            if !restart || !association.has_remote(path.remote) {
                return;
            }
            if association.repeat_shutdown_ack(true) {
                return self.settle(index, now);
            }
            association.restarted();
            self.settle(index, now);
        }
        if self.table.is_retired(tag) || self.listen != Some(ports.local) {
            return;
        }
        if self.table.live() >= self.max_associations {
            return self.reply(arrival, cookie.peer_tag, |w| {
                w.abort(false, Some(Cause::OutOfResource))
            });
        }
        let accepted = Accepted {
            cookie: &cookie,
            ports,
            path,
        };
        let (config, locals) = (Arc::clone(&self.config), Arc::clone(&self.addresses));
        let mut association = Association::accept(config, self.rng.fork(), locals, &accepted, now);
        association.handle_packet(path, arrival.packet.chunks(), arrival.len, now);
        let handle = self.table.insert(association);
        self.settle(handle.index, now);
    }

    /// A packet whose tag is no association's (§8.4, §8.5.1).
    pub(super) fn handle_out_of_the_blue(&mut self, arrival: Arrival<'_>, now: Instant) {
        let (tag, ports, source) = (
            arrival.packet.header.tag,
            arrival.ports(),
            arrival.path.remote,
        );
        let known = self.table.by_address(source, ports);
        if let Some(index) = known {
            return self.handle_foreign_tag(arrival, index, now);
        }
        let mut answer = Answer::Abort;
        for chunk in arrival.packet.chunks() {
            match chunk {
                Ok(Chunk::Abort { .. } | Chunk::ShutdownComplete { .. } | Chunk::CookieAck) => {
                    return;
                }
                Ok(Chunk::Error(causes))
                    if causes
                        .iter()
                        .any(|cause| matches!(cause, Cause::StaleCookie(_))) =>
                {
                    return;
                }
                Ok(Chunk::ShutdownAck) => answer = Answer::ShutdownComplete,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        if self.throttle.allow(source.ip(), now) {
            self.reply(arrival, tag, |writer| match answer {
                Answer::Abort => writer.abort(true, None),
                Answer::ShutdownComplete => writer.shutdown_complete(true),
            });
        }
    }

    /// A packet from a peer's address whose tag is not the association's: only chunks with the T
    /// bit and the peer's own tag are handled, and during set-up a SHUTDOWN ACK of an earlier
    /// association is answered.
    fn handle_foreign_tag(&mut self, arrival: Arrival<'_>, index: u32, now: Instant) {
        let tag = arrival.packet.header.tag;
        let Some(association) = self.table.association(index) else {
            return;
        };
        match arrival.packet.chunks().next() {
            Some(Ok(Chunk::Abort {
                reflected: true,
                causes,
            })) if tag == association.peer_tag && tag != 0 => {
                association.handle_abort(causes);
                self.settle(index, now);
            }
            Some(Ok(Chunk::ShutdownComplete { reflected: true }))
                if tag == association.peer_tag =>
            {
                association.handle_shutdown_complete();
                self.settle(index, now);
            }
            Some(Ok(Chunk::ShutdownAck))
                if association.is_forming()
                    && self.throttle.allow(arrival.path.remote.ip(), now) =>
            {
                self.reply(arrival, tag, |writer| writer.shutdown_complete(true));
            }
            _ => {}
        }
    }

    /// Queues an answer to a packet, within the bounds on amplification and memory.
    fn reply(
        &mut self,
        arrival: Arrival<'_>,
        tag: u32,
        write: impl FnOnce(&mut Writer<'_>) -> bool,
    ) {
        if self.replies.len() >= MAX_STATELESS_REPLIES {
            return;
        }
        let ports = arrival.ports();
        let header = Header {
            source_port: ports.local,
            destination_port: ports.peer,
            tag,
        };
        let mut packet = Vec::new();
        let mut writer = Writer::new(&mut packet, header, arrival.allowance());
        if write(&mut writer) {
            writer.finish();
            self.replies.push_back((arrival.path, packet));
        }
    }

    fn fresh_tag(&mut self) -> u32 {
        loop {
            let tag = self.shard.stamp(self.rng.next_u32());
            // A shard has 2^24 tags at least, far more than associations and retired tags together.
            if tag != 0 && !self.table.is_used(tag) {
                return tag;
            }
        }
    }

    /// A tag for an association that we initiate.
    pub(super) fn own_tag(&mut self) -> u32 {
        self.fresh_tag()
    }
}

enum Answer {
    Abort,
    ShutdownComplete,
}
