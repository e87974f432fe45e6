//! Every bound of the client, with its reason.

use std::time::Duration;

/// Addresses that one URL may name or resolve to: what an SCTP association carries here.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// Transfers that run at once when the user does not say: enough to hide the round trip of small
/// files.
pub(crate) const DEFAULT_PARALLEL: usize = 8;

/// Transfers that may run at once: more only makes each one slower and its memory idle.
#[cfg(feature = "cli")]
pub(crate) const MAX_PARALLEL: usize = 64;

/// Files in one command: their names are held in memory.
pub(crate) const MAX_FILES: usize = 1_000_000;

/// Directories below each other in a recursive put: a path of 1,024 bytes cannot hold more.
#[cfg(feature = "cli")]
pub(crate) const MAX_DEPTH: usize = 512;

/// Records read from a file, or written to one, by one job: large enough to make the hand-off to a
/// worker cheap.
pub(crate) const BATCH_CHUNKS: usize = 8;

/// Records of one upload that wait in memory for the peer's credit.
pub(crate) const READ_AHEAD_CHUNKS: usize = 16;

/// Bytes that may have arrived and not be written yet, over all transfers of a command.
pub(crate) const RECEIVE_MEMORY: u32 = 64 << 20;

/// The same for one transfer, at most: covers 1 Gbit/s at a round trip of 30 ms.
pub(crate) const MAX_WINDOW: u32 = 4 << 20;

/// The same for one transfer, at least: below this the round trip shows.
pub(crate) const MIN_WINDOW: u32 = 1 << 20;

/// Workers: two keep a disk busy while one asks the user or unlocks a key.
pub(crate) const WORKERS: usize = 3;

/// Jobs that wait for a worker; a full queue pushes back on the session.
pub(crate) const QUEUED_JOBS: usize = 64;

/// Entries asked for in one page of a listing: as many as a server gives.
pub(crate) const LIST_PAGE: u32 = towpath_protocol::limits::MAX_LIST_ENTRIES;

/// Time for the connection to come up, unless the user says otherwise.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for an orderly end once all work is done: the result is safe by then.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Times an upload signs again on top of another client's change before it gives up.
pub(crate) const MAX_RESIGN: u32 = 5;

/// Bytes of a password or passphrase file that are read: far above any real one.
pub(crate) const MAX_SECRET_FILE: u64 = 4096;

/// Bytes of a private or public key file: an encrypted Ed25519 key takes under 1 KiB.
pub(crate) const MAX_KEY_FILE: u64 = 64 * 1024;

/// Bytes of `known_servers`: at most tens of thousands of servers.
pub(crate) const MAX_KNOWN_SERVERS: u64 = 4 * 1024 * 1024;

/// Bytes of one store's pins, before compaction: about a million files.
pub(crate) const MAX_PINS: u64 = 512 * 1024 * 1024;

/// Lines of outdated pins that may pile up before the file is written anew.
pub(crate) const PIN_SLACK: usize = 1024;

/// Attempts at typing a passphrase or answering a question.
pub(crate) const MAX_ATTEMPTS: u32 = 3;

/// How often the progress display looks at the counters.
#[cfg(feature = "cli")]
pub(crate) const PROGRESS_TICK: Duration = Duration::from_millis(100);
