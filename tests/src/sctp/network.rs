//! Links with faults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use towpath_sctp::PathId;

/// What one direction between two addresses does to packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Time that every packet takes.
    pub delay: Duration,
    /// Time that a packet may take on top of it, at random: it reorders.
    pub jitter: Duration,
    /// Packets in a thousand that are lost.
    pub loss: u32,
    /// Packets in a thousand that arrive twice.
    pub duplicate: u32,
    /// The largest SCTP packet that passes.
    pub mtu: usize,
    /// Bytes per second; none is without bound.
    pub bandwidth: Option<u64>,
    /// Bytes that wait for the bandwidth before packets are dropped.
    pub queue: usize,
    /// Nothing passes.
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

/// All links, the packets on them, and the dice.
#[derive(Debug)]
pub struct Network {
    /// What holds between addresses for which nothing else is said.
    pub link: Link,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    /// When each direction has sent what it has taken.
    busy: BTreeMap<(IpAddr, IpAddr), Instant>,
    flying: BTreeMap<(Instant, u64), (PathId, Vec<u8>)>,
    sent: u64,
    state: u64,
    /// How many of the next packets pass before one is lost, for each that is to be lost.
    doomed: Vec<u64>,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            link: Link::default(),
            links: BTreeMap::new(),
            busy: BTreeMap::new(),
            flying: BTreeMap::new(),
            sent: 0,
            state: seed,
            doomed: Vec::new(),
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

    /// A random number under `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random() % bound.max(1)
    }

    /// The link from one address to another, to be changed.
    pub fn between(&mut self, from: IpAddr, to: IpAddr) -> &mut Link {
        let link = &self.link;
        self.links.entry((from, to)).or_insert_with(|| link.clone())
    }

    /// Cuts or restores both directions between two addresses.
    pub fn cut(&mut self, a: IpAddr, b: IpAddr, cut: bool) {
        self.between(a, b).cut = cut;
        self.between(b, a).cut = cut;
    }

    /// Loses one packet: the next, after so many others have passed.
    pub fn lose(&mut self, after: u64) {
        self.doomed.push(after);
    }

    /// Takes every fault away: what is sent from now on arrives.
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

    /// `fragment`: IP may cut the packet, so that its size does not matter.
    pub(super) fn send(&mut self, path: PathId, packet: &[u8], fragment: bool, now: Instant) {
        let lost = self.doomed.contains(&0);
        self.doomed.retain(|&after| after > 0);
        self.doomed.iter_mut().for_each(|after| *after -= 1);
        if lost {
            return;
        }
        let key = (path.local.ip(), path.remote.ip());
        let link = self.links.get(&key).unwrap_or(&self.link).clone();
        let too_long = packet.len() > link.mtu && !fragment;
        if link.cut || too_long || self.below(1_000) < u64::from(link.loss) {
            return;
        }
        let mut leaves = now;
        if let Some(bandwidth) = link.bandwidth {
            let free = self.busy.get(&key).copied().unwrap_or(now).max(now);
            let backlog = (free - now).as_nanos() * u128::from(bandwidth) / 1_000_000_000;
            if backlog > link.queue as u128 {
                return;
            }
            leaves = free + Duration::from_nanos(packet.len() as u64 * 1_000_000_000 / bandwidth);
            self.busy.insert(key, leaves);
        }
        let copies = if self.below(1_000) < u64::from(link.duplicate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let jitter = Duration::from_nanos(self.below(link.jitter.as_nanos() as u64 + 1));
            self.sent += 1;
            self.flying.insert(
                (leaves + link.delay + jitter, self.sent),
                (path, packet.to_vec()),
            );
        }
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.flying.first_key_value().map(|(&(at, _), _)| at)
    }

    pub(super) fn arrival(&mut self, now: Instant) -> Option<(PathId, Vec<u8>)> {
        let (&key, _) = self
            .flying
            .first_key_value()
            .filter(|((at, _), _)| *at <= now)?;
        self.flying.remove(&key)
    }
}
