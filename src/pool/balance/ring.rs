//! A hash ring (as ketama's): each backend stands at points of its own, by its name and its weight
//! alone, and a key belongs to the next point. So one that goes gives away only its own keys.
use super::sizes::{POINTS, Sizes};
use crate::pool::backend::Candidate;
use crate::pool::balance::draw::mix;
use xxhash_rust::xxh3::xxh3_64;

/// 512 points for each weight, or that power of two less which [`super::sizes::Sizes`] says.
#[derive(Debug)]
pub(super) struct Ring {
    /// By their places, ascending.
    points: Box<[Point]>,
    /// Where the points of each stretch begin, so that a look-up takes the same time whatever their
    /// number. A stretch holds a few, which stand in one cache line: where a ring does not fit the
    /// cache, a look-up waits for memory twice.
    starts: Box<[u32]>,
    shift: u32,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    /// On a circle of 2^32.
    place: u32,
    /// Whose it is.
    owner: u32,
}

impl Ring {
    pub(super) fn new(candidates: &[Candidate], sizes: Sizes) -> Self {
        let mut order: Vec<u32> = (0..candidates.len() as u32).collect();
        order.sort_by_key(|i| &candidates[*i as usize].backend.name);
        // Place and rank of the name in one number: of two at one place the name decides.
        let mut points: Vec<u64> = Vec::new();
        for (rank, index) in (0u64..).zip(&order) {
            let Candidate { backend, weight, .. } = &candidates[*index as usize];
            let name = xxh3_64(backend.name.as_bytes());
            let whole = u64::from(*weight) * POINTS / u64::from(sizes.scale);
            let count = (whole >> sizes.halvings).max(1);
            let place = |k: u64| mix(name.wrapping_add(mix(k))) >> 32 << 32;
            points.extend((0..count).map(|k| place(k) | rank));
        }
        points.sort_unstable();
        let point = |point: &u64| Point {
            place: (point >> 32) as u32,
            owner: order[*point as u32 as usize],
        };
        let points: Box<[Point]> = points.iter().map(point).collect();
        let shift = 32 - (points.len().next_power_of_two().ilog2().max(3) - 2);
        let mut at = 0;
        let start = |stretch: u64| {
            while points.get(at).is_some_and(|point| u64::from(point.place) < stretch << shift) {
                at += 1;
            }
            at as u32
        };
        let starts = (0..1u64 << (32 - shift)).map(start).collect();
        Self { points, starts, shift }
    }

    /// Whose point follows a hash, then whose the following ones are, round and round.
    pub(super) fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let place = (hash >> 32) as u32;
        let mut at = self.starts[(place >> self.shift) as usize] as usize;
        while self.points.get(at).is_some_and(|point| point.place < place) {
            at += 1;
        }
        let (before, after) = self.points.split_at(at);
        after.iter().chain(before).map(|point| point.owner as usize)
    }

    /// How many points there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::testing::{named, weighted};

    fn ring(candidates: &[Candidate]) -> Ring {
        Ring::new(candidates, Sizes::of(candidates.iter().map(|c| c.weight)))
    }

    fn owner(ring: &Ring, candidates: &[Candidate], key: u64) -> String {
        let index = ring.from(mix(key)).next().unwrap();
        candidates[index].backend.name.to_string()
    }

    #[test]
    fn removing_one_moves_only_its_own_keys() {
        for weights in [vec![1; 3], vec![3, 1, 2, 5], vec![1; 100]] {
            let all = weighted(&weights);
            let before = ring(&all);
            for gone in 0..weights.len().min(5) {
                let mut rest = all.clone();
                let gone = rest.remove(gone).backend.name.to_string();
                let after = ring(&rest);
                for key in 0..3000 {
                    let was = owner(&before, &all, key);
                    assert!(was == gone || was == owner(&after, &rest, key), "key {key} moved");
                }
            }
        }
    }

    #[test]
    fn the_ring_does_not_depend_on_the_order_of_the_file() {
        let set = [("c", 2), ("a", 1), ("b", 7), ("d", 1)];
        let mut other = set;
        other.sort();
        let (one, two) = (named(&set), named(&other));
        let (first, second) = (ring(&one), ring(&two));
        for key in 0..5000 {
            assert_eq!(owner(&first, &one, key), owner(&second, &two, key));
        }
    }

    /// The least and the greatest share of the circle, over what the weight says.
    fn spread(weights: &[u32]) -> (f64, f64) {
        let ring = ring(&weighted(weights));
        let mut measure = vec![0f64; weights.len()];
        let mut last = 0u32;
        for Point { place, owner } in &ring.points {
            measure[*owner as usize] += f64::from(*place - last);
            last = *place;
        }
        measure[ring.points[0].owner as usize] += f64::from(u32::MAX - last);
        let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let over = |(m, w): (&f64, &u32)| m / 2f64.powi(32) / (f64::from(*w) / sum);
        let all = || measure.iter().zip(weights).map(over);
        (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max))
    }

    #[test]
    fn the_spread_is_what_is_said() {
        for (what, weights, (least, most)) in [
            ("3 equal", vec![1; 3], (0.88, 1.12)),
            ("3, 2, 1", vec![3, 2, 1], (0.88, 1.12)),
            ("10 equal", vec![1; 10], (0.86, 1.14)),
            ("100 of 1 to 5", (0..100).map(|i| 1 + i % 5).collect(), (0.82, 1.18)),
            ("10,000 equal", vec![1; 10_000], (0.60, 1.45)),
        ] {
            let (low, high) = spread(&weights);
            println!("ring of {what}: shares from {low:.3} to {high:.3} of the weight's");
            assert!(low >= least && high <= most, "{what}: {low} to {high}");
        }
    }

    #[test]
    fn a_lookup_finds_the_next_point_and_goes_round() {
        let candidates = weighted(&[1, 2, 3]);
        let ring = ring(&candidates);
        for hash in [0, 1, u64::MAX, 1 << 40, u64::MAX / 3] {
            let place = (hash >> 32) as u32;
            let at = ring.points.partition_point(|p| p.place < place) % ring.len();
            assert_eq!(ring.from(hash).next(), Some(ring.points[at].owner as usize), "{hash}");
            assert_eq!(ring.from(hash).count(), ring.len());
        }
        assert_eq!(Ring::new(&[], Sizes::of([].into_iter())).from(5).next(), None);
    }
}
