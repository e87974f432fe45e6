//! The limits of the store, each with its reason.

use std::time::Duration;

/// Plaintext bytes in one chunk of an `age` payload (age v1, "Payload").
///
/// It is also the largest record of a transfer, so that record `i` is chunk `i`.
pub const CHUNK: usize = towpath_protocol::channel::CHUNK_LEN;

/// Length of a Poly1305 tag.
pub const TAG: usize = 16;

/// Length of the random nonce between header and payload (age v1).
pub const PAYLOAD_NONCE: usize = 16;

/// Length of the file key (age v1: 128 bits).
pub const FILE_KEY: usize = 16;

/// Room for the manifest and its signature inside the sealed stanza, lengths included.
///
/// The longest manifest (a path of 1,024 bytes) with an armored Ed25519 signature takes under 2,200
/// bytes. One size for all files, so that the header says nothing about the length of a name.
pub const PROOF: usize = 3_072;

/// Recipients that one file may have: the storage identity and a handful for recovery.
pub const MAX_RECIPIENTS: usize = 16;

/// Identities in one `storage.key`: the current one, and older ones while files are being rekeyed.
pub const MAX_IDENTITIES: usize = 8;

/// Bytes of a `storage.key`, comments included.
pub const MAX_KEY_FILE: usize = 16 * 1024;

/// Bytes of the largest header that is read.
///
/// [`MAX_RECIPIENTS`] X25519 stanzas of 98 bytes and one proof of 4.3 kB, with room for a stanza of
/// a future format.
pub const MAX_HEADER: usize = 8 * 1024;

/// Stanzas in a header: the recipients, the proof and a few that are not known here.
pub const MAX_STANZAS: usize = MAX_RECIPIENTS + 4;

/// Arguments of one stanza; age's own have at most three.
pub const MAX_STANZA_ARGS: usize = 8;

/// Entries of one page of a listing, whatever the caller asks for: bounds the memory of one reply.
pub const MAX_LIST: usize = 10_000;

/// Depth of directories that a scan follows: a path of 1,024 bytes has at most 512 parts.
pub const MAX_DEPTH: usize = 512;

/// Unreadable or foreign files that [`OpenReport`](crate::OpenReport) names; the rest are only
/// counted.
pub const MAX_REPORTED: usize = 1_000;

/// Bytes of the store's own description, `.towpath/store`.
pub const MAX_STORE_FILE: usize = 4 * 1024;

/// Bytes of a `users.json`: some 100,000 users with a key each.
pub const MAX_REGISTRY: u64 = 64 * 1024 * 1024;

/// Bytes of a password: bcrypt takes 72 and one of them ends the string. Longer ones are refused,
/// never cut.
pub const MAX_PASSWORD: usize = 71;

/// Lowest bcrypt cost the algorithm knows.
pub const MIN_BCRYPT_COST: u32 = 4;

/// bcrypt cost of new hashes unless configured otherwise: about a quarter of a second.
pub const DEFAULT_BCRYPT_COST: u32 = 12;

/// Highest bcrypt cost accepted from the configuration or the registry: about four seconds, beyond
/// which logins would keep the workers busy.
pub const MAX_BCRYPT_COST: u32 = 16;

/// Keys of one user: several machines for some years; a list of them fits in one control message.
pub const MAX_KEYS: usize = 64;

/// Bytes of the comment of a key: what the protocol carries.
pub const MAX_COMMENT: usize = 512;

/// Bytes that uploads leave free on a file system of `total` bytes unless configured: one in a
/// hundred, at least 1 MiB (a deletion takes 4.4 kB until it has replaced the file) and at most
/// 256 MiB.
#[must_use]
pub fn default_reserve(total: u64) -> u64 {
    (total / 100).clamp(1 << 20, 256 << 20)
}

/// Age in nanoseconds from which the time of a file's last change tells versions apart.
///
/// File systems take that time from a clock that ticks every 4 to 10 ms: of a younger file there
/// may be another version with the same time.
pub(crate) const SETTLED: i128 = 100_000_000;

/// How long a change or commit waits for the registry's lock: others of ours hold it for one
/// publication, and a worker that waits longer keeps the server from stopping.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is tried meanwhile.
pub(crate) const LOCK_RETRY: Duration = Duration::from_millis(5);

/// Old files of `server.log` that are kept, `.1` the newest.
pub(crate) const OLD_LOGS: usize = 4;

/// Bytes of one line of `server.log`: a path of 1,024 bytes, fully escaped, with its other fields.
pub const MAX_LOG_LINE: usize = 16 * 1024;
