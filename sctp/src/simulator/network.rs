//! Links with faults, and the packets under way on them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::event::PathId;

/// One direction between two addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// One-way delay of every packet. A packet on a link with neither delay, jitter nor bandwidth
    /// arrives while it is sent.
    pub delay: Duration,
    /// Upper bound of a random delay added to it, which reorders packets.
    pub jitter: Duration,
    /// Packets lost, in a thousand.
    pub loss: u32,
    /// Packets duplicated, in a thousand.
    pub duplicate: u32,
    /// The largest SCTP packet that passes, in bytes.
    pub mtu: usize,
    /// Bytes per second; no limit if `None`.
    pub bandwidth: Option<u64>,
    /// Bytes that may wait for the bandwidth; what exceeds it is dropped.
    pub queue: usize,
    /// Whether every packet is lost.
    pub cut: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0,
            duplicate: 0,
            mtu: 1_472,
            bandwidth: None,
            queue: 256 * 1_024,
            cut: false,
        }
    }
}

/// All links, the packets under way, and the random numbers.
#[derive(Debug)]
pub struct Network {
    /// The link between addresses that have none of their own.
    pub link: Link,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    /// When each direction will have sent what it has queued.
    busy: BTreeMap<(IpAddr, IpAddr), Instant>,
    under_way: BTreeMap<(Instant, u64), (PathId, Vec<u8>)>,
    /// Packets put on a link, duplicates included.
    sent: u64,
    state: u64,
    /// For each packet that is to be lost: how many pass before it.
    to_lose: Vec<u64>,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            link: Link::default(),
            links: BTreeMap::new(),
            busy: BTreeMap::new(),
            under_way: BTreeMap::new(),
            sent: 0,
            state: seed,
            to_lose: Vec::new(),
        }
    }

    /// The next random number (SplitMix64).
    pub fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A random number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random() % bound.max(1)
    }

    /// The link from one address to another, to be changed: a copy of the default one at first.
    pub fn between(&mut self, from: IpAddr, to: IpAddr) -> &mut Link {
        let link = &self.link;
        self.links.entry((from, to)).or_insert_with(|| link.clone())
    }

    /// Cuts or restores both directions between two addresses.
    pub fn cut(&mut self, a: IpAddr, b: IpAddr, cut: bool) {
        self.between(a, b).cut = cut;
        self.between(b, a).cut = cut;
    }

    /// Loses one packet: the next one after `after` others.
    pub fn lose(&mut self, after: u64) {
        self.to_lose.push(after);
    }

    /// Removes every fault: what is sent from now on arrives.
    pub fn heal(&mut self) {
        for link in self.links.values_mut().chain([&mut self.link]) {
            *link = Link {
                loss: 0,
                duplicate: 0,
                jitter: Duration::ZERO,
                cut: false,
                ..link.clone()
            };
        }
    }

    /// Packets that have not been lost on their link, duplicates included.
    pub fn packets(&self) -> u64 {
        self.sent
    }

    /// Puts a packet on its link. True if it arrives at once, and is to be delivered by the caller.
    /// With `fragment`, IP may fragment the packet, so that its size does not matter.
    pub(super) fn send(
        &mut self,
        path: PathId,
        packet: &[u8],
        fragment: bool,
        now: Instant,
    ) -> bool {
        let lost = self.to_lose.contains(&0);
        self.to_lose.retain(|&after| after > 0);
        self.to_lose.iter_mut().for_each(|after| *after -= 1);
        if lost {
            return false;
        }
        let key = (path.local.ip(), path.remote.ip());
        let link = self.links.get(&key).unwrap_or(&self.link).clone();
        let too_long = packet.len() > link.mtu && !fragment;
        if link.cut || too_long || self.below(1_000) < u64::from(link.loss) {
            return false;
        }
        let mut leaves = now;
        if let Some(bandwidth) = link.bandwidth {
            let free = self.busy.get(&key).copied().unwrap_or(now).max(now);
            let backlog = (free - now).as_nanos() * u128::from(bandwidth) / 1_000_000_000;
            if backlog > link.queue as u128 {
                return false;
            }
            leaves = free + Duration::from_nanos(packet.len() as u64 * 1_000_000_000 / bandwidth);
            self.busy.insert(key, leaves);
        }
        let copies = if self.below(1_000) < u64::from(link.duplicate) {
            2
        } else {
            1
        };
        let at_once = link.delay.is_zero() && link.jitter.is_zero() && link.bandwidth.is_none();
        for copy in 0..copies {
            let jitter = Duration::from_nanos(self.below(link.jitter.as_nanos() as u64 + 1));
            self.sent += 1;
            if at_once && copy == 0 {
                continue;
            }
            self.under_way.insert(
                (leaves + link.delay + jitter, self.sent),
                (path, packet.to_vec()),
            );
        }
        at_once
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|(&(at, _), _)| at)
    }

    pub(super) fn arrival(&mut self, now: Instant) -> Option<(PathId, Vec<u8>)> {
        let (&key, _) = self
            .under_way
            .first_key_value()
            .filter(|((at, _), _)| *at <= now)?;
        self.under_way.remove(&key)
    }
}
