//! The immutable usable set with its balancer: what the `ArcSwap` holds.
use super::backend::{Backend, BackendId, Candidate};
use super::balance::{Ask, Balancer, Sizes, Why};
use super::lease::NoLease;
use crate::metrics::Counter;
use std::sync::Arc;

/// Who is usable, and how one is picked.
pub(super) struct Snapshot {
    /// Counts the snapshots of a pool.
    pub(super) generation: u32,
    pub(super) candidates: Box<[Candidate]>,
    pub(super) balancer: Box<dyn Balancer>,
    /// What the balancer said, kept to save each lease a call.
    pub(super) wants_load: bool,
    /// Among them are some that only probes speak against.
    pub(super) panic: bool,
    /// Nobody was ever up, and the first word on somebody is still to come.
    pub(super) pending: bool,
    /// What its balancer was built with.
    pub(super) sizes: Sizes,
    /// The sets of the tiers after it, for whom those before have nobody left. They have none themselves.
    pub(super) later: Box<[Arc<Snapshot>]>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("candidates", &self.candidates.len())
            .finish_non_exhaustive()
    }
}

/// Picks among nobody.
struct Nobody;

impl Balancer for Nobody {
    fn pick(&self, _: &[Candidate], _: &Ask<'_>) -> Option<usize> {
        None
    }
}

/// Picks that another thread was faster at, or that a policy made of somebody closed, before it is
/// given up. Each that was lost is a lease that someone else got.
const TRIES: usize = 32;
/// So many are passed over for a request, those that it has tried included.
const AVOIDED: usize = 8;
/// Others stand in for one in doubt if they weigh this part of it at the least, all together: for a
/// moment they get so many times their share more, and that one with the weight of a trial none of it.
const BEARABLE: u64 = 4;

impl Snapshot {
    /// Nobody.
    pub(super) fn empty() -> Self {
        Self {
            generation: 0,
            candidates: Box::new([]),
            balancer: Box::new(Nobody),
            wants_load: false,
            panic: false,
            pending: false,
            sizes: Sizes::of(std::iter::empty()),
            later: Box::new([]),
        }
    }

    /// Whether it is one of the same, with the same weights and sizes.
    pub(super) fn is_of(&self, candidates: &[Candidate], sizes: Sizes) -> bool {
        let row = |c: &Candidate| (c.backend.id, c.weight);
        self.sizes == sizes && self.candidates.iter().map(row).eq(candidates.iter().map(row))
    }

    /// Whether somebody is in it.
    pub(super) fn has(&self, id: BackendId) -> bool {
        self.candidates.iter().any(|c| c.id == id)
    }

    /// It and those of the tiers after it.
    pub(super) fn tiers(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.later.iter().map(|set| &**set))
    }

    /// The tier that an ask is for, and those after it that it may come to.
    pub(super) fn tiers_for(&self, ask: &Ask<'_>) -> impl Iterator<Item = &Self> {
        let (mut tiers, mut more) = (self.tiers(), true);
        std::iter::from_fn(move || {
            let set = tiers.next().filter(|_| more)?;
            more = set.lets_on(ask);
            Some(set)
        })
    }

    /// Whether an ask that finds nobody here may come to the next tier: one for another try, and any
    /// where nobody is usable, or only one try at a time, or all are waited for far too long, but for one
    /// beside another and one that stays within its tier.
    fn lets_on(&self, ask: &Ask<'_>) -> bool {
        let stays = ask.within || ask.why == Why::Hedge;
        let is_forlorn = |b: &Backend| !stays && b.is_forlorn();
        let works = |b: &Backend| b.is_usable() && !b.is_on_trial() && !is_forlorn(b);
        ask.goes_on() || !self.candidates.iter().any(|candidate| works(&candidate.backend))
    }

    /// Tells the policy of a later tier that the load of one of its own changed.
    #[cold]
    #[inline(never)]
    pub(super) fn load_changed_later(&self, backend: &Backend) {
        for set in &self.later {
            if let Some(index) = backend.hot.place(set.generation) {
                set.balancer.load_changed(&set.candidates, index);
            }
        }
    }

    /// Picks somebody and counts one more in work there, below every limit. `waits`: who finds nobody
    /// else may wait for one. `passed` counts those that another one got than was picked, for doubt.
    pub(super) fn take(
        &self,
        ask: &Ask<'_>,
        waits: bool,
        passed: &Counter,
        doubts: impl Fn(&Backend) -> bool,
    ) -> Result<usize, NoLease> {
        for _ in 0..TRIES {
            let Some(picked) = self.balancer.pick_within(&self.candidates, ask) else {
                break;
            };
            let is_doubted = |index: usize| {
                self.candidates.get(index).is_some_and(|candidate| doubts(&candidate.backend))
            };
            let (index, most) = match is_doubted(picked.0) {
                false => picked,
                true => self.beside(picked, ask, passed, is_doubted),
            };
            if waits && self.is_better_left(index, ask) {
                return Err(NoLease::Full);
            }
            let taken = self
                .candidates
                .get(index)
                .is_some_and(|c| c.is_open(ask) && c.backend.hot.take(most));
            if taken {
                return Ok(index);
            }
        }
        Err(self.why_nobody(ask))
    }

    /// Somebody in place of one in doubt who was picked; who was, where there is nobody else.
    #[cold]
    fn beside(
        &self,
        picked: (usize, u32),
        ask: &Ask<'_>,
        passed: &Counter,
        is_doubted: impl Fn(usize) -> bool,
    ) -> (usize, u32) {
        if !self.others_bear(picked.0) {
            return picked;
        }
        let mut avoid = [BackendId(u32::MAX); AVOIDED];
        let before = ask.avoid.len();
        let Some(place) = avoid.get_mut(..before) else { return picked };
        place.copy_from_slice(ask.avoid);
        let stands_in = |index: usize| self.candidates.get(index).is_some_and(|c| c.stands_in(ask));
        let mut doubted = picked.0;
        for n in before..AVOIDED {
            let Some(candidate) = self.candidates.get(doubted) else { return picked };
            avoid[n] = candidate.backend.id;
            let ask = ask.avoid(&avoid[..=n]);
            match self.balancer.pick_within(&self.candidates, &ask) {
                Some((index, _)) if is_doubted(index) || !stands_in(index) => doubted = index,
                Some(other) => {
                    passed.inc();
                    return other;
                }
                None => return picked,
            }
        }
        picked
    }

    /// Whether the others weigh enough to do the work of this one, too.
    pub(super) fn others_bear(&self, index: usize) -> bool {
        let own = self.candidates.get(index).map_or(0, |it| u64::from(it.weight));
        let all: u64 = self.candidates.iter().map(|it| u64::from(it.weight)).sum();
        (all - own) * BEARABLE >= own
    }

    /// Whether one who was picked failed lately, all others are full, and it is not its turn.
    fn is_better_left(&self, index: usize, ask: &Ask<'_>) -> bool {
        let picked = self.candidates.get(index);
        picked.is_some_and(|it| it.backend.hot.recent.is_any() && self.must_wait(it, ask))
    }

    #[cold]
    fn must_wait(&self, it: &Candidate, ask: &Ask<'_>) -> bool {
        if !it.backend.failed_lately(ask.now) {
            return false;
        }
        let (mut given, mut weight) = (0, 0.0);
        for other in self.candidates.iter().filter(|other| other.backend.id != it.backend.id) {
            if other.stands_in(ask) {
                return false;
            }
            let works = other.backend.is_usable() && !ask.avoids(other.backend.id);
            if works && !other.backend.failed_lately(ask.now) {
                given += other.backend.picks().all();
                weight += f64::from(other.weight) / f64::from(it.weight);
            }
        }
        weight > 0.0 && !it.backend.has_turn(ask.now, given, weight)
    }

    /// Why there is nobody, in none of the tiers that an ask may come to.
    pub(super) fn why_none(&self, ask: &Ask<'_>) -> NoLease {
        let none = |none: NoLease, set: &Self| none.or(set.why_nobody(ask));
        self.tiers_for(ask).fold(NoLease::Empty, none)
    }

    /// Why there is nobody, in this tier.
    fn why_nobody(&self, ask: &Ask<'_>) -> NoLease {
        let usable = || self.candidates.iter().filter(|c| c.backend.is_usable());
        if usable().any(|c| !ask.avoids(c.backend.id)) {
            NoLease::Full
        } else if usable().next().is_some() {
            NoLease::Avoided
        } else {
            NoLease::Empty
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::backend::BackendId;
    use crate::pool::testing::weighted;
    use std::time::Instant;

    /// A user's policy that looks at nothing.
    struct Stubborn;
    impl Balancer for Stubborn {
        fn pick(&self, _: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
            Some(ask.seed as usize)
        }
    }

    /// Picks the first one who may be.
    struct First;
    impl Balancer for First {
        fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
            candidates.iter().position(|candidate| candidate.is_open(ask))
        }
    }

    #[test]
    fn somebody_stands_in_whose_weight_bears_it() {
        for (weights, picked) in [(&[4, 1][..], 1), (&[5, 1], 0), (&[1000, 1], 0), (&[8, 1, 1], 1)]
        {
            let candidates = weighted(weights).into();
            let snapshot = Snapshot { candidates, balancer: Box::new(First), ..Snapshot::empty() };
            let doubts = |backend: &Backend| backend.id == BackendId(0);
            let passed = Counter::new();
            let taken = snapshot.take(&Ask::new(Instant::now(), 1), false, &passed, doubts);
            assert_eq!((taken, passed.get()), (Ok(picked), picked as u64), "{weights:?}");
        }
    }

    #[test]
    fn a_policy_that_picks_somebody_closed_is_not_believed() {
        let candidates = weighted(&[1, 1]).into();
        let snapshot = Snapshot { candidates, balancer: Box::new(Stubborn), ..Snapshot::empty() };
        let now = Instant::now();
        let take = |ask: &Ask<'_>| snapshot.take(ask, true, &Counter::new(), |_| false);
        assert_eq!(take(&Ask::new(now, 1)), Ok(1));
        let avoid = [BackendId(1)];
        assert_eq!(take(&Ask::new(now, 1).avoid(&avoid)), Err(NoLease::Full));
        assert_eq!(take(&Ask::new(now, 7)), Err(NoLease::Full), "out of the set");
    }
}
