//! What holds of a whole pool: reload, publication, the first verdict, and who is picked when
//! weights, tiers, health and operators speak together. Threads are in `core_churn.rs`.
use super::*;
use crate::config::MaxActive::Fixed;
use crate::config::{Check, Health, Weight};
use crate::pool::Ask;
use crate::pool::change::{Reason, State, Wish};
use crate::pool::lease::{Lease, NoLease, Outcome};
use crate::pool::testing::{balance, every_policy, name, pool};
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[path = "core_churn.rs"]
mod churn;

const MS: Duration = Duration::from_millis(1);

fn probed(rise: u32, fall: u32) -> Option<Health> {
    let check = Check::Tcp { send: None, expect: None };
    let second = Duration::from_secs(1);
    Some(Health {
        check,
        port: None,
        interval: second,
        timeout: second,
        rise,
        fall,
        proxy_protocol: false,
    })
}

fn commit(config: &config::Pool, before: Option<&Arc<Pool>>) -> Arc<Pool> {
    Pool::prepare(&config.name, config, &Policies::default(), before).unwrap().commit().0
}

fn id(pool: &Pool, text: &str) -> BackendId {
    let mut all = pool.members().into_iter();
    all.find(|m| m.removed.is_none() && &*m.backend.name == text).expect("it is named").backend.id
}

fn say(pool: &Pool, text: &str, good: bool, now: Instant) -> Vec<Turn> {
    let verdict = good.then_some(()).ok_or("ill".into());
    pool.apply(Change::Probed { id: id(pool, text), verdict }, now)
}

fn wish(pool: &Pool, text: &str, wish: Wish) {
    pool.apply(Change::Operator { name: name(text), wish }, Instant::now());
}

/// Publishes whatever there is, however soon after the last.
fn publish(pool: &Pool) {
    if let Some(at) = pool.publish(Instant::now()) {
        assert_eq!(pool.publish(at), None);
    }
}

fn ask(step: u64) -> Ask<'static> {
    let random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step << 31;
    Ask::new(Instant::now(), random).hash(Some(random.rotate_left(29)))
}

/// How many of so many leases each has, all at the same time.
fn picks(pool: &Arc<Pool>, count: u64) -> BTreeMap<String, u64> {
    let lease = |step| pool.lease(&ask(step)).expect("somebody is open");
    let leases: Vec<Lease> = (0..count).map(lease).collect();
    let mut all = BTreeMap::new();
    for lease in leases {
        *all.entry(lease.backend().name.to_string()).or_default() += 1;
        lease.settle(Outcome::Answered(200));
    }
    all
}

/// All that is shown of a pool, and what readers without its lock see.
fn seen(pool: &Pool) -> String {
    let member = |m: &Member| {
        let (b, word) = (&m.backend, m.last_probe.as_ref().map(|(_, word)| word.clone()));
        let counted = (b.picks().policy.get(), b.active(), b.is_usable(), b.cost(pool.clock.then));
        format!(
            "{} {} {} {:?} {:?} {word:?} {} {counted:?}",
            b.id.0,
            b.name,
            m.weight,
            m.state,
            m.reason,
            m.removed.is_some()
        )
    };
    let all: Vec<String> = pool.members().iter().map(member).collect();
    let (config, snapshot) = (pool.config(), pool.read.snapshot.load_full());
    let version = *pool.changes().borrow();
    format!("{all:#?} {snapshot:?} {version} {} {:?} {}", pool.is_out(), config, pool.wants_hash())
}

#[test]
fn prepare_changes_nothing_that_can_be_seen() {
    let mut config = pool("app", &["a", "b"]);
    config.health = probed(1, 1);
    let running = commit(&config, None);
    say(&running, "a", true, Instant::now());
    publish(&running);
    let mut lease = running.lease(&ask(1)).unwrap();
    lease.first_byte(5 * MS);
    let before = seen(&running);
    let mut other = pool("app", &["c", "a"]);
    other.balance = balance("least_connections");
    (other.max_active, other.health) = (Some(Fixed(1)), None);
    let prepared =
        Pool::prepare(&other.name, &other, &Policies::default(), Some(&running)).unwrap();
    assert_eq!(seen(&running), before);
    drop(prepared);
    assert_eq!(seen(&running), before, "nor does one that is given up");
}

#[test]
fn what_is_said_between_prepare_and_commit_is_kept() {
    let mut config = pool("app", &["a", "b", "c", "d"]);
    config.health = probed(2, 2);
    let running = commit(&config, None);
    let now = Instant::now();
    for name in ["a", "b", "c", "d"] {
        say(&running, name, true, now);
    }
    let mut other = config.clone();
    other.backends.reverse();
    other.max_active = Some(Fixed(7));
    let prepared =
        Pool::prepare(&other.name, &other, &Policies::default(), Some(&running)).unwrap();
    say(&running, "a", false, now);
    say(&running, "a", false, now);
    say(&running, "b", false, now);
    wish(&running, "c", Wish::Drain);
    let unreached = Change::Unreached { id: id(&running, "d"), detail: "refused".into() };
    running.apply(unreached, now);
    let (_, turns) = prepared.commit();
    assert_eq!(turns, [], "the reload itself turned nobody");
    let state = |text| {
        let member = running.member(id(&running, text)).unwrap();
        (member.state, member.reason)
    };
    assert_eq!(state("a"), (State::Down, Reason::Probe));
    assert_eq!(state("c"), (State::Drain, Reason::Operator));
    assert_eq!(state("d"), (State::Down, Reason::Connect));
    assert_eq!(say(&running, "b", false, now).len(), 1, "the second bad probe in a row");
    publish(&running);
    assert_eq!(running.lease(&ask(1)).unwrap_err(), NoLease::Empty);
}

#[test]
fn costs_are_learnt_only_where_a_policy_asks_for_them() {
    for (word, policy) in every_policy() {
        let mut config = pool("app", &["a"]);
        config.balance = policy;
        let running = commit(&config, None);
        let mut lease = running.lease(&ask(1)).unwrap();
        lease.first_byte(40 * MS);
        let learnt = lease.backend().cost(Instant::now()).is_some();
        assert_eq!(learnt, word == "peak_ewma", "{word}");
    }
}

#[test]
fn a_reload_keeps_counters_costs_and_leases_and_is_in_force_at_once() {
    let mut config = pool("app", &["a", "b"]);
    config.balance = balance("peak_ewma");
    let running = commit(&config, None);
    let mut lease = running.lease(&ask(1)).unwrap();
    lease.first_byte(40 * MS);
    let (backend, at) = (lease.backend().clone(), lease.backend().name.to_string());
    let mut other = pool("app", &["c", "b", "a"]);
    other.balance = balance("peak_ewma");
    other.max_active = Some(Fixed(1));
    commit(&other, Some(&running));
    let member = running.member(backend.id).unwrap();
    assert!(Arc::ptr_eq(&member.backend, &backend));
    assert_eq!((backend.picks().policy.get(), backend.active()), (1, 1));
    assert!(backend.cost(Instant::now()).is_some_and(|cost| cost > 0.03));
    let others: Vec<Lease> = (0..2).map(|step| running.lease(&ask(step)).unwrap()).collect();
    assert!(others.iter().all(|other| *other.backend().name != *at), "it is at its limit");
    assert_eq!(running.lease(&ask(5)).unwrap_err(), NoLease::Full);
    lease.settle(Outcome::Answered(200));
    assert_eq!(*running.lease(&ask(5)).unwrap().backend().name, *at);
    assert_eq!(backend.cells.by_class[2].get(), 1);
}

#[tokio::test]
async fn a_removed_backends_lease_ends_in_its_own_time() {
    let running = commit(&pool("app", &["a", "b"]), None);
    let leases: Vec<Lease> = (0..2).map(|step| running.lease(&ask(step)).unwrap()).collect();
    let (gone, stays): (Vec<_>, Vec<_>) =
        leases.into_iter().partition(|lease| &*lease.backend().name == "a");
    commit(&pool("app", &["b"]), Some(&running));
    assert_eq!(running.members().len(), 2, "it drains");
    let mut over = Box::pin(gone[0].over());
    assert!(poll(over.as_mut()).is_pending());
    assert_eq!(running.publish(Instant::now() + 301 * Duration::from_secs(1)), None);
    assert!(poll(over.as_mut()).is_ready(), "pool.drain has passed: it is cut");
    drop(over);
    assert!(poll(pin!(stays[0].over())).is_pending());
    assert_eq!(running.members().len(), 1);
    drop(gone);
    assert_eq!(running.lease(&ask(3)).unwrap().backend().id, stays[0].backend().id);
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_lease_waits_for_the_first_verdict() {
    let mut config = pool("app", &["a", "b"]);
    config.health = probed(2, 2);
    let running = commit(&config, None);
    let far = Instant::now() + Duration::from_secs(3600);
    let ask = ask(1);
    let mut waiting = Box::pin(running.lease_by(&ask, far));
    assert!(poll(waiting.as_mut()).is_pending());
    say(&running, "a", false, Instant::now());
    publish(&running);
    assert!(poll(waiting.as_mut()).is_pending(), "b has not spoken");
    say(&running, "b", true, Instant::now());
    publish(&running);
    let lease = waiting.await.unwrap();
    assert_eq!(&*lease.backend().name, "b");
    assert_eq!(running.no_backend.get(), 0, "nobody was refused");
    // From here on nobody waits: b was up once.
    wish(&running, "b", Wish::Drain);
    publish(&running);
    assert_eq!(running.lease_by(&ask, far).await.unwrap_err(), NoLease::Empty);
    assert_eq!(running.no_backend.get(), 1);
}

#[tokio::test]
async fn a_wait_ends_when_all_have_said_no_or_at_its_deadline() {
    let mut config = pool("app", &["a"]);
    config.health = probed(2, 2);
    let ask = ask(1);
    let running = commit(&config, None);
    let far = Instant::now() + Duration::from_secs(3600);
    let mut waiting = Box::pin(running.lease_by(&ask, far));
    assert!(poll(waiting.as_mut()).is_pending());
    say(&running, "a", false, Instant::now());
    publish(&running);
    assert_eq!(waiting.await.unwrap_err(), NoLease::Empty);

    let silent = commit(&config, None);
    let deadline = Instant::now() + 30 * MS;
    assert_eq!(silent.lease_by(&ask, deadline).await.unwrap_err(), NoLease::Empty);
    assert!(Instant::now() >= deadline, "it waited to the end");
    assert_eq!(silent.no_backend.get(), 1, "counted once");
}

#[test]
fn turns_are_published_at_once_after_quiet_and_else_as_the_cadence_says() {
    let running = commit(&pool("app", &["a", "b", "c"]), None);
    let generation = || running.read.generation.load(Relaxed);
    let start = Instant::now() + Duration::from_secs(60);
    assert_eq!((running.publish(start), generation()), (None, 1), "there is nothing to say");
    let down = |text: &str, now| {
        let change = Change::Unreached { id: id(&running, text), detail: "refused".into() };
        running.apply(change, now);
    };
    down("a", start);
    assert_eq!((running.publish(start), generation()), (None, 2), "after quiet");
    down("b", start + MS);
    let at = running.publish(start + MS).expect("too soon");
    assert!(at >= start + 20 * MS, "not below 20 ms");
    assert_eq!(generation(), 2);
    // It is skipped meanwhile, by its bit.
    assert_eq!(picks(&running, 50).into_keys().collect::<Vec<_>>(), ["c"]);
    say(&running, "a", true, start + 2 * MS);
    assert_eq!(running.publish(at - MS), Some(at));
    assert_eq!((running.publish(at), generation()), (None, 3), "both in one");
    assert_eq!(picks(&running, 50).len(), 2);
}

#[tokio::test]
async fn whoever_publishes_is_woken_by_turns_and_not_by_each_probe() {
    let mut config = pool("app", &["a"]);
    config.health = probed(2, 2);
    let running = commit(&config, None);
    let mut changes = running.changes();
    changes.mark_unchanged();
    let mut stale = Box::pin(running.changed());
    assert!(poll(stale.as_mut()).is_pending());
    say(&running, "a", true, Instant::now());
    assert!(changes.has_changed().unwrap());
    assert!(poll(stale.as_mut()).is_ready());
    changes.mark_unchanged();
    for _ in 0..10 {
        say(&running, "a", true, Instant::now());
    }
    assert!(!changes.has_changed().unwrap(), "no news");
    commit(&config, Some(&running));
    assert!(changes.has_changed().unwrap(), "a commit is news, for settings may differ");
}

#[test]
fn every_policy_heeds_weights_tiers_health_and_operators() {
    let names = ["one", "two", "three", "zero", "ill", "drained", "kept", "refused", "spare"];
    for (word, policy) in every_policy() {
        let mut config = pool("app", &names);
        (config.balance, config.health) = (policy, probed(1, 1));
        for backend in &mut config.backends {
            let (weight, tier) = match &*backend.name {
                "two" => (2, 1),
                "three" => (3, 1),
                "zero" => (0, 1),
                "spare" => (1, 2),
                _ => (1, 1),
            };
            (backend.weight, backend.tier) = (Weight::new(weight).unwrap(), tier);
        }
        let running = commit(&config, None);
        let now = Instant::now();
        names.iter().for_each(|name| _ = say(&running, name, *name != "ill", now));
        wish(&running, "drained", Wish::Drain);
        wish(&running, "kept", Wish::Maintenance);
        let refused = id(&running, "refused");
        running.apply(Change::Unreached { id: refused, detail: "refused".into() }, now);
        publish(&running);
        let all = picks(&running, 6000);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["one", "three", "two"], "{word}");
        for (name, want) in [("one", 1000.0), ("two", 2000.0), ("three", 3000.0)] {
            let off = (all[name] as f64 / want - 1.0).abs();
            let allowed = match &*word {
                "round_robin" | "least_connections" => 1e-9,
                "ring" => 0.2,
                _ => 0.1,
            };
            assert!(off <= allowed, "{word}: {all:?}");
        }
        for name in ["one", "two"] {
            say(&running, name, false, now);
        }
        let left = picks(&running, 100);
        assert_eq!(left.into_keys().collect::<Vec<_>>(), ["three"], "{word}, by the bits alone");
        say(&running, "three", false, now);
        let at_once = picks(&running, 20);
        assert_eq!(at_once.into_keys().collect::<Vec<_>>(), ["spare"], "{word}, by the bits");
        publish(&running);
        assert_eq!(picks(&running, 20).into_keys().collect::<Vec<_>>(), ["spare"], "{word}");
        wish(&running, "kept", Wish::Up);
        publish(&running);
        assert_eq!(picks(&running, 20).into_keys().collect::<Vec<_>>(), ["kept"], "{word}");
    }
}

#[test]
fn a_pool_says_why_there_is_no_lease() {
    for (word, policy) in every_policy() {
        let mut config = pool("app", &["a", "b"]);
        (config.balance, config.max_active) = (policy, Some(Fixed(1)));
        let running = commit(&config, None);
        let [a, b] = ["a", "b"].map(|name| id(&running, name));
        let leases: Vec<Lease> = (0..2).map(|step| running.lease(&ask(step)).unwrap()).collect();
        assert_eq!(running.lease(&ask(3)).unwrap_err(), NoLease::Full, "{word}");
        drop(leases);
        let avoided = running.lease(&ask(4).avoid(&[a, b])).unwrap_err();
        assert_eq!(avoided, NoLease::Avoided, "{word}");
        for step in 0..20 {
            let lease = running.lease(&ask(step).avoid(&[a])).unwrap();
            assert_eq!(lease.backend().id, b, "{word}");
        }
        for id in [a, b] {
            running.apply(Change::Unreached { id, detail: "no".into() }, Instant::now());
        }
        assert_eq!(running.lease(&ask(5)).unwrap_err(), NoLease::Pending, "{word}: who knows");
        publish(&running);
        assert_eq!(running.lease(&ask(6)).unwrap_err(), NoLease::Empty, "{word}");
        assert_eq!(running.no_backend.get(), 3);
    }
}

#[test]
fn picks_are_counted_by_why_they_were_made() {
    let mut config = pool("app", &["a", "b"]);
    config.health = probed(1, 1);
    config.panic_threshold = crate::config::Percent::new(0.6);
    let running = commit(&config, None);
    let now = Instant::now();
    say(&running, "a", true, now);
    say(&running, "b", true, now);
    publish(&running);
    let [a, b] = ["a", "b"].map(|name| id(&running, name));
    drop(running.lease(&ask(1).avoid(&[b])).unwrap());
    drop(running.lease(&ask(1).avoid(&[])).unwrap());
    say(&running, "b", false, now);
    publish(&running);
    assert_eq!(running.panic.get(), 1);
    drop(running.lease(&ask(1).avoid(&[a])).unwrap());
    let [a, b] = [a, b].map(|id| running.backend(id).unwrap());
    assert_eq!(a.picks().retry.get(), 1);
    assert_eq!(a.picks().policy.get() + b.picks().policy.get(), 1);
    assert_eq!(b.picks().panic.get(), 1, "b was tried in a panic");
    assert_eq!(a.picks().all() + b.picks().all(), 3);
}

#[test]
fn a_lease_is_counted_by_how_it_ended() {
    let running = commit(&pool("app", &["a"]), None);
    let lease = |step| running.lease(&ask(step)).unwrap();
    for outcome in [
        Outcome::Answered(101),
        Outcome::Answered(204),
        Outcome::Answered(503),
        Outcome::Called(503),
        Outcome::Closed,
        Outcome::NotReached,
        Outcome::Stale,
        Outcome::Failed,
        Outcome::Abandoned,
    ] {
        lease(1).settle(outcome);
    }
    drop(lease(2));
    let backend = running.members().remove(0).backend;
    let counted: Vec<u64> = backend.cells.by_class.iter().map(|c| c.get()).collect();
    assert_eq!(counted, [4, 1, 2, 0, 0, 1]);
    assert_eq!((backend.active(), backend.picks().policy.get()), (0, 10));
}

#[test]
fn who_turns_requests_away_weighs_as_busy_and_has_failed_at_nothing() {
    use Outcome::{Answered, Called};
    for (outcome, weighs, fails) in [
        (Answered(200), false, false),
        (Answered(404), false, false),
        (Answered(429), true, false),
        (Answered(503), true, true),
        (Called(200), false, false),
        (Called(429), true, false),
        (Called(500), true, true),
        (Called(503), true, true),
    ] {
        let mut config = pool("app", &["a", "b"]);
        let most = crate::config::Percent::new(0.5).unwrap();
        config.outlier = Some(crate::config::Outlier {
            consecutive_failures: Some(5),
            success_rate: None,
            silence: None,
            eject: Duration::from_secs(30),
            eject_max: Duration::from_secs(300),
            max_ejected: most,
        });
        let running = commit(&config, None);
        let lease = running.lease(&ask(1)).unwrap();
        let backend = lease.backend().clone();
        lease.settle(outcome);
        assert_eq!(backend.hot.recent.is_any(), weighs, "{outcome:?}");
        let tally = backend.tally();
        assert_eq!((tally.good, tally.bad), if fails { (0, 1) } else { (1, 0) }, "{outcome:?}");
    }
}

/// What a budget is a share of are requests: a further try that its client comes home by is none.
#[test]
fn a_further_try_is_no_request_whoever_it_goes_to() {
    let pool = commit(&pool("app", &["a", "b"]), None);
    publish(&pool);
    let (a, home) = (id(&pool, "a"), pool.backend(id(&pool, "b")).unwrap());
    let avoid = [a];
    drop(pool.lease(&ask(1).prefer(Some(&home))).unwrap());
    assert_eq!((home.picks().sticky.get(), pool.repeats.get()), (1, 0));
    drop(pool.lease(&ask(2).prefer(Some(&home)).avoid(&avoid)).unwrap());
    drop(pool.lease(&ask(3).avoid(&avoid)).unwrap());
    assert_eq!((home.picks().sticky.get(), pool.repeats.get()), (2, 2));
}
