//! Further tries of a pool's requests: counted, and allowed within its budget.
use super::budget::{Allowance, Budget, SOON};
use super::core::Pool;
use std::time::{Duration, Instant};

impl Pool {
    /// One more try of a request that a backend may have begun, if the budget has room for it.
    pub fn take_try(&self, allowed: Allowance, now: Instant) -> bool {
        self.within(now, |budget| budget.take(allowed, now))
    }

    /// Whether it has: nothing is taken yet.
    pub fn allows_try(&self, allowed: Allowance, now: Instant) -> bool {
        self.within(now, |budget| budget.allows(allowed, now))
    }

    /// Asks the budget, once more where requests came that it has not heard of.
    fn within(&self, now: Instant, mut ask: impl FnMut(&mut Budget) -> bool) -> bool {
        if ask(&mut self.budget.lock()) {
            return true;
        }
        self.count(SOON, now) && ask(&mut self.budget.lock())
    }

    /// Tells the budget how many requests there were, if that was so long ago: who was picked in all,
    /// but for further tries.
    pub(super) fn count(&self, after: Duration, now: Instant) -> bool {
        let is_due = self.budget.lock().is_due(after, now);
        if is_due {
            let picks = self.members.lock().picks();
            let requests = picks.saturating_sub(self.repeats.get());
            self.budget.lock().requests(requests, now);
        }
        is_due
    }
}
