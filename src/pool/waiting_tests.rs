//! The queue of a whole pool: every place that becomes free goes to exactly one who waits.
use super::*;
use crate::config::MaxActive::Fixed;
use crate::config::{self, Health};
use crate::metrics::Span;
use crate::pool::change::{Change, Wish};
use crate::pool::lease::Outcome;
use crate::pool::testing::{name, pool};
use crate::pool::{Policies, State};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn section(backends: &[&str], limit: u32, size: usize) -> config::Pool {
    let queue = Some(config::Queue { size, timeout: HOUR, abort_on_close: false });
    config::Pool { max_active: Some(Fixed(limit)), queue, ..pool("app", backends) }
}

fn commit(config: &config::Pool, before: Option<&Arc<Pool>>) -> Arc<Pool> {
    Pool::prepare(&config.name, config, &Policies::default(), before).unwrap().commit().0
}

fn ask<'a>(now: Instant) -> Ask<'a> {
    Ask::new(now, 1)
}

#[track_caller]
fn got(waiting: &mut Waiting) -> Lease {
    waiting.heard().expect("it was told something").expect("it was a lease")
}

#[test]
fn a_place_goes_to_who_came_first_and_nobody_passes_the_queue() {
    let (pool, now) = (commit(&section(&["a"], 1, 2), None), Instant::now());
    let first = pool.lease(&ask(now)).unwrap();
    assert_eq!(pool.lease(&ask(now)).unwrap_err(), NoLease::Pending);
    let mut waiting: Vec<_> = (0..2).map(|_| pool.enter(&ask(now), now, None).unwrap()).collect();
    assert_eq!(pool.enter(&ask(now), now, None).unwrap_err(), NoLease::Queue);
    assert_eq!(pool.queue_depth(), 2);
    first.settle_at(Outcome::Answered(200), now);
    assert_eq!(pool.queue_depth(), 1);
    assert!(waiting[1].heard().is_none(), "one place wakes one");
    let lease = got(&mut waiting[0]);
    assert_eq!(pool.lease(&ask(now)).unwrap_err(), NoLease::Pending);
    assert!(pool.another(&ask(now)).is_none());
    drop(lease);
    drop(got(&mut waiting[1]));
    assert_eq!((pool.queue_depth(), pool.members()[0].backend.active()), (0, 0));
    assert!(pool.lease(&ask(now)).is_ok());
}

#[test]
fn who_waits_behind_is_served_when_no_client_waits_and_keeps_nobody_waiting() {
    let (pool, now) = (commit(&section(&["a"], 1, 2), None), Instant::now());
    let first = pool.lease(&ask(now)).unwrap();
    let enter = |line| pool.enter_line(line, &ask(now), now, None);
    let mut behind = [(); 2].map(|()| enter(Line::Behind).unwrap());
    assert_eq!(enter(Line::Behind).unwrap_err(), NoLease::Queue, "as many as in the other line");
    let mut front = [(); 2].map(|()| enter(Line::Front).unwrap());
    assert_eq!(pool.queue_depth(), 4);
    drop(first);
    for waiting in front.iter_mut().chain(&mut behind) {
        drop(got(waiting));
    }
    assert_eq!(pool.queue_depth(), 0);
    // A place of another backend is for who comes first, whoever waits behind.
    let pool = commit(&section(&["a", "b"], 1, 2), None);
    let held: Vec<_> = (0..2).map(|_| pool.lease(&ask(now)).unwrap()).collect();
    let behind = pool.enter_line(Line::Behind, &ask(now), now, None).unwrap();
    assert!(!pool.is_waited_for());
    assert_eq!(pool.lease(&ask(now)).unwrap_err(), NoLease::Pending, "all are full");
    drop(behind);
    drop(held);
    assert_eq!((pool.queue_depth(), pool.is_wanted()), (0, false));
}

#[test]
fn who_left_is_served_no_more_and_what_it_was_given_goes_on() {
    let (pool, now) = (commit(&section(&["a"], 1, 9), None), Instant::now());
    let first = pool.lease(&ask(now)).unwrap();
    let mut waiting: Vec<_> = (0..4).map(|_| pool.enter(&ask(now), now, None).unwrap()).collect();
    assert_eq!(waiting[0].give_up(Instant::now()).unwrap_err(), NoLease::Queue);
    drop(waiting.remove(1));
    assert_eq!(pool.queue_depth(), 2);
    first.settle(Outcome::Answered(200));
    // It was given the place and never looked.
    drop(waiting.remove(1));
    drop(got(&mut waiting[1]));
    // One that gives up while its turn comes has it.
    let first = pool.lease(&ask(now)).unwrap();
    let mut last = pool.enter(&ask(now), now, None).unwrap();
    drop(first);
    assert!(last.give_up(Instant::now()).is_ok());
}

#[test]
fn whose_time_is_over_is_told_so_and_not_served() {
    let (pool, now) = (commit(&section(&["a"], 1, 9), None), Instant::now());
    let first = pool.lease(&ask(now)).unwrap();
    let mut late = pool.enter(&ask(now), now, Some(now)).unwrap();
    let mut next = pool.enter(&ask(now), now, None).unwrap();
    first.answered(200, Span::new(now, now));
    assert_eq!(late.heard().unwrap().unwrap_err(), NoLease::Queue);
    assert!(next.heard().unwrap().is_ok());
}

#[test]
fn who_avoids_the_backend_with_the_free_place_waits_on_and_holds_nobody_up() {
    let (pool, now) = (commit(&section(&["a", "b"], 1, 9), None), Instant::now());
    let leases = [pool.lease(&ask(now)).unwrap(), pool.lease(&ask(now)).unwrap()];
    let [mut free, busy] = leases;
    let avoid = [free.backend().id];
    let mut picky = pool.enter(&ask(now).avoid(&avoid), now, None).unwrap();
    for _ in 0..3 {
        let mut other = pool.enter(&ask(now), now, None).unwrap();
        drop(free);
        free = got(&mut other);
        assert_eq!(free.backend().id, avoid[0]);
        assert!(picky.heard().is_none());
    }
    let other = busy.backend().id;
    drop(busy);
    assert_eq!(got(&mut picky).backend().id, other);
}

#[test]
fn a_reload_serves_who_may_be_served_now_and_sends_nobody_away() {
    let now = Instant::now();
    let config = section(&["a"], 1, 9);
    let pool = commit(&config, None);
    let held = pool.lease(&ask(now)).unwrap();
    let enter = || pool.enter(&ask(now), now, None).unwrap();
    let mut waiting: Vec<_> = (0..4).map(|_| enter()).collect();
    // A higher limit.
    commit(&config::Pool { max_active: Some(Fixed(2)), ..config.clone() }, Some(&pool));
    let second = got(&mut waiting[0]);
    // Another backend.
    let more = config::Pool { max_active: Some(Fixed(1)), ..section(&["a", "b"], 1, 9) };
    commit(&more, Some(&pool));
    let third = got(&mut waiting[1]);
    assert_eq!(&*third.backend().name, "b");
    // No queue any more: who is in it stays, nobody else waits.
    commit(&config::Pool { queue: None, ..config }, Some(&pool));
    assert_eq!(pool.lease(&ask(now)).unwrap_err(), NoLease::Full);
    assert_eq!(pool.enter(&ask(now), now, None).unwrap_err(), NoLease::Full);
    assert_eq!(pool.queue_depth(), 2);
    drop(held);
    drop(second);
    drop(got(&mut waiting[2]));
    drop(got(&mut waiting[3]));
}

#[test]
fn nobody_waits_where_nobody_is_left_and_who_comes_up_serves() {
    let now = Instant::now();
    let check = config::Check::Tcp { send: None, expect: None };
    let health = Health {
        check,
        port: None,
        interval: HOUR,
        timeout: HOUR,
        rise: 1,
        fall: 1,
        proxy_protocol: false,
    };
    let config = config::Pool { health: Some(health), ..section(&["a", "b"], 1, 9) };
    let pool = commit(&config, None);
    let probed = |text: &str, good: bool| {
        let all = pool.members();
        let id = all.iter().find(|m| &*m.backend.name == text).unwrap().backend.id;
        pool.apply(Change::Probed { id, verdict: good.then_some(()).ok_or("ill".into()) }, now);
        let mut at = now;
        while let Some(later) = pool.publish(at) {
            at = later;
        }
    };
    probed("a", true);
    let held = pool.lease(&ask(now)).unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| pool.enter(&ask(now), now, None).unwrap()).collect();
    probed("b", true);
    let second = got(&mut waiting[0]);
    assert_eq!(&*second.backend().name, "b");
    pool.apply(Change::Operator { name: name("b"), wish: Wish::Drain }, now);
    assert!(waiting[1].heard().is_none(), "the other one is only full");
    probed("a", false);
    assert!(pool.members().iter().all(|m| m.state != State::Up));
    for waiting in &mut waiting[1..] {
        assert_eq!(waiting.heard().unwrap().unwrap_err(), NoLease::Empty);
    }
    assert_eq!(pool.queue_depth(), 0);
    drop((held, second));
}

/// Every place freed finds who waits for it: a wake-up that is lost ends nowhere.
#[test]
fn no_wake_up_is_lost_between_threads() {
    const LIMIT: u32 = 2;
    let pool = commit(&section(&["a", "b"], LIMIT, 64), None);
    let held = [AtomicU32::new(0), AtomicU32::new(0)];
    let waited = AtomicUsize::new(0);
    let together = std::sync::Barrier::new(8);
    let one = |thread: u64| {
        let mut rng = fastrand::Rng::with_seed(thread);
        together.wait();
        // On a busy machine some are through before others have begun, and nobody waits.
        for _ in (0..).take_while(|n| *n < 2000 || waited.load(Relaxed) <= 100) {
            let now = Instant::now();
            let ask = Ask::new(now, rng.u64(..));
            let lease = match pool.lease(&ask) {
                Ok(lease) => Some(lease),
                Err(none) => {
                    assert_eq!(none, NoLease::Pending);
                    waited.fetch_add(1, Relaxed);
                    let mut waiting = pool.enter(&ask, now, None).unwrap();
                    let leaves = rng.u8(..) < 64;
                    loop {
                        if let Some(answer) = waiting.heard() {
                            break Some(answer.unwrap());
                        }
                        if leaves {
                            break waiting.give_up(Instant::now()).ok();
                        }
                        assert!(now.elapsed() < Duration::from_secs(40), "a wake-up was lost");
                        std::thread::yield_now();
                    }
                }
            };
            let Some(lease) = lease else { continue };
            let of = &held[lease.backend().id.0 as usize];
            assert!(of.fetch_add(1, Relaxed) < LIMIT, "above max_active");
            if rng.bool() {
                std::thread::yield_now();
            }
            of.fetch_sub(1, Relaxed);
            lease.settle(Outcome::Answered(200));
        }
    };
    std::thread::scope(|scope| (0..8).for_each(|thread| drop(scope.spawn(move || one(thread)))));
    assert_eq!(pool.queue_depth(), 0);
    assert!(pool.members().iter().all(|member| member.backend.active() == 0));
}
