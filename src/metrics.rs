//! Cells that are counted in place, and the text Prometheus reads.
//!
//! A cell is one relaxed atomic on the hot path; no label is formatted there. Families are written
//! at scrape time by whoever walks the plan, with label strings rendered when the thing was built.
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

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

/// Upper bounds of the duration buckets, in seconds; `+Inf` follows. 0.3 and 1.2 are what existing
/// dashboards of this field ask for.
pub const BUCKETS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 1.0, 1.2, 2.5, 5.0, 10.0];

const BUCKETS_NANOS: [u64; 15] = {
    let mut nanos = [0; 15];
    let mut i = 0;
    while i < 15 {
        nanos[i] = (BUCKETS[i] * 1e9) as u64;
        i += 1;
    }
    nanos
};

/// A distribution of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; 16],
    sum_nanos: AtomicU64,
}

/// A stretch of time that is over, measured once for all who count it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    begun: Instant,
    ended: Instant,
    took: Duration,
}

impl Span {
    /// From one moment to another; none where that was before.
    pub fn new(begun: Instant, ended: Instant) -> Self {
        Self { begun, ended, took: ended.saturating_duration_since(begun) }
    }
    /// When it ended.
    pub fn ended(&self) -> Instant {
        self.ended
    }
    /// How long it was.
    pub fn took(&self) -> Duration {
        self.took
    }
    /// How long it was since this moment: its own beginning, as a rule.
    #[inline]
    pub fn since(&self, begun: Instant) -> Duration {
        if begun == self.begun { self.took } else { self.ended.saturating_duration_since(begun) }
    }
}

impl Histogram {
    /// Counts a duration: two relaxed additions.
    #[inline]
    pub fn observe(&self, took: Duration) {
        // 64 bits hold 584 years of them.
        let nanos = took.as_secs().wrapping_mul(1_000_000_000) + u64::from(took.subsec_nanos());
        let bucket = BUCKETS_NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(15);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_nanos.fetch_add(nanos, Relaxed);
    }
}

impl Histogram {
    /// Adds what another one counted.
    pub fn add(&self, other: &Self) {
        for (to, more) in self.buckets.iter().zip(&other.buckets) {
            to.fetch_add(more.load(Relaxed), Relaxed);
        }
        self.sum_nanos.fetch_add(other.sum_nanos.load(Relaxed), Relaxed);
    }
    /// What was counted in each bucket of [`BUCKETS`], and above all of them.
    pub fn counts(&self) -> [u64; 16] {
        self.buckets.each_ref().map(|bucket| bucket.load(Relaxed))
    }
    /// All of it together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.load(Relaxed))
    }
}

/// The mean of about the last `RECENT` durations: the older one is, the less it weighs.
#[derive(Debug, Default)]
pub struct Recent {
    count: AtomicU64,
    sum_nanos: AtomicU64,
}

/// As many as HAProxy's averages are made of.
const RECENT: u64 = 1024;

impl Recent {
    /// Counts a duration.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / RECENT);
        let is_full = self.count.fetch_add(1, Relaxed) >= RECENT;
        let _ = self.sum_nanos.fetch_update(Relaxed, Relaxed, |sum| {
            let kept = if is_full { sum - sum / RECENT } else { sum };
            Some(kept.saturating_add(nanos))
        });
    }
    /// How many it is made of.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed).min(RECENT)
    }
    /// In seconds; 0 of none.
    pub fn mean(&self) -> f64 {
        self.sum_nanos.load(Relaxed) as f64 / 1e9 / self.count().max(1) as f64
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
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }
    /// One sample. `labels` is a rendered list without braces, see [`labels`]. The sum of nothing,
    /// which is -0, is told as 0.
    pub fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let value = value + 0.0;
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        let _ = writeln!(self.out, "{name}{open}{labels}{close} {value}");
    }
    /// One sample with further labels behind rendered ones.
    pub fn sample_with(&mut self, name: &str, rendered: &str, more: &[(&str, &str)], value: f64) {
        self.out.push_str(name);
        self.out.push('{');
        self.out.push_str(rendered);
        let mut is_first = rendered.is_empty();
        for (name, value) in more {
            label(&mut self.out, name, value, is_first);
            is_first = false;
        }
        let _ = writeln!(self.out, "}} {}", value + 0.0);
    }
    /// The samples of a histogram.
    pub fn histogram(&mut self, name: &str, labels: &str, cells: &Histogram) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (bucket, bound) in cells.buckets.iter().zip(BUCKETS) {
            count += bucket.load(Relaxed);
            let _ = writeln!(self.out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        count += cells.buckets[15].load(Relaxed);
        let _ = writeln!(self.out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        self.sample(&format!("{name}_sum"), labels, cells.sum_nanos.load(Relaxed) as f64 / 1e9);
        self.sample(&format!("{name}_count"), labels, count as f64);
    }
    /// The text.
    pub fn finish(self) -> String {
        self.out
    }
}

/// Renders labels, escaped: `pool="app",backend="b"`.
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (at, (name, value)) in pairs.iter().enumerate() {
        label(&mut out, name, value, at == 0);
    }
    out
}

/// Writes a label behind others.
fn label(out: &mut String, name: &str, value: &str, is_first: bool) {
    if !is_first {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The `process_*` families, read from `/proc/self`. What cannot be read is left out.
pub fn process(text: &mut Text) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields count from the last `)`: the name before it may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let field = |n: usize| fields.get(n).and_then(|v| v.parse::<f64>().ok());
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    if let (Some(user), Some(system)) = (field(11), field(12)) {
        text.family("process_cpu_seconds_total", Kind::Counter, "CPU time, user and system.");
        text.sample("process_cpu_seconds_total", "", (user + system) / ticks);
    }
    let gauges = [
        ("process_threads", "Threads.", field(17)),
        ("process_virtual_memory_bytes", "Virtual memory.", field(20)),
        (
            "process_resident_memory_bytes",
            "Resident memory.",
            field(21).map(|p| p * rustix::param::page_size() as f64),
        ),
        (
            "process_open_fds",
            "Open descriptors.",
            std::fs::read_dir("/proc/self/fd").ok().map(|d| d.count() as f64),
        ),
        (
            "process_max_fds",
            "Descriptor limit.",
            rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map(|n| n as f64),
        ),
        (
            "process_start_time_seconds",
            "Start, Unix time.",
            field(19).and_then(|at| Some(boot_time()? + at / ticks)),
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            text.family(name, Kind::Gauge, help);
            text.sample(name, "", value);
        }
    }
}

fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Counters by a word that the program knows, or a number of few: for rare events only (it takes a
/// lock).
#[derive(Debug)]
pub struct Words<W = &'static str>(parking_lot::RwLock<std::collections::BTreeMap<W, u64>>);

impl<W> Default for Words<W> {
    fn default() -> Self {
        Self(parking_lot::RwLock::default())
    }
}

impl<W: Ord + Copy> Words<W> {
    /// Counts one event of this word.
    pub fn inc(&self, word: W) {
        *self.0.write().entry(word).or_default() += 1;
    }
    /// Every word seen and its count.
    pub fn all(&self) -> Vec<(W, u64)> {
        self.0.read().iter().map(|(w, n)| (*w, *n)).collect()
    }
    /// The same, and these words also where they have not been seen: a counter that is born with its
    /// first event hides that event from whoever asks by how much it grew.
    pub fn all_with(&self, known: &[W]) -> Vec<(W, u64)> {
        let mut all: std::collections::BTreeMap<W, u64> = known.iter().map(|w| (*w, 0)).collect();
        all.extend(self.all());
        all.into_iter().collect()
    }
}

/// What is counted at a listener; lives as long as the listener's name.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is the metric that its name says")]
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
    /// `evenkeel_datagrams_dropped_total` by reason.
    pub dropped: Words,
    pub handshakes: Handshakes,
    /// PROXY headers that did not come, by reason.
    pub proxy_protocol_errors: Words,
    /// `evenkeel_http2_floods_total` by kind.
    pub floods: Words,
    /// `evenkeel_http2_errors_total` by reason.
    pub http2_errors: Words,
}

/// TLS handshakes by version and result.
#[derive(Debug, Default)]
pub struct Handshakes([Words; 3]);

impl Handshakes {
    const VERSIONS: [&str; 3] = ["1.2", "1.3", "none"];

    /// Counts one; `none` is the version of one that did not come about.
    pub fn count(&self, version: &str, result: &'static str) {
        let at = Self::VERSIONS.iter().position(|known| *known == version).unwrap_or(2);
        self.0[at].inc(result);
    }
    /// Every version and result seen, and its count.
    pub fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
        let of = |(version, words): (&&'static str, &Words)| {
            let version = *version;
            words.all().into_iter().map(move |(result, n)| (version, result, n))
        };
        Self::VERSIONS.iter().zip(&self.0).flat_map(of).collect()
    }
}

impl ListenerCells {
    /// Zero, for the listener of this name.
    pub fn new(name: &str) -> Self {
        Self { labels: labels(&[("listener", name)]), ..Self::default() }
    }
}

/// Panics caught (`evenkeel_panics_total`).
#[derive(Debug, Default)]
pub struct Panics(pub Counter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_nothing_is_zero() {
        let mut text = Text::default();
        text.sample("a", "", [0.0_f64; 0].iter().sum());
        text.sample_with("b", "", &[("c", "d")], -0.0);
        text.sample("e", "", -1.5);
        assert_eq!(text.finish(), "a 0\nb{c=\"d\"} 0\ne -1.5\n");
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(labels(&[]), "");
        assert_eq!(labels(&[("pool", "app"), ("backend", "b")]), "pool=\"app\",backend=\"b\"");
        let hostile = labels(&[("a", "q\"b\\n\nx\u{e4}"), ("b", "")]);
        assert_eq!(hostile, "a=\"q\\\"b\\\\n\\nx\u{e4}\",b=\"\"");
        assert!(!hostile.contains('\n'), "a value cannot begin a line of its own");
    }

    #[test]
    fn samples_are_lines_with_and_without_labels() {
        let mut text = Text::default();
        text.family("x_total", Kind::Counter, "What x is.");
        text.sample("x_total", "", 1.0);
        text.sample("x_total", "a=\"1\"", 2.5);
        text.sample_with("x_total", "a=\"1\"", &[("b", "\"\n")], 3.0);
        text.sample_with("x_total", "", &[("b", "2")], (1u64 << 53) as f64);
        assert_eq!(
            text.finish(),
            "# HELP x_total What x is.\n# TYPE x_total counter\nx_total 1\nx_total{a=\"1\"} 2.5\n\
             x_total{a=\"1\",b=\"\\\"\\n\"} 3\nx_total{b=\"2\"} 9007199254740992\n"
        );
    }

    /// The bucket counts of a histogram as they are written, `+Inf` last.
    fn buckets(cells: &Histogram, labels: &str) -> Vec<u64> {
        let mut text = Text::default();
        text.histogram("h", labels, cells);
        let written = text.finish();
        let count = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse().ok());
        written.lines().filter(|line| line.contains("_bucket")).filter_map(count).collect()
    }

    #[test]
    fn a_duration_falls_into_every_bucket_from_its_own_on() {
        for (i, bound) in BUCKETS.iter().enumerate() {
            let cells = Histogram::default();
            let bound = Duration::from_secs_f64(*bound);
            cells.observe(bound);
            cells.observe(bound + Duration::from_nanos(1));
            let counts = buckets(&cells, "");
            assert_eq!(counts.len(), BUCKETS.len() + 1);
            assert!(counts[..i].iter().all(|n| *n == 0), "{bound:?}: {counts:?}");
            assert_eq!(counts[i], 1, "a bound is inclusive: {counts:?}");
            assert!(counts[i + 1..].iter().all(|n| *n == 2), "{bound:?}: {counts:?}");
        }
    }

    #[test]
    fn a_histogram_says_its_sum_its_count_and_its_labels() {
        let cells = Histogram::default();
        for millis in [0, 1, 250, 1000, 60_000] {
            cells.observe(Duration::from_millis(millis));
        }
        let counts = buckets(&cells, "pool=\"app\"");
        assert!(counts.is_sorted(), "{counts:?}");
        assert_eq!((counts[0], counts[1], counts[8], counts[15]), (1, 2, 3, 5));
        let mut text = Text::default();
        text.histogram("h", "pool=\"app\"", &cells);
        let written = text.finish();
        assert!(written.contains("h_bucket{pool=\"app\",le=\"0.0005\"} 1\n"), "{written}");
        assert!(written.contains("h_bucket{pool=\"app\",le=\"+Inf\"} 5\n"), "{written}");
        assert!(written.ends_with("h_sum{pool=\"app\"} 61.251\nh_count{pool=\"app\"} 5\n"));
        let mut bare = Text::default();
        bare.histogram("h", "", &Histogram::default());
        assert!(bare.finish().ends_with("h_bucket{le=\"+Inf\"} 0\nh_sum 0\nh_count 0\n"));
    }

    #[test]
    fn a_recent_mean_follows_what_is_new() {
        let recent = Recent::default();
        assert_eq!((recent.count(), recent.mean()), (0, 0.0));
        for millis in [100, 300] {
            recent.observe(Duration::from_millis(millis));
        }
        assert_eq!(recent.count(), 2);
        assert!((recent.mean() - 0.2).abs() < 1e-9);
        (0..10 * RECENT).for_each(|_| recent.observe(Duration::from_secs(1)));
        assert_eq!(recent.count(), RECENT);
        assert!((recent.mean() - 1.0).abs() < 0.001, "{}", recent.mean());
    }

    #[test]
    fn cells_count_and_words_are_told_apart() {
        let cells = ListenerCells::new("we\"b");
        assert_eq!(cells.labels, "listener=\"we\\\"b\"");
        cells.accepted.inc();
        cells.accepted.add(4);
        cells.open.add(3);
        cells.open.add(-5);
        assert_eq!((cells.accepted.get(), cells.open.get()), (5, -2));
        cells.open.set(7);
        assert_eq!(cells.open.get(), 7);
        for word in ["b", "a", "b"] {
            cells.own.inc(word);
        }
        assert_eq!(cells.own.all(), [("a", 1), ("b", 2)]);
    }

    #[test]
    fn a_process_knows_itself() {
        let mut text = Text::default();
        process(&mut text);
        let written = text.finish();
        let value = |name: &str| -> f64 {
            let line = written.lines().find(|line| line.split(' ').next() == Some(name));
            line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect(name)
        };
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_resident_memory_bytes") > 4096.0);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_start_time_seconds") > 1e9);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
