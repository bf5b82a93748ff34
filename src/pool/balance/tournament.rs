//! A tournament over candidates: the least loaded one stands at the root, and a load that changed
//! is played up again by a walk of log n. Lock-free.
//!
//! Each inner node holds the winner of its sides. A node is played again by reading all sides
//! and swapping the result in, twice where another thread was faster (Jayanti's f-arrays, PODC
//! 2002): when both swaps lose, the other thread read the sides after we changed ours.
use super::balancer::{Ask, next_open};
use super::draw::{below, mix};
use crate::pool::backend::Candidate;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

/// Sides of a node. With four a change is played up half as many nodes as with two, and a node's
/// sides still stand on one cache line or two.
const SIDES: usize = 4;
/// Nobody stands there.
const NOBODY: u32 = u32::MAX;
/// The load of one that is closed: above every real one.
const CLOSED: u64 = u64::MAX;

pub(super) struct Tournament {
    leaves: Box<[Leaf]>,
    /// Inner nodes; 0 is the root, the sides of i are 4i + 1 to 4i + 4, leaves follow the inner ones.
    /// High half: times it was played, so that a swap sees every change. Low half: the winner.
    nodes: Box<[AtomicU64]>,
    /// Takes so far: the rest of equals is told by it.
    clock: AtomicU64,
    /// What failed lately fades with time, of which nobody tells: while that is so each pick looks at
    /// one more, and this counts down to nobody.
    fading: AtomicU32,
    /// The last pick that did so: milliseconds since this was made.
    then: AtomicU32,
    made: Instant,
}

/// What a candidate plays with.
struct Leaf {
    /// The load by weight as the bits of an f64, which sort as the numbers do and tell any two
    /// such fractions apart while what is in work is below 2^26.
    load: AtomicU64,
    /// When it was last taken.
    taken: AtomicU64,
}

impl Tournament {
    /// Equals are chosen first in an order that begins where the seed says.
    pub(super) fn new(candidates: &[Candidate], seed: u64) -> Self {
        let n = candidates.len() as u64;
        let start = below(mix(seed), n);
        let made = Instant::now();
        let leaf = |(i, candidate): (u64, &Candidate)| Leaf {
            load: AtomicU64::new(load(candidate, made)),
            taken: AtomicU64::new((i + n - start) % n),
        };
        let leaves: Box<[Leaf]> = (0..).zip(candidates).map(leaf).collect();
        let mut inner = 1;
        while inner * (SIDES - 1) + 1 < candidates.len() {
            inner = inner * SIDES + 1;
        }
        let nodes = (0..inner).map(|_| AtomicU64::new(u64::from(NOBODY))).collect();
        let tournament = Self {
            leaves,
            nodes,
            clock: AtomicU64::new(n),
            fading: AtomicU32::new(n as u32),
            then: AtomicU32::new(0),
            made,
        };
        (0..inner).rev().for_each(|node| _ = tournament.play(node));
        tournament
    }

    /// The least loaded one that is open.
    pub(super) fn best(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        if self.fading.load(Relaxed) > 0 {
            self.look_again(candidates, ask.now);
        }
        let winner = self.winner(0);
        let candidate = candidates.get(winner as usize)?;
        if candidate.is_open(ask) {
            return Some(winner as usize);
        }
        // Closed for everybody, not only for this ask: it need not stand in the way of the next.
        if !ask.avoids(candidate.backend.id) {
            self.update(candidates, winner as usize);
        }
        match self.best_below(0, candidates, ask) {
            NOBODY => next_open(candidates, mix(ask.seed), ask),
            index => Some(index as usize),
        }
    }

    /// As `best`, without a look at anybody again: of what was not told yet it knows nothing.
    pub(super) fn peek(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        let best = |best: u32, index: usize| match candidates[index].is_open(ask) {
            true => self.better(best, index as u32),
            false => best,
        };
        (0..candidates.len())
            .fold(None, |found, index| match found {
                None => candidates[index].is_open(ask).then_some(index as u32),
                Some(found) => Some(best(found, index)),
            })
            .map(|index| index as usize)
    }

    fn now(&self) -> Instant {
        self.made + Duration::from_millis(u64::from(self.then.load(Relaxed)))
    }

    #[cold]
    fn look_again(&self, candidates: &[Candidate], now: Instant) {
        let then = now.saturating_duration_since(self.made).as_millis();
        self.then.store(u32::try_from(then).unwrap_or(u32::MAX), Relaxed);
        let left = self.fading.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        if let Ok(left) = left {
            self.update(candidates, left as usize - 1);
        }
    }

    /// Goes below a node only when its winner is closed: with k closed ones, k walks of log n.
    fn best_below(&self, node: usize, candidates: &[Candidate], ask: &Ask<'_>) -> u32 {
        let winner = self.winner(node);
        if winner == NOBODY || self.leaves[winner as usize].load.load(Relaxed) == CLOSED {
            return NOBODY;
        }
        let candidate = &candidates[winner as usize];
        if candidate.is_open(ask) {
            return winner;
        }
        if !ask.avoids(candidate.backend.id) {
            self.update(candidates, winner as usize);
        }
        if node >= self.nodes.len() {
            return NOBODY;
        }
        let best = |best, side| self.better(best, self.best_below(side, candidates, ask));
        sides(node).fold(NOBODY, best)
    }

    /// A candidate's load changed, or whether it is closed.
    pub(super) fn update(&self, candidates: &[Candidate], index: usize) {
        let (candidate, leaf) = (&candidates[index], &self.leaves[index]);
        loop {
            let now = load(candidate, self.now());
            let before = leaf.load.swap(now, AcqRel);
            if now > before {
                leaf.taken.store(self.clock.fetch_add(1, Relaxed), Release);
            }
            if now != before {
                self.climb(index);
            }
            if candidate.backend.hot.recent.is_any() {
                self.fading.store(self.leaves.len() as u32, Relaxed);
                return;
            }
            // Another thread may have counted meanwhile and been overwritten by what we read.
            if load(candidate, self.now()) == now {
                return;
            }
        }
    }

    fn climb(&self, index: usize) {
        let mut node = self.nodes.len() + index;
        while node > 0 {
            node = (node - 1) / SIDES;
            let (before, after) = self.play(node);
            // It is another one's and stays so: nothing changes above.
            if before == after && after != index as u32 {
                return;
            }
        }
    }

    /// Plays a node again: its winner before and after, different when another thread had a hand in it.
    fn play(&self, node: usize) -> (u32, u32) {
        let mut seen = self.nodes[node].load(Acquire);
        let before = seen as u32;
        for _ in 0..2 {
            let winner =
                sides(node).fold(NOBODY, |best, side| self.better(best, self.winner(side)));
            let played = ((seen >> 32).wrapping_add(1) << 32) | u64::from(winner);
            match self.nodes[node].compare_exchange(seen, played, AcqRel, Acquire) {
                Ok(_) => return (before, winner),
                Err(now) => seen = now,
            }
        }
        // What the other thread stored holds our change; it may not know, so we go on.
        (before, NOBODY)
    }

    /// The winner of an inner node, or who stands at a leaf.
    fn winner(&self, node: usize) -> u32 {
        match node.checked_sub(self.nodes.len()) {
            None => self.nodes[node].load(Acquire) as u32,
            Some(leaf) if leaf < self.leaves.len() => leaf as u32,
            Some(_) => NOBODY,
        }
    }

    fn better(&self, left: u32, right: u32) -> u32 {
        let (Some(a), Some(b)) = (self.leaves.get(left as usize), self.leaves.get(right as usize))
        else {
            return left.min(right);
        };
        let (x, y) = (a.load.load(Acquire), b.load.load(Acquire));
        let left_wins = x < y || (x == y && a.taken.load(Relaxed) <= b.taken.load(Relaxed));
        if left_wins { left } else { right }
    }
}

fn sides(node: usize) -> impl Iterator<Item = usize> {
    SIDES * node + 1..=SIDES * node + SIDES
}

fn load(candidate: &Candidate, now: Instant) -> u64 {
    let hot = &candidate.backend.hot;
    if !hot.is_usable() || hot.is_full() {
        return CLOSED;
    }
    let load = candidate.load(|| now) as f64 / f64::from(candidate.weight);
    load.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::testing::weighted;

    #[test]
    fn the_root_is_always_the_least_loaded_one() {
        let weights: Vec<u32> = (0..37).map(|i| 1 + i % 5).collect();
        let candidates = weighted(&weights);
        let tournament = Tournament::new(&candidates, 1);
        let mut random = 7;
        for step in 0..5000 {
            random = mix(random);
            let index = below(random, 37) as usize;
            candidates[index].backend.hot.set_active((random % 9) as u32);
            candidates[index].backend.hot.set_usable(random % 11 != 0);
            tournament.update(&candidates, index);
            let least = candidates.iter().map(|c| load(c, tournament.made)).min();
            let winner = tournament.winner(0) as usize;
            assert_eq!(Some(load(&candidates[winner], tournament.made)), least, "step {step}");
        }
    }

    #[test]
    fn equals_take_turns() {
        let candidates = weighted(&[1; 21]);
        let tournament = Tournament::new(&candidates, 3);
        let mut counts = [0; 21];
        for seed in 0..210 {
            let ask = Ask::new(Instant::now(), seed);
            let index = tournament.best(&candidates, &ask).unwrap();
            counts[index] += 1;
            candidates[index].backend.hot.take(u32::MAX);
            tournament.update(&candidates, index);
            candidates[index].backend.hot.release();
            tournament.update(&candidates, index);
        }
        assert_eq!(counts, [10; 21], "each as often when nobody is loaded");
    }

    #[test]
    fn threads_leave_the_right_root_behind() {
        let candidates = weighted(&[1; 64]);
        let tournament = Tournament::new(&candidates, 3);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (candidates, tournament) = (&candidates, &tournament);
                scope.spawn(move || {
                    for turn in 0..20_000 {
                        let index = below(mix(thread << 32 | turn), 64) as usize;
                        candidates[index].backend.hot.take(u32::MAX);
                        tournament.update(candidates, index);
                        if turn % 16 != 0 {
                            candidates[index].backend.hot.release();
                            tournament.update(candidates, index);
                        }
                    }
                });
            }
        });
        let least = candidates.iter().map(|c| load(c, tournament.made)).min();
        assert_eq!(Some(load(&candidates[tournament.winner(0) as usize], tournament.made)), least);
    }
}
