//! Leases from many threads while health, operators and reloads change everything about them.
use super::*;
use crate::pool::testing::{self, every_policy};

const THREADS: u64 = 4;
const CHANGES: usize = 80;
/// Leases that one thread holds at the most.
const HELD: usize = 4;
const LIMIT: u32 = 2;
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Rounds of the workers between two changes, so that both go on whatever the machine does.
const BETWEEN: u64 = 100;

/// Tells the workers to end, also when the test fails.
struct End<'a>(&'a Ground);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end.store(true, Relaxed);
    }
}

/// What the threads of a test share.
#[derive(Default)]
struct Ground {
    end: AtomicBool,
    rounds: AtomicU64,
}

impl Ground {
    fn goes_on(&self) -> bool {
        self.rounds.fetch_add(1, Relaxed);
        !self.end.load(Relaxed)
    }
    fn wait(&self) {
        let until = self.rounds.load(Relaxed) + BETWEEN;
        while self.rounds.load(Relaxed) < until && !self.end.load(Relaxed) {
            std::thread::yield_now();
        }
    }
}

fn section(policy: &config::Balance) -> config::Pool {
    let mut config = testing::pool("app", &NAMES);
    (config.balance, config.health) = (policy.clone(), probed(1, 1));
    config.max_active = Some(config::MaxActive::Fixed(LIMIT));
    config
}

/// Takes and settles as it comes, and holds each backend to its limit by a count of its own.
fn work(pool: &Arc<Pool>, seed: u64, held: &[AtomicU32], ground: &Ground) -> usize {
    let _end = End(ground);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut leases, mut got) = (Vec::new(), 0);
    let settle = |lease: Lease| {
        held[lease.backend().id.0 as usize].fetch_sub(1, Relaxed);
        lease.settle(Outcome::Answered(200));
    };
    while ground.goes_on() {
        if leases.len() == HELD || (!leases.is_empty() && rng.bool()) {
            settle(leases.swap_remove(rng.usize(..leases.len())));
        }
        let avoid = [BackendId(rng.u32(..8))];
        let ask = ask(rng.u64(..)).avoid(&avoid);
        let Ok(lease) = pool.lease(&ask) else { continue };
        let backend = lease.backend();
        assert!(!ask.avoids(backend.id), "it was to be avoided");
        let before = held[backend.id.0 as usize].fetch_add(1, Relaxed);
        assert!(before < LIMIT, "{} has {before} already", backend.name);
        assert!(backend.active() <= LIMIT, "{} is over its limit", backend.name);
        got += 1;
        leases.push(lease);
    }
    leases.into_iter().for_each(settle);
    got
}

/// Changes anything, again and again.
fn disturb(pool: &Arc<Pool>, config: &config::Pool, ground: &Ground) {
    let (mut rng, mut now) = (fastrand::Rng::with_seed(9), Instant::now());
    for _ in 0..CHANGES {
        // A clock of its own, so that the cadence never holds a set back.
        now += Duration::from_secs(1);
        let (name, good) = (*rng.choice(&NAMES).unwrap(), rng.u8(..4) > 0);
        let known =
            pool.members().into_iter().find(|m| m.removed.is_none() && &*m.backend.name == name);
        match (rng.u8(..8), known) {
            (0, _) => {
                let mut other = config.clone();
                rng.shuffle(&mut other.backends);
                other.backends.truncate(rng.usize(3..=NAMES.len()));
                for backend in &mut other.backends {
                    backend.weight = Weight::new(rng.u16(1..4)).unwrap();
                    backend.tier = 1 + u8::from(rng.u8(..4) == 0);
                }
                commit(&other, Some(pool));
            }
            (1, _) => {
                let wish = if good { Wish::Up } else { Wish::Drain };
                pool.apply(Change::Operator { name: testing::name(name), wish }, now);
            }
            (2, Some(member)) => {
                let id = member.backend.id;
                pool.apply(Change::Unreached { id, detail: "refused".into() }, now);
            }
            (_, Some(member)) => {
                let verdict = good.then_some(()).ok_or("ill".into());
                pool.apply(Change::Probed { id: member.backend.id, verdict }, now);
            }
            (_, None) => {}
        }
        pool.publish(now);
        ground.wait();
    }
}

/// Everybody back and up, as the config says.
fn calm(pool: &Arc<Pool>, config: &config::Pool) {
    commit(config, Some(pool));
    for name in NAMES {
        wish(pool, name, Wish::Up);
        say(pool, name, true, Instant::now());
    }
    publish(pool);
    assert!(pool.members().iter().all(|m| m.state == State::Up && m.backend.active() == 0));
}

#[test]
fn no_limit_is_exceeded_and_no_count_is_lost_under_churn() {
    for (word, policy) in every_policy() {
        let config = section(&policy);
        let pool = commit(&config, None);
        NAMES.iter().for_each(|name| _ = say(&pool, name, true, Instant::now()));
        publish(&pool);
        let held: Vec<AtomicU32> = (0..1 << 18).map(|_| AtomicU32::new(0)).collect();
        let ground = Ground::default();
        let got: usize = std::thread::scope(|scope| {
            let ended = End(&ground);
            let work = |seed| {
                let (pool, held, ground) = (&pool, &held, &ground);
                scope.spawn(move || work(pool, seed, held, ground))
            };
            let workers: Vec<_> = (0..THREADS).map(work).collect();
            disturb(&pool, &config, &ground);
            drop(ended);
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        println!("{word}: {got} leases in {CHANGES} changes");
        assert!(got > 100, "{word}: {got} leases");
        assert!(held.iter().all(|count| count.load(Relaxed) == 0));
        calm(&pool, &config);
        if word.starts_with("bounded") {
            let snapshot = pool.read.snapshot.load();
            let (_, most) = snapshot.balancer.pick_within(&snapshot.candidates, &ask(1)).unwrap();
            assert_eq!(most, 1, "{word}: of nothing in work, the one that comes");
        }
    }
}

/// More candidates than are scanned: the order that `least_connections` keeps is right again after
/// takes, settles and publications crossed each other.
#[test]
fn least_connections_knows_every_load_after_churn() {
    let names: Vec<String> = (0..40).map(|i| format!("b{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut config = testing::pool("app", &names);
    config.balance = testing::balance("least_connections");
    let pool = commit(&config, None);
    let ground = Ground::default();
    std::thread::scope(|scope| {
        let ended = End(&ground);
        for seed in 0..THREADS {
            let (pool, ground) = (&pool, &ground);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut leases: Vec<Lease> = Vec::new();
                let _end = End(ground);
                while ground.goes_on() {
                    leases.extend(pool.lease(&ask(rng.u64(..))));
                    if leases.len() > 20 {
                        drop(leases.swap_remove(rng.usize(..leases.len())));
                    }
                }
            });
        }
        let mut now = Instant::now();
        for step in 0..3 * CHANGES as u32 {
            now += Duration::from_secs(1);
            let id = BackendId(step % 40);
            pool.apply(Change::Unreached { id, detail: "refused".into() }, now);
            pool.publish(now);
            pool.apply(Change::Probed { id, verdict: Ok(()) }, now);
            pool.publish(now + Duration::from_millis(500));
            ground.wait();
        }
        drop(ended);
    });
    publish(&pool);
    let mut leases = Vec::new();
    for round in 1..=3 {
        leases.extend((0..40).map(|step| pool.lease(&ask(step)).unwrap()));
        let even = |m: &Member| m.backend.active() == round;
        assert!(pool.members().iter().all(even), "in round {round} each gets one more");
    }
}
