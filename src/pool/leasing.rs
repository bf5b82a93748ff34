//! Leases of a pool: what a request asks it for, at once, beside another, or in its turn.
use super::backend::{Backend, Candidate};
use super::balance::{Ask, Why};
use super::core::Pool;
use super::lease::{Lease, NoLease};
use super::snapshot::Snapshot;
use super::waiting::Line;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Instant;

impl Pool {
    /// The one door out: picks a backend for an ask and counts one more in work there. Takes no lock
    /// and allocates nothing.
    ///
    /// # Errors
    ///
    /// [`NoLease`]
    #[inline]
    pub fn lease(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, NoLease> {
        // Whoever waits comes first.
        if self.is_waited_for() && self.read.has_queue.load(Relaxed) {
            return self.past(ask).ok_or(NoLease::Pending);
        }
        match self.attempt(ask) {
            Err(NoLease::Full) if self.read.has_queue.load(Relaxed) => Err(NoLease::Pending),
            Err(none) if none != NoLease::Pending => {
                self.no_backend.inc();
                Err(none)
            }
            taken => taken,
        }
    }

    /// As `lease`, for whoever can do without one.
    pub fn another(self: &Arc<Self>, ask: &Ask<'_>) -> Option<Lease> {
        if self.is_waited_for() {
            return self.past(ask);
        }
        self.attempt(ask).ok()
    }

    /// Past those who wait: further tries alone are for later tiers, so that a free place there is
    /// nobody's who waits.
    #[cold]
    fn past(self: &Arc<Self>, ask: &Ask<'_>) -> Option<Lease> {
        ask.goes_on().then(|| self.take_later(ask, NoLease::Full).ok()).flatten()
    }

    /// Whether who finds nobody may wait for one: there is a queue, and somebody who is only full.
    pub fn may_wait(&self, ask: &Ask<'_>) -> bool {
        self.has_queue() && self.read.snapshot.load().why_none(ask) == NoLease::Full
    }

    /// Whether somebody could be leased now. Looks at many where nearly all are to be avoided.
    pub fn is_open(&self, ask: &Ask<'_>) -> bool {
        let is_open = |set: &Snapshot| set.candidates.iter().any(|c| c.is_open(ask));
        self.read.snapshot.load().tiers_for(ask).any(is_open)
    }

    /// As `is_open`, beside those who wait.
    pub(super) fn is_open_to(&self, ask: &Ask<'_>) -> bool {
        let has_later = || ask.goes_on() && self.has_later(|candidate| candidate.is_open(ask));
        if self.is_waited_for() { has_later() } else { self.is_open(ask) }
    }

    /// Whether one of a later tier is such.
    pub(super) fn has_later(&self, is: impl Fn(&Candidate) -> bool) -> bool {
        let snapshot = self.read.snapshot.load();
        snapshot.later.iter().any(|set| set.candidates.iter().any(&is))
    }

    /// Whether this one has a place for an ask, and is in the set in force.
    #[cfg(test)]
    pub(crate) fn has_place(&self, backend: &Backend, ask: &Ask<'_>) -> bool {
        let snapshot = self.read.snapshot.load();
        let mut all = snapshot.tiers_for(ask).flat_map(|set| &set.candidates);
        all.any(|candidate| candidate.backend.id == backend.id && candidate.is_open(ask))
    }

    /// As `lease`, uncounted, past the queue.
    #[inline]
    pub(super) fn attempt(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, NoLease> {
        let generation = self.read.generation.load(Acquire);
        self.take(ask).or_else(|none| self.attempt_on(ask, none, generation))
    }

    /// Goes on where the first tier of this generation had nobody.
    #[cold]
    fn attempt_on(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        mut none: NoLease,
        mut generation: u32,
    ) -> Result<Lease, NoLease> {
        loop {
            none = match self.take_later(ask, none) {
                Ok(lease) => return Ok(lease),
                Err(none) if self.may_change(none) => return Err(NoLease::Pending),
                Err(none) => none,
            };
            // Published between the two looks: somebody else may be there now.
            let now = self.read.generation.load(Acquire);
            if now == generation {
                return Err(none);
            }
            generation = now;
            none = match self.take(ask) {
                Ok(lease) => return Ok(lease),
                Err(none) => none,
            };
        }
    }

    fn take(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, NoLease> {
        if let Some(backend) = ask.prefer
            && let Some(lease) = self.take_preferred(backend, ask)?
        {
            return Ok(lease);
        }
        let snapshot = self.read.snapshot.load();
        let (waits, passed) = (self.has_queue(), &self.passed_over);
        let index = match self.read.doubt.load(Relaxed) {
            0 => snapshot.take(ask, waits, passed, |_| false),
            least => snapshot.take(ask, waits, passed, |backend| {
                backend.is_in_doubt(least, || self.config().outlier.as_ref()?.silence, ask.now)
            }),
        }?;
        self.taken(&snapshot, index, snapshot.generation, ask)
    }

    /// Where the first tier has nobody for an ask: somebody of the next that it may come to. Shares no
    /// code with the first pick, which is small enough to be inlined as long as it is used once.
    #[cold]
    #[inline(never)]
    fn take_later(self: &Arc<Self>, ask: &Ask<'_>, mut none: NoLease) -> Result<Lease, NoLease> {
        if none == NoLease::Pending {
            return Err(none);
        }
        let snapshot = self.read.snapshot.load();
        let (least, silence) = (self.read.doubt.load(Relaxed), || self.config().outlier?.silence);
        let doubts = |b: &Backend| least > 0 && b.is_in_doubt(least, silence, ask.now);
        for set in snapshot.tiers_for(ask).skip(1) {
            match set.take(ask, self.has_queue(), &self.passed_over, doubts) {
                Ok(index) => return self.taken(set, index, snapshot.generation, ask),
                Err(other) => none = none.or(other),
            }
        }
        Err(none)
    }

    /// Somebody of a tier was taken, by the snapshot of this generation.
    #[inline(always)]
    fn taken(
        self: &Arc<Self>,
        set: &Snapshot,
        index: usize,
        generation: u32,
        ask: &Ask<'_>,
    ) -> Result<Lease, NoLease> {
        let backend = &set.candidates[index].backend;
        let picks = backend.picks();
        let first = ask.is_first();
        match (set.panic, ask.why) {
            (true, _) => picks.panic.inc(),
            _ if first => picks.policy.inc(),
            (_, Why::Hedge) => picks.hedge.inc(),
            _ => picks.retry.inc(),
        }
        if !first {
            self.repeats.inc();
        }
        if set.wants_load {
            set.balancer.load_changed(&set.candidates, index);
        }
        // Another one was published since we looked: it has not heard of us.
        if self.read.generation.load(Acquire) != generation {
            self.load_changed(backend);
        }
        Ok(Lease::new(self.clone(), backend.clone(), ask))
    }

    /// Takes the one that is preferred, whatever its weight, its tier and the policy.
    ///
    /// # Errors
    ///
    /// `Pending` while the first word on it is still to come.
    fn take_preferred(
        self: &Arc<Self>,
        backend: &Arc<Backend>,
        ask: &Ask<'_>,
    ) -> Result<Option<Lease>, NoLease> {
        if backend.is_open(ask) && backend.hot.take(u32::MAX) {
            backend.picks().sticky.inc();
            self.repeats.add(u64::from(!ask.is_first()));
            self.load_changed(backend);
            return Ok(Some(Lease::new(self.clone(), backend.clone(), ask)));
        }
        if backend.is_awaited() && !ask.avoids(backend.id) {
            Err(NoLease::Pending)
        } else {
            Ok(None)
        }
    }

    /// As `lease`; where there is nobody it waits for what is about to be known, until the deadline:
    /// somebody's first verdict while nobody of the pool was ever up, or a change that is not
    /// published yet, as one who came up when the last one was found to be gone.
    ///
    /// # Errors
    ///
    /// [`NoLease`]
    pub async fn lease_by(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        deadline: Instant,
    ) -> Result<Lease, NoLease> {
        self.verdict(ask, deadline).await.inspect_err(|_| self.no_backend.inc())
    }

    /// As `lease_by`; where everybody is full and the pool has a queue, it waits there for its turn,
    /// not beyond `limit`.
    ///
    /// # Errors
    ///
    /// [`NoLease`]
    pub async fn lease_in_turn(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        deadline: Instant,
        limit: Option<Instant>,
    ) -> Result<Lease, NoLease> {
        let mut taken = match self.stand(ask) {
            Err(NoLease::Pending) => self.verdict(ask, deadline).await,
            taken => taken,
        };
        if matches!(taken, Err(NoLease::Full)) {
            taken = match self.enter(ask, Instant::now(), limit) {
                Ok(waiting) => waiting.turn().await,
                Err(none) => Err(none),
            };
        }
        taken.inspect_err(|_| self.no_backend.inc())
    }

    /// As `lease_in_turn`, for what nobody waits for: its turn comes when nobody else waits.
    ///
    /// # Errors
    ///
    /// [`NoLease`]
    pub async fn lease_behind(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        deadline: Instant,
    ) -> Result<Lease, NoLease> {
        let mut taken = match self.is_waited_for() {
            true => Err(NoLease::Full),
            false => self.verdict(ask, deadline).await,
        };
        if matches!(taken, Err(NoLease::Full)) {
            taken = match self.enter_line(Line::Behind, ask, Instant::now(), Some(deadline)) {
                Ok(waiting) => waiting.turn().await,
                Err(none) => Err(none),
            };
        }
        taken.inspect_err(|_| self.no_backend.inc())
    }

    /// What a wait begins with: `Full` where it goes on in the queue, `Pending` where it does until
    /// the next publication.
    pub(crate) fn stand(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, NoLease> {
        match self.is_waited_for() && self.read.has_queue.load(Relaxed) {
            true => self.past(ask).ok_or(NoLease::Full),
            false => self.attempt(ask),
        }
    }

    async fn verdict(self: &Arc<Self>, ask: &Ask<'_>, deadline: Instant) -> Result<Lease, NoLease> {
        let mut taken = self.attempt(ask);
        while matches!(taken, Err(NoLease::Pending)) {
            let published = self.published.notified();
            tokio::pin!(published);
            // From here on no publication is missed: look once more, then wait.
            published.as_mut().enable();
            taken = self.attempt(ask);
            if !matches!(taken, Err(NoLease::Pending)) {
                break;
            }
            if tokio::time::timeout_at(deadline.into(), published).await.is_err() {
                break;
            }
            taken = self.attempt(ask);
        }
        if ask.prefer.is_some() && matches!(taken, Err(NoLease::Pending)) {
            // Nothing was heard of the one that is preferred.
            taken = self.attempt(&ask.prefer(None));
        }
        taken.map_err(|none| if none == NoLease::Pending { NoLease::Empty } else { none })
    }

    /// Whether a publication may soon turn this into a lease.
    pub(super) fn may_change(&self, none: NoLease) -> bool {
        let stale = self.read.stale.load(Acquire);
        match none {
            NoLease::Empty | NoLease::Pending => stale || self.read.snapshot.load().pending,
            NoLease::Avoided => stale,
            NoLease::Full | NoLease::Queue => false,
        }
    }

    /// Tells the policy that a backend's load changed.
    pub(super) fn load_changed(&self, backend: &Backend) {
        if !self.read.wants_load.load(Relaxed) {
            return;
        }
        let snapshot = self.read.snapshot.load();
        match backend.hot.place(snapshot.generation) {
            Some(index) => snapshot.balancer.load_changed(&snapshot.candidates, index),
            None => snapshot.load_changed_later(backend),
        }
    }
}

#[cfg(test)]
#[path = "leasing_tests.rs"]
mod tests;
