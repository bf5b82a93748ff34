//! A hash ring: each backend stands at points of its own, by name, and a key belongs to the next one.
use crate::pool::backend::Candidate;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Points of a backend of weight 1: as ketama has them; the spread of shares is about
/// 1/sqrt(points).
const POINTS: u64 = 160;
/// Points of a ring at the most (64 MiB). Beyond it each weight has half as many, and again: a
/// power of two, so that one backend more or less seldom moves the points of the others.
const MOST: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Ring {
    points: Box<[(u64, u32)]>,
    /// Where the points of each stretch of the ring begin, so that a look-up takes the same time
    /// whatever their number.
    starts: Box<[u32]>,
    shift: u32,
}

impl Ring {
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        let weights: u64 = candidates.iter().map(|c| u64::from(c.weight)).sum();
        let mut halvings = 0;
        while (weights * POINTS) >> halvings > MOST {
            halvings += 1;
        }
        let mut points: Vec<(u64, u32)> = Vec::new();
        for (index, candidate) in candidates.iter().enumerate() {
            let name = candidate.backend.name.as_bytes();
            let count = ((u64::from(candidate.weight) * POINTS) >> halvings).max(1);
            points.extend((0..count).map(|k| (xxh3_64_with_seed(name, k), index as u32)));
        }
        // Two names at one point: the order of names decides, not that of the file.
        points.sort_unstable_by(|a, b| {
            let name = |i: u32| &candidates[i as usize].backend.name;
            a.0.cmp(&b.0).then_with(|| name(a.1).cmp(name(b.1)))
        });
        let bits = points.len().next_power_of_two().trailing_zeros().max(1);
        let shift = 64 - bits;
        let mut starts = Vec::with_capacity(1 << bits);
        let mut at = 0;
        for stretch in 0..1u64 << bits {
            while points.get(at).is_some_and(|p| p.0 >> shift < stretch) {
                at += 1;
            }
            starts.push(at as u32);
        }
        Self { points: points.into(), starts: starts.into(), shift }
    }

    /// The point a hash belongs to.
    pub(super) fn find(&self, hash: u64) -> usize {
        let mut at = self.starts[(hash >> self.shift) as usize] as usize;
        while self.points.get(at).is_some_and(|p| p.0 < hash) {
            at += 1;
        }
        at
    }

    /// Whose point this is; points go round.
    pub(super) fn at(&self, point: usize) -> Option<usize> {
        let at = point.checked_rem(self.points.len())?;
        Some(self.points[at].1 as usize)
    }

    /// How many points.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }
}
