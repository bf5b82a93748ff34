//! How many requests a backend may have at once, learnt from its latency. Pure: time and seed are
//! arguments. For one backend.
//!
//! A gradient on latency, as Envoy's adaptive concurrency has it (its gradient controller, after
//! Netflix's `concurrency-limits`, both of TCP Vegas' kin): while a first byte takes not much longer
//! than it does at rest, the limit grows by a headroom of its root; where it takes longer, requests
//! queue inside the backend, and the limit falls in proportion.
//!
//! ```text
//! limit = limit × (rest × 1.25 / now, within 0.5 to 2) + √limit
//! ```
//!
//! Netflix's own Gradient2 was not taken: it compares with a long average, which follows a lasting
//! overload upwards, and the limit with it. Envoy's knows what a first byte takes at rest because it
//! measures that now and then with next to nobody in work; here half the limit suffices for it: half of
//! a limit that holds latency below 1.5 × rest is below the point from which requests queue (the
//! reason for which BBR drains its pipe: ACM Queue 14(5), 2016). Where the load leaves half of the
//! limit unused by itself, nothing needs to be done.
//!
//! What was measured at rest holds for the pages of then. Where others come that take longer, the limit
//! would fall as if requests queued, down to its lower bound. So what is cut down to half of what it
//! was, or to that bound, and stays there, is measured again at once: at that load nothing queues.
use super::ceiling::Ceiling;
use super::refusals::{Came, Refusals, Sign};
use super::window::Window;
use std::time::{Duration, Instant};

/// So long a window takes at the least. Envoy's default.
const WINDOW: Duration = Duration::from_millis(100);
/// And so many answers it has: the median of fewer says little.
const ANSWERS: u32 = 10;
/// A median may be so much above that at rest before requests count as queueing. Envoy's default.
const BUFFER: f32 = 1.25;
/// From one measurement at rest to the next. Envoy's default.
const REST_EVERY: Duration = Duration::from_secs(60);
/// So many times its own length at the least: at half the limit for at most a fiftieth of the time.
const REST_TIMES: u32 = 50;
/// A measurement ends after this with what there is, and is given up where that is not [`FEW`].
const REST_MOST: Duration = Duration::from_secs(1);
/// Or after so many times as long as a first byte took of late, where that is more: what is slow has
/// given next to no answer by then.
const REST_LONG: u32 = 4;
/// Answers of a measurement whose time is over that will do.
const FEW: u32 = 3;
/// Windows in a row at a limit that was cut down by latency until rest is measured anew.
const CUT: u32 = 5;
/// By so much the measure of rest may rise in a window that leaves half the limit unused: a backend
/// that became slower for good is believed within half a minute, one that is overloaded is cut
/// down within half a second.
const RISE: f32 = 1.01;
/// Up to this share of failures is no sign of overload.
const TOLERATED: f64 = 0.05;
/// Nor is a single one in a window.
const SINGLE: u32 = 1;
/// Failures that say nothing of overload take no more of the limit than this: a client may choose how
/// often an application fails.
const FAULTS_MOST: f64 = 0.5;

/// What is known of a backend.
#[derive(Debug)]
pub(super) struct Adaptive {
    bounds: Bounds,
    /// What latency and refusals make of it.
    limit: f64,
    /// The share of it that the application's failures leave.
    whole: f64,
    /// What a first byte takes at rest, in seconds.
    rest: Option<f32>,
    /// What it took in the last window.
    last: f32,
    /// The highest limit since rest was measured.
    peak: f64,
    /// Windows in a row in which it was far below that, or at its least, and latency kept it there.
    cut: u32,
    measure: Measure,
    window: Window,
    /// Whether answers of 503 are a sign of load.
    refusals: Refusals,
    /// Where they begin.
    ceiling: Ceiling,
    /// When it was cut last because of them.
    cut_at: Instant,
    seed: u64,
}

/// `max_active.min` and `max_active.max`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) min: u32,
    pub(super) max: u32,
}

/// When and how it is measured what a first byte takes at rest.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    /// Not before this.
    At(Instant),
    /// The limit is halved, and as many as that are not yet in work.
    Falling { begun: Instant },
    /// What was begun from `since` on counts.
    Rest { begun: Instant, since: Instant },
}

/// How one request ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// When it was sent.
    pub(super) begun: Instant,
    pub(super) end: End,
    /// In work at its end, itself too.
    pub(super) active: u32,
}

/// What its end says of how much the backend bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// After so long the answer began.
    Took(Duration),
    /// The application failed: whether it has too much to do, nobody knows.
    Fault,
    /// It broke, or came too late.
    Refused,
    /// It was turned away (503).
    Turned,
}

impl Adaptive {
    /// Begins at the lower bound. `seed` spreads the measurements of several backends.
    pub(super) fn new(bounds: Bounds, seed: u64, now: Instant) -> Self {
        let limit = f64::from(bounds.min);
        let measure = Measure::At(now);
        let mut new = Self {
            bounds,
            limit,
            whole: 1.0,
            rest: None,
            last: 0.0,
            peak: limit,
            cut: 0,
            measure,
            window: Window::new(now),
            refusals: Refusals::default(),
            ceiling: Ceiling::default(),
            cut_at: now,
            seed,
        };
        new.measure_later(now, Duration::ZERO);
        new
    }

    /// Other bounds.
    pub(super) fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.limit = self.within(self.limit);
    }

    /// How many requests it may have at once now.
    pub(super) fn limit(&self) -> u32 {
        let limit = match self.measure {
            Measure::At(_) => self.limit * self.whole,
            Measure::Falling { .. } | Measure::Rest { .. } => self.limit * self.whole / 2.0,
        };
        self.within(limit) as u32
    }

    /// One ended.
    pub(super) fn learn(&mut self, heard: Heard, now: Instant) {
        self.window.most = self.window.most.max(heard.active);
        self.look(heard.active, now);
        match heard.end {
            End::Fault => self.window.faults += 1,
            End::Refused => self.window.refusals += 1,
            // It was cut for that one already.
            End::Turned if heard.begun < self.cut_at => return,
            End::Turned => self.window.turned += 1,
            End::Took(took) if self.counts(heard.begun) => self.window.learn(took.as_secs_f32()),
            End::Took(_) => return,
        }
        let enough = self.window.all() >= ANSWERS;
        if matches!(self.measure, Measure::Rest { .. }) {
            if enough {
                self.measured();
                self.end_measure(now);
            }
        } else if enough && now.saturating_duration_since(self.window.begun) >= WINDOW {
            self.adapt(now);
        }
    }

    /// Time passes: a measurement comes to its end, or is given up.
    pub(super) fn look(&mut self, active: u32, now: Instant) {
        match self.measure {
            Measure::At(at) if now >= at && self.rest.is_some() => {
                self.measure = Measure::Falling { begun: now };
            }
            Measure::At(_) => {}
            Measure::Falling { begun } | Measure::Rest { begun, .. }
                if now.saturating_duration_since(begun) > self.rest_most() =>
            {
                if matches!(self.measure, Measure::Rest { .. }) && self.window.answers >= FEW {
                    self.measured();
                }
                self.end_measure(now);
            }
            Measure::Falling { begun } if active <= self.limit() => {
                self.measure = Measure::Rest { begun, since: now };
                self.window.clear(now);
            }
            Measure::Falling { .. } | Measure::Rest { .. } => {}
        }
    }

    /// Whether the time of a request that was sent then says something.
    fn counts(&self, begun: Instant) -> bool {
        match self.measure {
            Measure::At(_) | Measure::Falling { .. } => true,
            Measure::Rest { since, .. } => begun >= since,
        }
    }

    /// How long a measurement may take.
    fn rest_most(&self) -> Duration {
        let last = Duration::try_from_secs_f32(self.last).unwrap_or_default();
        REST_MOST.max(last.saturating_mul(REST_LONG))
    }

    /// Takes what the window says of a first byte at rest.
    fn measured(&mut self) {
        self.rest = self.window.median().or(self.rest);
        self.peak = self.limit;
    }

    fn end_measure(&mut self, now: Instant) {
        if let Measure::Falling { begun } | Measure::Rest { begun, .. } = self.measure {
            self.measure_later(now, now.saturating_duration_since(begun));
        }
        self.cut = 0;
        self.window.clear(now);
    }

    /// The next measurement, each time after another while, so that not all backends of a pool are at
    /// half their limit at once.
    fn measure_later(&mut self, now: Instant, took: Duration) {
        self.seed =
            self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let every = REST_EVERY.max(took * REST_TIMES);
        self.measure = Measure::At(now + every + every * (self.seed >> 56) as u32 / 512);
    }

    /// The end of a window.
    fn adapt(&mut self, now: Instant) {
        let sign = self.sign(now);
        match sign {
            Sign::Open(least) => self.limit = self.limit.max(least),
            Sign::Part(most) => self.limit = self.limit.min(most),
            Sign::Load | Sign::None => {}
        }
        let window = &mut self.window;
        let all = f64::from(window.all());
        let share = |of: u32| if of > SINGLE { f64::from(of) / all } else { 0.0 };
        let (failed, refused) = match sign {
            Sign::Load => (share(window.faults), share(window.refusals + window.turned)),
            Sign::None => (share(window.faults + window.turned), share(window.refusals)),
            Sign::Open(_) | Sign::Part(_) => (share(window.faults), share(window.refusals)),
        };
        let most = f64::from(window.most);
        let used = most * 2.0 >= self.limit * self.whole;
        let (mut next, mut slow) = (self.limit, false);
        if let Some(took) = window.median() {
            let rest = match self.rest {
                Some(rest) if took >= rest && used => rest,
                Some(rest) => took.min(rest * RISE),
                None => took,
            };
            (self.rest, self.last, slow) = (Some(rest), took, took > rest * BUFFER);
            let gradient = f64::from(rest * BUFFER / took.max(f32::MIN_POSITIVE)).clamp(0.5, 2.0);
            next = self.limit * gradient;
            next += next.sqrt();
            if !used && matches!(self.measure, Measure::At(_)) {
                self.measure_later(now, Duration::ZERO);
            }
        }
        // It grows only where that is of use, and where nothing speaks against it.
        if !used || refused > TOLERATED || matches!(sign, Sign::Open(_) | Sign::Part(_)) {
            next = next.min(self.limit);
        }
        next = self.spare(next, (sign, refused), most, now);
        // What an application fails at does not add up from window to window.
        self.whole = if failed > TOLERATED { (1.0 - failed).max(FAULTS_MOST) } else { 1.0 };
        self.limit = self.within(next);
        self.peak = self.peak.max(self.limit);
        self.window.clear(now);
        self.doubt(slow, now);
    }

    /// What refusals leave of what is next, after a window with this share of them and so many in work.
    fn spare(&mut self, next: f64, (sign, refused): (Sign, f64), most: f64, now: Instant) -> f64 {
        let limit = self.limit.floor();
        let many = refused > TOLERATED;
        if sign != Sign::Load {
            self.ceiling = Ceiling::default();
        }
        next.min(match (many, sign) {
            (false, Sign::Load) => self.ceiling.went_well(limit.min(most / self.whole)),
            (false, _) => next,
            (true, _) => {
                self.cut_at = now;
                self.ceiling.refused(limit, refused)
            }
        })
    }

    /// What answers of 503 mean in this window.
    fn sign(&mut self, now: Instant) -> Sign {
        let Window { begun, answers: good, turned, most, .. } = self.window;
        let (all, time) = (self.window.all(), now.saturating_duration_since(begun));
        let many = f64::from(turned) > TOLERATED * f64::from(all);
        let (came, limits) =
            (Came { turned, all, good, most, time }, (self.limit, f64::from(self.bounds.min)));
        self.refusals.window((came, many), limits, now)
    }

    /// A limit that latency has cut down and keeps down is no proof that requests queue: what a first
    /// byte takes at rest is measured at once.
    fn doubt(&mut self, slow: bool, now: Instant) {
        let low = self.limit <= f64::from(self.bounds.min).max(self.peak / 2.0);
        self.cut = if slow && low { self.cut + 1 } else { 0 };
        if self.cut >= CUT && matches!(self.measure, Measure::At(_)) {
            self.measure = Measure::Falling { begun: now };
        }
    }

    fn within(&self, limit: f64) -> f64 {
        limit.clamp(f64::from(self.bounds.min), f64::from(self.bounds.max))
    }
}

#[cfg(test)]
#[path = "adaptive_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "ceiling_tests.rs"]
mod ceiling_tests;

#[cfg(test)]
#[path = "refusals_tests.rs"]
mod refusals_tests;
