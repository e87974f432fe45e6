//! A deterministic random number generator seeded by the caller: SHA-256 in counter mode with key
//! erasure.

use sha2::{Digest, Sha256};

/// Random numbers for tags, initial TSNs, nonces, secrets and jitter.
#[derive(Clone)]
pub(crate) struct Rng {
    key: [u8; 32],
    block: [u8; 32],
    used: usize,
}

impl Rng {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            key: seed,
            block: [0; 32],
            used: 32,
        }
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }

    /// A port that needs no privilege: 1,024 to 65,535.
    pub(crate) fn port(&mut self) -> u16 {
        const FIRST: u16 = 1_024;
        let below = self.next_u32() % u32::from(u16::MAX - FIRST + 1);
        FIRST + u16::try_from(below).unwrap_or(0)
    }

    /// An independent generator, so that numbers drawn from it do not affect this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.take())
    }

    /// A fresh 256-bit secret.
    pub(crate) fn secret(&mut self) -> [u8; 32] {
        self.take()
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        for byte in &mut out {
            if self.used == self.block.len() {
                self.refill();
            }
            *byte = self.block[self.used];
            self.block[self.used] = 0;
            self.used += 1;
        }
        out
    }

    /// Computes the next block and replaces the key, so that a leaked state does not reveal earlier
    /// numbers.
    fn refill(&mut self) {
        let derive = |label: &[u8]| -> [u8; 32] {
            let mut hash = Sha256::new();
            hash.update(self.key);
            hash.update(label);
            hash.finalize().into()
        };
        let (block, key) = (derive(b"block"), derive(b"key"));
        self.block = block;
        self.key = key;
        self.used = 0;
    }
}

impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_agree_and_streams_do_not_repeat() {
        let (mut a, mut b) = (Rng::new([7; 32]), Rng::new([7; 32]));
        let first: Vec<u64> = (0..64).map(|_| a.next_u64()).collect();
        assert_eq!(first, (0..64).map(|_| b.next_u64()).collect::<Vec<_>>());
        let mut sorted = first.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), first.len());
        assert_ne!(a.fork().next_u64(), a.fork().next_u64());
    }
}
