//! Every bound of the crate, with its reason.
//!
//! They bound the memory and the work that a peer can cause. What an application may set is in
//! [`Config`](crate::Config), whose values are clamped to these.

use std::time::Duration;

/// Remote addresses taken from an INIT or INIT ACK: enough for dual-stack hosts with a spare link,
/// too few to point an association at a network.
pub const MAX_ADDRESSES: usize = 8;

/// (local, remote) pairs of one association, confirmed or not. Each costs a few hundred bytes and
/// one heartbeat per interval.
pub const MAX_PATHS: usize = 16;

/// Bytes of a state cookie: code and parameters (59), and 17 for each of nine addresses, the one
/// that the INIT ACK goes to and [`MAX_ADDRESSES`] that an INIT lists. The cookie grows by no more
/// than the INIT does, so the INIT ACK stays within [`AMPLIFICATION`].
pub const MAX_COOKIE: usize = 59 + 17 * (1 + MAX_ADDRESSES);

/// Bytes of a peer's cookie that is echoed. A COOKIE ECHO must fit one packet of the smallest path
/// MTU.
pub const MAX_PEER_COOKIE: usize = 1_024;

/// Stateless replies never exceed this multiple of the bytes that caused them, headers included.
pub const AMPLIFICATION: usize = 3;

/// Bytes to which our INIT is padded, so that an answer with addresses and reports stays within
/// [`AMPLIFICATION`].
pub const INIT_LEN: usize = 256;

/// IP and UDP headers counted for one datagram over IPv4.
pub const OVERHEAD_V4: usize = 28;

/// IP and UDP headers counted for one datagram over IPv6.
pub const OVERHEAD_V6: usize = 48;

/// Random SCTP ports drawn for an association until one is free with its peer.
pub const PORT_DRAWS: u32 = 16;

/// How often an association begins again from another SCTP port because the peer has another
/// association with the one before.
pub const MAX_PORT_CHANGES: u8 = 4;

/// Stateless replies waiting to be polled. More are dropped: the peers retransmit.
pub const MAX_STATELESS_REPLIES: usize = 256;

/// Buckets of the table that throttles stateless replies by source. Sources that share a bucket
/// share its allowance.
pub const THROTTLE_BUCKETS: usize = 4_096;

/// Tags of closed associations that are remembered until their cookies have expired, so that a
/// replayed cookie does not establish them again.
pub const MAX_RETIRED_TAGS: usize = 4_096;

/// Life of a cookie secret before it is rotated; the one before it stays valid for as long again.
pub const SECRET_LIFE: Duration = Duration::from_secs(3_600);

/// The longest that a cookie preservative may stretch a cookie's life (RFC 9260 §5.2.6 asks for no
/// more than a second beyond the round trip).
pub const MAX_COOKIE_EXTENSION: Duration = Duration::from_secs(2);

/// SCTP packet size that every path is assumed to carry: the IPv6 minimum MTU less IPv6 and UDP
/// headers.
pub const BASE_MTU: usize = 1_232;

/// The largest SCTP packet: what UDP over IPv4 can carry, rounded down to whole words.
pub const MAX_MTU: usize = 65_504;

/// The smallest MTU in a configuration. With a smaller one, a SACK with a few blocks does not fit
/// beside data.
pub const MIN_MTU: usize = 512;

/// Segments in one train. Linux refuses more than 64 in a GSO send; its GRO delivers up to 55.
pub const MAX_SEGMENTS: usize = 44;

/// Bytes in one train: the largest UDP payload that segmentation offload accepts.
pub const MAX_TRAIN: usize = 65_507;

/// Chunks in flight or waiting for retransmission. A TSN must stay within 2^31 of the window's
/// start and a gap block's offset within 2^16 of the cumulative point.
pub const MAX_OUTSTANDING: usize = 60_000;

/// Ordered messages of one stream that may be unacknowledged (RFC 9260 §6.1 allows 2^16 - 1).
pub const MAX_STREAM_BACKLOG: u32 = 32_767;

/// Gap blocks read from one SACK. The TSNs of further ones are taken as not reported, which RFC
/// 9260 §6.7 allows.
pub const MAX_GAP_BLOCKS: usize = 1_024;

/// Separate ranges of received TSNs above the cumulative point. Beyond it a chunk that would open a
/// new range is dropped, so a flood of isolated TSNs is bounded. The TSN that follows the
/// cumulative point opens none.
pub const MAX_RECEIVED_RANGES: usize = 1_024;

/// Duplicate TSNs listed in one SACK. They serve statistics only.
pub const MAX_DUPLICATES: usize = 16;

/// How far above the cumulative point a received TSN may lie: a gap block's offset has 16 bits.
pub const MAX_TSN_AHEAD: u64 = 65_535;

/// Memory charged for each buffered fragment or message on top of its bytes, so that tiny fragments
/// exhaust the receive window before they exhaust memory.
pub const FRAGMENT_OVERHEAD: usize = 64;

/// How much more than the receive window may be buffered, in chunks that fill a gap. Without it a
/// gap could never be filled once the window is zero.
pub const WINDOW_SLACK: usize = 65_536;

/// TSNs on which a peer may renege (RFC 9260 §6.2), less four for each that it acknowledges
/// cumulatively. More would be an attack by processing cost.
pub const RENEGE_ALLOWANCE: u64 = 65_536;

/// The smallest fragment that is put into the rest of a packet.
pub const MIN_FRAGMENT: usize = 64;

/// Control chunks waiting to be sent by one association. More are dropped: the peer or a timer
/// repeats what they answer.
pub const MAX_CONTROL_QUEUE: usize = 32;

/// Bytes of a heartbeat's content that are sent back: what fits the smallest packet. Some stacks
/// pad theirs to probe for an MTU; more than this would use the echo to transport payload.
pub const MAX_HEARTBEAT_INFO: usize = 1_200;

/// Bytes of an unrecognised chunk copied into an ERROR: the whole chunk (RFC 9260 §3.3.10.6) if the
/// ERROR fits one packet of the smallest path MTU.
pub const MAX_REPORTED_CHUNK: usize = BASE_MTU - 12 - 8;

/// Bytes of an unrecognised parameter copied into a report.
pub const MAX_REPORTED: usize = 128;

/// Unrecognised parameters reported in one INIT ACK or ERROR.
pub const MAX_REPORTS: usize = 8;

/// Bytes of an abort's reason that are sent or kept.
pub const MAX_ABORT_REASON: usize = 256;

/// Events of one association waiting to be polled. Path changes beyond it are dropped; nothing else
/// is.
pub const MAX_EVENTS: usize = 64;

/// The largest delay of an acknowledgement (RFC 9260 §6.2).
pub const MAX_SACK_DELAY: Duration = Duration::from_millis(500);

/// Window advertised at least, in an INIT (RFC 9260 §3.3.2).
pub const MIN_RECEIVE_WINDOW: u32 = 1_500;

/// A timer that is handled so late or later was delayed by the process, not by rounding: what was
/// sent before may have left late, so an answer is given more time once.
pub const LATE_TIMER: Duration = Duration::from_millis(20);

/// The largest timer slack that is added to `RTO.Min`: a machine that was suspended for an hour is
/// no reason to wait for an hour.
pub const MAX_TIMER_SLACK: Duration = Duration::from_secs(1);

/// Time in which a measured timer slack is halved: some seconds after a machine has become quiet, a
/// failed path is noticed as fast as before.
pub const TIMER_SLACK_HALF_LIFE: Duration = Duration::from_secs(8);

/// Probes of one packet size that must be lost before it is regarded as too large (RFC 8899
/// MAX_PROBES).
pub const MTU_PROBES: u32 = 3;

/// Time until a larger packet size is tried again (RFC 8899 PMTU_RAISE_TIMER).
pub const MTU_RAISE: Duration = Duration::from_secs(600);

/// Consecutive timeouts on a path after which its MTU is reset to the initial one: large packets
/// may be lost in a black hole (RFC 8899).
pub const MTU_BLACK_HOLE: u32 = 2;
