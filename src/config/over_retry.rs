//! `retry`: what is tried again, and what bounds it.
use super::draft::Said;
use super::hint::quoted;
use super::model::{Backoff, RetryOn, RetryPart, Statuses};
use super::over::{Part, Place, Reach};
use super::pool::said;
use super::problem::Wrong;
use super::table::{Item, Table};
use super::value::Kind;
use std::time::Duration;

/// More tries of one request than this would be an attack on the pool.
const TRIES: u64 = 100;
/// More bytes of one body than this are not kept.
const BODY: u64 = 16 << 20;
/// What a pool's tries took is counted over no less and no more.
const WINDOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Nobody waits longer for the next try of a request that is under way.
const WAIT: Duration = Duration::from_secs(60);

/// A word of `retry.on`.
#[derive(Clone, Copy)]
enum On {
    Connect,
    Reset,
    Timeout,
    Fivehundreds,
}

const WORDS: [(&str, On); 4] = [
    ("connect", On::Connect),
    ("reset", On::Reset),
    ("timeout", On::Timeout),
    ("5xx", On::Fivehundreds),
];

impl Part<'_> {
    /// Reads the table.
    pub(super) fn retry(&mut self, t: &mut Table<'_>) -> RetryPart {
        let Some(item) = t.take("retry") else { return RetryPart::default() };
        let read = item.table("retry", |t| {
            let all = RetryPart {
                attempts: t.take("attempts").and_then(|item| {
                    self.only.retry.attempts = Some(said(&item));
                    item.count(1..=TRIES)
                }),
                on: t.take("on").map(|item| {
                    self.only.retry.on = Some(said(&item));
                    self.retry_on(&item)
                }),
                budget: self.take(t, "budget", Reach::Http).and_then(|item| item.percent()),
                floor: self.take(t, "floor", Reach::Http).and_then(|item| floor(&item)),
                window: self.take(t, "window", Reach::PoolHttp).and_then(|item| window(&item)),
                backoff: self.take(t, "backoff", Reach::Http).and_then(|item| backoff(&item)),
                body: self
                    .take(t, "body", Reach::Http)
                    .and_then(|item| item.size(0..=BODY))
                    .and_then(|bytes| usize::try_from(bytes).ok()),
            };
            if all.attempts == Some(1) && all.on.is_some_and(|on| on != RetryOn::NOTHING) {
                without_tries(t, "on", &all);
            }
            let costs =
                all.on.is_some_and(|on| on.reset || on.timeout || on.statuses != Statuses::NONE);
            let nothing =
                all.budget.is_some_and(|share| share.get() == 0.0) && all.floor == Some(0.0);
            if let (true, Some(item)) = (costs && nothing, t.again("budget")) {
                let what =
                    "with floor = \"0/s\" it allows no further try but of what never connected";
                item.wrong(Wrong::new(what).hint("leave them out, or write on = [\"connect\"]"));
            }
            for key in ["budget", "floor", "window", "backoff"] {
                let bound = t.take(key).map(|item| (key, said(&item)));
                if !without_tries(t, key, &all) {
                    self.only.retry.bounds.extend(bound);
                }
            }
            all
        });
        read.unwrap_or_default()
    }

    /// What is tried again; an empty list is nothing.
    fn retry_on(&mut self, on: &Item<'_>) -> RetryOn {
        let mut said = RetryOn::NOTHING;
        for item in on.list() {
            if item.kind() == Kind::Number {
                if let Some(status) = status(&item) {
                    said.statuses.add(status);
                    self.http_alone(&item, &status.to_string());
                }
                continue;
            }
            if let Some(status) = item.value.get_ref().as_str().filter(|text| is_status(text)) {
                let wrong = Wrong::new(format!("{} is a string", quoted(status)));
                item.wrong(wrong.hint(format!("write {status} without quotes")));
                continue;
            }
            match item.word("retry.on", &WORDS) {
                Some(On::Connect) => said.connect = true,
                Some(On::Reset) => {
                    said.reset = true;
                    self.http_alone(&item, "\"reset\"");
                }
                Some(On::Timeout) => {
                    said.timeout = true;
                    self.http_alone(&item, "\"timeout\"");
                }
                Some(On::Fivehundreds) => {
                    (500..=599).for_each(|status| said.statuses.add(status));
                    self.http_alone(&item, "\"5xx\"");
                }
                None => {}
            }
        }
        said
    }

    /// What a connection carried is not known on TCP, so it cannot be sent again.
    fn http_alone(&mut self, item: &Item<'_>, word: &str) {
        match self.place {
            Place::Tcp | Place::TcpEntered => {
                item.fault(format!("{word} means nothing to a tcp listener"));
            }
            Place::Udp => item.fault(format!("{word} means nothing to a udp listener")),
            Place::SniRoute => item.fault(format!("{word} means nothing to a route with sni")),
            Place::Pool => self.only.http.push(Said { key: item.path.clone(), at: item.at() }),
            _ => {}
        }
    }
}

/// What bounds further tries means nothing where there are none. Returns whether there are none.
fn without_tries(t: &mut Table<'_>, key: &'static str, said: &RetryPart) -> bool {
    let none = match (said.attempts, said.on) {
        (Some(1), _) => "attempts = 1",
        (_, Some(RetryOn::NOTHING)) => "on = []",
        _ => return false,
    };
    if let Some(item) = t.take(key) {
        let wrong = Wrong::new(format!("means nothing with {none}: nothing is tried again"));
        item.key_wrong(wrong.hint("leave it out, or allow a second try"));
    }
    true
}

fn is_status(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit())
}

fn status(item: &Item<'_>) -> Option<u16> {
    let (low, high) = Statuses::RANGE;
    item.count(u64::from(low)..=u64::from(high))
}

/// Times a second.
fn floor(item: &Item<'_>) -> Option<f64> {
    let none = item.value.get_ref().as_str() == Some("0/s");
    if none { Some(0.0) } else { item.rate().map(|rate| 1.0 / rate.interval().as_secs_f64()) }
}

fn window(item: &Item<'_>) -> Option<Duration> {
    let window = item.duration()?;
    if !(WINDOW.0..=WINDOW.1).contains(&window) {
        item.fault("a window is between 1s and 1h");
        return None;
    }
    Some(window)
}

fn backoff(item: &Item<'_>) -> Option<Backoff> {
    let read = item.table("retry.backoff", |t| {
        let default = Backoff::default();
        let base = t.take("base").map_or(Some(default.base), |item| wait(&item));
        let max = t.take("max").map_or(base.map(|base| base.max(default.max)), |item| wait(&item));
        let (base, max) = (base?, max?);
        if base > max {
            t.fault(Wrong::new("base is longer than max"));
            return None;
        }
        Some(Backoff { base, max })
    });
    read.flatten()
}

fn wait(item: &Item<'_>) -> Option<Duration> {
    let wait = item.delay()?;
    if wait > WAIT {
        let shown = item.text().map_or_else(String::new, |text| quoted(&text));
        item.fault(format!("{shown} is more than a minute"));
        return None;
    }
    Some(wait)
}
