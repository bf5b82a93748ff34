//! `pool.slow_start`: how a backend that returns comes to its whole weight.
use super::problem::Wrong;
use super::table::Item;
use super::units::Percent;
use super::value::Kind;
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(30);
/// Envoy's `min_weight_percent`.
const FROM: f64 = 0.1;
const CURVES: [(&str, Curve); 2] = [("linear", Curve::Linear), ("quadratic", Curve::Quadratic)];

/// `pool.slow_start`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long until it has its whole weight.
    pub window: Duration,
    /// The share of its weight that it has at the least.
    pub from: Percent,
    /// How its share grows.
    pub curve: Curve,
}

/// How a share grows with the part of the window that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// As it: nginx, HAProxy, Envoy at an aggression of 1.
    Linear,
    /// As its square: Envoy at an aggression of 0.5.
    Quadratic,
}

/// A table, the window alone, or `"off"`.
pub(super) fn slow_start(item: &Item<'_>) -> Option<SlowStart> {
    let mut all = SlowStart { window: WINDOW, from: Percent::new(FROM)?, curve: Curve::Linear };
    if item.kind() != Kind::Table {
        if item.is_off() {
            return None;
        }
        all.window = item.duration()?;
        return Some(all);
    }
    item.table("pool.slow_start", |t| {
        all.window = t.take("window").and_then(|item| item.duration()).unwrap_or(WINDOW);
        all.from = t.take("from").and_then(|item| from(&item)).unwrap_or(all.from);
        let curve = t.take("curve").and_then(|item| item.word("pool.slow_start.curve", &CURVES));
        all.curve = curve.unwrap_or(all.curve);
    })?;
    Some(all)
}

/// A share above 0: who has no weight at all gets no work.
fn from(item: &Item<'_>) -> Option<Percent> {
    let share = item.percent()?;
    if share.get() == 0.0 {
        item.wrong(Wrong::new("\"0%\" is no weight").hint("write for example \"1%\""));
        return None;
    }
    Some(share)
}
