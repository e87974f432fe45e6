//! The limits of the client, each with its reason.

use std::time::Duration;

/// Addresses that one URL may name or resolve to: the limit of an association's addresses here.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// Default number of parallel transfers: enough to hide the round trip of small
/// files.
pub(crate) const DEFAULT_PARALLEL: usize = 8;

/// Maximum of parallel transfers: more would only slow down each and hold memory.
#[cfg(feature = "cli")]
pub(crate) const MAX_PARALLEL: usize = 64;

/// Files in one command: their names are held in memory.
pub(crate) const MAX_FILES: usize = 1_000_000;

/// Depth of directories in a recursive put: a path of 1,024 bytes cannot hold more.
#[cfg(feature = "cli")]
pub(crate) const MAX_DEPTH: usize = 512;

/// Records read from a file, or written to one, by one job: large enough to make the hand-off to a
/// worker cheap.
pub(crate) const BATCH_CHUNKS: usize = 8;

/// Records of one upload held in memory until the peer grants credit.
pub(crate) const READ_AHEAD_CHUNKS: usize = 16;

/// Bytes received but not yet written, over all transfers of a command.
pub(crate) const RECEIVE_MEMORY: u32 = 64 << 20;

/// The same for one transfer, at most: covers 1 Gbit/s at a round trip of 30 ms.
pub(crate) const MAX_WINDOW: u32 = 4 << 20;

/// The same for one transfer, at least: below this the round-trip time limits the rate.
pub(crate) const MIN_WINDOW: u32 = 1 << 20;

/// Workers: two keep a disk busy while one asks the user or unlocks a key.
pub(crate) const WORKERS: usize = 3;

/// Jobs that wait for a worker; a full queue delays the session.
pub(crate) const QUEUED_JOBS: usize = 64;

/// Entries requested in one page of a listing: the server's maximum.
pub(crate) const LIST_PAGE: u32 = towpath_protocol::limits::MAX_LIST_ENTRIES;

/// Time for the connection to come up, unless the user says otherwise.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for an orderly close after the last task: the results are already final.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum of attempts of an upload to sign a version that follows another client's change.
pub(crate) const MAX_RESIGN: u32 = 5;

/// Maximum size of a password or passphrase file in bytes.
pub(crate) const MAX_SECRET_FILE: u64 = 4096;

/// Bytes of a private or public key file: an encrypted Ed25519 key takes under 1 KiB.
pub(crate) const MAX_KEY_FILE: u64 = 64 * 1024;

/// Bytes of `known_servers`: at most tens of thousands of servers.
pub(crate) const MAX_KNOWN_SERVERS: u64 = 4 * 1024 * 1024;

/// Bytes of one store's pins, before compaction: about a million files.
pub(crate) const MAX_PINS: u64 = 512 * 1024 * 1024;

/// Outdated lines in a pins file before it is rewritten.
pub(crate) const PIN_SLACK: usize = 1024;

/// Attempts at typing a passphrase or answering a question.
pub(crate) const MAX_ATTEMPTS: u32 = 3;

/// Interval at which the progress display reads the counters.
#[cfg(feature = "cli")]
pub(crate) const PROGRESS_TICK: Duration = Duration::from_millis(100);
