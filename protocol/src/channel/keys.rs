//! The key schedule of the record layer.
//!
//! ```text
//! root                 = TLS-Exporter("EXPORTER-towpath-1-records", "", 32)
//! chain(d, s, 0)       = HKDF-Expand(root,             "towpath/1 stream"   ‖ d ‖ s,     32)
//! secret(d, s, g)      = HKDF-Expand(chain(d, s, g-1), "towpath/1 transfer" ‖ d ‖ s ‖ g, 32)
//! chain(d, s, g)       = HKDF-Expand(chain(d, s, g-1), "towpath/1 next"     ‖ d ‖ s ‖ g, 32)
//! key(d, s, g, b)      = HKDF-Expand(secret(d, s, g),  "towpath/1 key"      ‖ b,         32)
//! ```
//! d is the direction in one byte, s the stream in 2, g the generation in 4, and b the record
//! number shifted right by 20 bits, in 8; all big-endian. The hash is SHA-256 (RFC 5869 §2.3; the
//! exporter's output is uniform, so §3.3 lets Extract be skipped).
//!
//! The root is zeroised once the chains of all agreed streams exist, a chain once the next one
//! does. That alone does not make the keys of ended transfers unrecoverable: rustls keeps its
//! exporter secret, from which the root can be derived again, until the connection is dropped.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use zeroize::Zeroizing;

/// Label of the exporter that keys the records (RFC 8446 §7.5).
pub(crate) const EXPORTER_LABEL: &[u8] = b"EXPORTER-towpath-1-records";

/// A key number covers this many bits of the record number: 2^20 records are 64 GiB, far below the
/// limits of both AEADs.
const KEY_SHIFT: u32 = 20;

/// Thirty-two secret bytes, zeroised on drop.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ClientToServer,
    ServerToClient,
}

impl Direction {
    /// The byte in key derivation and associated data.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::ClientToServer => 0,
            Self::ServerToClient => 1,
        }
    }

    pub(crate) const fn reverse(self) -> Self {
        match self {
            Self::ClientToServer => Self::ServerToClient,
            Self::ServerToClient => Self::ClientToServer,
        }
    }
}

/// Length of the output of [`expand`], as aws-lc-rs wants it said.
struct Len32;

impl KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}

fn expand(prk: &Secret, info: &[&[u8]]) -> Secret {
    let mut out = Zeroizing::new([0; 32]);
    let prk = Prk::new_less_safe(HKDF_SHA256, &prk[..]);
    prk.expand(info, Len32)
        .and_then(|okm| okm.fill(&mut out[..]))
        .expect("32 bytes are fewer than 255 blocks and exactly the length asked for");
    out
}

/// What the exporter gave, until the streams are known.
pub(crate) struct Root(Secret);

impl Root {
    pub(crate) fn new(exported: Secret) -> Self {
        Self(exported)
    }

    /// The chain of a stream and direction, before its first transfer.
    pub(crate) fn chain(&self, direction: Direction, stream: u16) -> Chain {
        let secret = expand(
            &self.0,
            &[
                b"towpath/1 stream",
                &[direction.byte()],
                &stream.to_be_bytes(),
            ],
        );
        Chain {
            direction,
            stream,
            generation: 0,
            secret,
        }
    }
}

/// Yields the secrets of one transfer after the other, and cannot go back.
pub(crate) struct Chain {
    direction: Direction,
    stream: u16,
    generation: u32,
    secret: Secret,
}

impl Chain {
    /// Whether there is no next transfer.
    pub(crate) const fn is_exhausted(&self) -> bool {
        self.generation == u32::MAX
    }

    /// The secret of the next transfer, and its generation; `None` after 2^32 - 1 of them.
    pub(crate) fn advance(&mut self) -> Option<TransferSecret> {
        let generation = self.generation.checked_add(1)?;
        let place: [&[u8]; 3] = [
            &[self.direction.byte()],
            &self.stream.to_be_bytes(),
            &generation.to_be_bytes(),
        ];
        let secret = expand(
            &self.secret,
            &[b"towpath/1 transfer", place[0], place[1], place[2]],
        );
        let next = expand(
            &self.secret,
            &[b"towpath/1 next", place[0], place[1], place[2]],
        );
        self.secret = next;
        self.generation = generation;
        Some(TransferSecret {
            direction: self.direction,
            stream: self.stream,
            generation,
            secret,
        })
    }
}

/// The secret of one direction of one transfer.
pub(crate) struct TransferSecret {
    pub(crate) direction: Direction,
    pub(crate) stream: u16,
    pub(crate) generation: u32,
    secret: Secret,
}

impl TransferSecret {
    /// The AEAD key of a block of records.
    pub(crate) fn key(&self, block: u64) -> Secret {
        expand(&self.secret, &[b"towpath/1 key", &block.to_be_bytes()])
    }

    /// The block that a record belongs to.
    pub(crate) const fn block(record: u64) -> u64 {
        record >> KEY_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn each_place_has_its_own_key() {
        let root = Root::new(Zeroizing::new([7; 32]));
        let mut seen = std::collections::BTreeSet::new();
        for direction in [Direction::ClientToServer, Direction::ServerToClient] {
            for stream in [1, 2, 256] {
                let mut chain = root.chain(direction, stream);
                for generation in 1..=3 {
                    let secret = chain.advance().unwrap();
                    assert_eq!(secret.generation, generation);
                    for block in [0, 1, 1 << 43] {
                        assert!(seen.insert(*secret.key(block)));
                    }
                }
            }
        }
        assert_eq!(seen.len(), 54);
    }

    #[test]
    fn blocks_change_every_2_to_the_20() {
        assert_eq!(TransferSecret::block(0), 0);
        assert_eq!(TransferSecret::block((1 << 20) - 1), 0);
        assert_eq!(TransferSecret::block(1 << 20), 1);
    }

    /// The vectors of docs/PROTOCOL.md, which were computed with Python's `hmac`.
    #[test]
    fn vector() {
        let root: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let root = Root::new(Zeroizing::new(root));
        let mut chain = root.chain(Direction::ServerToClient, 3);
        let first = chain.advance().unwrap();
        let second = chain.advance().unwrap();
        assert_eq!(
            hex(&first.key(0)[..]),
            "735019dd2896c0b829e2c55c77e384bc6c16befd2120c811e0bda486c2b45c0a"
        );
        assert_eq!(
            hex(&second.key(1)[..]),
            "6d7c6755369a32f8dc2659fa7da7fc12daf49933c401fadf657886f67f00d24b"
        );
    }
}
