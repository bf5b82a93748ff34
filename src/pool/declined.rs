//! Who declines what the others do: a backend that was deployed empty (404), that lost its secret (401, 403)
//! or its sessions (302 to the login), a wrong build. It is as fast as one that fails, and never busy, so
//! policies that look at load would send it everything.
//!
//! Whether a request is wrong or its backend nobody can tell of one answer. So now and then a
//! backend's share of such answers is held against that of the others: where it stands out, each weighs as a
//! failure does, for policies alone. Nobody is ejected by it. While it answers at once the others may be at
//! their first answers: then what they said before counts, and who has nothing beside others who said nothing
//! yet stands out until they did.
//!
//! A client that is bound to a backend is not drawn to it: more of the same one count nothing, or
//! its missing page would keep everybody else away. Pure: counts are arguments.
use super::clients::Who;
use parking_lot::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// From one look to the next.
const OF: u32 = 16;
/// It stands out where it declines at least so much of what it is asked for,
const MOST: f64 = 0.5;
/// and the odds of it are so many times those of the others.
const TIMES: f64 = 4.0;
/// So many answers of the others say what is usual there.
const ANSWERS: u64 = 8;
/// So many clients are known, each by its number's place.
const KNOWN: usize = 8;

/// Answers, and those of them that declined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) all: u64,
    pub(super) declined: u64,
}

impl Found {
    pub(super) fn and(self, other: Self) -> Self {
        Self { all: self.all + other.all, declined: self.declined + other.declined }
    }
    fn since(self, before: Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        Self { all: less(self.all, before.all), declined: less(self.declined, before.declined) }
    }
    fn share(self) -> f64 {
        self.declined as f64 / self.all.max(1) as f64
    }
    fn odds(self) -> f64 {
        (self.declined + 1) as f64 / (self.all.saturating_sub(self.declined) + 1) as f64
    }
}

/// What is known of one backend. Touched by such answers alone.
#[derive(Debug, Default)]
pub(super) struct Declined {
    count: AtomicU32,
    /// More of the same client.
    more: AtomicU32,
    known: [AtomicU32; KNOWN],
    stands_out: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Who the others are; 0 before the first look.
    set: u64,
    /// Its own answers and theirs at the last looks.
    own: Found,
    others: Found,
    /// What they said between two of them.
    lately: Found,
}

impl Declined {
    /// One more, for somebody: whether it is time to look; `None` where it says nothing new.
    pub(super) fn count(&self, who: Who) -> Option<bool> {
        if let Some(number) = who.number() {
            let known = &self.known[number as usize / 2 % KNOWN];
            if known.swap(number, Relaxed) == number {
                self.more.fetch_add(1, Relaxed);
                return None;
            }
        }
        Some(self.count.fetch_add(1, Relaxed).wrapping_add(1).is_multiple_of(OF))
    }
    /// Of all its answers those that count.
    pub(super) fn of(&self, all: u64) -> Found {
        let declined = self.count.load(Relaxed).into();
        Found { all: all.saturating_sub(self.more.load(Relaxed).into()), declined }
    }
    pub(super) fn stands_out(&self) -> bool {
        self.stands_out.load(Relaxed)
    }
    /// Looks again, at its own answers and those of others, whom `set` names.
    pub(super) fn look(&self, own: Found, (set, others): (u64, Found)) {
        let mut seen = self.seen.lock();
        if seen.set != 0 && seen.set != set {
            // What they answered from here on counts.
            *seen = Seen { set, own, others, ..*seen };
            return;
        }
        let asked = others.since(seen.others);
        if asked.all >= ANSWERS {
            (seen.others, seen.lately) = (others, asked);
        }
        let own = own.since(std::mem::replace(&mut seen.own, own));
        let is_most = seen.lately.all == 0 || own.odds() >= TIMES * seen.lately.odds();
        self.stands_out.store(own.share() >= MOST && is_most, Relaxed);
        seen.set = set;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(all: u64, declined: u64) -> Found {
        Found { all, declined }
    }

    /// Whether it stands out after answers of its own and of the others.
    fn stands_out(own: (u64, u64), others: (u64, u64)) -> bool {
        let (declined, before) = (Declined::default(), found(900, 30));
        let after = |(all, gone)| before.and(found(all, gone));
        declined.look(before, (2, before));
        declined.look(after(own), (2, after(others)));
        declined.stands_out()
    }

    #[test]
    fn who_has_little_of_what_the_others_have_stands_out() {
        assert!(stands_out((16, 16), (60, 0)) && stands_out((20, 16), (60, 3)));
        assert!(stands_out((16, 16), (60, 40)), "much is declined everywhere, and here all is");
        assert!(!stands_out((16, 16), (48, 48)), "nobody has it");
        assert!(!stands_out((60, 16), (180, 0)), "some pages");
        assert!(!stands_out((26, 16), (60, 20)), "a third of them");
        assert!(stands_out((16, 16), (7, 7)), "what they said before");
    }

    #[test]
    fn who_has_nothing_stands_out_until_the_others_said_something() {
        let declined = Declined::default();
        let looks = |own: u64, others: Found| {
            declined.look(found(own, own), (2, others));
            declined.stands_out()
        };
        assert!(looks(16, found(0, 0)) && looks(32, found(7, 7)));
        assert!(!looks(48, found(8, 8)), "they have nothing either");
        assert!(!looks(64, found(9, 8)) && !looks(80, found(15, 8)));
        assert!(looks(96, found(16, 8)), "they have");
        declined.look(found(112, 112), (3, found(900, 900)));
        assert!(declined.stands_out(), "others than before said nothing yet");
        declined.look(found(128, 128), (3, found(950, 950)));
        assert!(!declined.stands_out());
    }

    #[test]
    fn more_of_one_bound_client_says_nothing() {
        let declined = Declined::default();
        let declined = &declined;
        let said = |n: u64, who: fn(u64) -> Who| (0..n).filter_map(move |n| declined.count(who(n)));
        assert_eq!(said(100, |_| Who::bound(7)).count(), 1);
        assert_eq!(said(100, |n| Who::bound(n % 2 * 2)).count(), 2, "nor of two");
        assert_eq!(declined.of(250), found(250 - 197, 3));
        assert_eq!(said(45, |_| Who::anybody(7)).filter(|look| *look).count(), 3, "of newcomers");
    }
}
