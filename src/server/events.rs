//! What happens, told to whoever listens: turns of backends, reloads, registrations. The last of it
//! is kept for who comes later.
use crate::pool::Turn;
use crate::telemetry::{rfc3339, seen};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::broadcast;

/// Events that a listener may be behind before it misses some: 1,000 backends that turn at once.
const BEHIND: usize = 1024;
/// Events kept for who comes later: a page of them.
const KEPT: usize = 256;

/// Something happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts events of this process, from 1.
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
    /// The last of them, the newest last.
    kept: Mutex<(u64, VecDeque<Event>)>,
}

impl Default for Events {
    fn default() -> Self {
        Self { tell: broadcast::Sender::new(BEHIND), kept: Mutex::default() }
    }
}

impl Events {
    /// Tells of something. `data` is an object; `at` is added to it.
    pub fn tell(&self, kind: &'static str, mut data: Value, at: SystemTime) {
        data["at"] = rfc3339(at).into();
        let data = seen(&data.to_string(), |_| false).into();
        let mut kept = self.kept.lock();
        kept.0 += 1;
        let event = Event { number: kept.0, kind, data };
        if kept.1.len() == KEPT {
            kept.1.pop_front();
        }
        kept.1.push_back(event.clone());
        // Told under the lock: who listens from a number on misses none and hears none twice.
        let _ = self.tell.send(event);
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

    /// What is kept of those after a number, and what comes from here on. A number that this process
    /// has not told yet is another's: all that is kept comes after it. 0 is nobody's.
    pub fn after(&self, number: u64) -> Past {
        let kept = self.kept.lock();
        let is_ours = number <= kept.0;
        let oldest = kept.1.front().map_or(kept.0 + 1, |event| event.number);
        let gap = match number {
            0 => None,
            _ if !is_ours => Some(None),
            _ => Some(oldest.saturating_sub(number + 1)).filter(|missed| *missed > 0).map(Some),
        };
        let is_after = |event: &&Event| !is_ours || event.number > number;
        let events = kept.1.iter().filter(is_after).cloned().collect();
        Past { gap, events, next: self.tell.subscribe() }
    }

    /// How many happened so far.
    pub fn count(&self) -> u64 {
        self.kept.lock().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_and_numbers_have_no_gap() {
        let events = Events::default();
        for n in 0..KEPT + 10 {
            events.tell("turn", json!({ "n": n }), SystemTime::UNIX_EPOCH);
        }
        let Past { gap, events: kept, mut next } = events.after(0);
        assert_eq!(gap, None);
        assert_eq!((kept.len(), kept[0].number), (KEPT, 11));
        assert_eq!(&*kept[0].data, "{\"at\":\"1970-01-01T00:00:00.000Z\",\"n\":10}");
        for (number, gap, first) in [
            (KEPT as u64 + 9, None, Some(KEPT as u64 + 10)),
            (KEPT as u64 + 10, None, None),
            (10, None, Some(11)),
            (9, Some(Some(1)), Some(11)),
            (1, Some(Some(9)), Some(11)),
            (KEPT as u64 + 11, Some(None), Some(11)),
            (u64::MAX, Some(None), Some(11)),
        ] {
            let past = events.after(number);
            assert_eq!((past.gap, past.events.first().map(|e| e.number)), (gap, first), "{number}");
        }
        events.tell("reload", json!({}), SystemTime::UNIX_EPOCH);
        assert_eq!(next.try_recv().unwrap().number, events.count());
    }
}
