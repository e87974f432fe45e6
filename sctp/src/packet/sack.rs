//! Selective acknowledgements (RFC 9260 §3.3.4).

use super::header::{be16, be32};

/// Bytes of the fixed fields.
const FIXED: usize = 12;

/// A range of received TSNs as offsets from the cumulative point, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapBlock {
    /// Offset of the first TSN, at least 2 in a valid SACK.
    pub start: u16,
    /// Offset of the last TSN.
    pub end: u16,
}

/// The content of a SACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sack<'a> {
    /// The last TSN received in sequence.
    pub cumulative: u32,
    /// Advertised receive window in bytes.
    pub window: u32,
    blocks: &'a [u8],
    duplicates: &'a [u8],
}

impl<'a> Sack<'a> {
    /// Reads a SACK, in which the counts must match the length.
    pub(super) fn read(value: &'a [u8]) -> Option<Self> {
        if value.len() < FIXED {
            return None;
        }
        let blocks = usize::from(be16(value, 8)) * 4;
        let duplicates = usize::from(be16(value, 10)) * 4;
        let lists = &value[FIXED..];
        if lists.len() != blocks + duplicates {
            return None;
        }
        let (blocks, duplicates) = lists.split_at(blocks);
        Some(Sack {
            cumulative: be32(value, 0),
            window: be32(value, 4),
            blocks,
            duplicates,
        })
    }

    /// The gap blocks as they were sent: neither sorted nor checked.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = GapBlock> + Clone + use<'a> {
        self.blocks.chunks_exact(4).map(|block| GapBlock {
            start: be16(block, 0),
            end: be16(block, 2),
        })
    }

    /// TSNs that the peer received more than once.
    pub fn duplicates(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.duplicates.chunks_exact(4).map(|tsn| be32(tsn, 0))
    }
}
