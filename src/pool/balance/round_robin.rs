//! Smooth weighted round robin: a schedule made when the set is made, and a cursor over it.
//!
//! In one period each candidate stands exactly as often as its weight says, spread evenly: its k-th
//! place is at (k + ½) / weight of the period, ties by index (earliest virtual deadline first, the
//! even spread that nginx's smooth round robin makes one pick at a time).
use super::balancer::{Ask, Balancer, any_open};
use crate::pool::backend::Candidate;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Places of a schedule at the most: 4 MiB. Weights whose period is longer are scaled down to it,
/// which is exact to half a place each.
const PLACES: u64 = 1 << 20;
/// Closed places that a pick steps over before it asks everybody in turn.
const STEPS: usize = 64;

pub(super) struct RoundRobin {
    schedule: Box<[u32]>,
    cursor: Cursor,
}

/// On a cache line of its own: every worker moves it.
#[repr(align(128))]
struct Cursor(AtomicU32);

impl RoundRobin {
    pub(super) fn new(candidates: &[Candidate], seed: u64) -> Self {
        let weights: Vec<u32> = candidates.iter().map(|c| c.weight).collect();
        let schedule = schedule(&weights);
        // Proxies of one cluster must not all begin with the same backend: the process differs.
        let start = if schedule.is_empty() {
            0
        } else {
            (seed ^ u64::from(std::process::id())) % schedule.len() as u64
        };
        Self { schedule, cursor: Cursor(AtomicU32::new(start as u32)) }
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        let len = self.schedule.len();
        if len == 0 {
            return None;
        }
        for _ in 0..len.min(STEPS) {
            let at = self.cursor.0.fetch_add(1, Relaxed) as usize % len;
            let index = self.schedule[at] as usize;
            if candidates[index].is_open(ask) {
                return Some(index);
            }
        }
        any_open(candidates, ask)
    }
}

fn schedule(weights: &[u32]) -> Box<[u32]> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    let period: u64 = weights.iter().map(|w| u64::from(w / divisor)).sum();
    let scale = |w: u32| {
        let w = u64::from(w / divisor);
        if period <= PLACES { w } else { ((w * PLACES + period / 2) / period).max(1) }
    };
    // A deadline as a 64-bit fraction of the period, beside its index.
    let mut places: Vec<(u64, u32)> = Vec::with_capacity(period.min(PLACES) as usize);
    for (index, weight) in weights.iter().enumerate() {
        let weight = scale(*weight);
        let step = u128::from(u64::MAX) / u128::from(weight.max(1));
        places
            .extend((0..weight).map(|k| ((step * u128::from(2 * k + 1) / 2) as u64, index as u32)));
    }
    places.sort_unstable();
    places.into_iter().map(|(_, index)| index).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
