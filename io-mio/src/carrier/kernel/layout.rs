//! The layout of SCTP's options, control messages and notifications (`linux/sctp.h`, RFC
//! 6458).
//!
//! The structures are written and read field by field at their offsets, so that no `unsafe` is
//! needed for them. They are the same on all 64-bit Linux; `sockaddr_storage` is aligned to 8
//! except in packed structures.

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use libc::c_int;

use crate::carrier::{PathInfo, PathState};
use crate::sys::{CONTROL_LEN, Control};

// Options that libc lacks.
pub(super) const SOCKOPT_BINDX_ADD: c_int = 100;
pub(super) const GET_PEER_ADDRS: c_int = 108;
pub(super) const GET_LOCAL_ADDRS: c_int = 109;
pub(super) const SOCKOPT_CONNECTX: c_int = 110;
pub(super) const GET_ASSOC_STATS: c_int = 112;
pub(super) const STREAM_SCHEDULER: c_int = 123;
pub(super) const EVENT: c_int = 127;
pub(super) const EXPOSE_PF_STATE: c_int = 131;
/// `SCTP_SS_RR`: streams take turns by the message.
pub(super) const SCHEDULER_ROUND_ROBIN: u32 = 2;
/// `SCTP_PF_EXPOSE_ENABLE`.
pub(super) const PF_EXPOSE: u32 = 2;
/// `SO_MEMINFO`, of the level `SOL_SOCKET`: nine u32; number 5 is the bytes queued for sending.
pub(super) const MEMINFO: c_int = 55;
pub(super) const MEMINFO_LEN: usize = 36;
const MEMINFO_WMEM_QUEUED: usize = 5 * 4;

// Notifications.
pub(super) const ASSOC_CHANGE: u16 = 0x8001;
pub(super) const PEER_ADDR_CHANGE: u16 = 0x8002;
pub(super) const SHUTDOWN_EVENT: u16 = 0x8005;
pub(super) const PARTIAL_DELIVERY_EVENT: u16 = 0x8006;

const CMSG_HEADER: usize = 16;
const STORAGE: usize = 128;
pub(super) const STATUS_LEN: usize = 176;
pub(super) const PADDRINFO_LEN: usize = 152;
pub(super) const STATS_LEN: usize = 256;

/// Writes native-endian fields one after the other.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn zeroes(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn millis(duration: Duration) -> u32 {
    duration.as_millis().try_into().unwrap_or(u32::MAX)
}

/// The bytes of a `sockaddr_in` or `sockaddr_in6`.
pub(super) fn address(address: &SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
        }
    }
    bytes
}

/// Packed addresses, as `bindx` and `connectx` take them.
pub(super) fn addresses(list: &[SocketAddr]) -> Vec<u8> {
    list.iter().flat_map(address).collect()
}

/// Reads a `sockaddr`; returns its length too; IPv4 addresses mapped into IPv6 become IPv4.
pub(super) fn read_address(bytes: &[u8]) -> Option<(SocketAddr, usize)> {
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    match c_int::from(u16_at(bytes, 0)?) {
        libc::AF_INET => {
            let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some((SocketAddrV4::new(Ipv4Addr::from(octets), port).into(), 16))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            let ip = Ipv6Addr::from(octets);
            let found = match ip.to_ipv4_mapped() {
                Some(ip) => SocketAddrV4::new(ip, port).into(),
                None => SocketAddrV6::new(ip, port, 0, u32_at(bytes, 24)?).into(),
            };
            Some((found, 28))
        }
        _ => None,
    }
}

/// Reads the addresses in a `sctp_getaddrs`.
pub(super) fn read_addresses(bytes: &[u8]) -> Vec<SocketAddr> {
    let count = u32_at(bytes, 4).unwrap_or(0);
    let mut rest = bytes.get(8..).unwrap_or_default();
    let mut found = Vec::new();
    for _ in 0..count {
        let Some((address, length)) = read_address(rest) else {
            break;
        };
        found.push(address);
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

/// `sctp_initmsg`: streams each way, INIT attempts, the longest timeout of an INIT.
pub(super) fn initmsg(streams: u16, attempts: u16, timeout: Duration) -> Vec<u8> {
    let timeout = millis(timeout).try_into().unwrap_or(u16::MAX);
    Writer::default()
        .u16(streams)
        .u16(streams)
        .u16(attempts)
        .u16(timeout)
        .0
}

/// `sctp_rtoinfo`.
pub(super) fn rtoinfo(initial: Duration, max: Duration, min: Duration) -> Vec<u8> {
    Writer::default()
        .u32(0)
        .u32(millis(initial))
        .u32(millis(max))
        .u32(millis(min))
        .0
}

/// `sctp_assocparams` with the retransmissions of an association; the other fields stay as they
/// are.
pub(super) fn assocparams(max_retransmissions: u16) -> Vec<u8> {
    Writer::default()
        .u32(0)
        .u16(max_retransmissions)
        .zeroes(14)
        .0
}

/// `sctp_paddrparams`, which is packed, for all paths: heartbeat interval and retransmissions of a
/// path.
pub(super) fn paddrparams(heartbeat: Duration, max_retransmissions: u16) -> Vec<u8> {
    const HB_ENABLE: u32 = 1;
    Writer::default()
        .u32(0)
        .zeroes(STORAGE)
        .u32(millis(heartbeat))
        .u16(max_retransmissions)
        .zeroes(4 + 4) // path MTU and SACK delay stay
        .u32(HB_ENABLE)
        .zeroes(4 + 1 + 1) // flow label, DSCP, and the padding to a multiple of 4
        .0
}

/// `sctp_paddrthlds` for all paths: retransmissions until a path is inactive, and until it is
/// potentially failed.
pub(super) fn paddrthlds(max_retransmissions: u16, potentially_failed: u16) -> Vec<u8> {
    Writer::default()
        .zeroes(8 + STORAGE)
        .u16(max_retransmissions)
        .u16(potentially_failed)
        .zeroes(4)
        .0
}

/// `sctp_sack_info`: delay and frequency; zero leaves the frequency.
pub(super) fn sack_info(delay: Duration) -> Vec<u8> {
    Writer::default().u32(0).u32(millis(delay)).u32(0).0
}

/// `sctp_assoc_value`.
pub(super) fn assoc_value(value: u32) -> Vec<u8> {
    Writer::default().u32(0).u32(value).0
}

/// `sctp_event`: subscribes to a notification.
pub(super) fn event(kind: u16) -> Vec<u8> {
    Writer::default().u32(0).u16(kind).u8(1).u8(0).0
}

/// A plain integer option.
pub(super) fn int(value: c_int) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

/// The control message that names the stream of an outgoing message (`SCTP_SNDINFO`).
pub(super) fn sndinfo(stream: u16) -> Control {
    const LEN: usize = CMSG_HEADER + 16;
    let mut bytes = [0; CONTROL_LEN];
    bytes[..8].copy_from_slice(&(LEN as u64).to_ne_bytes());
    bytes[8..12].copy_from_slice(&libc::IPPROTO_SCTP.to_ne_bytes());
    bytes[12..16].copy_from_slice(&libc::SCTP_SNDINFO.to_ne_bytes());
    bytes[16..18].copy_from_slice(&stream.to_ne_bytes());
    Control { bytes, length: LEN }
}

/// The kernel's information about a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RcvInfo {
    pub(super) stream: u16,
    pub(super) unordered: bool,
}

/// Finds the `SCTP_RCVINFO` among the control messages.
pub(super) fn rcvinfo(control: &[u8]) -> Option<RcvInfo> {
    let mut rest = control;
    while rest.len() >= CMSG_HEADER {
        let length = usize::try_from(u64_at(rest, 0)?).ok()?;
        if length < CMSG_HEADER || length > rest.len() {
            return None;
        }
        let (level, kind) = (u32_at(rest, 8)?, u32_at(rest, 12)?);
        if level == libc::IPPROTO_SCTP as u32 && kind == libc::SCTP_RCVINFO as u32 {
            let data = &rest[CMSG_HEADER..length];
            let flags = u16_at(data, 4)?;
            let unordered = flags & libc::SCTP_UNORDERED as u16 != 0;
            return Some(RcvInfo {
                stream: u16_at(data, 0)?,
                unordered,
            });
        }
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    None
}

/// A notification, with the fields that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notification {
    Up {
        streams: u16,
    },
    /// The association was lost; the reason is in the socket's error.
    Lost,
    Restarted,
    ShutdownComplete,
    CannotStart,
    Path {
        remote: SocketAddr,
        state: PathState,
    },
    /// The peer shuts the association down; what it sent came before.
    PeerShutdown,
    /// The rest of a message will not come.
    PartialDeliveryAborted,
    Other,
}

/// Reads a notification; `None` if it is cut short.
pub(super) fn notification(bytes: &[u8]) -> Option<Notification> {
    Some(match u16_at(bytes, 0)? {
        ASSOC_CHANGE => match u16_at(bytes, 8)? {
            0 => Notification::Up {
                streams: u16_at(bytes, 12)?.min(u16_at(bytes, 14)?),
            },
            1 => Notification::Lost,
            2 => Notification::Restarted,
            3 => Notification::ShutdownComplete,
            4 => Notification::CannotStart,
            _ => Notification::Other,
        },
        PEER_ADDR_CHANGE => {
            let (remote, _) = read_address(bytes.get(8..8 + STORAGE)?)?;
            match u32_at(bytes, 8 + STORAGE)? {
                // Available, confirmed, made primary.
                0 | 4 | 5 => Notification::Path {
                    remote,
                    state: PathState::Active,
                },
                // Unreachable, removed, potentially failed (RFC 7829).
                1 | 2 | 6 => Notification::Path {
                    remote,
                    state: PathState::Inactive,
                },
                // Added.
                3 => Notification::Path {
                    remote,
                    state: PathState::Unconfirmed,
                },
                _ => Notification::Other,
            }
        }
        SHUTDOWN_EVENT => Notification::PeerShutdown,
        PARTIAL_DELIVERY_EVENT => Notification::PartialDeliveryAborted,
        _ => Notification::Other,
    })
}

/// The request for `SCTP_GET_PEER_ADDR_INFO`.
pub(super) fn paddrinfo_of(remote: &SocketAddr) -> [u8; PADDRINFO_LEN] {
    let mut bytes = [0; PADDRINFO_LEN];
    let address = address(remote);
    bytes[4..4 + address.len()].copy_from_slice(&address);
    bytes
}

/// Reads a `sctp_paddrinfo`, which is packed.
pub(super) fn paddrinfo(bytes: &[u8], primary: Option<SocketAddr>) -> Option<PathInfo> {
    let (remote, _) = read_address(bytes.get(4..4 + STORAGE)?)?;
    let field = |index: usize| u32_at(bytes, 4 + STORAGE + 4 * index);
    let state = match field(0)? {
        2 => PathState::Active,
        3 | 0xffff => PathState::Unconfirmed,
        _ => PathState::Inactive, // inactive, potentially failed
    };
    Some(PathInfo {
        remote,
        local: None,
        state,
        primary: primary == Some(remote),
        cwnd: field(1)?,
        srtt: Duration::from_millis(field(2)?.into()),
        rto: Duration::from_millis(field(3)?.into()),
        mtu: field(4)?,
    })
}

/// The fragmentation point in a `sctp_status`: the payload of a full DATA chunk.
pub(super) fn fragmentation_point(status: &[u8]) -> Option<u32> {
    u32_at(status, 20)
}

/// The primary path's address in a `sctp_status`.
pub(super) fn primary_address(status: &[u8]) -> Option<SocketAddr> {
    Some(read_address(status.get(28..28 + STORAGE)?)?.0)
}

/// The ordered DATA chunks sent for the first time, in a `sctp_assoc_stats`.
pub(super) fn chunks_sent(stats: &[u8]) -> Option<u64> {
    u64_at(stats, 8 + STORAGE + 11 * 8)
}

/// The bytes queued for sending or in flight, with their overhead, in the answer to [`MEMINFO`].
pub(super) fn bytes_queued(meminfo: &[u8]) -> Option<u32> {
    u32_at(meminfo, MEMINFO_WMEM_QUEUED)
}
