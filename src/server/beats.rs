//! Backends that registered themselves: each lives while its heartbeat comes within its `ttl`. After
//! that it is down, and after as long again it is out.
use crate::config::Name;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A backend and its pool.
pub(super) type Key = (Name, Name);

/// Looks that are further from each other say that nobody listened meanwhile, as where the process was frozen:
/// that time is nobody's silence.
const DEAF: Duration = Duration::from_secs(1);

/// Who is to beat, and when each did.
#[derive(Debug, Default)]
pub(super) struct Beats {
    all: BTreeMap<Key, Beat>,
    looked: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Beat {
    ttl: Duration,
    last: Instant,
    lapsed: bool,
}

/// For how long each has been quiet, and whether it is down for that.
pub(super) type Ages = Vec<(Key, Duration, bool)>;

/// What came of the time that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// It is down from here on.
    Lapsed(Key),
    /// It is nobody's any more: a heartbeat from here on is unknown.
    Expired(Key),
}

impl Beats {
    /// Somebody is to beat from here on; `None`: nobody of this name.
    pub(super) fn follow(&mut self, key: Key, ttl: Option<Duration>, now: Instant) {
        match ttl {
            None => drop(self.all.remove(&key)),
            Some(ttl) => {
                let new = Beat { ttl, last: now, lapsed: false };
                let beat = self.all.entry(key).or_insert(new);
                if beat.ttl != ttl {
                    *beat = new;
                }
            }
        }
    }

    /// For another process to go on from.
    pub(super) fn ages(&self, now: Instant) -> Ages {
        let age = |beat: &Beat| now.saturating_duration_since(beat.last);
        self.all.iter().map(|(key, beat)| (key.clone(), age(beat), beat.lapsed)).collect()
    }

    /// Goes on from what another process heard.
    pub(super) fn recall(&mut self, ages: Ages, now: Instant) {
        for (key, quiet, lapsed) in ages {
            if let Some(beat) = self.all.get_mut(&key) {
                (beat.last, beat.lapsed) = (now.checked_sub(quiet).unwrap_or(now), lapsed);
            }
        }
    }

    /// A heartbeat: whether its backend was down for want of one; `None` of somebody unknown.
    pub(super) fn beat(&mut self, key: &Key, now: Instant) -> Option<bool> {
        let beat = self.all.get_mut(key)?;
        beat.last = now;
        Some(std::mem::take(&mut beat.lapsed))
    }

    /// One that could not be let go stays, and is let go later.
    pub(super) fn retry(&mut self, key: Key, ttl: Duration, now: Instant) {
        self.all.insert(key, Beat { ttl, last: now, lapsed: true });
    }

    /// Everybody has time to beat, as after a restart: what was said to the process before while it was open who
    /// hears was heard by nobody.
    pub(super) fn begin(&mut self, now: Instant) {
        // Standing still before the first look is standing still, too.
        self.looked = Some(now);
        for beat in self.all.values_mut() {
            let quiet = if beat.lapsed { beat.ttl } else { Duration::ZERO };
            beat.last = now.checked_sub(quiet).unwrap_or(now).max(beat.last);
        }
    }

    /// Whether somebody is listened for.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.all.contains_key(key)
    }

    /// Who missed a beat since the last look.
    pub(super) fn look(&mut self, now: Instant) -> Vec<Missed> {
        let mut missed = Vec::new();
        let last = self.looked.replace(now);
        let deaf = last.map(|last| now.saturating_duration_since(last)).filter(|time| *time > DEAF);
        if let Some(deaf) = deaf {
            self.all.values_mut().for_each(|beat| beat.last = (beat.last + deaf).min(now));
        }
        self.all.retain(|key, beat| {
            let quiet = now.saturating_duration_since(beat.last);
            if quiet >= beat.ttl * 2 {
                missed.push(Missed::Expired(key.clone()));
                return false;
            }
            if quiet >= beat.ttl && !std::mem::replace(&mut beat.lapsed, true) {
                missed.push(Missed::Lapsed(key.clone()));
            }
            true
        });
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stops_beating_goes_down_and_then_out() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let key = |name: &str| (Name::new("app").unwrap(), Name::new(name).unwrap());
        let mut beats = Beats::default();
        beats.follow(key("a"), Some(3 * second), begun);
        beats.follow(key("b"), Some(30 * second), begun);
        let mut now = begun;
        let mut looks = |beats: &mut Beats, seconds: u32| {
            let until = begun + seconds * second;
            let mut missed = Vec::new();
            while now < until {
                now += second / 5;
                missed.extend(beats.look(now));
            }
            missed
        };
        assert_eq!(looks(&mut beats, 2), []);
        assert_eq!(beats.beat(&key("a"), begun + 2 * second), Some(false));
        assert_eq!(looks(&mut beats, 4), []);
        assert_eq!(looks(&mut beats, 6), [Missed::Lapsed(key("a"))], "it is said once");
        assert_eq!(beats.beat(&key("a"), begun + 6 * second), Some(true));
        assert_eq!(looks(&mut beats, 9), [Missed::Lapsed(key("a"))]);
        // The same word again does not count as a beat.
        beats.follow(key("a"), Some(3 * second), begun + 9 * second);
        assert_eq!(looks(&mut beats, 12), [Missed::Expired(key("a"))]);
        assert_eq!(beats.beat(&key("a"), begun + 12 * second), None);
        beats.follow(key("b"), None, begun);
        assert_eq!(beats.beat(&key("b"), begun), None);
    }

    #[test]
    fn time_in_which_nobody_listened_is_nobodys_silence() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let key = (Name::new("app").unwrap(), Name::new("a").unwrap());
        let mut beats = Beats::default();
        beats.follow(key.clone(), Some(3 * second), begun);
        assert_eq!(beats.look(begun + second / 2), []);
        // Frozen for ten seconds; what was said meanwhile is read after the look.
        let now = begun + 10 * second + second / 2;
        assert_eq!(beats.look(now), []);
        assert_eq!((beats.beat(&key, now), beats.knows(&key)), (Some(false), true));
        let looks = |beats: &mut Beats, from: Instant| {
            (1..=6).map(|n| beats.look(from + n * second).len()).collect::<Vec<_>>()
        };
        assert_eq!(looks(&mut beats, now), [0, 0, 1, 0, 0, 1]);
        assert!(!beats.knows(&key));
    }

    #[test]
    fn who_takes_over_gives_everybody_time() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let key = |name: &str| (Name::new("app").unwrap(), Name::new(name).unwrap());
        let mut beats = Beats::default();
        for name in ["a", "b"] {
            beats.follow(key(name), Some(3 * second), begun);
        }
        let now = begun + 60 * second;
        beats.recall(vec![(key("a"), 2 * second, false), (key("b"), 5 * second, true)], now);
        beats.begin(now);
        let mut looks = |from: Instant, seconds: u32| -> Vec<_> {
            (1..=seconds).flat_map(|n| beats.look(from + n * second)).collect()
        };
        assert_eq!(looks(now, 2), []);
        let late = [Missed::Lapsed(key("a")), Missed::Expired(key("b"))];
        assert_eq!(looks(now + 2 * second, 1), late);
    }

    #[test]
    fn who_takes_over_and_stands_still_at_once_lets_nobody_go() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let key = (Name::new("app").unwrap(), Name::new("a").unwrap());
        let mut beats = Beats::default();
        beats.follow(key.clone(), Some(3 * second), begun);
        beats.begin(begun);
        assert_eq!(beats.look(begun + 10 * second), []);
        assert_eq!(beats.beat(&key, begun + 10 * second), Some(false));
    }
}
