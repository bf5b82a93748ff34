//! Sizes of hash tables, by what is configured and never by health: a table whose size changed with
//! every backend that goes down would move nearly all keys each time.

/// Slots of a Maglev table unless more are needed (a prime).
pub(in crate::pool) const SMALL: u32 = 65_537;
/// Slots when the smallest weight would get too few of the small table (a prime).
pub(in crate::pool) const LARGE: u32 = 1_000_003;
/// A sum of weights over so many times the smallest wants the large table: below it the smallest
/// has at least a hundred slots, so that rounding to whole slots is within 1 %.
const RATIO: u64 = 655;
/// Points of a weight of 1 on a ring: the spread of shares is about 1/sqrt(points), here 4.4 %.
pub(super) const POINTS: u64 = 512;
/// Points of a ring at the most (16 MiB). Beyond, each weight has half as many, and again.
const MOST_POINTS: u64 = 2 << 20;

/// Sizes of the hash tables of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) struct Sizes {
    /// Slots of a Maglev table with `size = "auto"`.
    pub(in crate::pool) slots: u32,
    /// A ring has this power of two fewer points for each weight.
    pub(in crate::pool) halvings: u32,
    /// What weights are multiplied by while somebody ramps: no more points for that.
    pub(in crate::pool) scale: u32,
}

impl Sizes {
    /// For these configured weights; those of 0 do not count.
    pub(in crate::pool) fn of(weights: impl Iterator<Item = u32>) -> Self {
        let (sum, least) = weights.filter(|w| *w > 0).fold((0u64, u64::MAX), |(sum, least), w| {
            (sum + u64::from(w), least.min(u64::from(w)))
        });
        let slots = if sum > RATIO.saturating_mul(least) { LARGE } else { SMALL };
        let mut halvings = 0;
        while (sum * POINTS) >> halvings > MOST_POINTS {
            halvings += 1;
        }
        Self { slots, halvings, scale: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_table_begins_above_655_times_the_smallest() {
        let slots = |weights: Vec<u32>| Sizes::of(weights.into_iter()).slots;
        assert_eq!(slots(vec![1; 655]), SMALL);
        assert_eq!(slots(vec![1; 656]), LARGE);
        assert_eq!(slots(vec![1000; 655]), SMALL, "only the ratio counts");
        assert_eq!(slots(vec![655, 1]), LARGE);
        assert_eq!(slots(vec![654, 1, 0]), SMALL, "a weight of 0 is no part of it");
        assert_eq!(slots(vec![]), SMALL);
    }

    #[test]
    fn rings_stay_below_their_most() {
        let halvings = |weights: Vec<u32>| Sizes::of(weights.into_iter()).halvings;
        assert_eq!(halvings(vec![1; 4096]), 0);
        assert_eq!(halvings(vec![1; 4097]), 1);
        assert_eq!(halvings(vec![1; 10_000]), 2);
    }
}
