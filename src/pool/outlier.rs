//! Passive health: which backend the tries themselves speak against, and for how long it is out.
//! Pure: counts and time are arguments.
use super::change::Reason;
use crate::config::{self, Percent};
use std::time::{Duration, Instant};

/// So far below the others a backend is at least before it counts as an outlier, in shares of its
/// requests. Where all others answer everything, one slip in a hundred requests is no sign.
const LEAST_GAP: f64 = 0.05;

/// And so many standard deviations of what is chance among equal backends: windows are many where much
/// fails.
pub(super) const SURE: f64 = 4.0;

/// Ejections that still count, and how long ago the last one ended.
pub(super) type Ejections = (u32, Option<Duration>);

/// How often a backend was ejected, and whether it is now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    held: Option<Held>,
    /// Ejections that still count.
    times: u32,
    /// When the last one ended.
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    reason: Reason,
    until: Instant,
}

impl Record {
    /// Why it is out, if it is.
    pub(crate) fn held(&self) -> Option<Reason> {
        self.held.map(|held| held.reason)
    }

    /// When it comes back.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.held.map(|held| held.until)
    }

    /// Ejects it: the nth time in a row for n times `base`, at most for `most`. Each `base` it was
    /// in since takes one of the times back.
    pub(crate) fn eject(
        &mut self,
        reason: Reason,
        (base, most): (Duration, Duration),
        now: Instant,
    ) -> Duration {
        let calm = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let forgiven = (calm.as_secs_f64() / base.as_secs_f64()) as u32;
        self.times = self.times.saturating_sub(forgiven).saturating_add(1);
        let time = base.saturating_mul(self.times).min(most.max(base));
        if time >= most {
            // What no longer grows need not be forgiven either.
            self.times = self.times.min((most.as_secs_f64() / base.as_secs_f64()).ceil() as u32);
        }
        self.held = Some(Held { reason, until: now + time });
        time
    }

    /// For another process: why it is out and for how long still, the ejections that count, and how
    /// long ago the last one ended.
    pub(super) fn remembered(&self, now: Instant) -> (Option<(Reason, Duration)>, Ejections) {
        let left = |held: Held| (held.reason, held.until.saturating_duration_since(now));
        let ago = self.since.map(|since| now.saturating_duration_since(since));
        (self.held.map(left), (self.times, ago))
    }

    /// What another process remembered.
    pub(super) fn recall(
        &mut self,
        held: Option<(Reason, Duration)>,
        (times, ago): Ejections,
        now: Instant,
    ) {
        // Whatever is said, nobody is out for longer than a day, and no ejection counts a thousandfold.
        let held = held.map(|(reason, left)| (reason, now + left.min(Duration::from_secs(86_400))));
        self.held = held.map(|(reason, until)| Held { reason, until });
        self.times = times.min(1000);
        self.since = ago.map(|ago| now.checked_sub(ago).unwrap_or(now));
    }

    /// What came before is no time in which it worked: it works from now on.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.since = self.since.map(|_| now);
    }

    /// Lets it in again.
    pub(crate) fn release(&mut self, now: Instant) {
        (self.held, self.since) = (None, Some(now));
    }
}

/// How many of a pool get work, are out by ejection, and could get work at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Get work.
    pub(crate) up: usize,
    /// Are ejected.
    pub(crate) held: usize,
    /// Are neither removed nor taken out by an operator, and have a weight.
    pub(crate) wanted: usize,
}

impl Count {
    /// With one member counted anew.
    pub(crate) fn change(&mut self, before: Self, after: Self) {
        self.up = self.up + after.up - before.up;
        self.held = self.held + after.held - before.held;
        self.wanted = self.wanted + after.wanted - before.wanted;
    }

    /// Whether one more may go: never the last that gets work, and never more than the share; one
    /// may, however small the share is. Who is silent may in any case: it answers nobody.
    pub(crate) fn may_eject(self, reason: Reason, share: Percent) -> bool {
        let most = ((share.get() * self.wanted as f64 + 1e-9) as usize).max(1);
        self.up > 1 && (reason == Reason::Silence || self.held < most)
    }
}

/// What became of a backend's tries in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Answered.
    pub(crate) good: u64,
    /// Failed.
    pub(crate) bad: u64,
}

impl Tally {
    /// What came since.
    pub(crate) fn since(self, before: Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        Self { good: less(self.good, before.good), bad: less(self.bad, before.bad) }
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self { good: self.good + other.good, bad: self.bad + other.bad }
    }

    fn all(self) -> u64 {
        self.good + self.bad
    }

    /// The share of its tries that was answered.
    pub(crate) fn rate(self) -> f64 {
        self.good as f64 / self.all().max(1) as f64
    }
}

/// Who of these answered too small a share of its tries, the worst first, with the rate that would
/// have done.
///
/// The rule is Envoy's (`success_rate_stdev_factor`): below mean minus `deviation` times the standard
/// deviation of the rates. Two things differ. A backend is held against the others alone: with itself
/// among them, nobody of three can be more than 1.42 deviations below (Samuelson, 1968). And to the
/// others' variance comes that of its own sample, p(1-p)/n of a share p of n: rates of equal backends
/// differ by chance. That alone, of its sample and theirs, must not explain it, however alike the others are.
pub(crate) fn outliers(window: &[Tally], rules: &config::SuccessRate) -> Vec<(usize, f64)> {
    let judged = |tally: &&Tally| tally.all() >= rules.requests;
    let (mut n, mut sum, mut squares, mut all) = (0f64, 0f64, 0f64, 0f64);
    for (rate, tries) in window.iter().filter(judged).map(|tally| (tally.rate(), tally.all())) {
        (n, sum, squares) = (n + 1.0, sum + rate, squares + rate * rate);
        all += tries as f64;
    }
    if n < 2.0 {
        return Vec::new();
    }
    let least = |tally: &Tally| {
        let rate = tally.rate();
        let others = n - 1.0;
        let mean = (sum - rate) / others;
        let spread = ((squares - rate * rate) / others - mean * mean).max(0.0);
        let (tries, each) = (tally.all() as f64, mean * (1.0 - mean));
        let chance = each / tries;
        let equals = SURE * (chance + each / (all - tries)).sqrt();
        (mean - rules.deviation * (spread + chance).sqrt()).min(mean - LEAST_GAP.max(equals))
    };
    let mut found: Vec<(usize, f64)> = window
        .iter()
        .enumerate()
        .filter(|(_, tally)| judged(tally))
        .map(|(i, tally)| (i, least(tally)))
        .filter(|(i, least)| window[*i].rate() < *least)
        .collect();
    found.sort_by(|a, b| window[a.0].rate().total_cmp(&window[b.0].rate()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const RULES: config::SuccessRate =
        config::SuccessRate { window: SECOND, requests: 100, deviation: 1.9 };

    fn tally(good: u64, bad: u64) -> Tally {
        Tally { good, bad }
    }

    fn found(window: &[Tally]) -> Vec<usize> {
        outliers(window, &RULES).into_iter().map(|(i, _)| i).collect()
    }

    #[test]
    fn the_time_grows_with_each_ejection_and_falls_while_it_is_in() {
        let (mut record, mut now) = (Record::default(), Instant::now());
        let mut again = |after: u32| {
            now += SECOND * after;
            let time = record.eject(Reason::SuccessRate, (30 * SECOND, 100 * SECOND), now);
            assert_eq!(record.until(), Some(now + time));
            now += time;
            record.release(now);
            time.as_secs()
        };
        assert_eq!([again(0), again(1), again(29), again(0), again(0)], [30, 60, 90, 100, 100]);
        assert_eq!(again(30), 100, "one is taken back and one comes");
        assert_eq!(again(61), 90, "two are taken back");
        assert_eq!(again(3600), 30);
    }

    #[test]
    fn the_last_one_never_goes_and_one_may_however_small_the_share() {
        let may = |up, held, wanted, share| {
            let share = Percent::new(share).unwrap();
            Count { up, held, wanted }.may_eject(Reason::SuccessRate, share)
        };
        assert!(may(2, 0, 2, 0.1) && !may(1, 0, 2, 1.0) && !may(0, 0, 2, 1.0));
        assert!(may(3, 0, 3, 0.5) && !may(2, 1, 3, 0.5), "half of three is one");
        assert!(may(3, 1, 4, 0.5) && !may(2, 2, 4, 0.5));
        assert!(may(91, 9, 100, 0.1) && !may(90, 10, 100, 0.1));
        let silent = |up, held| {
            let share = Percent::new(0.1).unwrap();
            Count { up, held, wanted: 10 }.may_eject(Reason::Silence, share)
        };
        assert!(silent(9, 1) && silent(2, 8) && !silent(1, 9));
    }

    #[test]
    fn a_backend_is_held_against_the_others() {
        let good = tally(1000, 0);
        assert_eq!(found(&[good, good, tally(500, 500)]), [2], "one of three");
        assert_eq!(found(&[good, tally(900, 100)]), [1], "one of two");
        assert_eq!(found(&[good, good, tally(96, 4)]), [0; 0], "a slip is no sign");
        assert_eq!(found(&[tally(0, 1000); 3]), [0; 0], "all are as bad");
        assert_eq!(found(&[tally(0, 1000)]), [0; 0], "with nobody to compare with");
        assert_eq!(found(&[good, good, tally(0, 99)]), [0; 0], "too few requests");
        // The worst one hides the next, which is found once that is gone.
        let mut window = vec![good, good, good, good, tally(0, 500), tally(100, 400)];
        assert_eq!(found(&window), [4]);
        window.remove(4);
        assert_eq!(found(&window), [4]);
    }

    #[test]
    fn equal_backends_are_hardly_ever_outliers() {
        let mut rng = fastrand::Rng::with_seed(7);
        for share in [0.0, 0.01, 0.1, 0.5, 0.9] {
            let mut ejected = 0;
            for _ in 0..1000 {
                let mut one = || {
                    let bad = (0..300).filter(|_| rng.f64() < share).count() as u64;
                    tally(300 - bad, bad)
                };
                ejected += found(&[one(), one(), one(), one(), one()]).len();
            }
            println!("{share}: {ejected} of 5,000");
            assert!(ejected < 3, "{share}: {ejected} of 5,000");
        }
    }
}
