//! A tournament over candidates: the least loaded one at the root, kept by walks of log n.
use crate::pool::backend::Candidate;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Nobody stands in this node.
const NONE: u32 = u32::MAX;

pub(super) struct Tree {
    leaves: usize,
    /// Node 1 is the root, node i has 2i and 2i + 1; leaves hold their own index.
    winners: Box<[AtomicU32]>,
    /// When each last moved: of equals the one that rested longest wins.
    moved: Box<[AtomicU32]>,
    clock: AtomicU32,
}

impl Tree {
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        let leaves = candidates.len().next_power_of_two().max(1);
        let winners: Box<[AtomicU32]> = (0..2 * leaves).map(|_| AtomicU32::new(NONE)).collect();
        let moved = (0..candidates.len()).map(|_| AtomicU32::new(0)).collect();
        let tree = Self { leaves, winners, moved, clock: AtomicU32::new(1) };
        for index in 0..candidates.len() {
            tree.winners[leaves + index].store(index as u32, Relaxed);
        }
        for node in (1..leaves).rev() {
            tree.winners[node].store(tree.play(candidates, node), Relaxed);
        }
        tree
    }

    /// The winner of a node's two children.
    fn play(&self, candidates: &[Candidate], node: usize) -> u32 {
        let left = self.winners[2 * node].load(Relaxed);
        let right = self.winners[2 * node + 1].load(Relaxed);
        if right == NONE || (left != NONE && !self.is_before(candidates, right, left)) {
            left
        } else {
            right
        }
    }

    fn is_before(&self, candidates: &[Candidate], a: u32, b: u32) -> bool {
        let (x, y) = (&candidates[a as usize], &candidates[b as usize]);
        let load = |c: &Candidate, other: &Candidate| {
            u64::from(c.backend.active() + 1) * u64::from(other.weight)
        };
        let (left, right) = (load(x, y), load(y, x));
        let rested = |i: u32| self.moved[i as usize].load(Relaxed);
        left < right || (left == right && rested(a) < rested(b))
    }

    /// A candidate's load moved.
    pub(super) fn update(&self, candidates: &[Candidate], index: usize) {
        self.moved[index].store(self.clock.fetch_add(1, Relaxed), Relaxed);
        let mut node = (self.leaves + index) / 2;
        while node >= 1 {
            self.winners[node].store(self.play(candidates, node), Relaxed);
            node /= 2;
        }
    }

    /// The least loaded one for which `open` holds. Goes below a node only when its winner is closed.
    pub(super) fn best(
        &self,
        candidates: &[Candidate],
        open: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        self.best_below(candidates, 1, open)
    }

    fn best_below(
        &self,
        candidates: &[Candidate],
        node: usize,
        open: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        let winner = self.winners[node].load(Relaxed);
        if winner == NONE {
            return None;
        }
        if open(winner as usize) {
            return Some(winner as usize);
        }
        if node >= self.leaves {
            return None;
        }
        let left = self.best_below(candidates, 2 * node, open);
        let right = self.best_below(candidates, 2 * node + 1, open);
        match (left, right) {
            (Some(l), Some(r)) if self.is_before(candidates, r as u32, l as u32) => Some(r),
            (None, right) => right,
            (left, _) => left,
        }
    }
}
