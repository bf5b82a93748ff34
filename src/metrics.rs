//! Cells that are counted in place, and the text Prometheus reads.
//!
//! A cell is one relaxed atomic on the hot path; no label is formatted there. Families are written
//! at scrape time by whoever walks the plan, with label strings rendered when the thing was built.
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }
    /// Adds one.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }
    /// Moves the level.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }
    /// Sets the level.
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }
    /// The level.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the duration buckets, in seconds. 0.3 and 1.2 are what existing dashboards of
/// this field ask for.
pub const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 1.0, 1.2, 2.5, 5.0];
// 10 seconds and +Inf follow; B counts them too.

/// A distribution of durations.
#[derive(Debug, Default)]
pub struct Histogram {/* buckets: [AtomicU64; N], sum_nanos: AtomicU64 */}

impl Histogram {
    /// Counts a duration: two relaxed additions.
    pub fn observe(&self, took: Duration) {
        let _ = took;
        todo!()
    }
}

/// A family's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Counter.
    Counter,
    /// Gauge.
    Gauge,
    /// Histogram.
    Histogram,
}

/// Writes families in the Prometheus text format.
#[derive(Debug, Default)]
pub struct Text {
    out: String,
}

impl Text {
    /// Begins a family: HELP and TYPE.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let _ = (name, kind, help);
        let _ = write!(self.out, "");
        todo!()
    }
    /// One sample. `labels` is a rendered list without braces, see [`labels`].
    pub fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = (name, labels, value);
        todo!()
    }
    /// The samples of a histogram.
    pub fn histogram(&mut self, name: &str, labels: &str, cells: &Histogram) {
        let _ = (name, labels, cells);
        todo!()
    }
    /// The text.
    pub fn finish(self) -> String {
        self.out
    }
}

/// Renders labels, escaped: `pool="app",backend="b"`.
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let _ = pairs;
    todo!()
}

/// The `process_*` families and those of the standard collector.
pub fn process(text: &mut Text) {
    let _ = text;
    todo!()
}

/// Counters by a word that the program knows: for rare events only (it takes a lock).
#[derive(Debug, Default)]
pub struct Words(parking_lot::RwLock<std::collections::BTreeMap<&'static str, u64>>);

impl Words {
    /// Counts one event of this word.
    pub fn inc(&self, word: &'static str) {
        *self.0.write().entry(word).or_default() += 1;
    }
    /// Every word seen and its count.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        self.0.read().iter().map(|(w, n)| (*w, *n)).collect()
    }
}

/// What is counted at a listener; lives as long as the listener's name.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is the metric of interface.md that its name says")]
pub struct ListenerCells {
    /// Rendered labels: `listener="web"`.
    pub labels: String,
    pub open: Gauge,
    pub accepted: Counter,
    pub received: Counter,
    pub sent: Counter,
    pub accept_errors: Words,
    pub limit_hits: Words,
    /// `evenkeel_responses_own_total` by reason.
    pub own: Words,
}

/// Panics caught (`evenkeel_panics_total`).
#[derive(Debug, Default)]
pub struct Panics(pub Counter);
