//! When each name of a pool is looked up: none waits for another one's answer. Pure.
use crate::pool::BackendId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names that are looked up at the same time: a pool of thousands must not flood its resolver. As many
/// more of those that got no answer the last time, which hold up nobody but each other.
const AT_ONCE: usize = 16;
/// A look-up that takes longer gives its place to the next name, and is one without an answer.
const SLOW: Duration = Duration::from_secs(1);

/// Whose name it is, and which with what port.
pub(super) type Lookup = (BackendId, Arc<str>, u16);

#[derive(Debug)]
struct Name {
    host: Arc<str>,
    port: u16,
    due: Instant,
    asked: Option<Instant>,
    is_slow: bool,
}

impl Name {
    fn is_ready(&self, now: Instant) -> bool {
        self.asked.is_none() && self.due <= now
    }
    /// Until when its look-up keeps another from beginning.
    fn place(&self) -> Option<Instant> {
        self.asked.filter(|_| !self.is_slow).map(|at| at + SLOW)
    }
}

/// The names of a pool.
#[derive(Debug, Default)]
pub(super) struct Rhythm(HashMap<BackendId, Name>);

impl Rhythm {
    /// The names are these from here on; what is new is due.
    pub(super) fn follow(&mut self, names: Vec<Lookup>, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        let new = |host, port| Name { host, port, due: now, asked: None, is_slow: false };
        let keep = |(id, host, port)| (id, before.remove(&id).unwrap_or_else(|| new(host, port)));
        self.0 = names.into_iter().map(keep).collect();
    }

    /// What is to be looked up now, what was due first before the others.
    pub(super) fn next(&mut self, now: Instant) -> Vec<Lookup> {
        let fresh = self.0.values().filter_map(Name::place).filter(|end| *end > now).count();
        let slow = self.0.values().filter(|name| name.is_slow && name.asked.is_some()).count();
        let mut room = [fresh, slow].map(|asked| AT_ONCE.saturating_sub(asked));
        let mut ready: Vec<_> = self.0.iter_mut().filter(|(_, name)| name.is_ready(now)).collect();
        ready.sort_by_key(|(id, name)| (name.due, **id));
        ready.retain_mut(|(_, name)| {
            let room = &mut room[usize::from(name.is_slow)];
            let has_room = *room > 0;
            *room = room.saturating_sub(1);
            has_room
        });
        let ask = |(id, name): (&BackendId, &mut Name)| {
            name.asked = Some(now);
            (*id, name.host.clone(), name.port)
        };
        ready.into_iter().map(ask).collect()
    }

    /// A look-up has ended; the next one is due then.
    pub(super) fn answered(&mut self, id: BackendId, now: Instant, due: Instant) {
        if let Some(name) = self.0.get_mut(&id) {
            let asked = name.asked.take().unwrap_or(now);
            name.is_slow = now.saturating_duration_since(asked) >= SLOW;
            name.due = due;
        }
    }

    /// When there is something to look up next, if nothing is answered before.
    pub(super) fn wakes(&self, now: Instant) -> Option<Instant> {
        let names = || self.0.values();
        let due = names().filter(|name| name.asked.is_none()).map(|name| name.due);
        // Those that are due already wait for a place.
        let waits = names().any(|name| name.is_ready(now));
        let places = names().filter_map(Name::place).filter(|_| waits);
        due.chain(places).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(ids: std::ops::Range<u32>) -> Vec<Lookup> {
        ids.map(|id| (BackendId(id), format!("n{id}.test").into(), 80)).collect()
    }
    fn ids(asked: &[Lookup]) -> Vec<u32> {
        asked.iter().map(|(id, ..)| id.0).collect()
    }

    #[test]
    fn those_without_an_answer_hold_up_nobody_but_each_other() {
        let (mut rhythm, begin) = (Rhythm::default(), Instant::now());
        let every = Duration::from_secs(1);
        // Forty that are never answered, and a good one behind them.
        rhythm.follow(named(0..41), begin);
        let (mut now, mut good, mut dead) = (begin, Vec::new(), HashMap::<u32, Instant>::new());
        while now < begin + Duration::from_secs(60) {
            for id in ids(&rhythm.next(now)) {
                if id == 40 {
                    good.push(now);
                    rhythm.answered(BackendId(id), now, now + every);
                } else {
                    assert_eq!(dead.insert(id, now), None, "{id} is asked once at a time");
                }
            }
            assert!(dead.len() <= 6 * AT_ONCE, "{} at once", dead.len());
            let deadline = Duration::from_secs(5);
            let next = dead.values().map(|at| *at + deadline).chain(rhythm.wakes(now)).min();
            now = next.unwrap();
            dead.retain(|id, at| {
                let over = now >= *at + deadline;
                if over {
                    rhythm.answered(BackendId(*id), now, now + every);
                }
                !over
            });
        }
        assert!(good[0] <= begin + 3 * SLOW, "{:?}", good[0] - begin);
        let late = good.windows(2).map(|two| two[1] - two[0]).max().unwrap();
        assert!(late <= every + SLOW, "{late:?}");
    }

    #[test]
    fn a_new_name_is_due_at_once_and_one_that_is_gone_is_forgotten() {
        let (mut rhythm, now) = (Rhythm::default(), Instant::now());
        rhythm.follow(named(0..2), now);
        assert_eq!(ids(&rhythm.next(now)), [0, 1]);
        assert_eq!(rhythm.wakes(now), None);
        rhythm.answered(BackendId(1), now, now + SLOW);
        assert_eq!(rhythm.wakes(now), Some(now + SLOW));
        rhythm.follow(named(1..3), now);
        assert_eq!(ids(&rhythm.next(now)), [2]);
        rhythm.answered(BackendId(0), now, now);
        assert_eq!(ids(&rhythm.next(now + SLOW)), [1]);
    }
}
