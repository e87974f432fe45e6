//! What an endpoint hands to its caller: events, messages, packets to send, statistics.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

/// Identifies an association of one endpoint; never used for another one.
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
/// The local IP address is unspecified if the socket does not report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId {
    /// Our IP address and UDP port.
    pub local: SocketAddr,
    /// The peer's IP address and UDP port.
    pub remote: SocketAddr,
}

impl PathId {
    /// A path. IPv4-mapped IPv6 addresses become IPv4, so that both forms are one path.
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

/// A complete packet that waits to be sent, and its path.
pub(crate) type Datagram = (PathId, Vec<u8>);

/// Packets to send: one datagram, or a train of them for segmentation offload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// Source and destination address.
    pub path: PathId,
    /// Bytes of the buffer that were filled.
    pub size: usize,
    /// Bytes of each datagram; only the last may be shorter. Equal to `size` for a single one.
    pub segment_size: usize,
    /// Whether IP may fragment the datagrams: they retransmit a chunk that was sized for a larger
    /// path MTU, and a chunk cannot be fragmented again (RFC 9260 §6.9). All others need the
    /// don't-fragment bit, or probing for the path MTU (RFC 8899) gives wrong results.
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

/// A change of an association's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The association is established. For one that the peer initiated, this is the first event
    /// with its handle.
    Connected {
        /// Number of streams that we may send on.
        outbound: u16,
        /// Number of streams that the peer may send on.
        inbound: u16,
        /// Whether the peer initiated it.
        accepted: bool,
    },
    /// [`recv`](crate::Endpoint::recv) gives a message. Not repeated until `recv` has given `None`.
    Readable,
    /// [`send`](crate::Endpoint::send) has room again after it refused a message with
    /// [`SendError::Full`].
    Writable,
    /// A path changed its state. A new path is first reported when it has been confirmed.
    PathChanged {
        /// Which path it is.
        path: PathId,
        /// Its new state.
        state: PathState,
    },
    /// The peer has begun a shutdown: nothing more can be queued, what is queued is still sent.
    PeerClosing,
    /// The association has ended. Always the last event of its handle.
    Closed(CloseReason),
}

/// Why an association has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// Orderly shutdown: everything was delivered.
    #[error("shut down")]
    Shutdown,
    /// Aborted by this side.
    #[error("aborted by us")]
    Aborted,
    /// Aborted by the peer.
    #[error("aborted by the peer (cause {cause:?})")]
    AbortedByPeer {
        /// Code of the first error cause (RFC 9260 §3.3.10), if there was one.
        cause: Option<u16>,
        /// The Upper Layer Abort Reason of a User-Initiated Abort, else empty.
        reason: Vec<u8>,
    },
    /// INIT or COOKIE ECHO was not answered.
    #[error("the peer does not answer")]
    SetupTimeout,
    /// The peer does not answer on any path.
    #[error("the peer is unreachable")]
    Unreachable,
    /// The peer has restarted (RFC 9260 §5.2): messages in both directions may be lost.
    #[error("the peer has restarted")]
    Restarted,
    /// The peer violated the protocol, in this way.
    #[error("protocol violation: the peer {0}")]
    Violation(&'static str),
}

/// Whether a path can be used (RFC 9260 §5.4, §8.2; RFC 7829).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathState {
    /// The peer has not acknowledged a heartbeat on it; it carries only heartbeats.
    Unconfirmed,
    /// It is usable.
    Active,
    /// A timer expired on it: data goes to another path, heartbeats test this one.
    PotentiallyFailed,
    /// `Path.Max.Retrans` consecutive timers have expired on it.
    Inactive,
}

/// Statistics of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStatistics {
    /// Which path it is.
    pub path: PathId,
    /// Whether it is usable.
    pub state: PathState,
    /// Whether it is the primary path: new data goes to it while it is active.
    pub primary: bool,
    /// Smoothed round-trip time, once measured.
    pub srtt: Option<Duration>,
    /// Retransmission timeout.
    pub rto: Duration,
    /// Congestion window in bytes.
    pub cwnd: usize,
    /// Bytes of DATA chunks sent and not acknowledged.
    pub in_flight: usize,
    /// The largest SCTP packet, in bytes.
    pub mtu: usize,
    /// Bytes of SCTP packets sent.
    pub bytes_sent: u64,
    /// Bytes of SCTP packets received.
    pub bytes_received: u64,
    /// DATA chunks retransmitted on it.
    pub retransmissions: u64,
    /// Expirations of T3-rtx.
    pub timeouts: u64,
}

/// Why [`connect`](crate::Endpoint::connect) is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No local and remote address can form a path.
    #[error("no usable pair of addresses")]
    NoPath,
    /// A port is 0.
    #[error("port zero is reserved")]
    Port,
    /// An association between these addresses and ports exists.
    #[error("an association with this peer and these ports exists")]
    InUse,
    /// The endpoint has as many associations as its configuration allows.
    #[error("too many associations")]
    TooMany,
}

/// Why [`send`](crate::Endpoint::send) did not take the message, which it gives back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The send buffer is full; [`Event::Writable`] follows when there is room.
    #[error("the send buffer is full")]
    Full(Message),
    /// Empty, or longer than [`Config::max_message`](crate::Config::max_message).
    #[error("a message must have from 1 to max_message bytes")]
    Size(Message),
    /// The stream is not among those of [`Event::Connected`].
    #[error("no such stream")]
    Stream(Message),
    /// The association is not established; [`Event::Connected`] follows.
    #[error("the association is not established")]
    Connecting(Message),
    /// The association has ended or is shutting down.
    #[error("the association is closed")]
    Closed(Message),
}

/// No association has this handle any more, or it has no such path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such association")]
pub struct UnknownAssociation;
