//! Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4), weighted, by name.
use crate::pool::backend::Candidate;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Slots of a table unless more are needed (a prime).
const SMALL: u32 = 65_537;
/// Slots when the smallest weight would get too few of the small table (a prime).
const LARGE: u32 = 1_000_003;
/// A sum of weights over so many times the smallest wants the large table: below it the smallest
/// has at least a hundred slots.
const RATIO: u64 = 655;

/// The size of a table for these configured weights (never for those that are up just now, or the
/// table would change its size with health).
pub(super) fn auto_size(weights: impl Iterator<Item = u64>) -> u32 {
    let (sum, least) = weights.fold((0u64, u64::MAX), |(sum, least), w| (sum + w, least.min(w)));
    if sum > RATIO.saturating_mul(least) { LARGE } else { SMALL }
}

#[derive(Debug)]
pub(super) struct Maglev(Box<[u32]>);

impl Maglev {
    /// Each backend walks its own permutation of the slots and takes the next free one, in turns
    /// as its weight says. Order and numbers come from names alone.
    pub(super) fn new(candidates: &[Candidate], size: u32) -> Self {
        if candidates.is_empty() {
            return Self(Box::new([]));
        }
        let size = u64::from(size);
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by(|a, b| candidates[*a].backend.name.cmp(&candidates[*b].backend.name));
        let most = candidates.iter().map(|c| c.weight).max().unwrap_or(1);
        let mut walks: Vec<Walk> =
            order.iter().map(|i| Walk::new(&candidates[*i], *i, size)).collect();
        let mut table = vec![u32::MAX; size as usize];
        let mut filled = 0;
        'table: loop {
            for walk in &mut walks {
                walk.credit += walk.weight;
                if walk.credit < most {
                    continue;
                }
                walk.credit -= most;
                let slot = walk.next_free(&table, size);
                table[slot] = walk.index;
                filled += 1;
                if filled == size {
                    break 'table;
                }
            }
        }
        Self(table.into())
    }

    /// Whose slot a hash falls into.
    pub(super) fn at(&self, hash: u64) -> Option<usize> {
        let slot = hash.checked_rem(self.0.len() as u64)?;
        Some(self.0[slot as usize] as usize)
    }
}

struct Walk {
    index: u32,
    weight: u32,
    credit: u32,
    at: u64,
    skip: u64,
}

impl Walk {
    fn new(candidate: &Candidate, index: usize, size: u64) -> Self {
        let name = candidate.backend.name.as_bytes();
        let at = xxh3_64_with_seed(name, 1) % size;
        let skip = xxh3_64_with_seed(name, 2) % (size - 1) + 1;
        Self { index: index as u32, weight: candidate.weight, credit: 0, at, skip }
    }
    fn next_free(&mut self, table: &[u32], size: u64) -> usize {
        loop {
            let slot = self.at as usize;
            self.at += self.skip;
            if self.at >= size {
                self.at -= size;
            }
            if table[slot] == u32::MAX {
                return slot;
            }
        }
    }
}
