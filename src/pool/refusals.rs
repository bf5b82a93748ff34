//! Whether answers of 503 speak of load or of a page. Pure: time and counts are arguments. For one backend.
//!
//! Who has too much to do says so while he does all he can, and no longer when he gets less. A page that is
//! switched off says it as often as it is asked for, however little is done beside it, and whoever asks for it in a
//! loop would close a backend for all. Shares do not tell: what is answered at once and what takes its time
//! compete for the few places that are left. What is answered well does. So such answers cut the limit as they
//! come; where they go on it is counted how much is answered well in a second beside them, and then for as
//! long with more places. Where that is more the limit was what kept it away, and such answers count for
//! a while as an application's failures; each time that is found again, for twice as long. Where it is
//! not, the backend does all it can already, and they are heeded for a while.
//!
//! When that while is over, half of what is in work does for the next look: where less is answered well with that
//! than was just before, and such answers go on, it is the page still.
use std::time::{Duration, Instant};

/// So long it is counted at the least limit,
const LEAST: Duration = Duration::from_millis(500);
/// where it is otherwise cut down, and with more places;
const COUNTED: Duration = Duration::from_secs(1);
/// each time until so many good answers came,
const ANSWERS: u32 = 32;
/// or after so long these,
const FEW: u32 = 8;
/// As above.
const LONG: Duration = Duration::from_secs(2);
/// and no longer than this.
const LONGEST: Duration = Duration::from_secs(5);
/// A backend that has too much at the least limit already does no more than so many times as much with more places,
const HELPED: f64 = 1.15;
/// and one that the limit goes up and down around, so that some of what it can do is lost, no more than this.
const HELPED_MUCH: f64 = 2.0;
/// What was a page is one still where so many times as much came with all places as does with half of them.
const HELPED_AGAIN: f64 = 1.3;
/// The limit is cut down where it is no more than so much of what it was, and does not fall,
const CUT: f64 = 0.5;
/// or so much: what is answered while it falls was asked before.
const CUT_MUCH: f64 = 0.25;
/// More places are as many as before, or so many times the least limit.
const PLACES: f64 = 4.0;
/// What was begun counts for so long, whether there are such answers all the while or now and then.
const TRIAL: Duration = Duration::from_secs(20);
/// So long they are no sign, the first time, and at the most: an overload that comes meanwhile is not
/// heeded for no longer than this.
const DEAF: Duration = Duration::from_secs(15);
/// As above.
const DEAF_MOST: Duration = Duration::from_secs(60);
/// So long without them the page is no longer asked for, and they are a sign again.
const GONE: Duration = Duration::from_secs(3);
/// So many times their share, and they are more than the page's.
const MORE: f64 = 1.5;
/// Where they go on for so long at the least limit, it is looked at again.
const HEEDED: Duration = Duration::from_secs(15);

/// What came in a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Came {
    /// Answers of 503, of all.
    pub(super) turned: u32,
    pub(super) all: u32,
    /// Good answers.
    pub(super) good: u32,
    /// Most in work.
    pub(super) most: u32,
    pub(super) time: Duration,
}

impl Came {
    fn add(&mut self, more: Self) {
        (self.turned, self.all) = (self.turned + more.turned, self.all + more.all);
        (self.good, self.time) = (self.good + more.good, self.time + more.time);
        self.most = self.most.max(more.most);
    }
    fn share(self) -> f64 {
        f64::from(self.turned) / f64::from(self.all.max(1))
    }
    fn a_second(self) -> f64 {
        f64::from(self.good) / self.time.as_secs_f64().max(1e-3)
    }
    fn is_enough(self, time: Duration) -> bool {
        self.time
            >= match self.good {
                ANSWERS.. => time,
                FEW.. => LONG,
                _ => LONGEST,
            }
    }
}

/// What such answers of a window mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sign {
    /// There is too much load.
    Load,
    /// Nothing of that kind.
    None,
    /// That is being looked at: the limit is this at the least, and does not grow.
    Open(f64),
    /// Or this at the most.
    Part(f64),
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    /// There are few.
    #[default]
    Calm,
    /// The limit is cut from this on, with so many in work: what comes beside them at the least one, and
    /// where it is cut down.
    Low { from: f64, most: f64, since: Instant, least: Came, cut: Came },
    /// There are more places: what comes there, held against so much a second.
    High { since: Instant, low: f64, high: Came },
    /// More places did not help, until then.
    Heeded(Instant),
    /// They did: not again before this, unless there are more than this share, or none since then. What comes now,
    /// and came in the last second.
    Deaf { until: Instant, share: f64, none_since: Option<Instant>, now: Came, usual: Came },
    /// That is over: what comes with half of the places, held against what came with so many.
    Part { from: f64, usual: Came, none_since: Option<Instant>, part: Came },
}

#[derive(Debug)]
pub(super) struct Refusals {
    stage: Stage,
    /// The limit in the window before.
    last: f64,
    deaf: Duration,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { stage: Stage::Calm, last: 0.0, deaf: DEAF }
    }
}

impl Refusals {
    /// What a window means, in which there were many of them or not, at this limit of which `min` is the
    /// least.
    pub(super) fn window(
        &mut self,
        (came, many): (Came, bool),
        (limit, min): (f64, f64),
        now: Instant,
    ) -> Sign {
        let falls = limit < std::mem::replace(&mut self.last, limit);
        if !many && !self.goes_on(now) {
            self.stage = Stage::Calm;
        }
        if many && self.is_deaf(came, now) {
            return Sign::None;
        }
        match &mut self.stage {
            Stage::Calm if !many => Sign::Load,
            Stage::Calm => self.begin(limit, now),
            Stage::Low { from, most, least, cut, .. } => {
                (*from, *most) = (from.max(limit), most.max(came.most.into()));
                if many && !falls && limit <= min {
                    least.add(came);
                }
                let part = if falls { CUT_MUCH } else { CUT };
                if many && limit <= min.max(*most * part) {
                    cut.add(came);
                }
                let low = match (least.is_enough(LEAST), cut.is_enough(COUNTED)) {
                    (true, _) if least.good >= ANSWERS => least.a_second() * HELPED,
                    (true, _) => least.a_second() * HELPED_MUCH,
                    (false, true) => cut.a_second() * HELPED_MUCH,
                    (false, false) => return Sign::Load,
                };
                let places = from.max(min * PLACES);
                self.stage = Stage::High { since: now, low, high: Came::default() };
                Sign::Open(places)
            }
            Stage::High { low, high, .. } => {
                // Their share is that of the time in which they come.
                high.add(if many { came } else { Came { turned: 0, all: 0, ..came } });
                if !high.is_enough(COUNTED) {
                    return Sign::Open(0.0);
                }
                let (helped, share) = (high.a_second() > *low, high.share());
                self.judge(helped, share, now)
            }
            Stage::Heeded(until) if now < *until || !many => Sign::Load,
            Stage::Deaf { .. } if !many => Sign::None,
            Stage::Deaf { usual, .. } if usual.good > 0 => {
                let (usual, half) = (*usual, f64::from(came.most / 2).max(min));
                let part = Came::default();
                self.stage = Stage::Part { from: limit, usual, none_since: None, part };
                Sign::Part(half)
            }
            Stage::Heeded(_) | Stage::Deaf { .. } => self.begin(limit, now),
            Stage::Part { .. } if !many => Sign::Open(0.0),
            Stage::Part { part, none_since, .. } => {
                *none_since = None;
                part.add(came);
                self.judge_again(limit, now)
            }
        }
    }

    /// Whether what began goes on without them.
    fn goes_on(&mut self, now: Instant) -> bool {
        match &mut self.stage {
            Stage::Calm => false,
            Stage::Low { since, .. } | Stage::High { since, .. } => now < *since + TRIAL,
            Stage::Heeded(until) => now < *until,
            Stage::Deaf { none_since, .. } | Stage::Part { none_since, .. } => {
                now < *none_since.get_or_insert(now) + GONE
            }
        }
    }

    fn begin(&mut self, from: f64, since: Instant) -> Sign {
        let none = Came::default();
        self.stage = Stage::Low { from, most: 0.0, since, least: none, cut: none };
        Sign::Load
    }

    /// Whether they are no sign now, with many of them.
    fn is_deaf(&mut self, came: Came, at: Instant) -> bool {
        let Stage::Deaf { until, share, none_since, now, usual } = &mut self.stage else {
            return false;
        };
        *none_since = None;
        now.add(came);
        let more = now.time >= COUNTED && now.share() > *share * MORE;
        if now.time >= COUNTED {
            *usual = std::mem::take(now);
        }
        at < *until && !more
    }

    fn judge(&mut self, helped: bool, share: f64, now: Instant) -> Sign {
        if !helped {
            (self.stage, self.deaf) = (Stage::Heeded(now + HEEDED), DEAF);
            return Sign::Load;
        }
        let until = now + self.deaf;
        let (now, usual) = <(Came, Came)>::default();
        self.stage = Stage::Deaf { until, share, none_since: None, now, usual };
        self.deaf = (self.deaf * 2).min(DEAF_MOST);
        Sign::None
    }

    /// With half of the places there must be less, where it is the page still: else all is looked at anew.
    fn judge_again(&mut self, limit: f64, now: Instant) -> Sign {
        let Stage::Part { from, usual, part, .. } = self.stage else { return Sign::Load };
        let is_enough = usual.a_second() * part.time.as_secs_f64() >= ANSWERS.into();
        if part.time < LONG && !(part.time >= COUNTED && is_enough) {
            return Sign::Open(0.0);
        }
        if usual.a_second() < part.a_second() * HELPED_AGAIN {
            return self.begin(limit, now);
        }
        self.judge(true, usual.share(), now);
        Sign::Open(from)
    }
}
