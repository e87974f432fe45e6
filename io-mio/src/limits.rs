//! Every limit of the sockets and the loop, with its reason.

use std::time::Duration;

/// Longest message in bytes: 64 KiB of data and the 17 bytes that Towpath's records add. A longer
/// one ends the association.
pub const MAX_MESSAGE: usize = 65_553;

/// Bytes queued in a carrier for one association at which its session is asked for no more
/// messages: a control message waits behind no more than this, and the session decides late what is
/// sent next.
pub const SEND_QUEUE: usize = 256 * 1024;

/// Bytes that a carrier queues for one association before it returns
/// [`Full`](crate::SendError::Full): [`SEND_QUEUE`] and one message, so that a caller that checks
/// [`queued`](crate::Carrier::queued) first is never refused.
pub const SEND_QUEUE_HARD: usize = SEND_QUEUE + MAX_MESSAGE;

/// Messages that one session may receive, or send, in one visit: at most 1 MiB before the other
/// sessions are visited.
pub const VISIT_MESSAGES: usize = 16;

/// Jobs that one session may start in one visit.
pub const VISIT_JOBS: usize = 4;

/// Associations accepted from one listening socket in one turn of the loop.
pub const ACCEPT_BATCH: usize = 32;

/// Readiness events fetched from the kernel at once.
pub const POLL_EVENTS: usize = 256;

/// Default for the sessions of one loop: at a few hundred kB each, a full server stays below one
/// gigabyte.
pub const MAX_SESSIONS: usize = 2_048;

/// Default for the queued jobs per worker: enough to keep it busy, few enough for a low latency.
pub const JOBS_PER_WORKER: usize = 4;

/// Default upper bound of the workers: bulk encryption saturates disks with fewer.
pub const MAX_DEFAULT_WORKERS: usize = 8;

/// Pause after `accept` failed for lack of descriptors or memory: the listening socket stays
/// readable, so an immediate retry would spin.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

/// Interval of retries to send where the kernel gives no wake-up (memory was short).
pub const SEND_RETRY: Duration = Duration::from_millis(250);

/// Time for a closed session to pass its last messages to the carrier, and then for the association
/// to send its queue and finish its shutdown. After either it is aborted: the peer may have stopped
/// reading.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the sessions to finish when the loop is stopped.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the jobs of a session whose association is gone; then the session is dropped.
pub const ORPHAN_TIMEOUT: Duration = Duration::from_secs(60);

/// Shortest timer of a session whose deadline is still in the past after `handle_timeout`, so that
/// a faulty session cannot spin the loop.
pub const MIN_TIMER: Duration = Duration::from_millis(1);

/// Backlog of a listening socket.
pub const BACKLOG: i32 = 1_024;

/// Addresses of one end of an association, so that the paths stay few.
pub const MAX_ADDRESSES: usize = 8;

/// Send and receive buffer of an `AF_UNIX` socket in bytes: several of the longest messages (the
/// kernel may clamp it).
pub const SEQPACKET_BUFFER: usize = 1024 * 1024;

/// Streams announced by the `AF_UNIX` carrier, the same number as the kernel's.
pub const STREAMS: u16 = 64;

/// Send and receive buffer of a kernel association in bytes: the product of 1 Gbit/s and 30 ms.
pub const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

/// Lower bound of the retransmission timeout: above the SACK delay of both ends, far below the 1 s
/// of RFC 9260 §16, because the stall after a path failure is at least this long.
pub const RTO_MIN: Duration = Duration::from_millis(100);

/// Retransmission timeout before the first measurement: longer than most round trips. The second
/// path is often unmeasured when the first one fails, and then this is the stall. A value that is
/// too short costs one packet sent twice.
pub const RTO_INITIAL: Duration = Duration::from_millis(250);

/// Upper bound of the retransmission timeout: a path that works again is noticed within this time.
pub const RTO_MAX: Duration = Duration::from_secs(2);

/// Heartbeat interval: a path's failure or recovery is detected within seconds, at the cost of one
/// packet a second.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// Consecutive timeouts after which a path is inactive: 0.1 + 0.2 + 0.4 + 0.8 s at best.
pub const PATH_MAX_RETRANSMISSIONS: u16 = 4;

/// Consecutive timeouts of a path above which it is potentially failed and traffic moves to another
/// one (RFC 7829 `PFMR`): more than 0, so the first.
pub const POTENTIALLY_FAILED_RETRANS: u16 = 0;

/// Consecutive timeouts, on any paths, after which the association is lost: it survives at least
/// half a minute without any network.
pub const ASSOCIATION_MAX_RETRANSMISSIONS: u16 = 30;

/// Delay of an acknowledgement: well below [`RTO_MIN`].
pub const SACK_DELAY: Duration = Duration::from_millis(20);

/// INITs before a peer counts as unreachable: about ten seconds in all.
pub const INIT_ATTEMPTS: u16 = 8;

/// Longest wait between two INITs.
pub const INIT_MAX_TIMEOUT: Duration = Duration::from_secs(2);

/// Messages up to this length are copied into a buffer of their own size, so that a short message
/// that is kept does not hold a buffer of the maximum length.
pub const COPY_BELOW: usize = 16 * 1024;

/// Send and receive buffer of a UDP socket in bytes: with the default of 208 KiB, unpaced bursts
/// lost one packet in seven on loopback.
pub const UDP_BUFFER: usize = 4 * 1024 * 1024;

/// Room for one received datagram, or for several that the kernel has coalesced (GRO), in bytes:
/// the largest UDP length.
pub const DATAGRAM_BUFFER: usize = 65_536;

/// Datagrams, or trains of them, read with one call: with [`DATAGRAM_BUFFER`], half a MiB for each
/// carrier.
pub const RECEIVE_BATCH: usize = 8;

/// Batches read from one UDP socket in one turn of the loop: at most 4 MiB.
pub const RECEIVE_ROUNDS: usize = 8;

/// How often a carrier's sockets are read before a timer runs that is due, while more waits there:
/// with the two bounds above 4,096 datagrams, more than the receive buffer of a socket holds.
pub const TIMER_READS: usize = 64;

/// Trains sent in one turn of the loop: at most 4 MiB.
pub const TRANSMIT_BATCH: usize = 64;

/// Queued bytes of one association from which packets are sent while its session is still
/// producing: four trains, so that the peer has something to do and trains stay full.
pub const TRANSMIT_EARLY: usize = 128 * 1024;

/// Trains queued for a UDP socket whose send buffer is full: half a MiB beyond that buffer. Then no
/// more packets are produced, for any socket.
pub const BLOCKED_TRAINS: usize = 8;

/// Time for which such a socket may block the others: a little more than 4 MiB take at 1 Gbit/s. An
/// interface without a link can hold packets for seconds.
pub const BLOCKED_TIMEOUT: Duration = Duration::from_millis(50);

/// Time without a failure after which a destination counts as one that can be sent to again.
pub const SEND_FAILURE_QUIET: Duration = Duration::from_secs(60);

/// Attempts to find a UDP port that is free at all addresses to listen on.
pub const UDP_BIND_ATTEMPTS: usize = 8;

/// Consecutive timeouts, for each confirmed path, after which a user-space association is lost: the
/// first four take 1.5 s, each of the others [`RTO_MAX`], so it survives half a minute without any
/// network.
pub const UDP_ASSOCIATION_MAX_RETRANSMISSIONS: u32 = 20;

/// Default for the associations of one UDP endpoint, including those without a session yet.
pub const UDP_MAX_ASSOCIATIONS: usize = 2 * MAX_SESSIONS;

/// Bound on the shutdown of a user-space association; the loop's [`CLOSE_TIMEOUT`] is shorter.
pub const SHUTDOWN_GUARD: Duration = Duration::from_secs(30);

/// Path changes queued for one session: each path of an association once.
pub const PATH_CHANGES: usize = towpath_sctp::limits::MAX_PATHS;

/// Interval at which a client with associations looks for new interfaces. A look takes some 50 µs.
pub const INTERFACE_SCAN: Duration = Duration::from_secs(1);
