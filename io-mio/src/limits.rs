//! Every bound of the sockets and the loop, with its reason.

use std::time::Duration;

/// Longest message in bytes: a record of kind (1), data (65,536) and tag (16). A longer one ends
/// the association.
pub const MAX_MESSAGE: usize = 65_553;

/// Bytes that may wait in a carrier before a session is asked for no more: a control message waits
/// behind no more than this, and the scheduler of the connection stays in charge of what goes next.
pub const SEND_QUEUE: usize = 256 * 1024;

/// Bytes a carrier keeps for one association before it says [`Full`](crate::SendError::Full): the
/// queue above and one message that did not fit, so that a caller that checks first is never
/// refused.
pub const SEND_QUEUE_HARD: usize = SEND_QUEUE + MAX_MESSAGE;

/// Messages one session may receive, or send, before the others get their turn: at most 1 MiB a
/// turn.
pub const VISIT_MESSAGES: usize = 16;

/// Jobs one session may start before the others get their turn.
pub const VISIT_JOBS: usize = 4;

/// Associations accepted from one listening socket before the sessions get their turn.
pub const ACCEPT_BATCH: usize = 32;

/// Readiness events fetched from the kernel at once.
pub const POLL_EVENTS: usize = 256;

/// Default for the sessions of one loop: a few hundred kB each keep a full server under a gigabyte.
pub const MAX_SESSIONS: usize = 2_048;

/// Default for jobs waiting for a worker, for each worker: enough to keep it busy, few enough to
/// keep latency low.
pub const JOBS_PER_WORKER: usize = 4;

/// Most workers that are started by default: bulk encryption saturates disks long before this.
pub const MAX_DEFAULT_WORKERS: usize = 8;

/// Pause after `accept` failed for want of descriptors or memory: the listening socket stays
/// readable, so trying at once would spin.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

/// How often to try again to send when nothing says that there is room again.
pub const SEND_RETRY: Duration = Duration::from_millis(250);

/// Time for a session that is closed to hand what is left to its carrier, and then for the
/// association to hand over its queue and finish its shutdown; after either it is aborted, for a
/// peer may never read again.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time the sessions get to finish when the loop is stopped.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Time a session whose association is gone may still wait for its jobs before it is dropped.
pub const ORPHAN_TIMEOUT: Duration = Duration::from_secs(60);

/// Shortest wait granted to a session that asks to be woken in the past straight after its timeout
/// ran, so that a fault in a session cannot spin the loop.
pub const MIN_TIMER: Duration = Duration::from_millis(1);

/// Connections that may wait to be accepted.
pub const BACKLOG: i32 = 1_024;

/// Addresses of one end of an association.
pub const MAX_ADDRESSES: usize = 8;

/// Send and receive buffer of an `AF_UNIX` socket in bytes: several of the longest messages (the
/// kernel may clamp it).
pub const SEQPACKET_BUFFER: usize = 1024 * 1024;

/// Streams announced by the `AF_UNIX` carrier, the same number as the kernel's.
pub const STREAMS: u16 = 64;

/// Send and receive buffer of a kernel association in bytes: the product of 1 Gbit/s and 30 ms.
pub const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

/// Lower bound of the retransmission timeout: above the SACK delay of both ends, far below RFC
/// 9260's 1 s, which would be the stall when a path dies.
pub const RTO_MIN: Duration = Duration::from_millis(100);

/// Retransmission timeout before the first measurement: beyond most round trips. The second path is
/// often unmeasured when the first one dies, and this is what the stall is made of then. Too short
/// costs one packet sent twice.
pub const RTO_INITIAL: Duration = Duration::from_millis(250);

/// Upper bound of the retransmission timeout: how long a path that came back may stay unnoticed.
pub const RTO_MAX: Duration = Duration::from_secs(2);

/// Heartbeat interval: a path that died or came back is known within seconds, at a packet each
/// second.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// Consecutive timeouts after which a path is inactive: 0.1 + 0.2 + 0.4 + 0.8 s at best.
pub const PATH_MAX_RETRANSMISSIONS: u16 = 4;

/// Consecutive timeouts of a path after which traffic moves to another one (RFC 7829): more than 0,
/// so the first.
pub const SUSPECT_AFTER: u16 = 0;

/// Consecutive timeouts, on any paths, after which the association is lost: half a minute or more
/// without any network, for a cable to be plugged in again.
pub const ASSOCIATION_MAX_RETRANSMISSIONS: u16 = 30;

/// Delay of an acknowledgement: well below [`RTO_MIN`].
pub const SACK_DELAY: Duration = Duration::from_millis(20);

/// INITs before a peer counts as unreachable, about ten seconds in all.
pub const INIT_ATTEMPTS: u16 = 8;

/// Longest wait between two INITs.
pub const INIT_MAX_TIMEOUT: Duration = Duration::from_secs(2);

/// Messages up to this length are copied into a buffer of their own size, so that a kept control
/// message does not pin a buffer of the longest.
pub const COPY_BELOW: usize = 16 * 1024;

/// Send and receive buffer of a UDP socket in bytes: unpaced bursts lost a seventh of all packets
/// on loopback with the usual 208 KiB.
pub const UDP_BUFFER: usize = 4 * 1024 * 1024;

/// Room for one received datagram, or for several that the kernel has put together (GRO), in bytes:
/// what a UDP length can say.
pub const DATAGRAM_BUFFER: usize = 65_536;

/// Datagrams, or trains of them, read with one call. With the room above, half a MiB for each
/// carrier.
pub const RECEIVE_BATCH: usize = 8;

/// Batches read from one UDP socket before the others and the sessions get their turn: at most 4
/// MiB.
pub const RECEIVE_ROUNDS: usize = 8;

/// Trains sent before the sessions get their turn: at most 4 MiB.
pub const TRANSMIT_BATCH: usize = 64;

/// Bytes of one association that are handed to the socket while its session is still producing:
/// four trains, so that the peer is not idle meanwhile, and trains stay full.
pub const TRANSMIT_EARLY: usize = 128 * 1024;

/// Trains kept for a UDP socket that the kernel takes nothing for: half a MiB above its own buffer.
/// Then nothing more is produced, for any socket.
pub const BLOCKED_TRAINS: usize = 8;

/// How long such a socket may hold up the others: the time 4 MiB take at 1 Gbit/s, and a little
/// more. An interface that has lost its link can keep packets for seconds.
pub const BLOCKED_PATIENCE: Duration = Duration::from_millis(50);

/// Attempts to find a UDP port that is free at all addresses to listen at.
pub const UDP_BIND_ATTEMPTS: usize = 8;

/// Consecutive timeouts, for each proven path, after which a user-space association is lost: the
/// first four take 1.5 s, each of the others [`RTO_MAX`], half a minute in all for a cable to be
/// plugged in again.
pub const UDP_ASSOCIATION_MAX_RETRANSMISSIONS: u32 = 20;

/// Default for the associations of one UDP endpoint, those included that no session has been made
/// for yet.
pub const UDP_MAX_ASSOCIATIONS: usize = 2 * MAX_SESSIONS;

/// Bound on the orderly end of a user-space association; the loop's [`CLOSE_TIMEOUT`] comes first.
pub const SHUTDOWN_GUARD: Duration = Duration::from_secs(30);

/// Path changes that wait for one session: the paths of an association, each once.
pub const PATH_CHANGES: usize = towpath_sctp::limits::MAX_PATHS;

/// How often a client with associations looks for interfaces that have come up. A look costs some
/// 50 µs.
pub const INTERFACE_SCAN: Duration = Duration::from_secs(1);
