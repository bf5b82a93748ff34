//! Weighted draws in constant time: Walker's alias method (Vose, 1991).
use crate::pool::backend::Candidate;

#[derive(Debug)]
pub(super) struct Alias {
    /// The share of a column that is its own, as a fraction of 2^32, and whose the rest is.
    columns: Box<[(u32, u32)]>,
}

impl Alias {
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        let n = candidates.len();
        let sum: f64 = candidates.iter().map(|c| f64::from(c.weight)).sum();
        let mut share: Vec<f64> =
            candidates.iter().map(|c| f64::from(c.weight) * n as f64 / sum).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..n).partition(|i| share[*i] < 1.0);
        let mut columns: Vec<(u32, u32)> = (0..n as u32).map(|i| (u32::MAX, i)).collect();
        while let (Some(s), Some(l)) = (small.pop(), large.pop()) {
            columns[s] = ((share[s] * f64::from(u32::MAX)) as u32, l as u32);
            share[l] -= 1.0 - share[s];
            if share[l] < 1.0 { small.push(l) } else { large.push(l) }
        }
        Self { columns: columns.into() }
    }

    /// Draws an index; `None` from nobody.
    pub(super) fn draw(&self, random: u64) -> Option<usize> {
        let (high, low) = (random >> 32, random as u32);
        let column = ((high * self.columns.len() as u64) >> 32) as usize;
        let (own, other) = *self.columns.get(column)?;
        Some(if low <= own { column } else { other as usize })
    }
}
