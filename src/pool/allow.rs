//! Further tries of a pool's requests: allowed within its budgets, of which one is for tries beside
//! others; and how long answers take, for these.
use super::budget::{Allowance, Budget, SOON};
use super::core::Pool;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

impl Pool {
    /// One more try of a request that a backend may have begun, if the budget has room for it.
    pub fn take_try(&self, allowed: Allowance, now: Instant) -> bool {
        self.within(&self.budget, now, |budget| budget.take(allowed, now))
    }

    /// Whether it has: nothing is taken yet.
    pub fn allows_try(&self, allowed: Allowance, now: Instant) -> bool {
        self.within(&self.budget, now, |budget| budget.allows(allowed, now))
    }

    /// One more try beside another one, if their budget has room for it.
    pub fn take_hedge(&self, allowed: Allowance, now: Instant) -> bool {
        self.within(&self.hedges, now, |budget| budget.take(allowed, now))
    }

    /// Whether it has: nothing is taken yet.
    pub fn allows_hedge(&self, allowed: Allowance, now: Instant) -> bool {
        self.within(&self.hedges, now, |budget| budget.allows(allowed, now))
    }

    /// Asks a budget, once more where requests came that it has not heard of.
    fn within(
        &self,
        budget: &Mutex<Budget>,
        now: Instant,
        mut ask: impl FnMut(&mut Budget) -> bool,
    ) -> bool {
        if ask(&mut budget.lock()) {
            return true;
        }
        self.count(SOON, now) && ask(&mut budget.lock())
    }

    /// Tells the budgets how many requests there were, if that was so long ago: who was picked in all,
    /// but for further tries.
    pub(super) fn count(&self, after: Duration, now: Instant) -> bool {
        let is_due = self.budget.lock().is_due(after, now);
        if is_due {
            let picks = self.members.lock().picks();
            let requests = picks.saturating_sub(self.repeats.get());
            self.budget.lock().requests(requests, now);
            self.hedges.lock().requests(requests, now);
        }
        is_due
    }

    /// An answer took so long to begin, from when its try did: one relaxed addition.
    pub fn learn_first_byte(&self, took: Duration) {
        self.latency.learn(took);
    }

    /// How long this share of the answers took of late, 0.0 to 1.0; `None` where too little is known.
    pub fn first_byte_quantile(&self, share: f64) -> Option<Duration> {
        self.latency.quantile(share)
    }
}
