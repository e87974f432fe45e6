//! The limits of the server, each with its reason.

use std::time::Duration;

/// Records handed to a worker in one job: a hand-off costs some microseconds, a record of 64 KiB
/// some hundred.
pub(crate) const BATCH_CHUNKS: usize = 16;

/// Entries of each table of the login throttle: bounds the memory that an attacker with many
/// addresses can use.
pub(crate) const THROTTLE_ENTRIES: usize = 16_384;

/// First delay after failed logins; doubles with each further failure.
pub(crate) const THROTTLE_FIRST: Duration = Duration::from_millis(500);

/// Longest pause of one user from one network, and longest delay of an attempt from one network:
/// far below the time that a connection has for its login.
pub(crate) const THROTTLE_LONGEST: Duration = Duration::from_secs(30);

/// Failures that cost nothing, for one user from one network: users mistype.
pub(crate) const THROTTLE_FREE: u32 = 2;

/// Failures that cost nothing, for one network over all users: several users may share one address.
pub(crate) const THROTTLE_FREE_NETWORK: u32 = 10;

/// Failures that cost nothing, for one IPv6 /48 over all its networks: it may be a whole company.
pub(crate) const THROTTLE_FREE_SITE: u32 = 40;

/// Failures that cost nothing, for one user over all networks: loose, so that an attacker cannot
/// lock out a user with few attempts.
pub(crate) const THROTTLE_FREE_USER: u32 = 50;

/// Longest delay that failures from other networks cause for a user.
pub(crate) const THROTTLE_LONGEST_USER: Duration = Duration::from_secs(4);

/// Failures are forgotten after this long without another.
pub(crate) const THROTTLE_MEMORY: Duration = Duration::from_secs(15 * 60);

/// Largest reserve of the disk that is taken, in MiB: a larger value is probably in a wrong unit.
pub(crate) const MAX_RESERVE_MIB: u64 = 1024 * 1024;

/// Largest file of the log, in MiB: a larger value is probably in a wrong unit.
pub(crate) const MAX_LOG_MIB: u64 = 64 * 1024;

/// Longest configuration file, in bytes.
pub(crate) const CONFIG_BYTES: u64 = 64 * 1024;

/// Longest password file read, in bytes: a password has at most 71.
pub(crate) const PASSWORD_FILE_BYTES: u64 = 1024;

/// Sessions that have not logged in, beside the configured ones that have: some 100 kB each.
pub(crate) const STRANGERS: usize = 512;

/// Those of one network: a burst of clients behind one address, and an eighth of all such sessions.
pub(crate) const STRANGERS_NETWORK: usize = 64;

/// Those of one IPv6 /48 over all its networks.
pub(crate) const STRANGERS_SITE: usize = 128;

/// Time that a stranger has to log in before it can be evicted for a new session from its own
/// network: several round trips and a job.
pub(crate) const STRANGER_TIME: Duration = Duration::from_secs(2);

/// One user gets at most one in this many of the sessions.
pub(crate) const USER_SHARE: usize = 4;

/// Time for running transfers to finish after a stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// Time without a request after which a logged-in client is disconnected: Towpath clients close
/// when they are done, and each session uses quota and memory.
pub(crate) const IDLE: Duration = Duration::from_secs(15 * 60);

/// Time without progress after which a client with transfers is disconnected: the input of a piped
/// upload may pause for hours, but not for ever.
pub(crate) const STALLED: Duration = Duration::from_secs(6 * 60 * 60);
