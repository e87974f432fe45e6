//! The carrier: an endpoint that transports whole messages on numbered streams, for many
//! associations at once.
//!
//! The trait fits one socket for each association (kernel SCTP, `AF_UNIX`) as well as one UDP
//! socket for all of them (SCTP in user space): readiness is reported per socket, messages belong
//! to associations, and only the carrier maps one to the other.

pub mod kernel;
mod per_socket;
pub mod udp;
pub mod unix;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// Identifies an association of one carrier; never reused by that carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociationId(pub u64);

/// The other end of an association, for logs and for limits by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The peer's addresses, the primary one first; none on carriers without addresses.
    pub addresses: Vec<SocketAddr>,
    /// The carrier's name: [`Carrier::kind`].
    pub carrier: &'static str,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.carrier)?;
        for (index, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { ' ' } else { ',' })?;
        }
        Ok(())
    }
}

/// An event of an association that the driver handles itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarrierEvent {
    /// A peer connected. The driver reads from the association or closes it.
    Accepted {
        /// Address of the peer.
        peer: Peer,
    },
    /// The association may have something for [`Carrier::receive`], or room to send again.
    Ready,
    /// The shutdown of an association that was closed with [`CloseMode::Graceful`] is complete.
    Closed,
}

/// What comes out of an association, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// The association is established; before any message, once.
    Up {
        /// Streams that can be used in both directions: numbers `0..streams`.
        streams: u16,
    },
    /// One whole message.
    Message {
        /// The stream it came on.
        stream: u16,
        /// Its bytes, in a buffer of its own.
        payload: BytesMut,
    },
    /// A path changed its state. A session also gets one for each path right after
    /// [`Up`](Self::Up), with the state that the path has then.
    PathChanged(PathInfo),
    /// The peer has shut the association down; nothing more comes, and nothing more can be sent.
    PeerClosed,
    /// The association is gone; messages may be missing.
    Lost(LostReason),
}

/// Why an association was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LostReason {
    /// The connection could not be established.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// The peer aborted it.
    #[error("aborted by the peer")]
    Aborted,
    /// No path answered in time.
    #[error("no path answers")]
    TimedOut,
    /// The peer restarted (RFC 9260 §5.2) and lost its state.
    #[error("restarted by the peer")]
    Restarted,
    /// The peer sent a message longer than [`MAX_MESSAGE`](crate::limits::MAX_MESSAGE).
    #[error("a message is too long")]
    TooLong,
    /// The peer violated the protocol, for example with an unordered message; or this side sent an
    /// invalid message.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The socket failed.
    #[error("{0}")]
    Socket(String),
    /// The loop ended it: a job of the session panicked, or the loop was stopped and the session
    /// did not end in time.
    #[error("ended here: {0}")]
    Local(&'static str),
}

/// The state of a path (RFC 9260 §8.2, §8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// Usable.
    Active,
    /// Not answering.
    Inactive,
    /// Not yet confirmed to be the peer's (RFC 9260 §5.4); carries no data.
    Unconfirmed,
}

impl fmt::Display for PathState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Unconfirmed => "unconfirmed",
        })
    }
}

/// A path to the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// The peer's address.
    pub remote: SocketAddr,
    /// The local address, where the carrier knows it.
    pub local: Option<SocketAddr>,
    /// Whether it is usable.
    pub state: PathState,
    /// Whether new data is sent here as long as it is active.
    pub primary: bool,
    /// Smoothed round-trip time; zero before the first measurement.
    pub srtt: Duration,
    /// Retransmission timeout.
    pub rto: Duration,
    /// Congestion window in bytes.
    pub cwnd: u32,
    /// Largest packet in bytes.
    pub mtu: u32,
}

/// Why a message was not queued.
#[derive(Debug)]
pub enum SendError {
    /// The queue is full. The message is returned, and [`CarrierEvent::Ready`] follows when there
    /// is room.
    Full(Bytes),
    /// The association is closing or gone, or has no such stream.
    Gone,
}

/// How to end an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseMode {
    /// What is queued is delivered first (SCTP's SHUTDOWN); [`CarrierEvent::Closed`] follows.
    Graceful,
    /// At once (SCTP's ABORT). No event follows.
    Abort,
}

/// What is possible on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// There is something to read; errors count.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
}

impl From<&mio::event::Event> for Readiness {
    fn from(event: &mio::event::Event) -> Self {
        let failed = event.is_error() || event.is_read_closed() || event.is_write_closed();
        Self {
            readable: event.is_readable() || failed,
            writable: event.is_writable() || failed,
        }
    }
}

/// A transport endpoint with all its associations.
///
/// All calls return without blocking. An association exists from [`connect`](Self::connect) or
/// [`CarrierEvent::Accepted`] until it is closed; for any other id `send` returns `Gone`, `queued`
/// 0, and the rest do nothing.
pub trait Carrier: Send {
    /// A short name for logs: `sctp`, `udp`, `unix`.
    fn kind(&self) -> &'static str;

    /// Registers the sockets that exist, and keeps the registrar for those that are opened later.
    ///
    /// # Errors
    /// Those of epoll.
    fn register(&mut self, registrar: Registrar) -> io::Result<()>;

    /// Notes that a socket became ready (edge-triggered); the calls below do the work.
    fn handle_ready(&mut self, source: u64, readiness: Readiness);

    /// Does the work that belongs to no single association, up to a budget: accepts, reads and
    /// writes shared sockets. Returns whether there is more to do now.
    #[must_use]
    fn drive(&mut self, now: Instant) -> bool;

    /// Runs what was due at [`poll_timeout`](Self::poll_timeout).
    fn handle_timeout(&mut self, now: Instant);

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next event.
    #[must_use]
    fn poll_event(&mut self) -> Option<(AssociationId, CarrierEvent)>;

    /// Starts an association with a peer that has these addresses; `Up` or `Lost` follows from
    /// `receive`.
    ///
    /// # Errors
    /// No address, more than the limit, or a socket that cannot be created.
    fn connect(&mut self, remotes: &[SocketAddr], now: Instant) -> io::Result<AssociationId>;

    /// Takes the next message or change out of an association; `None` until the next
    /// [`CarrierEvent::Ready`].
    ///
    /// Messages that a session cannot take stay here, and the peer's window closes.
    #[must_use]
    fn receive(&mut self, id: AssociationId, now: Instant) -> Option<Inbound>;

    /// Queues a message for a stream. An empty one ends the association: SCTP has none (RFC 9260
    /// §3.3.1).
    ///
    /// # Errors
    /// [`SendError::Full`] with the message, or [`SendError::Gone`].
    fn send(
        &mut self,
        id: AssociationId,
        stream: u16,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), SendError>;

    /// Bytes that are queued and have not been sent yet; what is in flight does not count.
    fn queued(&mut self, id: AssociationId) -> usize;

    /// Ends an association; what it still receives is discarded.
    fn close(&mut self, id: AssociationId, mode: CloseMode, now: Instant);

    /// The paths of an association.
    fn paths(&self, id: AssociationId) -> Vec<PathInfo>;

    /// Accepts no more peers.
    fn stop_listening(&mut self);

    /// The addresses that peers can connect to, with the ports really bound.
    fn local_addresses(&self) -> Vec<SocketAddr>;
}

/// Registers a carrier's sockets with the loop.
#[derive(Debug)]
pub struct Registrar {
    registry: Registry,
    carrier: usize,
}

/// Bits of a token for the socket within its carrier; the others are for the carrier.
const SOURCE_BITS: u32 = 48;
/// The loop's own waker.
pub(crate) const WAKER: Token = Token(usize::MAX);
// Tokens hold carrier and source in 64 bits.
const _: () = assert!(usize::BITS == 64);

impl Registrar {
    pub(crate) fn new(registry: Registry, carrier: usize) -> Self {
        Self { registry, carrier }
    }

    /// Watches a socket, edge-triggered, for both directions; `source` comes back in
    /// [`Carrier::handle_ready`]. It must be below 2^48.
    ///
    /// # Errors
    /// Those of epoll.
    pub fn register(&self, socket: BorrowedFd<'_>, source: u64) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            token(self.carrier, source),
            interest,
        )
    }

    /// Stops watching a socket.
    ///
    /// # Errors
    /// Those of epoll.
    pub fn deregister(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.registry.deregister(&mut SourceFd(&socket.as_raw_fd()))
    }
}

fn token(carrier: usize, source: u64) -> Token {
    assert!(
        source >> SOURCE_BITS == 0,
        "a carrier numbers its sockets below 2^48"
    );
    Token(carrier << SOURCE_BITS | source as usize)
}

/// The carrier's index and the source of a token that [`Registrar`] made.
pub(crate) fn from_token(token: Token) -> (usize, u64) {
    (
        token.0 >> SOURCE_BITS,
        token.0 as u64 & ((1 << SOURCE_BITS) - 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_keep_carrier_and_source_apart() {
        for (carrier, source) in [(0, 0), (3, 1), (7, (1 << 48) - 1)] {
            let made = token(carrier, source);
            assert_eq!(from_token(made), (carrier, source));
            assert_ne!(made, WAKER);
        }
    }

    #[test]
    fn a_peer_shows_all_its_addresses() {
        let peer = Peer {
            addresses: vec!["10.0.0.1:9".parse().unwrap(), "[::1]:9".parse().unwrap()],
            carrier: "sctp",
        };
        assert_eq!(peer.to_string(), "sctp 10.0.0.1:9,[::1]:9");
        assert_eq!(
            Peer {
                addresses: vec![],
                carrier: "unix"
            }
            .to_string(),
            "unix"
        );
    }
}
