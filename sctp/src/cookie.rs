//! State cookies: all that a listener needs to create an association, stored by the peer (RFC 9260
//! §5.1.3 to §5.1.5).
//!
//! A cookie is authenticated with HMAC-SHA256 (128 bits of it) under a secret that is rotated; the
//! code also covers the SCTP ports, which are not in it. It contains the address to which the INIT
//! ACK was sent, the only one that a COOKIE ECHO confirms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::limits::{MAX_COOKIE, SECRET_LIFE};
use crate::packet::InitAddresses;
use crate::rng::Rng;

const MAC_LEN: usize = 16;

/// The content of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cookie {
    /// Our verification tag and first TSN.
    pub(crate) local_tag: u32,
    pub(crate) local_tsn: u32,
    /// The peer's verification tag, first TSN and receive window.
    pub(crate) peer_tag: u32,
    pub(crate) peer_tsn: u32,
    pub(crate) peer_window: u32,
    /// Streams that we may send on and that we accept.
    pub(crate) outbound: u16,
    pub(crate) inbound: u16,
    /// Tags of the association that existed when the INIT came (§5.2.2), or 0.
    pub(crate) local_tie: u32,
    pub(crate) peer_tie: u32,
    /// How long it is valid, in milliseconds.
    pub(crate) life: u32,
    /// The address to which the INIT ACK was sent.
    pub(crate) remote: SocketAddr,
    /// Further addresses of the peer.
    pub(crate) addresses: InitAddresses,
}

/// SCTP ports of a packet as we see them: ours and the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports {
    pub(crate) local: u16,
    pub(crate) peer: u16,
}

/// A sealed cookie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed {
    bytes: [u8; MAX_COOKIE],
    len: usize,
}

impl std::ops::Deref for Sealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Why a cookie is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CookieError {
    /// Not issued by this endpoint, altered, under an expired secret, or for other ports: to be
    /// discarded silently.
    Forged,
    /// Authentic, but expired for this long.
    Stale(Box<Cookie>, Duration),
}

/// The secrets under which cookies are sealed.
#[derive(Debug)]
pub(crate) struct Secrets {
    rng: Rng,
    epoch: Instant,
    rotated: Instant,
    generation: u8,
    current: Secret,
    previous: Option<Secret>,
}

struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secrets {
    pub(crate) fn new(mut rng: Rng, now: Instant) -> Self {
        let current = Secret(rng.secret());
        Self {
            rng,
            epoch: now,
            rotated: now,
            generation: 0,
            current,
            previous: None,
        }
    }

    /// Seals a cookie.
    pub(crate) fn seal(&mut self, cookie: &Cookie, ports: Ports, now: Instant) -> Sealed {
        self.rotate(now);
        let mut out = Sealed {
            bytes: [0; MAX_COOKIE],
            len: MAC_LEN,
        };
        out.put(&[self.generation]);
        out.put(&self.clock(now).to_be_bytes());
        for word in [
            cookie.life,
            cookie.local_tag,
            cookie.local_tsn,
            cookie.peer_tag,
            cookie.peer_tsn,
            cookie.peer_window,
            cookie.local_tie,
            cookie.peer_tie,
        ] {
            out.put(&word.to_be_bytes());
        }
        out.put(&cookie.outbound.to_be_bytes());
        out.put(&cookie.inbound.to_be_bytes());
        out.put(&cookie.remote.port().to_be_bytes());
        out.put_address(cookie.remote.ip());
        for &address in cookie
            .addresses
            .iter()
            .filter(|&&address| address != cookie.remote.ip())
        {
            out.put_address(address);
        }
        let mac = authenticate(&self.current, ports, &out[MAC_LEN..]);
        out.bytes[..MAC_LEN].copy_from_slice(&mac);
        out
    }

    /// Opens an echoed cookie.
    pub(crate) fn open(
        &mut self,
        sealed: &[u8],
        ports: Ports,
        now: Instant,
    ) -> Result<Cookie, CookieError> {
        self.rotate(now);
        if sealed.len() > MAX_COOKIE {
            return Err(CookieError::Forged);
        }
        let Some((mac, body)) = sealed.split_first_chunk::<MAC_LEN>() else {
            return Err(CookieError::Forged);
        };
        let secret = match (body.first(), &self.previous) {
            (Some(&generation), _) if generation == self.generation => &self.current,
            (Some(&generation), Some(previous))
                if generation == self.generation.wrapping_sub(1) =>
            {
                previous
            }
            _ => return Err(CookieError::Forged),
        };
        if !bool::from(authenticate(secret, ports, body).ct_eq(mac)) {
            return Err(CookieError::Forged);
        }
        let (issued, cookie) = read(body).ok_or(CookieError::Forged)?;
        // 32 bits of milliseconds wrap after a longer time than a secret's life, so the difference
        // is the age.
        let age = self.clock(now).wrapping_sub(issued);
        if age > cookie.life {
            let late = Duration::from_millis(u64::from(age - cookie.life));
            return Err(CookieError::Stale(Box::new(cookie), late));
        }
        Ok(cookie)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "wraps after 49 days, longer than a secret lives"
    )]
    fn clock(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_millis() as u32
    }

    fn rotate(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.rotated);
        if age < SECRET_LIFE {
            return;
        }
        let fresh = Secret(self.rng.secret());
        let old = std::mem::replace(&mut self.current, fresh);
        self.previous = (age < SECRET_LIFE * 2).then_some(old);
        self.generation = self.generation.wrapping_add(1);
        self.rotated = now;
    }
}

impl Sealed {
    fn put(&mut self, bytes: &[u8]) -> bool {
        let end = self.len + bytes.len();
        if end > MAX_COOKIE {
            return false;
        }
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
        true
    }

    fn put_address(&mut self, address: IpAddr) {
        let mut bytes = [0; 17];
        let len = match address {
            IpAddr::V4(address) => {
                bytes[0] = 4;
                bytes[1..5].copy_from_slice(&address.octets());
                5
            }
            IpAddr::V6(address) => {
                bytes[0] = 6;
                bytes[1..].copy_from_slice(&address.octets());
                17
            }
        };
        self.put(&bytes[..len]);
    }
}

fn authenticate(secret: &Secret, ports: Ports, body: &[u8]) -> [u8; MAC_LEN] {
    // HMAC takes keys of any length, so 32 bytes cannot be refused.
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC accepts any key length");
    mac.update(&ports.local.to_be_bytes());
    mac.update(&ports.peer.to_be_bytes());
    mac.update(body);
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut short = [0; MAC_LEN];
    short.copy_from_slice(&full[..MAC_LEN]);
    short
}

/// Reads an authenticated body: the clock at its issue, and the cookie.
fn read(body: &[u8]) -> Option<(u32, Cookie)> {
    let mut rest = body.get(1..)?;
    let mut word = || -> Option<u32> {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        Some(u32::from_be_bytes(*head))
    };
    let issued = word()?;
    let [
        life,
        local_tag,
        local_tsn,
        peer_tag,
        peer_tsn,
        peer_window,
        local_tie,
        peer_tie,
    ] = [
        word()?,
        word()?,
        word()?,
        word()?,
        word()?,
        word()?,
        word()?,
        word()?,
    ];
    let mut half = || -> Option<u16> {
        let (head, tail) = rest.split_first_chunk::<2>()?;
        rest = tail;
        Some(u16::from_be_bytes(*head))
    };
    let [outbound, inbound, port] = [half()?, half()?, half()?];
    let remote = SocketAddr::new(read_address(&mut rest)?, port);
    let mut addresses = InitAddresses::default();
    while !rest.is_empty() {
        addresses.push(read_address(&mut rest)?);
    }
    let cookie = Cookie {
        local_tag,
        local_tsn,
        peer_tag,
        peer_tsn,
        peer_window,
        outbound,
        inbound,
        local_tie,
        peer_tie,
        life,
        remote,
        addresses,
    };
    Some((issued, cookie))
}

fn read_address(rest: &mut &[u8]) -> Option<IpAddr> {
    let (family, tail) = rest.split_first()?;
    match family {
        4 => {
            let (octets, tail) = tail.split_first_chunk::<4>()?;
            *rest = tail;
            Some(Ipv4Addr::from(*octets).into())
        }
        6 => {
            let (octets, tail) = tail.split_first_chunk::<16>()?;
            *rest = tail;
            Some(Ipv6Addr::from(*octets).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const PORTS: Ports = Ports {
        local: 9_260,
        peer: 41_000,
    };

    fn cookie(remote: &str, addresses: &[&str]) -> Cookie {
        Cookie {
            local_tag: 1,
            local_tsn: 2,
            peer_tag: 3,
            peer_tsn: 4,
            peer_window: 5,
            outbound: 6,
            inbound: 7,
            local_tie: 8,
            peer_tie: 9,
            life: 60_000,
            remote: remote.parse().unwrap(),
            addresses: addresses
                .iter()
                .map(|address| address.parse::<IpAddr>().unwrap())
                .collect(),
        }
    }

    #[test]
    fn a_cookie_comes_back_as_it_went_within_its_limit() {
        let now = start();
        let mut secrets = Secrets::new(Rng::new([1; 32]), now);
        for cookie in [
            cookie("10.0.0.1:9899", &["10.0.1.1", "10.0.2.1"]),
            cookie("[2001:db8::1]:7", &["2001:db8::2"]),
        ] {
            let sealed = secrets.seal(&cookie, PORTS, now);
            assert!(sealed.len() <= MAX_COOKIE);
            assert_eq!(
                secrets.open(&sealed, PORTS, now + Duration::from_secs(59)),
                Ok(cookie)
            );
        }
        let addresses: Vec<String> = (2..10).map(|n| format!("2001:db8::{n}")).collect();
        let list: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let many = cookie("[2001:db8::1]:7", &list);
        let sealed = secrets.seal(&many, PORTS, now);
        assert_eq!(sealed.len(), MAX_COOKIE);
        assert_eq!(secrets.open(&sealed, PORTS, now), Ok(many));
    }

    #[test]
    fn altered_stale_or_misdirected_cookies_are_refused() {
        let now = start();
        let mut secrets = Secrets::new(Rng::new([1; 32]), now);
        let cookie = cookie("10.0.0.1:9899", &[]);
        let sealed = secrets.seal(&cookie, PORTS, now);
        for bit in 0..sealed.len() * 8 {
            let mut bent = sealed.to_vec();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                secrets.open(&bent, PORTS, now),
                Err(CookieError::Forged),
                "bit {bit}"
            );
        }
        for len in 0..sealed.len() {
            assert_eq!(
                secrets.open(&sealed[..len], PORTS, now),
                Err(CookieError::Forged),
                "length {len}"
            );
        }
        let other = Ports {
            local: 9_260,
            peer: 41_001,
        };
        assert_eq!(secrets.open(&sealed, other, now), Err(CookieError::Forged));
        let late = secrets.open(&sealed, PORTS, now + Duration::from_secs(61));
        assert_eq!(
            late,
            Err(CookieError::Stale(Box::new(cookie), Duration::from_secs(1)))
        );
    }

    #[test]
    fn a_secret_outlives_one_rotation_and_not_two() {
        let now = start();
        let mut secrets = Secrets::new(Rng::new([1; 32]), now);
        let before = now + SECRET_LIFE - Duration::from_secs(1);
        let sealed = secrets.seal(&cookie("10.0.0.1:9899", &[]), PORTS, before);
        assert!(
            secrets
                .open(&sealed, PORTS, before + Duration::from_secs(30))
                .is_ok()
        );
        assert_eq!(
            secrets.open(&sealed, PORTS, before + SECRET_LIFE * 2),
            Err(CookieError::Forged)
        );
    }
}
