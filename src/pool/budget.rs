//! The budget of a pool's further tries: how many tries that a backend may have begun are allowed
//! for what the pool was asked. Without one a pool that fails gets its load twice just when it can
//! bear it least (Google, *Site Reliability Engineering*, chapter 21: "Handling Overload").
//!
//! Pure: time comes in as values. The window slides in slots of a twentieth. Requests are not counted
//! here: whoever asks says how many there were in all, so the path of a request pays nothing.
use std::time::{Duration, Instant};

/// Slots of a window, and one more: the current one has only begun.
const SLOTS: usize = 21;
/// As above, in which part of the window each is.
const PARTS: u32 = 20;
/// Requests are counted so often, for it takes a look at every backend: while tries are refused, and
/// else.
pub(super) const SOON: Duration = Duration::from_millis(20);
/// As above.
pub(super) const NOW_AND_THEN: Duration = Duration::from_millis(500);

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Tries more for each request of the window, 0.0 to 1.0.
    pub share: f64,
    /// Or so many a second, where that is more.
    pub floor: f64,
    /// Over so long.
    pub window: Duration,
}

impl Allowance {
    /// Half of it.
    pub(crate) fn half(self) -> Self {
        Self { share: self.share / 2.0, floor: self.floor / 2.0, ..self }
    }
}

/// What was asked for and allowed of late.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    window: Duration,
    /// When slot 0 began.
    begun: Instant,
    /// The current slot, counted from `begun`.
    at: u64,
    slots: [Slot; SLOTS],
    /// Requests in all, and when that was known.
    seen: (u64, Instant),
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u64,
    tries: u64,
}

impl Budget {
    /// Nothing was asked for yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            window: Duration::from_secs(10),
            begun: now,
            at: 0,
            slots: [Slot::default(); SLOTS],
            seen: (0, now),
        }
    }

    /// Whether the number of requests was last said so long ago.
    pub(crate) fn is_due(&self, after: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.seen.1) >= after
    }

    /// There were so many requests in all. What came since this was last said counts as of now; where
    /// that is longer ago than the window it may be older than that, and is not counted.
    pub(crate) fn requests(&mut self, total: u64, now: Instant) {
        self.slide(now);
        let (before, then) = self.seen;
        let more = total.saturating_sub(before);
        if now.saturating_duration_since(then) <= self.window {
            self.slots[0].requests += more;
        }
        self.seen = (before.max(total), now.max(then));
    }

    /// One more try, if it is allowed.
    pub(crate) fn take(&mut self, allowed: Allowance, now: Instant) -> bool {
        let fits = self.allows(allowed, now);
        self.slots[0].tries += u64::from(fits);
        fits
    }

    /// Whether one more try would be allowed: with it there are no more in the window than the share
    /// of its requests, or than the floor, whichever is more.
    pub(crate) fn allows(&mut self, allowed: Allowance, now: Instant) -> bool {
        self.span(allowed.window, now);
        self.slide(now);
        let requests: u64 = self.slots.iter().map(|slot| slot.requests).sum();
        let tries: u64 = self.slots.iter().map(|slot| slot.tries).sum();
        let floor = allowed.floor * self.window.as_secs_f64();
        (tries + 1) as f64 <= (allowed.share * requests as f64).max(floor)
    }

    /// Another window: what is known keeps its age, as far as the slots tell it.
    fn span(&mut self, window: Duration, now: Instant) {
        if self.window == window || window < Duration::from_millis(1) {
            return;
        }
        self.slide(now);
        let mut slots = [Slot::default(); SLOTS];
        for (age, slot) in self.slots.iter().enumerate() {
            let age = (age as f64 + 0.5) * self.window.as_secs_f64() / window.as_secs_f64();
            // Beyond the last one it is over.
            if let Some(into) = slots.get_mut(age as usize) {
                into.requests += slot.requests;
                into.tries += slot.tries;
            }
        }
        (self.slots, self.window, self.begun, self.at) = (slots, window, now, 0);
    }

    /// Goes on to the slot of now; slot 0 is the current one.
    fn slide(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.begun);
        let part = (self.window / PARTS).as_nanos().max(1);
        let at = u64::try_from(age.as_nanos() / part).unwrap_or(u64::MAX);
        let steps = usize::try_from(at.saturating_sub(self.at)).unwrap_or(SLOTS).min(SLOTS);
        self.slots.rotate_right(steps);
        self.slots[..steps].fill(Slot::default());
        self.at = self.at.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALLOWED: Allowance =
        Allowance { share: 0.2, floor: 10.0, window: Duration::from_secs(10) };

    fn taken(budget: &mut Budget, allowed: Allowance, now: Instant) -> usize {
        (0..100_000).take_while(|_| budget.take(allowed, now)).count()
    }

    #[test]
    fn a_quiet_pool_has_its_floor_and_a_busy_one_its_share() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!(taken(&mut budget, ALLOWED, now), 100);
        budget.requests(10_000, now);
        assert_eq!(taken(&mut budget, ALLOWED, now), 1_900, "20 % of them, less what was taken");
        let later = now + Duration::from_secs(9);
        assert_eq!(taken(&mut budget, ALLOWED, later), 0, "the window has not passed");
        let later = now + Duration::from_millis(10_500);
        assert_eq!(taken(&mut budget, ALLOWED, later), 100);
    }

    #[test]
    fn with_nothing_allowed_there_is_nothing() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        budget.requests(1000, now);
        let none = Allowance { share: 0.0, floor: 0.0, ..ALLOWED };
        assert_eq!(taken(&mut budget, none, now), 0);
        let one = Allowance { share: 0.0, floor: 0.1, ..ALLOWED };
        assert_eq!(taken(&mut budget, one, now), 1, "0.1/s over 10 s");
    }

    #[test]
    fn another_window_allows_nothing_twice() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!(taken(&mut budget, ALLOWED, now), 100);
        let twice = Allowance { window: Duration::from_secs(20), ..ALLOWED };
        assert_eq!(taken(&mut budget, twice, now), 100, "10/s over 20 s, less what was taken");
        assert_eq!(taken(&mut budget, ALLOWED, now), 0);
    }

    #[test]
    fn what_is_older_than_a_shorter_window_is_over() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let short = Allowance { floor: 0.0, window: Duration::from_secs(2), ..ALLOWED };
        budget.requests(10_000, now);
        budget.requests(10_100, now + Duration::from_secs(3));
        let share = (ALLOWED.share * 100.0) as usize;
        assert_eq!(taken(&mut budget, short, now + Duration::from_secs(4)), share);
    }

    #[test]
    fn requests_of_unknown_age_are_not_counted() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        budget.requests(1_000_000, now + Duration::from_secs(11));
        assert_eq!(taken(&mut budget, ALLOWED, now + Duration::from_secs(11)), 100);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Requests(u64),
        Tries(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let step =
            prop_oneof![(0..400u64).prop_map(Step::Requests), (1..200u64).prop_map(Step::Tries)];
        proptest::collection::vec((0..900u64, step), 1..200)
    }

    proptest! {
        /// Whatever comes: with each try that is allowed those of the window before it, itself
        /// among them, are at most the share of the requests of that window and a slot before it (a
        /// twentieth of it); or the floor.
        #[test]
        fn no_window_ever_has_more_than_it_may(steps in steps(), share in 0.0..1.0f64, floor in 0.0..20.0f64) {
            let window = Duration::from_secs(5);
            let allowed = Allowance { share, floor, window };
            let start = Instant::now();
            let (mut now, mut total, mut budget) = (start, 0, Budget::new(start));
            let (mut requests, mut tries) = (Vec::new(), Vec::new());
            budget.allows(allowed, start);
            for (wait, step) in steps {
                now += Duration::from_millis(wait);
                let granted = match step {
                    Step::Requests(n) => {
                        total += n;
                        budget.requests(total, now);
                        requests.push((now, n));
                        continue;
                    }
                    Step::Tries(n) => (0..n).filter(|_| budget.take(allowed, now)).count() as u64,
                };
                if granted == 0 {
                    continue;
                }
                tries.push((now, granted));
                let of = |all: &[(Instant, u64)], back: Duration| -> u64 {
                    all.iter().filter(|(at, _)| *at + back > now).map(|(_, n)| n).sum()
                };
                let most = share * of(&requests, window + window / PARTS) as f64;
                let most = most.max(floor * window.as_secs_f64());
                prop_assert!(of(&tries, window) as f64 <= most + 1e-9);
            }
        }
    }
}
