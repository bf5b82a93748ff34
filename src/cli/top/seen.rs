//! What two looks at the API say together: rates, errors, times. And the lines that show it. Pure.
use super::chosen::Mark;
use super::layout::Layout;
use crate::cli::ask::printable;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Instant;

/// What was counted at the last look.
#[derive(Debug, Default)]
pub(super) struct Seen {
    at: Option<Instant>,
    counts: HashMap<(String, String, String), Counts>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    tries: Vec<u64>,
    latency: Vec<u64>,
}

impl Counts {
    fn of(member: &Value) -> Self {
        let all = |key: &str| {
            let list = member[key].as_array().into_iter().flatten();
            list.map(|n| n.as_u64().unwrap_or(0)).collect()
        };
        Self { tries: all("tries"), latency: all("latency") }
    }
    /// What came since; everything after a restart of the proxy.
    fn since(&self, before: &Self) -> Self {
        let less = |now: &[u64], then: &[u64]| {
            let then = then.iter().chain(std::iter::repeat(&0));
            now.iter().zip(then).map(|(now, then)| now.checked_sub(*then).unwrap_or(*now)).collect()
        };
        Self {
            tries: less(&self.tries, &before.tries),
            latency: less(&self.latency, &before.latency),
        }
    }
    fn add(&mut self, other: &Self) {
        let add = |to: &mut Vec<u64>, more: &[u64]| {
            to.resize(to.len().max(more.len()), 0);
            to.iter_mut().zip(more).for_each(|(to, more)| *to += more);
        };
        add(&mut self.tries, &other.tries);
        add(&mut self.latency, &other.latency);
    }
}

/// A line of the view: a pool, or a backend.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) pool: String,
    /// Empty for the pool as a whole.
    pub(super) name: String,
    state: String,
    weight: Option<u64>,
    active: u64,
    /// A second; `None` at the first look.
    rate: Option<f64>,
    /// Of all tries, 0.0 to 1.0.
    errors: f64,
    p50: Option<f64>,
    p99: Option<f64>,
}

/// What is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    head: String,
    rows: Vec<Row>,
}

impl Seen {
    /// What a look says together with the one before.
    pub(super) fn look(&mut self, status: &Value, pools: &Value, now: Instant) -> View {
        let text = |value: &Value| printable(value.as_str().unwrap_or(""));
        let raw = |value: &Value| value.as_str().unwrap_or("").to_string();
        let buckets = status["buckets"].as_array().into_iter().flatten();
        let buckets: Vec<f64> = buckets.filter_map(Value::as_f64).collect();
        let passed = self.at.map(|at| now.saturating_duration_since(at).as_secs_f64());
        let (mut rows, mut counts) = (Vec::new(), HashMap::new());
        for pool in pools["pools"].as_array().into_iter().flatten() {
            let (mut sum, mut of_pool) = (Counts::default(), Vec::new());
            let mut active = 0;
            for m in pool["members"].as_array().into_iter().flatten() {
                let key = (raw(&pool["name"]), raw(&m["name"]), raw(&m["addr"]));
                let known = Counts::of(m);
                let new = self.counts.get(&key).map(|before| known.since(before));
                let of = m["active"].as_u64().unwrap_or(0);
                let mut row = row(new.as_ref(), passed, &buckets);
                (row.pool, row.name) = (key.0.clone(), key.1.clone());
                (row.state, row.weight, row.active) = (text(&m["state"]), m["weight"].as_u64(), of);
                of_pool.push(row);
                active += of;
                sum.add(&new.unwrap_or_default());
                counts.insert(key, known);
            }
            let works = |row: &&Row| matches!(&*row.state, "up" | "slow_start");
            let up = of_pool.iter().filter(works).count();
            let mut all = row(Some(&sum).filter(|_| self.at.is_some()), passed, &buckets);
            all.pool = raw(&pool["name"]);
            all.state = format!("{up} of {} up", of_pool.len());
            all.active = active;
            rows.push(all);
            rows.extend(of_pool);
        }
        (self.at, self.counts) = (Some(now), counts);
        let head = format!(
            "evenkeel {}  {}  generation {}  {} connections",
            text(&status["version"]),
            text(&status["stage"]),
            status["generation"],
            status["connections"],
        );
        let older = status["hand_over"]["draining"].as_array().into_iter().flatten();
        let older = older.map(|pid| format!("  process {pid} still drains"));
        let head = head + &older.collect::<String>();
        View { head, rows }
    }
}

fn row(new: Option<&Counts>, passed: Option<f64>, buckets: &[f64]) -> Row {
    let Some((new, passed)) = new.zip(passed.filter(|passed| *passed > 0.0)) else {
        return Row::default();
    };
    let all: u64 = new.tries.iter().sum();
    let bad = new.tries.first().unwrap_or(&0) + new.tries.get(5).unwrap_or(&0);
    Row {
        rate: Some(all as f64 / passed),
        errors: if all == 0 { 0.0 } else { bad as f64 / all as f64 },
        p50: quantile(&new.latency, buckets, 0.5),
        p99: quantile(&new.latency, buckets, 0.99),
        ..Row::default()
    }
}

/// The time below which a share lies, in ms: within its bucket in proportion.
fn quantile(counts: &[u64], buckets: &[f64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let mut left = all as f64 * share;
    for (i, count) in counts.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && count >= left {
            let low = i.checked_sub(1).and_then(|i| buckets.get(i)).copied().unwrap_or(0.0);
            let high = buckets.get(i).copied().unwrap_or(low);
            return Some(1000.0 * (low + (high - low) * left / count));
        }
        left -= count;
    }
    None
}

/// No wider than this.
pub(super) fn cut(line: &str, wide: usize) -> String {
    printable(line).chars().take(wide).collect()
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(n) if n < 10.0 => format!("{n:.1}"),
        Some(n) => format!("{n:.0}"),
    }
}

impl View {
    pub(super) fn backends(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.name.is_empty())
    }

    /// Lines of this width and at most so many; where the mark stands is among them.
    pub(super) fn lines(&self, mark: Option<Mark>, wide: usize, high: usize) -> Vec<String> {
        let mut out = vec![cut(&self.head, wide)];
        let named = |row: &Row| match row.name.is_empty() {
            true => row.pool.clone(),
            false => format!("  {}", row.name),
        };
        let longest = self.rows.iter().map(|row| named(row).chars().count()).max();
        let layout = Layout::new(wide, longest.unwrap_or(0));
        out.push(cut(&layout.title(), wide));
        let mut backend = 0;
        let (mut lines, mut at) = (Vec::new(), 0);
        for row in &self.rows {
            let own = !row.name.is_empty();
            let marked = mark.filter(|mark| own && mark.at == backend);
            backend += usize::from(own);
            if marked.is_some() {
                at = lines.len();
            }
            let is_chosen = marked.is_some_and(|mark| mark.is_there);
            let cells = [
                row.state.clone(),
                row.weight.map_or(String::new(), |weight| weight.to_string()),
                row.active.to_string(),
                number(row.rate),
                row.rate.map_or("-".into(), |_| format!("{:.1}%", row.errors * 100.0)),
                number(row.p50),
                number(row.p99),
            ];
            let sign = if is_chosen { '>' } else { ' ' };
            let line = cut(&layout.line(sign, &named(row), &cells), wide);
            lines.push(if is_chosen { format!("\u{1b}[7m{line}\u{1b}[0m") } else { line });
        }
        let room = high.saturating_sub(out.len());
        let from = (at + 1).saturating_sub(room);
        out.extend(lines.into_iter().skip(from).take(room));
        out
    }

    pub(super) fn json(&self) -> Value {
        let one = |row: &Row| {
            json!({
                "pool": row.pool, "backend": Some(&row.name).filter(|name| !name.is_empty()),
                "state": row.state, "weight": row.weight, "active": row.active,
                "requests_per_second": row.rate, "errors": row.errors,
                "p50_ms": row.p50, "p99_ms": row.p99,
            })
        };
        json!({ "rows": self.rows.iter().map(one).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn look(tries: [u64; 6], latency: [u64; 4]) -> (Value, Value) {
        let status = json!({ "version": "1", "stage": "ready", "generation": 1, "connections": 2,
            "buckets": [0.001, 0.01, 0.1] });
        let one = |name: &str, tries: &[u64]| {
            json!({ "name": name, "addr": "x", "state": "up", "weight": 3, "active": 4,
                "tries": tries, "latency": latency })
        };
        let members = [one("a", &tries), one("b\u{1b}[2J", &[0; 6])];
        (status, json!({ "pools": [{ "name": "app", "members": members }] }))
    }

    #[test]
    fn two_looks_make_a_rate() {
        let (mut seen, begun) = (Seen::default(), Instant::now());
        let (status, pools) = look([0; 6], [0; 4]);
        let first = seen.look(&status, &pools, begun);
        assert!(first.rows.iter().all(|row| row.rate.is_none()));
        let (status, pools) = look([2, 0, 14, 0, 0, 4], [10, 8, 2, 0]);
        let view = seen.look(&status, &pools, begun + Duration::from_secs(2));
        let a = &view.rows[1];
        assert_eq!((a.rate, a.errors, a.active), (Some(10.0), 0.3, 4));
        assert!((a.p50.unwrap() - 1.0).abs() < 0.01 && a.p99.unwrap() > 10.0, "{a:?}");
        assert_eq!((view.rows[0].rate, view.rows[0].active), (Some(10.0), 8));
        assert_eq!(view.json()["rows"][1]["backend"], "a");
        // After a restart of the proxy counts begin anew.
        let (status, pools) = look([0, 0, 3, 0, 0, 0], [3, 0, 0, 0]);
        let view = seen.look(&status, &pools, begun + Duration::from_secs(3));
        assert_eq!(view.rows[1].rate, Some(3.0));
    }

    #[test]
    fn lines_fit_and_hold_the_chosen_one_and_nothing_a_terminal_obeys() {
        let mut seen = Seen::default();
        let (status, pools) = look([0; 6], [0; 4]);
        let view = seen.look(&status, &pools, Instant::now());
        let mark = |is_there| Some(Mark { at: 1, is_there });
        let lines = view.lines(mark(false), 60, 3);
        assert!(lines.len() == 3 && lines[2].starts_with("    b"), "nobody is marked there");
        let lines = view.lines(mark(true), 60, 3);
        assert_eq!(lines.len(), 3);
        assert!(lines[2].starts_with("\u{1b}[7m>   b\u{fffd}[2J"), "{:?}", lines[2]);
        let plain = view.lines(None, 60, 100);
        assert!(plain.len() == 5 && plain.iter().all(|line| line.chars().count() <= 60));
        assert!(plain.iter().all(|line| !line.contains('\u{1b}')));
    }
}
