//! Where parts of one text stand in another: the search behind [`delta`](super::delta).
//!
//! In:  a source, cut into blocks of 16 bytes that are found by a hash; then a target.
//! Out: matches in the target's order, which do not overlap.
//!
//! The hash rolls over the target, so every place is looked at. At most [`CANDIDATES_MAX`] blocks of one hash are
//! compared: repetitive texts cost no more than others.

use std::ops::Range;

use super::delta::{common_prefix, common_suffix};

/// Shorter matches are not found, and would hardly be worth their command.
const BLOCK_BYTES: usize = 16;
/// How many blocks with one hash are compared.
const CANDIDATES_MAX: usize = 16;
/// Any odd number mixes; this is the one of Knuth's multiplicative hash.
const BASE: u32 = 2_654_435_761;
/// No block: ends a chain.
const NONE: u32 = u32::MAX;

/// The blocks of a source, by hash.
pub(super) struct Index<'s> {
    source: &'s [u8],
    /// The last block of each slot.
    heads: Vec<u32>,
    /// The block before it in the same slot.
    chains: Vec<u32>,
    shift: u32,
}

impl<'s> Index<'s> {
    /// `None` where the source, or the part of the target that is looked for, is shorter than a block; or where
    /// the source has more blocks than are counted.
    pub(super) fn new(source: &'s [u8], wanted_bytes: usize) -> Option<Self> {
        let blocks = u32::try_from(source.len() / BLOCK_BYTES).ok().filter(|blocks| *blocks > 0)?;
        if wanted_bytes < BLOCK_BYTES {
            return None;
        }
        let slots_log2 = (blocks.ilog2() + 1).min(31);
        let mut index = Self {
            source,
            heads: vec![NONE; 1 << slots_log2],
            chains: Vec::with_capacity(blocks as usize),
            shift: 32 - slots_log2,
        };
        for (number, block) in (0..blocks).zip(source.chunks_exact(BLOCK_BYTES)) {
            let slot = index.slot(hash(block));
            index.chains.push(std::mem::replace(&mut index.heads[slot], number));
        }
        Some(index)
    }

    /// Tells `found` of each match: where in the target, where in the source, how long.
    pub(super) fn find_matches(
        &self,
        target: &[u8],
        wanted: Range<usize>,
        mut found: impl FnMut(usize, usize, usize),
    ) {
        // What the first byte of a block weighs in its hash.
        let leaving_weight = (1..BLOCK_BYTES).fold(1, |weight: u32, _| weight.wrapping_mul(BASE));
        let mut taken = wanted.start;
        let mut at = wanted.start;
        while at + BLOCK_BYTES <= wanted.end {
            let mut rolling = hash(&target[at..at + BLOCK_BYTES]);
            loop {
                if let Some((start, offset, len)) = self.longest(rolling, target, at, taken, wanted.end) {
                    found(start, offset, len);
                    taken = start + len;
                    at = taken;
                    break;
                }
                let Some(entering) = target[..wanted.end].get(at + BLOCK_BYTES) else { return };
                rolling = rolling
                    .wrapping_sub(u32::from(target[at]).wrapping_mul(leaving_weight))
                    .wrapping_mul(BASE)
                    .wrapping_add(u32::from(*entering));
                at += 1;
            }
        }
    }

    /// The longest match around the block at `at`: it may reach back to `from` and on to `to`.
    fn longest(
        &self,
        hash: u32,
        target: &[u8],
        at: usize,
        from: usize,
        to: usize,
    ) -> Option<(usize, usize, usize)> {
        let mut best = None;
        let mut best_len = BLOCK_BYTES - 1;
        let mut block = self.heads[self.slot(hash)];
        for _ in 0..CANDIDATES_MAX {
            if block == NONE {
                break;
            }
            let offset = block as usize * BLOCK_BYTES;
            let ahead = common_prefix(&self.source[offset..], &target[at..to]);
            if ahead >= BLOCK_BYTES {
                let back = common_suffix(&self.source[..offset], &target[from..at]);
                if back + ahead > best_len {
                    best_len = back + ahead;
                    best = Some((at - back, offset - back, best_len));
                }
            }
            block = self.chains[block as usize];
        }
        best
    }

    const fn slot(&self, hash: u32) -> usize {
        // The upper bits of a product are the well-mixed ones.
        (hash.wrapping_mul(BASE) >> self.shift) as usize
    }
}

/// A polynomial of the bytes, which can be rolled on by one byte.
fn hash(block: &[u8]) -> u32 {
    block.iter().fold(0, |hash: u32, byte| hash.wrapping_mul(BASE).wrapping_add(u32::from(*byte)))
}
