//! A choice by weight between things that stay as they are, as the pools of a route.
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Things chosen by weight.
#[derive(Debug)]
pub struct Split<T> {
    first: T,
    /// The others, each with the cumulative weight of all before it.
    others: Vec<(u64, T)>,
    sum: u64,
}

impl<T> Split<T> {
    /// From weights; zero ones are left out. `None` when nothing is left.
    pub fn new(targets: impl IntoIterator<Item = (u32, T)>) -> Option<Self> {
        let mut targets = targets.into_iter().filter(|(weight, _)| *weight > 0);
        let (weight, first) = targets.next()?;
        let mut sum = u64::from(weight);
        let others = targets
            .map(|(weight, target)| {
                let from = sum;
                sum += u64::from(weight);
                (from, target)
            })
            .collect();
        Some(Self { first, others, sum })
    }

    /// Each with its weight.
    pub fn all(&self) -> impl Iterator<Item = (u64, &T)> {
        let ends = self.others.iter().map(|(from, _)| *from).chain([self.sum]);
        let all = std::iter::once((0, &self.first));
        let all = all.chain(self.others.iter().map(|(from, target)| (*from, target)));
        all.zip(ends).map(|((from, target), end)| (end - from, target))
    }

    /// The one that a key belongs to, by weight: the same in every process, in whatever order they are.
    ///
    /// Weighted rendezvous hashing (Schindelhauer and Schomaker, SPAA 2005, "logarithmic method"): each
    /// draws a number from the key and its own name, as late as its weight is small, and the earliest
    /// has it. Where one changes its weight, comes or goes, only keys that go to it or leave it move.
    pub fn stay(&self, key: u64, name: impl Fn(&T) -> &[u8]) -> &T {
        let late = |weight: u64, target: &T| {
            let drawn = xxh3_64_with_seed(name(target), mix(key));
            // In (0, 1], by the 53 bits that such a number holds.
            let drawn = ((drawn >> 11) + 1) as f64 / (1_u64 << 53) as f64;
            -drawn.ln() / weight as f64
        };
        let all = self.all().map(|(weight, target)| (late(weight, target), target));
        all.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(&self.first, |(_, target)| target)
    }

    /// Draws one by weight; nothing is drawn where there is one.
    ///
    /// The seed is mixed, so that a pool may draw from the same one and still be independent.
    pub fn choose(&self, seed: u64) -> &T {
        if self.others.is_empty() {
            return &self.first;
        }
        let drawn = ((u128::from(mix(seed)) * u128::from(self.sum)) >> 64) as u64;
        let at = self.others.partition_point(|(from, _)| *from <= drawn);
        at.checked_sub(1).map_or(&self.first, |at| &self.others[at].1)
    }
}

/// SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014), from a start of our own.
fn mix(seed: u64) -> u64 {
    let z = seed ^ 0x5851_f42d_4c95_7f2d;
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 200_000;

    fn shares(split: &Split<usize>, seeds: impl Iterator<Item = u64>) -> Vec<f64> {
        let mut counts = vec![0u32; 3];
        let mut all = 0.0;
        for seed in seeds {
            counts[*split.choose(seed)] += 1;
            all += 1.0;
        }
        counts.into_iter().map(|n| f64::from(n) / all).collect()
    }

    #[test]
    fn shares_are_within_one_percent_of_the_weights() {
        let split = Split::new([(94, 0), (5, 1), (0, 7), (1, 2)]).unwrap();
        let mut random = fastrand::Rng::with_seed(3);
        let drawn = shares(&split, (0..DRAWS).map(|_| random.u64(..)));
        let counted = shares(&split, 0..DRAWS);
        for shares in [drawn, counted] {
            for (share, wanted) in shares.iter().zip([0.94, 0.05, 0.01]) {
                assert!((share - wanted).abs() < 0.01 * wanted.max(0.1), "{shares:?}");
            }
        }
    }

    #[test]
    fn a_pool_that_draws_from_the_same_seed_is_independent() {
        let split = Split::new([(95, 0), (5, 1)]).unwrap();
        let mut random = fastrand::Rng::with_seed(4);
        let seeds: Vec<u64> = (0..DRAWS).map(|_| random.u64(..)).collect();
        let canary: Vec<u64> = seeds.into_iter().filter(|s| *split.choose(*s) == 1).collect();
        let upper = canary.iter().filter(|s| **s >> 63 == 1).count() as f64 / canary.len() as f64;
        assert!((upper - 0.5).abs() < 0.03, "{upper}");
    }

    const NAMES: [&[u8]; 4] = [b"app", b"canary", b"dark", b"new"];

    fn kept(weights: &[u32]) -> Vec<usize> {
        let split = Split::new(weights.iter().copied().zip(0..)).unwrap();
        assert!(
            split
                .all()
                .map(|(w, _)| w)
                .eq(weights.iter().filter(|w| **w > 0).map(|w| u64::from(*w)))
        );
        (0..DRAWS).map(|key| *split.stay(key, |place| NAMES[*place])).collect()
    }

    #[test]
    fn keys_are_shared_by_weight_and_no_more_move_than_must() {
        let before = kept(&[50, 30, 20]);
        let share =
            |all: &[usize], of| all.iter().filter(|at| **at == of).count() as f64 / DRAWS as f64;
        for (of, wanted) in [0.5, 0.3, 0.2].into_iter().enumerate() {
            assert!((share(&before, of) - wanted).abs() < 0.005, "{of}: {}", share(&before, of));
        }
        // One grows, one goes, one comes: (weights, who gains, or loses, and how much moves).
        for (weights, of, moved) in [
            (&[50, 80, 20][..], 1, 80.0 / 150.0 - 0.3),
            (&[50, 0, 20], 1, 0.3),
            (&[50, 30, 20, 25], 3, 0.2),
        ] {
            let after = kept(weights);
            let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
            assert!(changed.iter().all(|(a, b)| **a == of || **b == of), "{weights:?}");
            assert!((changed.len() as f64 / DRAWS as f64 - moved).abs() < 0.005, "{weights:?}");
        }
    }

    #[test]
    fn the_order_of_a_file_moves_nobody() {
        let one = Split::new([(95, &b"app"[..]), (5, b"canary")]).unwrap();
        let other = Split::new([(5, &b"canary"[..]), (95, b"app")]).unwrap();
        assert!((0..10_000).all(|key| one.stay(key, |n| n) == other.stay(key, |n| n)));
    }

    #[test]
    fn one_target_is_always_it_and_none_is_no_split() {
        let one = Split::new([(0, 1), (7, 2)]).unwrap();
        assert!((0..100).all(|seed| *one.choose(seed) == 2));
        assert!(Split::new([(0, 1)]).is_none());
    }
}
