//! What becomes of a request whose try broke: whether it is sent again, and when.
//!
//! Pure: no clock, no socket, no pool. What broke comes in, what may come next goes out.
use crate::config::{Backoff, Retry};
use std::time::Duration;

/// So often a request is sent again because its connection was closed already.
const STALE: u32 = 5;
/// And so often where it is known that nobody looked at it: an HTTP/2 connection ends in order under
/// many at once, and so may the next one. It costs nobody but us anything.
const UNSEEN: u32 = 20;

/// What broke a try, by the words of `retry.on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A kept connection that had ended: nobody's fault, and no try.
    Stale,
    /// It never reached the backend, or was refused without a look.
    Connect,
    /// The connection broke before the answer, or its backend went down or fell silent.
    Reset,
    /// `timeout.first_byte`
    Timeout,
    /// This answer.
    Status(u16),
    /// What another try would not better.
    Other,
}

/// What the backend says of when it may be asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// This backend not before (`Retry-After`).
    After(Duration),
    /// Then, whoever is asked (`grpc-retry-pushback-ms`, gRFC A6).
    At(Duration),
    /// Not again.
    Never,
}

/// A try that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broke {
    pub(crate) cause: Cause,
    /// Whether the backend may have begun with it.
    pub(crate) begun: bool,
    /// Whether it can be sent again whole, and may be: with what a backend may have begun only a
    /// request that can be repeated (RFC 9110 9.2.2).
    pub(crate) repeatable: bool,
    pub(crate) asked: Asked,
}

/// A further try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Again {
    /// Whether it costs of the pool's budget: the backend before may have begun.
    pub(crate) costs: bool,
    pub(crate) wait: Wait,
}

/// How long a further try waits, so that those of many requests do not come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It does not.
    None,
    /// Only before somebody is asked again. Whoever was not asked yet has nothing to recover from:
    /// the one before never heard of the request.
    Twice(Duration),
    /// Whoever is asked: what broke may be the load, and what was begun may still be worked on.
    Always(Duration),
}

/// The tries of one request so far.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    /// Tries that are left.
    left: u32,
    /// How often it was nobody's fault, and nobody may have begun with it; how often somebody may have.
    unseen: u32,
    stale: u32,
    /// Tries that broke.
    broken: u32,
}

impl Course {
    /// `attempts`: all tries, the first one too.
    pub(crate) fn new(attempts: u32) -> Self {
        Self { left: attempts, unseen: 0, stale: 0, broken: 0 }
    }

    /// Whether there may be a try after the one that is under way.
    pub(crate) fn has_more(&self) -> bool {
        self.left > 1
    }

    /// What comes after a broken try, if anything does. `left`: what is left of `timeout.request`;
    /// who would wait longer is not sent again.
    pub(crate) fn after(
        &mut self,
        broke: Broke,
        rules: &Retry,
        left: Option<Duration>,
        seed: u64,
    ) -> Option<Again> {
        let costs = broke.begun;
        if !broke.repeatable || left.is_some_and(|left| left.is_zero()) {
            return None;
        }
        let cause = match broke.cause {
            Cause::Stale if !broke.begun && self.unseen < UNSEEN => {
                self.unseen += 1;
                return Some(Again { costs, wait: Wait::None });
            }
            Cause::Stale if broke.begun && self.stale < STALE => {
                self.stale += 1;
                return Some(Again { costs, wait: Wait::None });
            }
            Cause::Stale if broke.begun => Cause::Reset,
            Cause::Stale => Cause::Connect,
            cause => cause,
        };
        let on = &rules.on;
        let wanted = match cause {
            Cause::Connect => on.connect,
            Cause::Reset => on.reset,
            Cause::Timeout => on.timeout,
            Cause::Status(status) => on.statuses.has(status),
            Cause::Stale | Cause::Other => false,
        };
        self.left = self.left.saturating_sub(1);
        self.broken += 1;
        if !wanted || self.left == 0 {
            return None;
        }
        let wait = wait(broke.asked, rules.backoff, self.broken, seed)?;
        if left.is_some_and(|left| left <= wait) {
            return None;
        }
        let wait = match cause {
            _ if wait.is_zero() => Wait::None,
            Cause::Connect => Wait::Twice(wait),
            _ => Wait::Always(wait),
        };
        Some(Again { costs, wait })
    }
}

/// How long a try waits after the `n`th broken one. What is asked for the call counts up to `max`.
fn wait(asked: Asked, backoff: Backoff, n: u32, seed: u64) -> Option<Duration> {
    let own = jitter(backoff, n, seed);
    match asked {
        // Whoever else is asked has asked for nothing.
        Asked::Nothing | Asked::After(_) => Some(own),
        Asked::At(at) => Some(at.min(backoff.max)),
        Asked::Never => None,
    }
}

/// "Full jitter": anything from nothing to `base`, which doubles with each broken try, `max` at the
/// most. Of the ways to draw it compares this one needs the fewest tries in all (Marc Brooker,
/// "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
fn jitter(backoff: Backoff, n: u32, seed: u64) -> Duration {
    let most = backoff.base.saturating_mul(1 << n.saturating_sub(1).min(30)).min(backoff.max);
    let draw = mixed(seed ^ u64::from(n));
    // A configured wait is at most a minute, which fits.
    let nanos = (most.as_nanos() * u128::from(draw)) >> 64;
    Duration::from_nanos(nanos as u64)
}

/// Spreads a seed over all bits (the finisher of splitmix64).
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RetryOn;

    const MS: Duration = Duration::from_millis(1);

    fn rules(attempts: u32) -> Retry {
        let mut on = RetryOn { connect: true, reset: true, timeout: true, ..RetryOn::NOTHING };
        on.statuses.add(503);
        Retry { attempts, on, ..Retry::default() }
    }

    fn broke(cause: Cause) -> Broke {
        let begun = !matches!(cause, Cause::Connect);
        Broke { cause, begun, repeatable: true, asked: Asked::Nothing }
    }

    fn once(rules: &Retry, broke: Broke, left: Option<Duration>) -> Option<Again> {
        Course::new(rules.attempts).after(broke, rules, left, 7)
    }

    #[test]
    fn only_what_is_said_is_tried_again() {
        use Cause::{Connect, Other, Reset, Stale, Status, Timeout};
        let all = [Stale, Connect, Reset, Timeout, Status(503), Status(500), Other];
        let again = |rules: &Retry| all.map(|cause| once(rules, broke(cause), None).is_some());
        assert_eq!(again(&rules(2)), [true, true, true, true, true, false, false]);
        let default = Retry::default();
        assert_eq!(again(&default), [true, true, true, false, false, false, false]);
        let nothing = Retry { on: RetryOn::NOTHING, ..default };
        assert_eq!(again(&nothing), [true, false, false, false, false, false, false]);
        assert_eq!(again(&rules(1)), [true, false, false, false, false, false, false]);
    }

    #[test]
    fn what_may_not_be_repeated_never_is() {
        for cause in [Cause::Stale, Cause::Connect, Cause::Reset, Cause::Status(503)] {
            let broke = Broke { repeatable: false, ..broke(cause) };
            assert_eq!(once(&rules(9), broke, None), None, "{cause:?}");
        }
    }

    #[test]
    fn tries_end_and_those_that_are_nobodys_fault_too() {
        let rules = rules(3);
        let more = |broke| {
            let mut course = Course::new(rules.attempts);
            (0..99).take_while(|n| course.after(broke, &rules, None, *n).is_some()).count()
        };
        assert_eq!(more(broke(Cause::Stale)), 5 + 2, "then they count as resets");
        let unseen = Broke { begun: false, ..broke(Cause::Stale) };
        assert_eq!(more(unseen), 20 + 2, "then as connects that failed");
        assert_eq!(more(broke(Cause::Connect)), 2);
    }

    #[test]
    fn what_a_backend_may_have_begun_costs_and_nothing_else_does() {
        let costs = |broke| once(&rules(2), broke, None).map(|again| again.costs);
        assert_eq!(costs(broke(Cause::Connect)), Some(false));
        for cause in [Cause::Stale, Cause::Reset, Cause::Timeout, Cause::Status(503)] {
            assert_eq!(costs(broke(cause)), Some(true), "{cause:?}");
        }
        assert_eq!(costs(Broke { begun: false, ..broke(Cause::Stale) }), Some(false));
    }

    #[test]
    fn who_was_not_asked_yet_is_asked_at_once_if_nobody_heard_of_it() {
        let wait = |cause| once(&rules(2), broke(cause), None).map(|again| again.wait);
        assert!(matches!(wait(Cause::Connect), Some(Wait::Twice(_))));
        assert!(matches!(wait(Cause::Reset), Some(Wait::Always(_))));
        assert_eq!(wait(Cause::Stale), Some(Wait::None));
    }

    #[test]
    fn waits_are_spread_over_all_that_is_allowed_and_double() {
        let backoff = Backoff { base: 25 * MS, max: 250 * MS };
        for (n, most) in [(1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (99, 250)] {
            let all: Vec<Duration> = (0..2000).map(|seed| jitter(backoff, n, seed)).collect();
            let (low, high) = (all.iter().min().unwrap(), all.iter().max().unwrap());
            let mean = all.iter().sum::<Duration>() / 2000;
            assert!(*high < most * MS && *high > most * MS * 99 / 100, "{n}: {high:?}");
            assert!(*low < most * MS / 100, "{n}: {low:?}");
            assert!(mean > most * MS * 45 / 100 && mean < most * MS * 55 / 100, "{n}: {mean:?}");
        }
        let none = Backoff { base: Duration::ZERO, max: Duration::ZERO };
        assert_eq!(jitter(none, 3, 1), Duration::ZERO);
    }

    #[test]
    fn a_backend_may_ask_for_time_up_to_a_bound() {
        let years = Duration::from_secs(u64::MAX / 2);
        let asks = |asked| {
            let broke = Broke { asked, ..broke(Cause::Status(503)) };
            once(&rules(2), broke, None).map(|again| again.wait)
        };
        assert_eq!(asks(Asked::After(years)), asks(Asked::Nothing), "others asked for nothing");
        assert_eq!(asks(Asked::At(years)), Some(Wait::Always(250 * MS)));
        assert_eq!(asks(Asked::At(3 * MS)), Some(Wait::Always(3 * MS)));
        assert_eq!(asks(Asked::At(Duration::ZERO)), Some(Wait::None));
        assert_eq!(asks(Asked::Never), None);
    }

    #[test]
    fn who_has_no_time_to_wait_is_not_sent_again() {
        let broke = Broke { asked: Asked::At(10 * MS), ..broke(Cause::Status(503)) };
        assert!(once(&rules(2), broke, Some(11 * MS)).is_some());
        assert_eq!(once(&rules(2), broke, Some(10 * MS)), None);
        assert_eq!(once(&rules(2), self::broke(Cause::Stale), Some(Duration::ZERO)), None);
    }
}
