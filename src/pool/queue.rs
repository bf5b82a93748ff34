//! Who waits for a place at a backend, and in which order places are given out. Pure: time is an
//! argument, and what waits is the caller's.
//!
//! The order stays useful under overload, after Facebook's adaptive LIFO and controlled delay (B.
//! Maurer, "Fail at Scale", ACM Queue 13(8), 2015; the delay after CoDel, RFC 8289):
//!
//! * A queue that forms and dissolves serves who came first: a burst is fair.
//! * One that has stood for a twentieth of its timeout serves who came last. Under overload not all
//!   can be served in time; who came last still has a client that waits, who came first soon has not.
//!   With first come, first served every one of them would wait for as long as it can bear.
//! * One that has stood for its whole timeout will not dissolve by waiting: newcomers wait for a
//!   twentieth of it and hear soon that they should go elsewhere.
//!
//! The twentieth is the source's own: 5 ms for a timeout of 100 ms.
use crate::config;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The share of the timeout after which a queue counts as standing, and that newcomers wait once it
/// has stood for all of it.
const SHARE: u32 = 20;

/// A place in the queue: later ones are greater.
pub(super) type Ticket = u64;

/// Those who wait. `T` says how each is reached.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: BTreeMap<Ticket, Waiter<T>>,
    next: Ticket,
    /// Since when somebody waits.
    stands: Option<Instant>,
    /// The timeout that was in force when somebody last entered.
    timeout: Duration,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter<T> {
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
        Self { waiting: BTreeMap::new(), next: 0, stands: None, timeout: Duration::ZERO }
    }
}

impl<T> Queue<T> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
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
        let mut out = None;
        if self.len() >= rules.size {
            if !self.is_standing(now) {
                return Entered::Full;
            }
            out = self.waiting.pop_first().map(|(_, waiter)| waiter.who);
        }
        let stood = self.stood(now);
        let most = if stood < self.timeout { self.timeout } else { self.timeout / SHARE };
        let until = limit.map_or(now + most, |limit| limit.min(now + most));
        self.stands.get_or_insert(now);
        let ticket = self.next;
        self.next += 1;
        self.waiting.insert(ticket, Waiter { until, who: who() });
        Entered::In { ticket, until, out }
    }

    /// Takes one out, if it still waits.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let left = self.waiting.remove(&ticket);
        if self.waiting.is_empty() {
            self.stands = None;
        }
        left.map(|waiter| waiter.who)
    }

    /// Those who wait, in the order in which they are served.
    pub(super) fn in_order(&self, now: Instant) -> impl Iterator<Item = (Ticket, &Waiter<T>)> {
        let last_first = self.is_standing(now);
        let (mut ahead, mut behind) = (self.waiting.iter(), self.waiting.iter().rev());
        let next = move || if last_first { behind.next() } else { ahead.next() };
        std::iter::from_fn(next).map(|(ticket, waiter)| (*ticket, waiter))
    }

    /// Whether it has stood for so long that who came last is served first.
    fn is_standing(&self, now: Instant) -> bool {
        self.stands.is_some() && self.stood(now) >= self.timeout / SHARE
    }

    /// For how long somebody has waited all the time.
    fn stood(&self, now: Instant) -> Duration {
        self.stands.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RULES: config::Queue = config::Queue { size: 3, timeout: Duration::from_millis(1000) };

    fn enter(queue: &mut Queue<char>, now: Instant, who: char) -> Option<(Instant, Option<char>)> {
        match queue.enter(&RULES, now, None, || who) {
            Entered::In { until, out, .. } => Some((until, out)),
            Entered::Full => None,
        }
    }

    fn order(queue: &Queue<char>, now: Instant) -> String {
        queue.in_order(now).map(|(_, waiter)| waiter.who).collect()
    }

    #[test]
    fn a_burst_is_served_in_order_and_a_standing_queue_from_behind() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for who in ['a', 'b', 'c'] {
            assert_eq!(enter(&mut queue, now, who), Some((now + 1000 * MS, None)));
        }
        assert_eq!(order(&queue, now + 49 * MS), "abc");
        assert_eq!(order(&queue, now + 50 * MS), "cba");
        assert_eq!(queue.leave(1), Some('b'));
        assert_eq!(queue.leave(1), None, "nobody leaves twice");
        assert_eq!(order(&queue, now), "ac");
    }

    #[test]
    fn a_full_queue_refuses_while_it_is_young_and_lets_the_oldest_go_once_it_stands() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for who in ['a', 'b', 'c'] {
            enter(&mut queue, now, who);
        }
        assert_eq!(enter(&mut queue, now + 49 * MS, 'd'), None);
        let then = now + 50 * MS;
        assert_eq!(enter(&mut queue, then, 'd'), Some((then + 1000 * MS, Some('a'))));
        assert_eq!((queue.len(), order(&queue, then)), (3, "dcb".into()));
    }

    #[test]
    fn one_that_stood_for_its_timeout_lets_newcomers_wait_for_a_twentieth() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        enter(&mut queue, now, 'a');
        let soon = now + 999 * MS;
        assert_eq!(enter(&mut queue, soon, 'b'), Some((soon + 1000 * MS, None)));
        let late = now + 1000 * MS;
        assert_eq!(enter(&mut queue, late, 'c'), Some((late + 50 * MS, None)));
        // Once it was empty, it is young again.
        for ticket in 0..3 {
            assert!(queue.leave(ticket).is_some());
        }
        assert_eq!(enter(&mut queue, late, 'd'), Some((late + 1000 * MS, None)));
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
