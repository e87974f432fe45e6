//! Every bound of the protocol, with its reason.

use std::time::Duration;

use crate::channel::chunk::{CHUNK_LEN, HEADROOM, TAILROOM};

/// SCTP port of a server where none is given. SCTP over UDP uses it too, behind the UDP port.
pub const DEFAULT_PORT: u16 = 9_260;

// Formats: names, manifests, signatures, keys, statements.

/// Longest part of a path, in bytes: leaves room in the 255 bytes of a file name for `.age` and for
/// the suffix of a temporary file.
pub const MAX_PART_LEN: usize = 200;

/// Longest path, in bytes: well inside the 4,096 of `PATH_MAX` wherever the store lies.
pub const MAX_PATH_LEN: usize = 1_024;

/// Longest user name, in bytes: what Unix tools take for a login name.
pub const MAX_USER_NAME_LEN: usize = 32;

/// Largest file, in bytes: what a signed 64-bit file offset can reach.
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;

/// Permission bits that a manifest may carry: never set-user-id, set-group-id or sticky, which a
/// stranger must not choose.
pub const MODE_MASK: u32 = 0o777;

/// Longest canonical manifest, in bytes: the longest path and numbers come to about 1,500.
pub const MAX_MANIFEST_LEN: usize = 2_048;

/// Longest armored SSHSIG, in bytes: an Ed25519 one comes to about 310.
pub const MAX_SIGNATURE_LEN: usize = 512;

/// Most manifests that one `compromise` statement keeps: the statement still fits in one control
/// message.
pub const MAX_KEPT_MANIFESTS: usize = 256;

/// Longest canonical key statement, in bytes: 70 for each kept manifest and less than 512 for the
/// rest.
pub const MAX_STATEMENT_LEN: usize = 512 + MAX_KEPT_MANIFESTS * 70;

/// Longest OpenSSH public key line, in bytes: an Ed25519 key takes 80, the rest is comment.
pub const MAX_PUBLIC_KEY_LINE_LEN: usize = 1_024;

/// Longest OpenSSH private key file, in bytes: an Ed25519 one takes about 420 and its comment.
pub const MAX_PRIVATE_KEY_LEN: usize = 16_384;

/// Most bcrypt-pbkdf rounds of a private key: about half a minute of work; `ssh-keygen` writes 16
/// or 24 unless told otherwise.
pub const MAX_KDF_ROUNDS: u32 = 4_096;

/// bcrypt-pbkdf rounds of the private keys that we write: what OpenSSH uses since 9.4.
pub const KDF_ROUNDS: u32 = 24;

// Connections.

/// Version of the protocol, in the hello of both sides.
pub const PROTOCOL_VERSION: u16 = 1;

/// Longest piece of the TLS byte stream in one message: one full TLS record, so that control
/// traffic interleaves with data.
pub const TLS_MESSAGE_LEN: usize = 16_384;

/// Longest message of all, in bytes: kind, a whole chunk, tag. What a carrier must be able to take.
pub const MAX_RECORD_LEN: usize = HEADROOM + CHUNK_LEN + TAILROOM;

/// Longest control message before login, in bytes: a user name, a padded password or a signature.
pub const MAX_LOGIN_LEN: usize = 2_048;

/// Longest control message of a client, in bytes: the longest key statement and its signature.
pub const MAX_REQUEST_LEN: usize = 24_576;

/// Longest control message of a server, in bytes: a full list, or some twenty thousand users.
/// Longer answers are refused as too large.
pub const MAX_REPLY_LEN: usize = 1 << 20;

/// Longest text for the user in a refusal or close message, in bytes.
pub const MAX_MESSAGE_LEN: usize = 512;

/// Longest user name that a login may claim, in bytes; a longer one could not be logged.
pub const MAX_CLAIMED_NAME_LEN: usize = 255;

/// Longest password on the wire, in bytes. Stores refuse them far sooner; this bounds the memory.
pub const MAX_PASSWORD_LEN: usize = 1_000;

/// Longest comment of a key, in bytes: what fits on a public key line.
pub const MAX_COMMENT_LEN: usize = 512;

/// Most entries in one list reply: with the longest paths they fill 150 KiB.
pub const MAX_LIST_ENTRIES: u32 = 128;

/// Most requests of a client that may be unanswered: enough to hide the round trip, and it bounds
/// the replies that wait.
pub const MAX_PENDING_REQUESTS: usize = 16;

/// Most transfers at once in a connection: each may hold a window of memory on both sides.
pub const MAX_STREAMS: u16 = 256;

/// Least window of a transfer, in bytes: with less than 1 1/3 chunks a sender could wait for credit
/// that the receiver saves up.
pub const MIN_WINDOW: u32 = 131_072;

/// Most data that waits in the connection for each transfer, in bytes: enough for the carrier's
/// next turn, whatever the credit.
pub const OUT_QUEUE_LEN: usize = 1 << 20;

/// Control bytes that wait to be sent before nothing more is read from the peer, in bytes.
pub const CONTROL_QUEUE_LEN: usize = 262_144;

/// Events that wait for the application before nothing more is read from the peer.
pub const EVENT_QUEUE_LEN: usize = 1_024;

/// Longest time of any kind that a connection waits: whatever is configured, sums of times stay
/// within what an `Instant` holds.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);

/// What one side of a connection allows the other, and how long it waits.
///
/// Every number is brought into its permitted range when a connection is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most transfers at once, to [`MAX_STREAMS`]; the smaller number of both sides counts, and
    /// the link must have a stream for each.
    pub streams: u16,
    /// Bytes of a transfer that the peer may send before the application has consumed any, from
    /// [`MIN_WINDOW`].
    pub window: u32,
    /// Login attempts in one connection, from 1.
    pub login_attempts: u8,
    /// Longest wait for the association.
    pub link_timeout: Duration,
    /// Longest wait for TLS handshake and hello together.
    pub handshake_timeout: Duration,
    /// Longest wait for a whole login: the user compares a fingerprint and types a password.
    pub login_timeout: Duration,
    /// Silence of the peer after which a Ping is sent.
    pub keepalive: Duration,
    /// Longest wait for the answer to a Ping: time for SCTP to fail over to another path several
    /// times.
    pub keepalive_timeout: Duration,
    /// Longest time that a closed connection waits until its last messages have been sent.
    pub close_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 64,
            window: 4 << 20,
            login_attempts: 3,
            link_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(20),
            login_timeout: Duration::from_secs(180),
            keepalive: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// The same with every number in its range.
    pub(crate) fn clamped(mut self) -> Self {
        self.streams = self.streams.min(MAX_STREAMS);
        self.window = self.window.max(MIN_WINDOW);
        self.login_attempts = self.login_attempts.max(1);
        let shortest = Duration::from_millis(1);
        for timeout in [
            &mut self.link_timeout,
            &mut self.handshake_timeout,
            &mut self.login_timeout,
            &mut self.keepalive,
            &mut self.keepalive_timeout,
            &mut self.close_timeout,
        ] {
            *timeout = (*timeout).clamp(shortest, MAX_TIMEOUT);
        }
        self
    }
}
