//! Parameters that an application may set (RFC 9260 §15, §16).

use std::net::SocketAddr;
use std::time::Duration;

use crate::limits::{BASE_MTU, MAX_MTU, MAX_SACK_DELAY, MAX_SEGMENTS, MIN_MTU, MIN_RECEIVE_WINDOW};

/// The UDP port that IANA has assigned to SCTP in UDP (RFC 6951 §7).
pub const UDP_PORT: u16 = 9_899;

/// Parameters of associations.
///
/// The defaults suit a LAN and a WAN. Values outside what the protocol or
/// [`limits`](crate::limits) allow are clamped when the endpoint is created.
///
/// ```
/// use std::time::Duration;
/// use towpath_sctp::Config;
///
/// let config = Config {
///     streams: 16,
///     heartbeat_interval: Duration::from_secs(2),
///     ..Config::default()
/// };
/// assert_eq!(config.rto_min, Duration::from_millis(100));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Outbound streams requested; the peer may allow fewer.
    pub streams: u16,
    /// Inbound streams accepted.
    pub max_inbound_streams: u16,
    /// Initial receive window in bytes.
    pub receive_window: u32,
    /// Largest receive window in bytes: it grows to twice the bandwidth-delay product.
    pub max_receive_window: u32,
    /// Bytes that may be queued by [`send`](crate::Endpoint::send) and not yet acknowledged.
    pub send_buffer: usize,
    /// The largest message, in bytes, that is sent or accepted. A larger one from the peer aborts
    /// the association.
    pub max_message: usize,
    /// Retransmission timeout before the first measurement (`RTO.Initial`).
    pub rto_initial: Duration,
    /// The shortest retransmission timeout (`RTO.Min`). It must exceed the peer's delay of
    /// acknowledgements.
    pub rto_min: Duration,
    /// The longest retransmission timeout (`RTO.Max`).
    pub rto_max: Duration,
    /// Retransmissions of INIT or COOKIE ECHO before set-up has failed (`Max.Init.Retransmits`).
    pub max_init_retransmits: u32,
    /// Consecutive timeouts before the peer is unreachable (`Association.Max.Retrans`), for each
    /// proven path.
    pub association_max_retrans: u32,
    /// Consecutive timeouts before a path is inactive (`Path.Max.Retrans`).
    pub path_max_retrans: u32,
    /// Consecutive timeouts beyond which a path is potentially failed and data goes to another one
    /// (RFC 7829 `PotentiallyFailed.Max.Retrans`): with 0, after the first.
    pub potentially_failed_retrans: u32,
    /// Time between heartbeats on an idle path, to which its RTO is added (`HB.interval`).
    pub heartbeat_interval: Duration,
    /// Heartbeats sent at once when several paths wait to be verified (`HB.Max.Burst`).
    pub heartbeat_burst: u32,
    /// The longest delay of an acknowledgement (`SACK.Delay`).
    pub sack_delay: Duration,
    /// Packets with data after which a SACK is sent without delay.
    pub sack_frequency: u32,
    /// How long a state cookie is valid (`Valid.Cookie.Life`).
    pub cookie_life: Duration,
    /// Packets that may be sent at once beyond what was just acknowledged (`Max.Burst`), and in
    /// one train.
    ///
    /// Without segmentation offload the packets of a train are sent one by one; short trains then
    /// keep the receiver's socket buffer from overflowing.
    pub max_burst: usize,
    /// Initial SCTP packet size of a path, in bytes.
    pub initial_mtu: usize,
    /// The largest SCTP packet size tried by probing (RFC 8899). Equal to `initial_mtu`, it turns
    /// probing off.
    pub max_mtu: usize,
    /// Bound on a whole shutdown (`T5-shutdown-guard`).
    pub shutdown_guard: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            streams: 64,
            max_inbound_streams: 1_024,
            receive_window: 512 * 1_024,
            max_receive_window: 8 * 1_024 * 1_024,
            send_buffer: 1_024 * 1_024,
            max_message: 256 * 1_024,
            rto_initial: Duration::from_secs(1),
            rto_min: Duration::from_millis(100),
            rto_max: Duration::from_secs(60),
            max_init_retransmits: 8,
            association_max_retrans: 10,
            path_max_retrans: 5,
            potentially_failed_retrans: 0,
            heartbeat_interval: Duration::from_secs(5),
            heartbeat_burst: 4,
            sack_delay: Duration::from_millis(20),
            sack_frequency: 2,
            cookie_life: Duration::from_secs(60),
            max_burst: MAX_SEGMENTS,
            initial_mtu: BASE_MTU,
            max_mtu: MAX_MTU,
            shutdown_guard: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// The configuration with every value within its bounds.
    pub(crate) fn clamped(mut self) -> Self {
        self.streams = self.streams.max(1);
        self.max_inbound_streams = self.max_inbound_streams.max(1);
        self.receive_window = self.receive_window.max(MIN_RECEIVE_WINDOW);
        self.max_receive_window = self.max_receive_window.max(self.receive_window);
        self.max_message = self.max_message.clamp(1, self.receive_window as usize);
        self.send_buffer = self.send_buffer.max(self.max_message);
        self.rto_min = self.rto_min.max(Duration::from_millis(1));
        self.rto_max = self.rto_max.max(self.rto_min);
        self.rto_initial = self.rto_initial.clamp(self.rto_min, self.rto_max);
        self.heartbeat_interval = self.heartbeat_interval.max(Duration::from_millis(10));
        self.heartbeat_burst = self.heartbeat_burst.max(1);
        self.sack_delay = self.sack_delay.min(MAX_SACK_DELAY);
        self.sack_frequency = self.sack_frequency.max(1);
        self.max_burst = self.max_burst.clamp(1, MAX_SEGMENTS);
        self.initial_mtu = self.initial_mtu.clamp(MIN_MTU, MAX_MTU) & !3;
        self.max_mtu = self.max_mtu.clamp(self.initial_mtu, MAX_MTU) & !3;
        self
    }
}

/// Number of an endpoint among several behind one UDP port, in the low bits of its verification
/// tags.
///
/// A packet's verification tag alone then tells to which endpoint it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shard {
    /// This endpoint's number, less than 2 to the power of `bits`.
    pub number: u32,
    /// How many low bits of a tag hold the number, at most 8; 0 if there is one endpoint.
    pub bits: u8,
}

impl Shard {
    /// Stamps the number into a random tag.
    pub(crate) fn stamp(self, random: u32) -> u32 {
        let mask = (1u32 << self.bits.min(8)) - 1;
        (random & !mask) | (self.number & mask)
    }
}

/// Parameters of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// SCTP port on which associations are accepted; with `None` none is.
    pub listen: Option<u16>,
    /// Own transport addresses: IP address and UDP port of each socket. INIT and INIT ACK list
    /// them, so that the peer can use further paths; unspecified IP addresses are left out.
    pub addresses: Vec<SocketAddr>,
    /// Number of this endpoint, if several share a UDP port.
    pub shard: Shard,
    /// The most associations at one time, including those being set up.
    pub max_associations: usize,
    /// Replies per second to packets that belong to no association, for each source: one IPv4
    /// address or one IPv6 /64.
    pub stateless_replies: u32,
    /// Parameters of each association.
    pub association: Config,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            listen: None,
            addresses: Vec::new(),
            shard: Shard::default(),
            max_associations: 4_096,
            stateless_replies: 500,
            association: Config::default(),
        }
    }
}
