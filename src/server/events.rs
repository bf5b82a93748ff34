//! What happens, told to whoever listens: turns of backends, reloads, registrations. The last of it
//! is kept for who comes later.
use crate::pool::Turn;
use crate::telemetry::{rfc3339, seen};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast;

/// Events that a listener may be behind before it misses some: 1,000 backends that turn at once.
const BEHIND: usize = 1024;
/// Events kept for who comes later: a page of them.
const KEPT: usize = 256;

/// Something happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts events, through hand-overs too; 0 where another process counts on.
    pub number: u64,
    /// `turn`, `ejection`, `reload`, `listener`, `registration`.
    pub kind: &'static str,
    /// A JSON object, on one line.
    pub data: Arc<str>,
}

/// What somebody hears who heard some before.
#[derive(Debug)]
pub struct Past {
    /// Some between are not kept: how many, where that is known.
    pub gap: Option<Option<u64>>,
    /// What is kept, the newest last.
    pub events: Vec<Event>,
    /// What comes from here on.
    pub next: broadcast::Receiver<Event>,
}

/// Everybody who listens.
#[derive(Debug)]
pub struct Events {
    tell: broadcast::Sender<Event>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// After this number the count began.
    base: u64,
    last: u64,
    /// The last of them, the newest last.
    events: VecDeque<Event>,
    /// Another process has the count.
    is_given: bool,
}

impl Default for Events {
    /// Counts from the time of day in ms: a process that was started later never tells a number that
    /// one before it told, unless that told a thousand a second.
    fn default() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from(now.as_millis() as u64)
    }
}

impl Events {
    fn from(base: u64) -> Self {
        let kept = Kept { base, last: base, events: VecDeque::new(), is_given: false };
        Self { tell: broadcast::Sender::new(BEHIND), kept: Mutex::new(kept) }
    }

    /// Tells of something. `data` is an object; `at` is added to it.
    pub fn tell(&self, kind: &'static str, mut data: Value, at: SystemTime) {
        data["at"] = rfc3339(at).into();
        let data = seen(&data.to_string(), |_| false).into();
        let mut kept = self.kept.lock();
        kept.last += 1;
        let event = Event { number: kept.last, kind, data };
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(event.clone());
        // Told under the lock: who listens from a number on misses none and hears none twice.
        let number = if kept.is_given { 0 } else { event.number };
        let _ = self.tell.send(Event { number, ..event });
    }

    /// A backend turned.
    pub(super) fn turned(&self, pool: &str, turn: &Turn, at: SystemTime) {
        let ejected = turn.to == crate::pool::State::Ejected;
        let kind = if ejected { "ejection" } else { "turn" };
        let data = json!({
            "pool": pool, "backend": &*turn.backend, "from": turn.from.word(),
            "to": turn.to.word(), "reason": turn.reason.word(), "detail": turn.detail,
        });
        self.tell(kind, data, at);
    }

    /// What is kept of those after a number, and what comes from here on. A number that was not told
    /// yet, or before this count began, is of another one: all that is kept comes after it. 0 is
    /// nobody's.
    pub fn after(&self, number: u64) -> Past {
        let kept = self.kept.lock();
        let is_ours = number == 0 || (kept.base..=kept.last).contains(&number);
        let oldest = kept.events.front().map_or(kept.last + 1, |event| event.number);
        let gap = match number {
            0 => None,
            _ if !is_ours => Some(None),
            _ => Some(oldest.saturating_sub(number + 1)).filter(|missed| *missed > 0).map(Some),
        };
        let is_after = |event: &&Event| !is_ours || event.number > number;
        let events = kept.events.iter().filter(is_after).cloned().collect();
        Past { gap, events, next: self.tell.subscribe() }
    }

    /// The number of the last one.
    pub fn last(&self) -> u64 {
        self.kept.lock().last
    }

    /// Where the count began, and how far it is: for the process that counts on.
    pub(super) fn range(&self) -> (u64, u64) {
        let kept = self.kept.lock();
        (kept.base, kept.last)
    }

    /// From here on another process counts, or does not after all. What is told meanwhile has no
    /// number: who hears it here and comes back there must not miss what has that number there.
    pub(super) fn give(&self, is_given: bool) {
        self.kept.lock().is_given = is_given;
    }

    /// Counts on where another process was. Nobody listens yet.
    pub(super) fn follow(&self, (base, last): (u64, u64)) {
        if base == 0 || last < base {
            return;
        }
        let mut kept = self.kept.lock();
        (kept.base, kept.last) = (base, last + kept.events.len() as u64);
        kept.events.iter_mut().zip(last + 1..).for_each(|(event, number)| event.number = number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 1_000_000;

    fn tell(events: &Events, count: usize) {
        (0..count).for_each(|n| events.tell("turn", json!({ "n": n }), SystemTime::UNIX_EPOCH));
    }
    /// The gap, and the number of the first that is heard.
    fn heard(events: &Events, number: u64) -> (Option<Option<u64>>, Option<u64>) {
        let past = events.after(number);
        (past.gap, past.events.first().map(|event| event.number))
    }

    #[test]
    fn the_last_are_kept_and_numbers_have_no_gap() {
        let events = Events::from(BASE);
        tell(&events, KEPT + 10);
        let Past { gap, events: kept, mut next } = events.after(0);
        assert_eq!(gap, None);
        assert_eq!((kept.len(), kept[0].number), (KEPT, BASE + 11));
        assert_eq!(&*kept[0].data, "{\"at\":\"1970-01-01T00:00:00.000Z\",\"n\":10}");
        let (last, first) = (BASE + KEPT as u64 + 10, Some(BASE + 11));
        for (number, gap, first) in [
            (last - 1, None, Some(last)),
            (last, None, None),
            (BASE + 10, None, first),
            (BASE + 9, Some(Some(1)), first),
            (BASE, Some(Some(10)), first),
            (BASE - 1, Some(None), first),
            (8, Some(None), first),
            (last + 1, Some(None), first),
            (u64::MAX, Some(None), first),
        ] {
            assert_eq!(heard(&events, number), (gap, first), "{number}");
        }
        events.tell("reload", json!({}), SystemTime::UNIX_EPOCH);
        assert_eq!(next.try_recv().unwrap().number, events.last());
    }

    #[test]
    fn another_process_counts_on_and_what_is_told_here_meanwhile_has_no_number() {
        let (old, new) = (Events::from(BASE), Events::from(BASE + 500));
        tell(&old, 20);
        tell(&new, 1);
        let mut next = old.after(0).next;
        old.give(true);
        new.follow(old.range());
        tell(&old, 2);
        assert_eq!(next.try_recv().unwrap().number, 0);
        tell(&new, 1);
        assert_eq!(heard(&new, BASE + 20), (None, Some(BASE + 21)), "it heard all until then");
        assert_eq!(heard(&new, BASE + 18), (Some(Some(2)), Some(BASE + 21)));
        assert_eq!(new.last(), BASE + 22);
        // Where nothing comes of it the old one goes on, and nothing is lost.
        old.give(false);
        assert_eq!(heard(&old, BASE + 20), (None, Some(BASE + 21)));
        // One that says nothing of it changes nothing.
        new.follow((0, 0));
        assert_eq!(new.last(), BASE + 22);
    }
}
