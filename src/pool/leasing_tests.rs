//! Tiers: who is asked again, and finds nobody of its tier who was not asked yet, gets the next one's.
use super::*;
use crate::config::MaxActive::Fixed;
use crate::config::{self, Percent, SuccessRate};
use crate::pool::backend::BackendId;
use crate::pool::change::{Change, Wish};
use crate::pool::lease::Outcome;
use crate::pool::testing::{every_policy, name, pool};
use crate::pool::{Policies, State};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Backends whose names end in their tier.
fn section(backends: &[&str]) -> config::Pool {
    let mut config = pool("app", backends);
    for backend in &mut config.backends {
        backend.tier = backend.name.as_bytes().last().unwrap() - b'0';
    }
    config
}

fn commit(config: &config::Pool) -> Arc<Pool> {
    Pool::prepare(&config.name, config, &Policies::default(), None).unwrap().commit().0
}

fn id(pool: &Pool, text: &str) -> BackendId {
    pool.members().into_iter().find(|m| &*m.backend.name == text).unwrap().backend.id
}

fn state(pool: &Pool, text: &str) -> State {
    pool.member(id(pool, text)).unwrap().state
}

fn publish(pool: &Pool, now: Instant) {
    let later = pool.publish(now);
    assert!(later.is_none_or(|at| pool.publish(at).is_none()));
}

fn ask(step: u64) -> Ask<'static> {
    let random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step << 31;
    Ask::new(Instant::now(), random).hash(Some(random.rotate_left(29)))
}

/// Whom so many tries after those at these get, all at the same time.
fn after(pool: &Arc<Pool>, tried: &[&str], count: u64) -> BTreeMap<String, u64> {
    let avoid: Vec<_> = tried.iter().map(|text| id(pool, text)).collect();
    let lease = |step| pool.lease(&ask(step).avoid(&avoid)).expect("somebody is left");
    let leases: Vec<Lease> = (0..count).map(lease).collect();
    let mut all = BTreeMap::new();
    for lease in leases {
        *all.entry(lease.backend().name.to_string()).or_default() += 1;
        lease.settle(Outcome::Answered(200));
    }
    all
}

fn names(all: &BTreeMap<String, u64>) -> Vec<&str> {
    all.keys().map(String::as_str).collect()
}

#[test]
fn every_policy_goes_on_in_the_next_tier_by_its_weights() {
    for (word, policy) in every_policy() {
        let mut config = section(&["a1", "b1", "c2", "d2", "e4"]);
        config.balance = policy;
        config.backends[3].weight = config::Weight::new(3).unwrap();
        let pool = commit(&config);
        assert_eq!(names(&after(&pool, &[], 200)), ["a1", "b1"], "{word}: first tries");
        assert_eq!(names(&after(&pool, &["a1"], 200)), ["b1"], "{word}: its own tier first");
        let next = after(&pool, &["a1", "b1"], 4000);
        assert_eq!(names(&next), ["c2", "d2"], "{word}");
        let share = next["d2"] as f64 / 4000.0;
        assert!((0.65..0.85).contains(&share), "{word}: {share} of three quarters");
        assert_eq!(names(&after(&pool, &["a1", "b1", "d2"], 20)), ["c2"], "{word}");
        assert_eq!(names(&after(&pool, &["a1", "b1", "c2", "d2"], 20)), ["e4"], "{word}");
        let all = pool.members().into_iter().map(|m| m.backend.id).collect::<Vec<_>>();
        assert_eq!(pool.lease(&ask(1).avoid(&all)).unwrap_err(), NoLease::Avoided, "{word}");
        let of_first = &all[..2];
        let beside = ask(1).avoid(of_first).why(Why::Hedge);
        assert!(pool.another(&beside).is_none() && !pool.is_open(&beside), "{word}: a hedge");
        assert!(pool.is_open(&ask(1).avoid(of_first)) && !pool.is_open(&ask(1).avoid(&all)));
        let spare = pool.member(all[4]).unwrap().backend;
        assert_eq!((spare.picks().retry.get(), spare.picks().policy.get()), (20, 0), "{word}");
    }
}

#[test]
fn a_key_has_its_own_in_each_tier() {
    for (word, balance) in every_policy().into_iter().filter(|(_, b)| b.hash.is_some()) {
        let config = section(&["a1", "b2", "c2", "d2", "e2"]);
        let pool = commit(&config::Pool { balance, ..config });
        let avoid = [id(&pool, "a1")];
        let own = |key: u64| {
            let ask = Ask::new(Instant::now(), key).hash(Some(ask(key).hash.unwrap()));
            pool.lease(&ask.avoid(&avoid)).unwrap().backend().name.clone()
        };
        let first: Vec<_> = (0..40).map(own).collect();
        assert_eq!((0..40).map(own).collect::<Vec<_>>(), first, "{word}");
    }
}

#[test]
fn who_is_out_of_a_later_tier_is_nobodys() {
    let pool = commit(&section(&["a1", "b2", "c2", "d3"]));
    let now = Instant::now();
    pool.apply(Change::Operator { name: name("b2"), wish: Wish::Drain }, now);
    assert_eq!(names(&after(&pool, &["a1"], 20)), ["c2"], "by the bits");
    publish(&pool, now);
    assert_eq!(names(&after(&pool, &["a1"], 20)), ["c2"]);
    pool.apply(Change::Unreached { id: id(&pool, "c2"), detail: "refused".into() }, now);
    assert_eq!(names(&after(&pool, &["a1"], 20)), ["d3"]);
    publish(&pool, now + SECOND);
    assert_eq!(names(&after(&pool, &["a1"], 20)), ["d3"]);
    pool.apply(Change::Operator { name: name("b2"), wish: Wish::Up }, now);
    publish(&pool, now + 2 * SECOND);
    assert_eq!(names(&after(&pool, &["a1"], 20)), ["b2"]);
}

#[test]
fn the_first_tier_gone_the_next_takes_over_at_once_and_gives_it_back() {
    let mut config = section(&["a1", "b2", "c3"]);
    config.max_active = Some(Fixed(1));
    let (pool, now) = (commit(&config), Instant::now());
    let gone = id(&pool, "a1");
    pool.apply(Change::Unreached { id: gone, detail: "refused".into() }, now);
    for _ in 0..2 {
        let lease = pool.lease(&ask(1)).unwrap();
        assert_eq!(&*lease.backend().name, "b2");
        assert_eq!(pool.lease(&ask(2)).unwrap_err(), NoLease::Full, "c3 is for nobody's first try");
        drop(lease);
        publish(&pool, now + SECOND);
    }
    pool.apply(Change::Probed { id: gone, verdict: Ok(()) }, now);
    publish(&pool, now + 2 * SECOND);
    assert_eq!(names(&after(&pool, &[], 1)), ["a1"]);
}

#[test]
fn while_the_first_tier_is_on_trial_the_next_has_the_work() {
    let mut config = section(&["a1", "b2"]);
    let silence = config::Silence { wait: SECOND, factor: 4.0, hold: SECOND };
    config.outlier = Some(config::Outlier {
        consecutive_failures: None,
        success_rate: None,
        silence: Some(silence),
        eject: SECOND,
        eject_max: SECOND,
        max_ejected: Percent::new(1.0).unwrap(),
    });
    let (pool, mut now) = (commit(&config), Instant::now());
    let silent = id(&pool, "a1");
    pool.apply(Change::Silent { id: silent, detail: "no byte".into() }, now);
    publish(&pool, now);
    now += 2 * SECOND;
    pool.apply(Change::Tick, now);
    publish(&pool, now);
    let lease = || pool.lease(&Ask::new(now, 1)).unwrap();
    let trial = lease();
    assert_eq!(trial.backend().id, silent);
    assert!([lease(), lease()].iter().all(|lease| &*lease.backend().name == "b2"));
    pool.apply(Change::Heard { id: silent }, now);
    assert!([lease(), lease()].iter().all(|lease| lease.backend().id == silent));
}

#[test]
fn a_later_tier_is_built_when_it_changes_and_where_there_is_one() {
    let plain = commit(&section(&["a1", "b1"]));
    assert!(plain.snapshot().later.is_empty());
    let pool = commit(&section(&["a1", "b1", "c2", "d3"]));
    let (before, mut now) = (pool.snapshot(), Instant::now());
    let mut turn = |text: &str| {
        now += SECOND;
        pool.apply(Change::Unreached { id: id(&pool, text), detail: "refused".into() }, now);
        publish(&pool, now);
        pool.snapshot()
    };
    let after = turn("a1");
    let is_kept = |n: usize| Arc::ptr_eq(&before.later[n], &after.later[n]);
    assert!(before.generation != after.generation && is_kept(0) && is_kept(1));
    let without = turn("c2");
    assert_eq!(without.later.len(), 1);
    assert!(Arc::ptr_eq(&without.later[0], &before.later[1]));
}

/// What `least_connections` keeps of a tier's loads is kept of each.
#[test]
fn a_later_tier_hears_of_its_loads() {
    let texts: Vec<String> = (0..40).map(|i| format!("b{i:02}-2")).collect();
    let texts: Vec<&str> = ["a1"].into_iter().chain(texts.iter().map(String::as_str)).collect();
    let mut config = section(&texts);
    config.balance = crate::pool::testing::balance("least_connections");
    let pool = commit(&config);
    let avoid = [id(&pool, "a1")];
    for round in 1..=3 {
        let leases: Vec<_> =
            (0..40 * round).map(|step| pool.lease(&ask(step).avoid(&avoid)).unwrap()).collect();
        let backups = pool.members().into_iter().filter(|m| m.tier == 2);
        assert!(backups.into_iter().all(|m| u64::from(m.backend.active()) == round));
        drop(leases);
    }
}

#[test]
fn who_is_asked_again_waits_for_nobody_while_a_later_tier_is_free() {
    let mut config = section(&["a1", "b1", "c2"]);
    config.max_active = Some(Fixed(1));
    config.queue = Some(config::Queue { size: 3, timeout: 60 * SECOND, abort_on_close: false });
    let (pool, now) = (commit(&config), Instant::now());
    let [a, b, c] = ["a1", "b1", "c2"].map(|text| id(&pool, text));
    let (tried, first) = ([a], Ask::new(now, 1));
    let further = first.avoid(&tried).why(Why::Again);
    let mut held: Vec<_> = (0..2).map(|_| pool.lease(&first).unwrap()).collect();
    assert!(pool.may_wait(&first) && !pool.is_open(&first) && pool.is_open(&further));
    // Before somebody waits and after.
    for waits in [false, true] {
        let waiting = waits.then(|| pool.enter(&first, now, None).unwrap());
        let gets = |lease: Option<Lease>| lease.is_some_and(|lease| lease.backend().id == c);
        assert!(gets(pool.lease(&further).ok()) && gets(pool.another(&further)), "{waits}");
        assert!(gets(pool.stand(&further).ok()), "{waits}");
        assert_eq!(pool.lease(&first).unwrap_err(), NoLease::Pending);
        drop(waiting);
    }
    // Where the later one is full, too, each waits for what it may have.
    let at_backup = pool.lease(&further).unwrap();
    assert!(pool.may_wait(&further) && pool.another(&further).is_none());
    let mut waits: Vec<_> =
        [&first, &first, &further].map(|ask| pool.enter(ask, now, None).unwrap()).into();
    drop(at_backup);
    let mut heard = waits.iter_mut().map(|w| w.heard()).collect::<Vec<_>>();
    let lease = heard.remove(2).expect("its turn came").unwrap();
    assert!(lease.backend().id == c && heard.iter().all(Option::is_none));
    held.retain(|lease| lease.backend().id == a);
    let lease = waits[0].heard().expect("its turn came").unwrap();
    assert!(lease.backend().id == b && waits[1].heard().is_none());
}

#[test]
fn who_would_be_without_the_one_that_is_chosen_may_be_a_backup() {
    let pool = commit(&section(&["a1", "b2"]));
    let open = |ask: &Ask<'_>| {
        let candidates = pool.explain(ask).candidates.into_iter();
        candidates.filter(|one| one.open).map(|one| one.backend).collect::<Vec<_>>()
    };
    let said = pool.explain(&ask(1));
    assert_eq!((&*said.pick.unwrap().0, said.runner_up.as_deref()), ("a1", Some("b2")));
    assert_eq!(open(&ask(1)), [name("a1")]);
    assert_eq!(open(&ask(1).avoid(&[id(&pool, "a1")])), [name("b2")]);
}

fn judged(backends: &[&str]) -> Arc<Pool> {
    let mut config = section(backends);
    let rate = SuccessRate { window: SECOND, requests: 10, deviation: 1.9 };
    config.outlier = Some(config::Outlier {
        consecutive_failures: Some(3),
        success_rate: Some(rate),
        silence: None,
        eject: 30 * SECOND,
        eject_max: 300 * SECOND,
        max_ejected: Percent::new(1.0).unwrap(),
    });
    commit(&config)
}

/// A request by way of these, of whom each but the last failed.
fn sent(pool: &Arc<Pool>, way: &[&str], last: u16, now: Instant) {
    let mut tried = Vec::new();
    for (n, text) in way.iter().enumerate() {
        let others = pool.members().into_iter().map(|m| m.backend.id);
        let own = id(pool, text);
        let avoid: Vec<_> = others.filter(|other| *other != own).collect();
        let Ok(lease) = pool.lease(&Ask::new(now, 1).avoid(&avoid)) else { continue };
        assert_eq!(lease.backend().id, own);
        tried.push(own);
        lease.settle_at(Outcome::Answered(if n + 1 < way.len() { 500 } else { last }), now);
    }
}

/// Many backends of which these fail or decline all they are asked for, whichever stand beside each other.
fn some_of_many_are_found(status: u16, is_found: fn(&Pool, &Backend) -> bool) {
    type Which = (&'static str, fn(usize) -> bool);
    let which: [Which; 3] = [
        ("every second", |n| n % 2 == 0),
        ("every third", |n| n % 3 == 1),
        ("a block", |n| n < 10),
    ];
    for (count, rounds) in [(17, 400), (18, 400), (32, 400), (36, 400), (80, 200), (200, 100)] {
        for (words, is_bad) in which {
            let names: Vec<String> = (0..count).map(|n| format!("b{n:03}-1")).collect();
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            let (pool, now) = (judged(&names), Instant::now());
            let backends: Vec<_> = pool.members().into_iter().map(|m| m.backend).collect();
            let ids: Vec<_> = backends.iter().map(|backend| backend.id).collect();
            let bad = |backend: &Backend| {
                is_bad(names.iter().position(|n| *n == &*backend.name).unwrap())
            };
            let all_but =
                |own: BackendId| ids.iter().copied().filter(|id| *id != own).collect::<Vec<_>>();
            let all: Vec<_> = backends.iter().map(|one| (bad(one), all_but(one.id))).collect();
            for _ in 0..rounds {
                for (is_bad, avoid) in &all {
                    let Ok(lease) = pool.lease(&Ask::new(now, 1).avoid(avoid)) else { continue };
                    let said = if *is_bad { status } else { 200 };
                    lease.settle_at(Outcome::Answered(said), now);
                }
            }
            for (one, (is_bad, _)) in backends.iter().zip(&all) {
                let (name, found) = (&one.name, is_found(&pool, one));
                assert_eq!(found, *is_bad, "{name} of {}, {words}", names.len());
            }
        }
    }
}

#[test]
fn who_declines_as_many_do_stands_out_from_the_rest_wherever_they_stand() {
    some_of_many_are_found(404, |_, backend| backend.declined.stands_out());
}

#[test]
fn who_fails_as_many_do_is_ejected_wherever_they_stand() {
    some_of_many_are_found(500, |pool, one| state(pool, &one.name) == State::Ejected);
}

#[test]
fn who_turns_away_what_is_beyond_it_is_not_ejected_while_it_works() {
    for (status, ejected) in [(503, false), (500, true)] {
        let (pool, now) = (judged(&["a1", "b1"]), Instant::now());
        let beside = [id(&pool, "b1")];
        let lease = |now| pool.lease(&Ask::new(now, 1).avoid(&beside)).unwrap();
        let work = [lease(now), lease(now)];
        let ms = Duration::from_millis(1);
        for n in (1..30).take_while(|_| state(&pool, "a1") == State::Up) {
            lease(now + n * ms).settle_at(Outcome::Answered(status), now + n * ms);
        }
        assert_eq!(state(&pool, "a1") == State::Ejected, ejected, "{status}");
        if ejected {
            continue;
        }
        // What it was at is over, and was turned away, too.
        work.into_iter().for_each(|one| one.settle_at(Outcome::Answered(503), now + 30 * ms));
        for n in (31..34).take_while(|_| state(&pool, "a1") == State::Up) {
            lease(now + n * ms).settle_at(Outcome::Answered(503), now + n * ms);
        }
        assert_eq!(state(&pool, "a1"), State::Ejected);
    }
}

#[test]
fn a_backup_that_gets_but_what_others_failed_at_is_held_against_its_own_tier() {
    let now = Instant::now();
    for way in [&["a1", "c2"][..], &["a1", "b1", "c2"]] {
        let pool = judged(&["a1", "b1", "c2"]);
        pool.apply(Change::Tick, now);
        for _ in 0..100 {
            // A broken page beside others.
            sent(&pool, &["a1"], 200, now);
            sent(&pool, &["b1"], 200, now);
            sent(&pool, way, 500, now);
        }
        pool.apply(Change::Tick, now + SECOND);
        assert_eq!(state(&pool, "c2"), State::Up, "{way:?}");
    }
    let pool = judged(&["a1", "b2", "c2"]);
    for _ in 0..20 {
        sent(&pool, &["a1"], 200, now);
        sent(&pool, &["a1", "b2", "c2"], 200, now);
    }
    assert_eq!(state(&pool, "b2"), State::Ejected, "its own tier answers what it fails at");
}

#[test]
fn the_only_one_of_its_tier_is_held_against_its_backups() {
    let now = Instant::now();
    // A page that fails there, too, in a row and among others.
    for (often, last, ejected) in
        [(20, 500, false), (20, 200, true), (1, 500, false), (1, 200, true)]
    {
        let pool = judged(&["a1", "b2", "c2"]);
        pool.apply(Change::Tick, now);
        for _ in 0..40 / often {
            (0..often).for_each(|_| sent(&pool, &["a1", "b2"], last, now));
            (0..often).for_each(|_| sent(&pool, &["a1", "c2"], last, now));
            sent(&pool, &["a1"], 200, now);
        }
        pool.apply(Change::Tick, now + SECOND);
        assert_eq!(state(&pool, "a1") == State::Ejected, ejected, "{often} in a row, {last}");
    }
}

#[test]
fn first_tries_go_on_where_all_of_their_tier_are_full_and_waited_for_far_too_long() {
    let queue = config::Queue { size: 9, timeout: 9 * SECOND, abort_on_close: false };
    for queue in [None, Some(queue)] {
        let config = section(&["a1", "b1", "c2"]);
        let pool = commit(&config::Pool { max_active: Some(Fixed(1)), queue, ..config });
        let none = if queue.is_some() { NoLease::Pending } else { NoLease::Full };
        let held: Vec<Lease> = (0..2).map(|n| pool.lease(&ask(n)).unwrap()).collect();
        let backend = |n: usize| held[n].backend();
        let forsake = |n: usize| backend(n).forsake(backend(n).hot.heard());
        assert_eq!(pool.lease(&ask(3)).unwrap_err(), none);
        forsake(0);
        assert_eq!(pool.lease(&ask(3)).unwrap_err(), none, "one is only full");
        let mut waits = pool.enter(&ask(3), Instant::now(), None).ok();
        assert_eq!((waits.is_some(), pool.queue_depth() > 0), (queue.is_some(), queue.is_some()));
        forsake(1);
        pool.serve(Instant::now());
        let lease = match &mut waits {
            Some(waits) => waits.heard().expect("it was told").unwrap(),
            None => pool.lease(&ask(3)).unwrap(),
        };
        assert_eq!(&*lease.backend().name, "c2");
        lease.settle(Outcome::Answered(200));
        let beside = ask(4).why(Why::Hedge);
        assert!(pool.another(&beside).is_none(), "a hedge wakes no backup");
        // It gave a first byte.
        backend(1).hot.hear();
        assert_eq!(pool.lease(&ask(5)).unwrap_err(), none);
        held.into_iter().for_each(|lease| lease.settle(Outcome::Answered(200)));
        assert_ne!(&*pool.lease(&ask(6)).unwrap().backend().name, "c2");
    }
}
