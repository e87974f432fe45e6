//! Every bound of the sockets and the loop, with its reason.

use std::time::Duration;

/// Longest message in bytes: a record of kind (1), data (65,536) and tag (16). A longer one ends the association.
pub const MAX_MESSAGE: usize = 65_553;

/// Bytes that may wait in a carrier before a session is asked for no more: a control message waits behind no
/// more than this, and the scheduler of the connection stays in charge of what goes next.
pub const SEND_QUEUE: usize = 256 * 1024;

/// Bytes a carrier keeps for one association before it says [`Full`](crate::SendError::Full): the queue above
/// and one message that did not fit, so that a caller that checks first is never refused.
pub const SEND_QUEUE_HARD: usize = SEND_QUEUE + MAX_MESSAGE;

/// Messages one session may receive, or send, before the others get their turn: at most 1 MiB a turn.
pub const VISIT_MESSAGES: usize = 16;

/// Jobs one session may start before the others get their turn.
pub const VISIT_JOBS: usize = 4;

/// Associations accepted from one listening socket before the sessions get their turn.
pub const ACCEPT_BATCH: usize = 32;

/// Readiness events fetched from the kernel at once.
pub const POLL_EVENTS: usize = 256;

/// Default for the sessions of one loop: a few hundred kB each keep a full server under a gigabyte.
pub const MAX_SESSIONS: usize = 2_048;

/// Default for jobs waiting for a worker, for each worker: enough to keep it busy, few enough to keep latency low.
pub const JOBS_PER_WORKER: usize = 4;

/// Most workers that are started by default: bulk encryption saturates disks long before this.
pub const MAX_DEFAULT_WORKERS: usize = 8;

/// Pause after `accept` failed for want of descriptors or memory: the listening socket stays readable, so
/// trying at once would spin.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

/// Time for an association that is closed in order to hand over its queue and finish its shutdown; then it is
/// aborted.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time the sessions get to finish when the loop is stopped.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Time a session whose association is gone may still wait for its jobs before it is dropped.
pub const ORPHAN_TIMEOUT: Duration = Duration::from_secs(60);

/// Shortest wait granted to a session that asks to be woken in the past straight after its timeout ran, so that
/// a fault in a session cannot spin the loop.
pub const MIN_TIMER: Duration = Duration::from_millis(1);

/// Connections that may wait to be accepted.
pub const BACKLOG: i32 = 1_024;

/// Addresses of one end of an association.
pub const MAX_ADDRESSES: usize = 8;

/// Send and receive buffer of an `AF_UNIX` socket in bytes: several of the longest messages (the kernel may clamp it).
pub const SEQPACKET_BUFFER: usize = 1024 * 1024;

/// Streams announced by the `AF_UNIX` carrier, the same number as the kernel's.
pub const STREAMS: u16 = 64;
