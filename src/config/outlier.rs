//! `pool.outlier`: what the tries of clients may say against a backend.
use super::draft::Said;
use super::hint::quoted;
use super::pool::said;
use super::problem::Wrong;
use super::table::{Item, Table};
use super::units::Percent;
use super::value::Kind;
use std::time::Duration;

/// Envoy's `consecutive_5xx`.
const FAILURES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(30);
/// Envoy's `success_rate_request_volume`: of fewer requests a rate says little.
const REQUESTS: u64 = 100;
/// Envoy's `success_rate_stdev_factor`.
const DEVIATION: f64 = 1.9;
/// A factor above this finds nobody.
const MOST_FACTOR: f64 = 100.0;
/// Envoy's `base_ejection_time` and `max_ejection_time`.
const EJECT: Duration = Duration::from_secs(30);
const EJECT_MAX: Duration = Duration::from_secs(300);
/// Those that stay must carry the load of all: at most twice their own.
const MAX_EJECTED: f64 = 0.5;
/// Shorter stops (a collector of garbage, a disk) nobody notices; of longer ones at 600 requests a
/// second and three backends not one request in a hundred should hear.
const WAIT: Duration = Duration::from_millis(100);
/// Times the usual: TCP gives its round trips as much after two time-outs (RFC 6298 5.5).
const FACTOR: f64 = 4.0;
/// A try too many costs one wait: that seldom.
const HOLD: Duration = Duration::from_secs(1);
/// More failures in a row than this are never waited for.
const ROW: u64 = 1_000_000;

/// `pool.outlier`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// So many tries that fail one after the other eject; `None`: none do.
    pub consecutive_failures: Option<u32>,
    /// Too small a share of tries answered ejects.
    pub success_rate: Option<SuccessRate>,
    /// Waiting for a first byte much longer than is usual ejects.
    pub silence: Option<Silence>,
    /// How long the first time; the nth in a row n times as long.
    pub eject: Duration,
    /// How long at most.
    pub eject_max: Duration,
    /// Of the backends that may get work, at most this share is ejected; one may be in any case.
    pub max_ejected: Percent,
}

/// `pool.outlier.success_rate`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    /// How long tries are counted before they are judged.
    pub window: Duration,
    /// Tries in it that a backend must have had.
    pub requests: u64,
    /// Standard deviations below the others' mean.
    pub deviation: f64,
}

/// `pool.outlier.silence`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Silence {
    /// No wait shorter than this is too long.
    pub wait: Duration,
    /// Nor one within so many times the usual.
    pub factor: f64,
    /// How long until a try is sent there again, the first time; then as `eject`.
    pub hold: Duration,
}

/// A table, or `"off"`. First bytes, which `silence` waits for, are heard of on HTTP alone.
pub(super) fn outlier(item: &Item<'_>, http_only: &mut Vec<Said>) -> Option<Outlier> {
    if item.kind() == Kind::Text && item.is_off() {
        return None;
    }
    item.table("pool.outlier", |t| table(item, t, http_only)).flatten()
}

fn table(item: &Item<'_>, t: &mut Table<'_>, http_only: &mut Vec<Said>) -> Option<Outlier> {
    let failures = t.take("consecutive_failures").map(|item| item.count_or_off(1..=ROW));
    let rate = t.take("success_rate").map(|item| rate(&item));
    let silence = t.take("silence").map(|item| {
        http_only.extend((item.kind() == Kind::Table).then(|| said(&item)));
        silence(&item)
    });
    let first = t.take("eject");
    let eject = first.as_ref().and_then(Item::duration).unwrap_or(EJECT);
    let most = t.take("eject_max").map(|item| (item.duration(), item));
    let share = t.take("max_ejected").and_then(|item| max_ejected(&item));
    if let Some((Some(most), item)) = &most
        && *most < eject
    {
        item.wrong(
            Wrong::new(format!("{most:?} is below eject, which is {eject:?}"))
                .hint("the time grows from eject up to eject_max"),
        );
    }
    if let (Some(item), Some(Some(Some(silence))), Some((Some(most), _))) =
        (t.again("silence"), &silence, &most)
        && silence.hold > *most
    {
        let what = format!("hold is {:?}, and eject_max is {most:?}", silence.hold);
        item.wrong(Wrong::new(what).hint("the time grows from hold up to eject_max"));
    }
    let outlier = Outlier {
        consecutive_failures: failures.unwrap_or(Some(Some(FAILURES)))?,
        success_rate: rate.unwrap_or(Some(Some(SuccessRate::default())))?,
        silence: silence.unwrap_or(Some(Some(Silence::default())))?,
        eject,
        eject_max: most.and_then(|(most, _)| most).unwrap_or(EJECT_MAX.max(eject)),
        max_ejected: share.or_else(|| Percent::new(MAX_EJECTED))?,
    };
    let (failures, rate) = (outlier.consecutive_failures, outlier.success_rate);
    if failures.is_none() && rate.is_none() {
        match (outlier.silence, &first) {
            (None, _) => {
                item.wrong(Wrong::new("judges by nothing").hint("write outlier = \"off\""));
            }
            (Some(_), Some(item)) => item.key_wrong(
                Wrong::new("means nothing here: silence alone ejects, which has hold")
                    .hint("leave it out, or let consecutive_failures or success_rate eject"),
            ),
            (Some(_), None) => {}
        }
    }
    Some(outlier)
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { window: WINDOW, requests: REQUESTS, deviation: DEVIATION }
    }
}

/// A table, or `"off"`.
fn rate(item: &Item<'_>) -> Option<Option<SuccessRate>> {
    if item.kind() == Kind::Text && item.is_off() {
        return Some(None);
    }
    let mut rate = SuccessRate::default();
    item.table("pool.outlier.success_rate", |t| {
        rate.window = t.take("window").and_then(|item| item.duration()).unwrap_or(WINDOW);
        rate.requests =
            t.take("requests").and_then(|item| item.count(1..=u64::MAX)).unwrap_or(REQUESTS);
        rate.deviation =
            t.take("deviation").and_then(|item| above(&item, DEVIATION)).unwrap_or(DEVIATION);
    })?;
    Some(Some(rate))
}

impl Default for Silence {
    fn default() -> Self {
        Self { wait: WAIT, factor: FACTOR, hold: HOLD }
    }
}

/// A table, or `"off"`.
fn silence(item: &Item<'_>) -> Option<Option<Silence>> {
    if item.kind() == Kind::Text && item.is_off() {
        return Some(None);
    }
    let mut silence = Silence::default();
    item.table("pool.outlier.silence", |t| {
        silence.wait = t.take("wait").and_then(|item| item.duration()).unwrap_or(WAIT);
        silence.factor = t.take("factor").and_then(|item| above(&item, FACTOR)).unwrap_or(FACTOR);
        silence.hold = t.take("hold").and_then(|item| item.duration()).unwrap_or(HOLD);
    })?;
    Some(Some(silence))
}

/// A factor above 0.
fn above(item: &Item<'_>, example: f64) -> Option<f64> {
    let factor = item.factor()?;
    if !(factor > 0.0 && factor <= MOST_FACTOR) {
        let what = format!("{factor} is not above 0 and at most {MOST_FACTOR}");
        item.wrong(Wrong::new(what).hint(format!("write for example {example:?}")));
        return None;
    }
    Some(factor)
}

fn max_ejected(item: &Item<'_>) -> Option<Percent> {
    let share = item.percent()?;
    if share.get() == 0.0 {
        let what = format!("{} lets nobody be ejected", quoted("0%"));
        item.wrong(Wrong::new(what).hint("write outlier = \"off\""));
        return None;
    }
    Some(share)
}
