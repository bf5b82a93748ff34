//! `route.hedge`: when a request is sent to another backend as well.
use super::hint::quoted;
use super::measure;
use super::problem::Wrong;
use super::table::Item;
use super::units::Percent;
use super::value::normal;
use std::time::Duration;

/// `route.hedge`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    /// How long a try may take before another one is sent beside it.
    pub after: HedgeAfter,
    /// No sooner than this, however fast the pool is.
    pub min: Duration,
    /// So many of these for each request of the pool.
    pub budget: Percent,
}

/// `route.hedge.after`
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HedgeAfter {
    /// As long as this share of the pool's answers takes at the most, 0.0 to 1.0.
    Quantile(f64),
    /// So long.
    Time(Duration),
}

impl Default for Hedge {
    fn default() -> Self {
        Self {
            after: HedgeAfter::Quantile(0.95),
            min: Duration::from_millis(10),
            budget: Percent::new(0.05).expect("a share"),
        }
    }
}

/// Methods that may be repeated (RFC 9110 9.2.2).
const REPEATABLE: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];

/// Reads it, for a route of these methods; none: any.
pub(super) fn hedge(item: &Item<'_>, methods: &[String]) -> Option<Hedge> {
    let repeatable = |method: &String| REPEATABLE.contains(&&**method);
    if !methods.is_empty() && !methods.iter().any(repeatable) {
        let wrong = Wrong::new("means nothing here: no method of this route may be sent twice");
        item.key_wrong(wrong.hint("leave it out, or add GET to method"));
    }
    item.table("route.hedge", |t| {
        let mut all = Hedge::default();
        if let Some(said) = t.take("after").and_then(|item| item.checked(after)) {
            all.after = said;
        }
        if let Some(item) = t.take("min") {
            if matches!(all.after, HedgeAfter::Time(_)) {
                item.key_wrong(Wrong::new("means nothing where after is a time"));
            }
            all.min = item.delay().unwrap_or(all.min);
        }
        if let Some(item) = t.take("budget") {
            all.budget = item.percent().unwrap_or(all.budget);
            if all.budget.get() == 0.0 {
                item.wrong(Wrong::new("\"0%\" allows none").hint("leave hedge out"));
            }
        }
        all
    })
}

/// `"p95"`, `"p99.9"` or a time.
fn after(text: &str) -> Result<HedgeAfter, Wrong> {
    let no = || {
        let wrong = Wrong::new(format!("{} is neither a quantile nor a time", quoted(text)));
        wrong.hint("write for example \"p95\" or \"100ms\"")
    };
    if let Some(number) = normal(text).strip_prefix('p') {
        let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let share = number.parse::<f64>().map_err(|_| no())?;
        let fits = plain && (1.0..100.0).contains(&share);
        return if fits { Ok(HedgeAfter::Quantile(share / 100.0)) } else { Err(no()) };
    }
    let time = measure::duration(text).map_err(|_| no())?;
    if time.is_zero() {
        Err(Wrong::new("a time of zero is none"))
    } else {
        Ok(HedgeAfter::Time(time))
    }
}
