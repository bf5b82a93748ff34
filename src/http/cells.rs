//! What is counted of a route: requests by method and status, and how long they took.
use crate::message::Method;
use crate::metrics::{Counter, Histogram, labels};
use crate::telemetry::Place;
use std::sync::OnceLock;
use std::time::Duration;

/// What is counted of a route (and pool). Lives as long as (listener, route, pool) keep their names.
///
/// Written by every worker, read by the collector; relaxed, since no count explains another.
#[derive(Debug, Default)]
pub struct RouteCells {
    /// Rendered labels: `listener="web",route="api",pool="app"`.
    pub labels: String,
    /// Rendered labels of the histogram.
    pub duration_labels: String,
    /// The route's name.
    pub route: Box<str>,
    /// The pool's; `none` where there is none.
    pub pool: Box<str>,
    /// The names of all three in lines of the access log.
    pub place: Place,
    /// How long requests took.
    pub duration: Histogram,
    /// By method. What is not asked for takes no memory: a set of routes may be large.
    by_method: [OnceLock<Box<Classes>>; 10],
    /// By method and code, where `metrics.compat` asks for it.
    details: OnceLock<Box<[OnceLock<Box<DetailClasses>>; 10]>>,
}

/// What is counted of one method and code besides, where `metrics.compat` asks for it.
#[derive(Debug, Default)]
pub struct Detail {
    /// How long they took.
    pub duration: Histogram,
    /// Bytes of their bodies.
    pub received: Counter,
    /// Bytes of their answers.
    pub sent: Counter,
}

/// As [`Classes`].
type DetailClasses = [OnceLock<Box<[OnceLock<Box<Detail>>; 100]>>; 9];

/// By class of status, 1xx to 9xx: made when first seen, looked up without a lock.
type Classes = [OnceLock<Box<[Counter; 100]>>; 9];

/// In the order of [`Method`]'s variants.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "other"];

impl RouteCells {
    /// Zero, with its labels rendered.
    pub fn new(listener: &str, route: &str, pool: &str) -> Self {
        let labels = labels(&[("listener", listener), ("route", route), ("pool", pool)]);
        // Routes of one name on several listeners are told apart in the histogram too: a series
        // is one thing.
        let place = Place::new(listener, route, pool);
        let (route, pool) = (route.into(), pool.into());
        Self { duration_labels: labels.clone(), labels, route, pool, place, ..Self::default() }
    }

    /// Counts a request: three relaxed additions. A code outside 100 to 999 counts as the nearest.
    pub fn count(&self, method: Method, code: u16, took: Duration) {
        let code = usize::from(code.clamp(100, 999));
        let classes = self.by_method[method as usize].get_or_init(Box::default);
        let codes =
            classes[code / 100 - 1].get_or_init(|| Box::new([const { Counter::new() }; 100]));
        codes[code % 100].inc();
        self.duration.observe(took);
    }

    /// Where a method and code are counted besides; made when first asked for.
    pub fn detail(&self, method: Method, code: u16) -> &Detail {
        let code = usize::from(code.clamp(100, 999));
        let by_method = self.details.get_or_init(Box::default);
        let classes = by_method[method as usize].get_or_init(Box::default);
        let codes =
            classes[code / 100 - 1].get_or_init(|| Box::new([const { OnceLock::new() }; 100]));
        codes[code % 100].get_or_init(Box::default)
    }

    /// Every method and code that was counted besides.
    pub fn details(&self) -> Vec<(&'static str, u16, &Detail)> {
        let mut all = Vec::new();
        let by_method = self.details.get().into_iter().flat_map(|methods| methods.iter());
        for (method, classes) in METHODS.into_iter().zip(by_method) {
            for (class, codes) in (1u16..).zip(classes.get().into_iter().flat_map(|c| c.iter())) {
                for (code, cell) in (0u16..).zip(codes.get().into_iter().flat_map(|c| c.iter())) {
                    all.extend(cell.get().map(|cell| (method, class * 100 + code, &**cell)));
                }
            }
        }
        all
    }

    /// Every method and code seen, and how often.
    pub fn counts(&self) -> Vec<(&'static str, u16, u64)> {
        let mut all = Vec::new();
        for (method, classes) in METHODS.into_iter().zip(&self.by_method) {
            for (class, codes) in (1u16..).zip(classes.get().into_iter().flat_map(|c| c.iter())) {
                for (code, cell) in (0u16..).zip(codes.get().into_iter().flat_map(|c| c.iter())) {
                    if cell.get() > 0 {
                        all.push((method, class * 100 + code, cell.get()));
                    }
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_method_and_exact_code() {
        let cells = RouteCells::new("web", "api", "app");
        for (method, code) in [
            (Method::Get, 200),
            (Method::Get, 200),
            (Method::Get, 404),
            (Method::Post, 200),
            (Method::Other, 999),
            (Method::Patch, 600),
            (Method::Head, 0),
        ] {
            cells.count(method, code, Duration::from_millis(1));
        }
        assert_eq!(
            cells.counts(),
            [
                ("GET", 200, 2),
                ("GET", 404, 1),
                ("HEAD", 100, 1),
                ("POST", 200, 1),
                ("PATCH", 600, 1),
                ("other", 999, 1)
            ]
        );
        assert_eq!(cells.labels, r#"listener="web",route="api",pool="app""#);
    }

    #[test]
    fn details_are_kept_by_method_and_code_where_they_are_asked_for() {
        let cells = RouteCells::new("web", "api", "app");
        assert!(cells.details().is_empty());
        for (method, code) in [(Method::Post, 200), (Method::Post, 200), (Method::Other, 1000)] {
            let detail = cells.detail(method, code);
            detail.duration.observe(Duration::from_millis(250));
            detail.sent.add(7);
        }
        let all = cells.details();
        let seen: Vec<_> = all.iter().map(|(m, code, d)| (*m, *code, d.sent.get())).collect();
        assert_eq!(seen, [("POST", 200, 14), ("other", 999, 7)]);
        assert_eq!(all[0].2.duration.sum(), Duration::from_millis(500));
        assert!(cells.counts().is_empty());
    }

    #[test]
    fn every_method_has_its_word() {
        for (word, token) in METHODS.iter().zip(METHODS) {
            let method = Method::of(token.as_bytes());
            assert_eq!(METHODS[method as usize], *word);
        }
    }

    #[test]
    fn threads_lose_no_count() {
        let cells = RouteCells::default();
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..1000).for_each(|_| cells.count(Method::Get, 201, Duration::ZERO)));
            }
        });
        assert_eq!(cells.counts(), [("GET", 201, 4000)]);
    }
}
