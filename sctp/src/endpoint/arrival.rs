//! A packet that has not been assigned to an association.

use crate::cookie::Ports;
use crate::event::PathId;
use crate::limits::{AMPLIFICATION, BASE_MTU, OVERHEAD_V4, OVERHEAD_V6};
use crate::packet::Packet;

/// A packet and the path on which it arrived.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) path: PathId,
    pub(super) packet: Packet<'a>,
    pub(super) len: usize,
}

impl Arrival<'_> {
    pub(super) fn ports(&self) -> Ports {
        Ports {
            local: self.packet.header.destination_port,
            peer: self.packet.header.source_port,
        }
    }

    /// Bytes that a reply to an unconfirmed source may have, SCTP header included.
    pub(super) fn allowance(&self) -> usize {
        let overhead = if self.path.remote.is_ipv4() {
            OVERHEAD_V4
        } else {
            OVERHEAD_V6
        };
        (AMPLIFICATION * (self.len + overhead) - overhead).min(BASE_MTU)
    }
}
