//! Who waits for a place at a backend, and in which order places are given out. Pure: time is an
//! argument, and what waits is the caller's.
//!
//! The order stays useful under overload, after Facebook's adaptive LIFO and controlled delay (B.
//! Maurer, "Fail at Scale", ACM Queue 13(8), 2015; the delay after CoDel, RFC 8289):
//!
//! * Who came first is served first, as long as that is in good time.
//! * Where the oldest has waited for a quarter of the timeout, the queue is overloaded, and who came last
//!   is served first. Not all can be served in time then; who came last still has a client that waits,
//!   who came first soon has not. With first come, first served every one of them would wait for as
//!   long as it can bear.
//! * One that has been overloaded for its whole timeout will not dissolve by waiting: newcomers wait for
//!   a twentieth of it (the source's own: 5 ms for a timeout of 100 ms) and hear soon that they should
//!   go elsewhere.
//! * That ends when nobody waits, and after twice the timeout it is judged anew.
//!
//! The source calls a queue overloaded that has not been empty for a while. A fixed number of clients that
//! are more than there are places, such as another proxy's connections, never leaves it empty, however
//! soon each is served: so it is the wait that counts, as for CoDel. For the same reason it is judged
//! anew: those who are sent away come again, and after a hiccup the queue would never be empty.
use crate::config;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The share of the timeout that the oldest waits in an overloaded queue.
const LATE: u32 = 4;
/// The share of the timeout that newcomers wait once it has been overloaded for all of it.
const SHARE: u32 = 20;
/// After so many timeouts it is judged anew.
const ANEW: u32 = 2;

/// A place in the queue: later ones are greater.
pub(super) type Ticket = u64;

/// Those who wait. `T` says how each is reached.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: BTreeMap<Ticket, Waiter<T>>,
    next: Ticket,
    /// Since when it is overloaded.
    overload: Option<Instant>,
    /// The timeout that was in force when somebody last entered.
    timeout: Duration,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    since: Instant,
    /// When it waits no longer.
    pub(super) until: Instant,
    pub(super) who: T,
}

/// What came of the wish to wait.
#[derive(Debug)]
pub(super) enum Entered<T> {
    /// It waits until then. The oldest had to leave for it, where one is named.
    In { ticket: Ticket, until: Instant, out: Option<T> },
    /// The queue is full.
    Full,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), next: 0, overload: None, timeout: Duration::ZERO }
    }
}

impl<T> Queue<T> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether it is full, and lets nobody go for a newcomer.
    pub(super) fn is_shut(&self, size: usize) -> bool {
        self.len() >= size && self.overload.is_none()
    }

    /// Somebody wants to wait, not beyond `limit`. A full queue that serves the last first lets the
    /// oldest go in its place.
    pub(super) fn enter(
        &mut self,
        rules: &config::Queue,
        now: Instant,
        limit: Option<Instant>,
        who: impl FnOnce() -> T,
    ) -> Entered<T> {
        self.timeout = rules.timeout;
        self.judge(now);
        let mut out = None;
        if self.is_shut(rules.size) {
            return Entered::Full;
        }
        if self.len() >= rules.size {
            out = self.waiting.pop_first().map(|(_, waiter)| waiter.who);
        }
        let is_long = |since| now.saturating_duration_since(since) >= self.timeout;
        let most =
            if self.overload.is_some_and(is_long) { self.timeout / SHARE } else { self.timeout };
        let until = limit.map_or(now + most, |limit| limit.min(now + most));
        let ticket = self.next;
        self.next += 1;
        self.waiting.insert(ticket, Waiter { since: now, until, who: who() });
        Entered::In { ticket, until, out }
    }

    /// Takes one out, if it still waits.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let left = self.waiting.remove(&ticket);
        if self.waiting.is_empty() {
            self.overload = None;
        }
        left.map(|waiter| waiter.who)
    }

    /// Those who wait, in the order in which they are served.
    pub(super) fn in_order(&mut self, now: Instant) -> impl Iterator<Item = (Ticket, &Waiter<T>)> {
        self.judge(now);
        let last_first = self.overload.is_some();
        let (mut ahead, mut behind) = (self.waiting.iter(), self.waiting.iter().rev());
        let next = move || if last_first { behind.next() } else { ahead.next() };
        std::iter::from_fn(next).map(|(ticket, waiter)| (*ticket, waiter))
    }

    /// Sees whether it is overloaded.
    fn judge(&mut self, now: Instant) {
        let anew = |since: &mut Instant| {
            now.saturating_duration_since(*since) >= self.timeout.saturating_mul(ANEW)
        };
        self.overload.take_if(anew);
        let oldest = self.waiting.first_key_value().map(|(_, oldest)| oldest.since);
        let waited = oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if self.overload.is_none() && oldest.is_some() && waited >= self.timeout / LATE {
            self.overload = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RULES: config::Queue =
        config::Queue { size: 3, timeout: Duration::from_millis(1000), abort_on_close: false };

    fn enter(queue: &mut Queue<char>, now: Instant, who: char) -> Option<(Instant, Option<char>)> {
        match queue.enter(&RULES, now, None, || who) {
            Entered::In { until, out, .. } => Some((until, out)),
            Entered::Full => None,
        }
    }

    fn order(queue: &mut Queue<char>, now: Instant) -> String {
        queue.in_order(now).map(|(_, waiter)| waiter.who).collect()
    }

    #[test]
    fn who_came_first_is_served_in_good_time_or_after_who_came_last() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for who in ['a', 'b', 'c'] {
            assert_eq!(enter(&mut queue, now, who), Some((now + 1000 * MS, None)));
        }
        assert_eq!(order(&mut queue, now + 249 * MS), "abc");
        assert_eq!(order(&mut queue, now + 250 * MS), "cba");
        assert_eq!(queue.leave(1), Some('b'));
        assert_eq!(queue.leave(1), None, "nobody leaves twice");
        assert_eq!(order(&mut queue, now + 251 * MS), "ca");
    }

    #[test]
    fn a_full_queue_refuses_while_all_is_well_and_lets_the_oldest_go_under_overload() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for who in ['a', 'b', 'c'] {
            enter(&mut queue, now, who);
        }
        assert_eq!(enter(&mut queue, now + 249 * MS, 'd'), None);
        let then = now + 250 * MS;
        assert_eq!(enter(&mut queue, then, 'd'), Some((then + 1000 * MS, Some('a'))));
        assert_eq!((queue.len(), order(&mut queue, then)), (3, "dcb".into()));
    }

    #[test]
    fn after_its_timeout_newcomers_wait_for_a_twentieth_and_after_two_it_is_judged_anew() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        enter(&mut queue, now, 'a');
        let begun = now + 300 * MS;
        assert_eq!(order(&mut queue, begun), "a");
        let soon = begun + 999 * MS;
        assert_eq!(enter(&mut queue, soon, 'b'), Some((soon + 1000 * MS, None)));
        queue.leave(0);
        let late = begun + 1000 * MS;
        assert_eq!(enter(&mut queue, late, 'c'), Some((late + 50 * MS, None)));
        queue.leave(1);
        assert_eq!(order(&mut queue, late + 40 * MS), "c");
        let anew = begun + 2000 * MS;
        queue.leave(2);
        assert_eq!(enter(&mut queue, anew, 'd'), Some((anew + 1000 * MS, None)));
    }

    /// Plays a queue before ten places of 50 ms each, in steps of 1 ms: how many came in each second, and
    /// how many of them were sent away; and the longest wait of one who was served in it.
    fn play(
        seconds: u32,
        comes: impl Fn(u32, usize) -> usize,
        works: impl Fn(u32) -> bool,
    ) -> Vec<(usize, usize, u32)> {
        let rules = config::Queue { size: 1000, timeout: 1000 * MS, abort_on_close: false };
        let (mut queue, start) = (Queue::default(), Instant::now());
        let (mut places, mut seen) = (Vec::new(), vec![(0, 0, 0); seconds as usize]);
        for ms in 0..seconds * 1000 {
            let (now, second) = (start + ms * MS, (ms / 1000) as usize);
            if works(ms) {
                places.retain(|end| *end > ms);
            }
            let over: Vec<Ticket> =
                queue.waiting.iter().filter(|(_, w)| w.until <= now).map(|(t, _)| *t).collect();
            seen[second].1 += over.iter().filter(|ticket| queue.leave(**ticket).is_some()).count();
            for _ in 0..comes(ms, places.len() + queue.len()) {
                seen[second].0 += 1;
                if !matches!(queue.enter(&rules, now, None, || ms), Entered::In { out: None, .. }) {
                    seen[second].1 += 1;
                }
            }
            while places.len() < 10 {
                let next = queue.in_order(now).next().map(|(ticket, _)| ticket);
                let Some(came) = next.and_then(|ticket| queue.leave(ticket)) else { break };
                seen[second].2 = seen[second].2.max(ms - came);
                places.push(ms + 50);
            }
        }
        seen
    }

    #[test]
    fn clients_of_a_fixed_number_are_all_served_and_again_after_a_hiccup() {
        for clients in [20, 30, 50] {
            let comes = |_, there| clients - there;
            let all = play(20, comes, |_| true);
            let wait = (clients as u32 - 10) * 5;
            assert!(all.iter().all(|(_, gone, longest)| *gone == 0 && *longest <= wait), "{all:?}");
            // Nothing is answered for a second.
            let all = play(20, comes, |ms| !(5000..6000).contains(&ms));
            assert!(all[5..7].iter().any(|(_, gone, _)| *gone > 0), "{all:?}");
            assert!(
                all[10..].iter().all(|(_, gone, longest)| *gone == 0 && *longest <= wait),
                "{all:?}"
            );
        }
    }

    #[test]
    fn at_twice_what_can_be_served_half_is_served_and_soon() {
        // 200 a second can be served.
        let all = play(60, |ms, _| usize::from(ms % 5 < 2), |_| true);
        let served: usize = all[2..].iter().map(|(came, gone, _)| came - gone).sum();
        assert!(served >= 58 * 190, "{served}: {all:?}");
        let quick = all[2..].iter().filter(|(_, _, longest)| *longest <= 260).count();
        assert!(quick == 58, "{all:?}");
    }

    #[test]
    fn nobody_waits_beyond_its_own_limit() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let Entered::In { until, .. } = queue.enter(&RULES, now, Some(now + MS), || 'a') else {
            panic!("there is room")
        };
        assert_eq!(until, now + MS);
    }

    #[test]
    fn a_queue_that_became_smaller_keeps_who_is_in_it() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for who in ['a', 'b', 'c'] {
            enter(&mut queue, now, who);
        }
        let less = config::Queue { size: 1, ..RULES };
        assert!(matches!(queue.enter(&less, now, None, || 'd'), Entered::Full));
        assert_eq!(queue.len(), 3);
    }
}
