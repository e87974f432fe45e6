//! Rate limit of replies to sources without an association.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits::THROTTLE_BUCKETS;
use crate::rng::Rng;

/// Token buckets in a table of fixed size. Sources are assigned to buckets by a keyed hash, so that
/// an attacker cannot choose another source's bucket.
#[derive(Debug)]
pub(crate) struct Throttle {
    key: u64,
    rate: u32,
    buckets: Vec<Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Throttle {
    /// Allows `rate` replies per second to each source, and as many at once.
    pub(crate) fn new(rate: u32, rng: &mut Rng, now: Instant) -> Self {
        let rate = rate.max(1);
        Self {
            key: rng.next_u64(),
            rate,
            buckets: vec![
                Bucket {
                    tokens: rate,
                    filled: now
                };
                THROTTLE_BUCKETS
            ],
        }
    }

    /// Takes a token of a source. False if there is none.
    pub(crate) fn allow(&mut self, source: IpAddr, now: Instant) -> bool {
        let at = self.place(source);
        let (rate, bucket) = (self.rate, &mut self.buckets[at]);
        let elapsed = now.saturating_duration_since(bucket.filled);
        let fresh = elapsed.as_micros() * u128::from(rate) / 1_000_000;
        if fresh > 0 {
            let fresh = u32::try_from(fresh).unwrap_or(u32::MAX);
            bucket.tokens = bucket.tokens.saturating_add(fresh).min(rate);
            // The rest of the time counts for the next token.
            bucket.filled = if bucket.tokens == rate {
                now
            } else {
                bucket.filled
                    + Duration::from_micros(u64::from(fresh) * 1_000_000 / u64::from(rate))
            };
        }
        if bucket.tokens == 0 {
            return false;
        }
        bucket.tokens -= 1;
        true
    }

    fn place(&self, source: IpAddr) -> usize {
        let network = match source.to_canonical() {
            IpAddr::V4(address) => u64::from(u32::from(address)),
            // A host can use any address of its /64.
            IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
        };
        let mut mixed = network ^ self.key;
        for _ in 0..2 {
            mixed = (mixed ^ (mixed >> 32))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(self.key.rotate_left(17));
        }
        (mixed >> 32) as usize % THROTTLE_BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn a_source_is_limited_to_its_rate_and_others_are_not_affected() {
        let now = start();
        let mut throttle = Throttle::new(10, &mut Rng::new([3; 32]), now);
        let (noisy, quiet) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert_eq!((0..100).filter(|_| throttle.allow(noisy, now)).count(), 10);
        assert!(throttle.allow(quiet, now));
        let later = now + Duration::from_millis(250);
        assert_eq!((0..100).filter(|_| throttle.allow(noisy, later)).count(), 2);
        let later = now + Duration::from_secs(3_600);
        assert_eq!(
            (0..100).filter(|_| throttle.allow(noisy, later)).count(),
            10,
            "no more than a second's worth"
        );
    }
}
