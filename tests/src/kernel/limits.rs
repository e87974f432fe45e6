//! The limits of the kernel suite, each with its reason.

use std::time::Duration;

/// Interval at which counters and processes are polled.
pub const POLL: Duration = Duration::from_millis(20);

/// One client command; 200 MiB at 1 % loss on one emulated processor takes about a minute.
pub const COMMAND: Duration = Duration::from_secs(180);

/// Start of the server until it says that it is ready.
pub const SERVER_START: Duration = Duration::from_secs(30);

/// Orderly end of the server after SIGTERM.
pub const SERVER_STOP: Duration = Duration::from_secs(10);

/// Time for a link to come up.
pub const CARRIER_UP: Duration = Duration::from_secs(10);

/// The carrier's own tests, together.
pub const CARRIER_TEST: Duration = Duration::from_secs(120);

/// One client of bare SCTP: 75 MiB at 100 Mbit/s each way and the stall of a cut, with room for a
/// busy processor.
pub const PEER: Duration = Duration::from_secs(60);

/// A stall of bare SCTP when its path fails. Ours notices in under half a second; usrsctp keeps new
/// data on a dead path until it counts as failed, after two retransmission timeouts of up to two
/// seconds.
pub const PEER_STALL: Duration = Duration::from_secs(6);

/// Size of the file during whose transfer a network fails.
pub const BIG_FILE: u64 = 200 * 1024 * 1024;

/// A stall longer than this counts as a failure. Half a second is what the kernel carrier needs
/// to give up a dead path; the rest is room for one emulated processor that is busy with both ends.
pub const STALL: Duration = Duration::from_secs(2);

/// Size of the file of each cell of the interoperability matrix.
pub const CELL_FILE: u64 = 64 * 1024 * 1024;

/// The longest stall of a cell. The kernel may take three timeouts, of up to a second each, to
/// leave a dead path.
pub const CELL_STALL: Duration = Duration::from_secs(5);

/// Size of the file that measures our own stall: at 25 MB/s it leaves three seconds after the
/// path's return.
pub const STALL_FILE: u64 = 128 * 1024 * 1024;

/// The longest stall of our SCTP at a path's loss, 10 ms from end to end and back: what is
/// promised.
pub const OUR_STALL: Duration = Duration::from_millis(500);

/// How often the stall is measured until one passes.
pub const STALL_ATTEMPTS: u32 = 3;

/// Parallel transfers: one on each stream of a default connection.
pub const MANY: usize = 32;
