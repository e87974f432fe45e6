//! What an endpoint hands to its caller: events, messages, packets to send, figures.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

/// Names an association of one endpoint; never issued twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociationHandle {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl std::fmt::Display for AssociationHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// A path: one of our transport addresses and one of the peer's, UDP ports included (RFC 6951).
///
/// The local IP address may be unspecified where a socket does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId {
    /// Our IP address and UDP port.
    pub local: SocketAddr,
    /// The peer's IP address and UDP port.
    pub remote: SocketAddr,
}

impl PathId {
    /// A path. IPv4 addresses mapped into IPv6 are unmapped, so that both spellings name one path.
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local: canonical(local),
            remote: canonical(remote),
        }
    }
}

impl std::fmt::Display for PathId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} → {}", self.local, self.remote)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => {
            let mut address = address;
            if let SocketAddr::V6(v6) = &mut address {
                v6.set_flowinfo(0);
            }
            address
        }
    }
}

/// A whole packet that waits to be sent, and where it goes.
pub(crate) type Datagram = (PathId, Vec<u8>);

/// Packets to send: one datagram, or a train of them for segmentation offload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// From where to where.
    pub path: PathId,
    /// Bytes of the buffer that were filled.
    pub size: usize,
    /// Bytes of each datagram; only the last may be shorter. Equal to `size` for a single one.
    pub segment_size: usize,
    /// Whether IP may fragment them: a chunk goes out again that was cut when larger packets
    /// passed, and a chunk cannot be cut again (RFC 9260 §6.9). All other datagrams should go whole
    /// or not at all, or probing finds nothing.
    pub fragment: bool,
}

/// A user message, to be sent or received.
///
/// ```
/// use towpath_sctp::Message;
///
/// let message = Message { ppid: 51, ..Message::new(3, "text") };
/// assert!(!message.unordered);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Stream on which it travels, from 0.
    pub stream: u16,
    /// Payload protocol identifier: not interpreted, handed to the receiving application.
    pub ppid: u32,
    /// Whether it is delivered as soon as it is complete, not in the order of its stream (RFC 9260
    /// §6.6).
    pub unordered: bool,
    /// From 1 to [`Config::max_message`](crate::Config::max_message) bytes. A received payload
    /// shares its buffer with nothing, so `BytesMut::from(payload)` does not copy it.
    pub payload: Bytes,
}

impl Message {
    /// An ordered message with payload protocol identifier 0.
    pub fn new(stream: u16, payload: impl Into<Bytes>) -> Self {
        Self {
            stream,
            ppid: 0,
            unordered: false,
            payload: payload.into(),
        }
    }
}

/// Something that the application should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The association is up. For one that the peer began, this is the first event, and its handle
    /// is new.
    Connected {
        /// Streams that we may send on, from 0.
        outbound: u16,
        /// Streams that the peer may send on, from 0.
        inbound: u16,
        /// Whether the peer began it.
        accepted: bool,
    },
    /// [`recv`](crate::Endpoint::recv) has something. Said once; said again after `recv` has given
    /// `None`.
    Readable,
    /// [`send`](crate::Endpoint::send) has room again after it had none.
    Writable,
    /// A path changed its state. One that is new is heard of when it has been confirmed.
    PathChanged {
        /// The path.
        path: PathId,
        /// Its state now.
        state: PathState,
    },
    /// The peer has begun a shutdown: nothing more can be sent, what is queued still goes out.
    PeerClosing,
    /// The association is gone. Always the last event of its handle.
    Closed(CloseReason),
}

/// Why an association is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both sides have shut down and everything was delivered.
    #[error("shut down")]
    Shutdown,
    /// We aborted it.
    #[error("aborted by us")]
    Aborted,
    /// The peer aborted it.
    #[error("aborted by the peer (cause {cause:?})")]
    AbortedByPeer {
        /// The first cause's code (RFC 9260 §3.3.10), if it gave one.
        cause: Option<u16>,
        /// The reason that the peer's application gave, if that was the cause.
        reason: Vec<u8>,
    },
    /// The peer did not answer while the association was being set up.
    #[error("the peer does not answer")]
    SetupTimeout,
    /// The peer has stopped answering on every path.
    #[error("the peer is unreachable")]
    Unreachable,
    /// The peer has lost its state and begun anew: what was under way is lost (RFC 9260 §5.2).
    #[error("the peer has restarted")]
    Restarted,
    /// The peer has broken the protocol.
    #[error("the peer has broken the protocol: {0}")]
    Violation(&'static str),
}

/// Whether a path can be used (RFC 9260 §5.4, §8.2; RFC 7829).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathState {
    /// The peer has not yet answered on it with its nonce; it carries heartbeats alone.
    Unconfirmed,
    /// It works.
    Active,
    /// Something timed out on it: traffic has moved away, heartbeats test it.
    PotentiallyFailed,
    /// It has stopped answering.
    Inactive,
}

/// Figures of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStatistics {
    /// The path.
    pub path: PathId,
    /// Its state.
    pub state: PathState,
    /// Whether new data goes to it while it is active.
    pub primary: bool,
    /// Smoothed round-trip time, once measured.
    pub srtt: Option<Duration>,
    /// Retransmission timeout.
    pub rto: Duration,
    /// Congestion window in bytes.
    pub cwnd: usize,
    /// Bytes of data in flight.
    pub in_flight: usize,
    /// The largest SCTP packet, in bytes.
    pub mtu: usize,
    /// Bytes of SCTP packets sent.
    pub bytes_sent: u64,
    /// Bytes of SCTP packets received.
    pub bytes_received: u64,
    /// DATA chunks sent again, wherever they went first.
    pub retransmissions: u64,
    /// Expirations of the retransmission timer.
    pub timeouts: u64,
}

/// Why [`connect`](crate::Endpoint::connect) is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No local and remote address of one family, or none that can be spoken to.
    #[error("no usable pair of addresses")]
    NoPath,
    /// A port is 0.
    #[error("port zero is reserved")]
    Port,
    /// There is an association between these addresses and ports already.
    #[error("an association with this peer and these ports exists")]
    InUse,
    /// The endpoint has as many associations as it may.
    #[error("too many associations")]
    TooMany,
}

/// Why [`send`](crate::Endpoint::send) did not take a message, which comes back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The send buffer is full; [`Event::Writable`] will say when it is not.
    #[error("the send buffer is full")]
    Full(Message),
    /// Empty, or longer than [`Config::max_message`](crate::Config::max_message).
    #[error("a message has from 1 to the configured number of bytes")]
    Size(Message),
    /// The peer does not accept that stream.
    #[error("no such stream")]
    Stream(Message),
    /// The association is not up yet; [`Event::Connected`] will say when it is.
    #[error("the association is not up yet")]
    Connecting(Message),
    /// The association is gone or closing.
    #[error("the association does not take messages any more")]
    Closed(Message),
}

/// The handle names no association: it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such association")]
pub struct UnknownAssociation;
