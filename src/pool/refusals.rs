//! Whether answers of 503 speak of load or of a page. Pure: time and counts are arguments. For one backend.
//!
//! Who has too much to do, and says so, says it less often when he gets less. A page that is switched off
//! says it as often as it is asked for, everywhere, and whoever asks for it in a loop would close a backend for
//! all. So such answers cut the limit as they come, down to its least where they go on; and where they
//! are as large a share there as in the beginning they are no sign of load. Then they count for a while
//! as an application's failures; each time that is found again, for twice as long.
use std::time::{Duration, Instant};

/// Answers that a share is known by.
const ENOUGH: u32 = 64;
/// Less load that helps leaves no more than this part of their share.
const HELPED: f64 = 0.7;
/// So long they are no sign, the first time, and at the most: an overload that comes meanwhile is not
/// heeded for no longer than this.
const DEAF: Duration = Duration::from_secs(15);
/// As above.
const DEAF_MOST: Duration = Duration::from_secs(60);
/// So long without them the page is no longer asked for, and they are a sign again.
const GONE: Duration = Duration::from_secs(3);
/// So many times their share, and they are more than the page's.
const MORE: f64 = 1.5;
/// Where they go on for so long although less load helped, it is looked at again.
const HEEDED: Duration = Duration::from_secs(15);

/// Answers, and those of them that were 503.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) turned: u32,
    pub(super) all: u32,
}

impl Share {
    fn add(&mut self, more: Self) {
        (self.turned, self.all) = (self.turned + more.turned, self.all + more.all);
    }
    fn get(self) -> f64 {
        f64::from(self.turned) / f64::from(self.all.max(1))
    }
    fn is_enough(self) -> bool {
        self.all >= ENOUGH
    }
}

/// What such answers of a window mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sign {
    /// There is too much load.
    Load,
    /// Nothing of that kind.
    None,
    /// It was found just now that they do not: the limit need not have been cut from this.
    Wrong(f64),
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    /// There are few.
    #[default]
    Calm,
    /// The limit is cut from this on: their share in the beginning, and at the least limit.
    Trial { from: f64, before: Share, least: Share },
    /// Less load helped, until then.
    Heeded(Instant),
    /// It did not: not again before this, unless they are more than this share, or none since then.
    Deaf { until: Instant, share: f64, none_since: Option<Instant>, now: Share },
}

#[derive(Debug)]
pub(super) struct Refusals {
    stage: Stage,
    deaf: Duration,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { stage: Stage::Calm, deaf: DEAF }
    }
}

impl Refusals {
    /// A window with few of them.
    pub(super) fn calm(&mut self, now: Instant) {
        if let Stage::Deaf { none_since, .. } = &mut self.stage
            && now < *none_since.get_or_insert(now) + GONE
        {
            return;
        }
        self.stage = Stage::Calm;
    }

    /// A window with many, at this limit of which `min` is the least.
    pub(super) fn window(&mut self, share: Share, limit: f64, min: f64, now: Instant) -> Sign {
        if self.is_deaf(share, now) {
            return Sign::None;
        }
        match &mut self.stage {
            Stage::Heeded(until) if now < *until => {}
            Stage::Calm | Stage::Deaf { .. } | Stage::Heeded(_) => {
                self.stage = Stage::Trial { from: limit, before: share, least: Share::default() };
            }
            Stage::Trial { before, .. } if !before.is_enough() => before.add(share),
            Stage::Trial { from, before, least } if limit <= min => {
                least.add(share);
                if least.is_enough() {
                    let (from, share) = (*from, least.get());
                    let helped = share <= before.get() * HELPED;
                    return self.judge(from, (helped, share), now);
                }
            }
            Stage::Trial { .. } => {}
        }
        Sign::Load
    }

    /// Whether they are no sign now.
    fn is_deaf(&mut self, share: Share, at: Instant) -> bool {
        let Stage::Deaf { until, share: usual, none_since, now } = &mut self.stage else {
            return false;
        };
        *none_since = None;
        now.add(share);
        let more = now.is_enough() && now.get() > *usual * MORE;
        if now.is_enough() {
            *now = Share::default();
        }
        at < *until && !more
    }

    fn judge(&mut self, from: f64, (helped, share): (bool, f64), now: Instant) -> Sign {
        if helped {
            (self.stage, self.deaf) = (Stage::Heeded(now + HEEDED), DEAF);
            return Sign::Load;
        }
        let (until, none) = (now + self.deaf, Share::default());
        self.stage = Stage::Deaf { until, share, none_since: None, now: none };
        self.deaf = (self.deaf * 2).min(DEAF_MOST);
        Sign::Wrong(from)
    }
}
