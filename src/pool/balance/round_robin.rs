//! Smooth weighted round robin: a schedule made with the set, and a cursor over it that all workers
//! share.
use super::balancer::{Ask, Balancer, next_open};
use super::draw::mix;
use super::policies::Seeds;
use super::schedule::Schedule;
use crate::pool::backend::Candidate;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Closed places that a pick steps over before it asks everybody in turn.
const STEPS: usize = 16;

pub(super) struct RoundRobin {
    schedule: Schedule,
    cursor: Cursor,
}

/// On a cache line of its own: every worker moves it.
#[repr(align(128))]
struct Cursor(AtomicU64);

impl RoundRobin {
    /// Begins where the process says, so that several proxies do not march in step, and as many
    /// picks later as its candidates had: a set that is published again and again goes on with the
    /// schedule and does not favour its beginning.
    pub(super) fn new(candidates: &[Candidate], seeds: Seeds) -> Self {
        let weights: Vec<u32> = candidates.iter().map(|c| c.weight).collect();
        let picks: u64 = candidates.iter().map(|c| c.backend.picks().all()).sum();
        let start = (mix(seeds.own) >> 16).wrapping_add(picks);
        Self { schedule: Schedule::new(&weights), cursor: Cursor(AtomicU64::new(start)) }
    }
}

impl RoundRobin {
    #[inline(always)]
    fn walk(
        &self,
        candidates: &[Candidate],
        ask: &Ask<'_>,
        mut turn: impl FnMut() -> u64,
    ) -> Option<usize> {
        for n in 0..STEPS {
            let index = self.schedule.at(turn())?;
            let candidate = &candidates[index];
            if candidate.is_open(ask) && (n == 0 || candidate.stands_in(ask)) {
                return Some(index);
            }
        }
        next_open(candidates, mix(ask.seed), ask)
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        self.walk(candidates, ask, || self.cursor.0.fetch_add(1, Relaxed))
    }

    fn peek(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        let mut turns = self.cursor.0.load(Relaxed)..;
        self.walk(candidates, ask, || turns.next().unwrap_or(0))
    }

    fn wants_load(&self) -> bool {
        false
    }

    fn wants_cost(&self) -> bool {
        false
    }
}
