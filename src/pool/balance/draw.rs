//! Random draws: a mixer of bits, and weighted draws in constant time by Walker's alias method
//! (Vose, 1991).
use crate::pool::backend::Candidate;

/// Spreads a number over all bits (splitmix64: Steele, Lea, Flood, 2014).
pub(super) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `n`, from 64 random bits or a hash, without a division (Lemire, 2019).
pub(super) const fn below(random: u64, n: u64) -> u64 {
    ((random as u128 * n as u128) >> 64) as u64
}

/// Weighted draws. Each column is split between its own index and one other.
#[derive(Debug)]
pub(super) struct Alias(Box<[Column]>);

#[derive(Clone, Copy, Debug)]
struct Column {
    /// The own share, as a fraction of 2^32. 2^32 itself is said by `other` being its own index.
    own: u32,
    other: u32,
}

impl Alias {
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        let n = candidates.len();
        let sum: f64 = candidates.iter().map(|c| f64::from(c.weight)).sum();
        let mut share: Vec<f64> =
            candidates.iter().map(|c| f64::from(c.weight) * n as f64 / sum).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|i| share[*i] < 1.);
        let mut columns: Vec<Column> =
            (0..n as u32).map(|i| Column { own: u32::MAX, other: i }).collect();
        while let (Some(s), Some(l)) = (small.pop(), large.pop()) {
            columns[s] = Column { own: (share[s] * 2f64.powi(32)) as u32, other: l as u32 };
            share[l] -= 1.0 - share[s];
            if share[l] < 1.0 { small.push(l) } else { large.push(l) }
        }
        Self(columns.into())
    }

    /// Draws an index; `None` from nobody.
    pub(super) fn draw(&self, random: u64) -> Option<usize> {
        let wide = random as u128 * self.0.len() as u128;
        let (column, rest) = ((wide >> 64) as usize, (wide >> 32) as u32);
        let Column { own, other } = *self.0.get(column)?;
        Some(if rest < own { column } else { other as usize })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::testing::weighted;

    #[test]
    fn columns_give_each_its_share_of_all_seeds() {
        for weights in [vec![1], vec![1, 1], vec![1, 3], vec![1000, 1, 500, 7, 7]] {
            let alias = Alias::new(&weighted(&weights));
            let n = weights.len();
            // The draw is piecewise linear in the random word: the exact measure of each.
            let mut measure = vec![0f64; n];
            for (i, column) in alias.0.iter().enumerate() {
                let own = f64::from(column.own) / 2f64.powi(32);
                measure[i] += own;
                measure[column.other as usize] += 1.0 - own;
            }
            let sum: u32 = weights.iter().sum();
            for (i, weight) in weights.iter().enumerate() {
                let want = f64::from(*weight) * n as f64 / f64::from(sum);
                let off = (measure[i] / want - 1.0).abs();
                assert!(off < 1e-6, "{weights:?}: {i} is off by {off}");
            }
        }
    }

    #[test]
    fn draws_stay_inside() {
        let alias = Alias::new(&weighted(&[5, 1, 1]));
        for random in [0, 1, u64::MAX, u64::MAX / 3, 1 << 63] {
            assert!(alias.draw(random).is_some_and(|i| i < 3));
        }
        assert_eq!(Alias::new(&[]).draw(7), None);
        assert_eq!((below(0, 10), below(u64::MAX, 10)), (0, 9));
    }
}
