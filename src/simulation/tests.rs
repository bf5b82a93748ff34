//! Seeds by the thousand, and one by itself.
use super::laws::{Ended, Tally};
use super::scene::{POLICIES, Scene, balance};
use super::server::Mood;
use super::world::World;
use crate::config::{Hedge, Percent};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Scenes that are played at each run of the tests; `EVENKEEL_SEEDS` says another number.
const SEEDS: u64 = 2000;
/// Further ones that broke a law once.
const BROKE: [u64; 5] = [2378, 14726, 16032, 22912, 32441];

fn said(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn play(seed: u64, told: bool) -> Tally {
    World::new(Scene::of(seed), told).play()
}

/// Those of these seeds that break a law.
fn broken(seeds: impl Iterator<Item = u64>) -> Vec<u64> {
    let breaks = |seed: &u64| catch_unwind(AssertUnwindSafe(|| play(*seed, false))).is_err();
    seeds.filter(breaks).collect()
}

#[test]
fn whatever_happens_the_laws_hold() {
    let seeds = said("EVENKEEL_SEEDS").unwrap_or(SEEDS);
    let mut workers = Vec::new();
    for half in 0..2 {
        let all = (0..seeds).chain(BROKE).filter(move |n| n % 2 == half);
        workers.push(std::thread::spawn(move || broken(all)));
    }
    let found: Vec<u64> = workers.into_iter().flat_map(|w| w.join().unwrap()).collect();
    let again = "cargo test --lib simulation::tests::replay -- --nocapture";
    assert!(found.is_empty(), "{found:?} break a law: EVENKEEL_SEED={} {again}", found[0]);
}

/// Plays the seed of `EVENKEEL_SEED` and tells each event.
#[test]
fn replay() {
    let seed = said("EVENKEEL_SEED");
    let tally = play(seed.unwrap_or(1), seed.is_some());
    assert!(tally.all() > 0);
}

#[test]
fn a_seed_is_played_the_same_each_time() {
    for seed in 0..20 {
        let (one, other) = (play(seed, false), play(seed, false));
        assert_eq!(format!("{one:?}"), format!("{other:?}"), "seed {seed}");
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn at_twice_what_it_can_serve_a_pool_serves_what_it_can() {
    let queue = "queue = { size = 400, timeout = \"200ms\" }";
    for limit in ["max_active = 12", "max_active = { min = 4, max = 200 }"] {
        for (seed, policy) in (0..).zip(["round_robin", "least_connections", "peak_ewma"]) {
            let section = format!("{}\n{limit}\n{queue}", balance(policy));
            let mut scene = Scene::plain(seed, 3, section, 2.0, 4000 * MS);
            // Nobody waits longer than that; what is answered later was in vain.
            scene.patience = Some(300 * MS);
            let most = scene.rate / 2.0;
            let tally = World::new(scene, false).play();
            let good = tally.goodput(1500 * MS, 3500 * MS);
            assert!(good >= 0.9 * most, "{policy}, {limit}: {good} of {most} a second");
        }
    }
}

#[test]
fn who_fails_fast_attracts_nobody_for_long() {
    let outlier = "outlier = { consecutive_failures = 5 }";
    for (policy, more, mood) in [
        ("peak_ewma", "", Mood::Fails),
        ("least_connections", "", Mood::Fails),
        ("p2c", "", Mood::Fails),
        ("peak_ewma", outlier, Mood::Fails),
        ("least_connections", outlier, Mood::Fails),
        ("round_robin", outlier, Mood::Fails),
        ("p2c", outlier, Mood::Fails),
        ("peak_ewma", "", Mood::Sheds),
        ("least_connections", outlier, Mood::Sheds),
        ("p2c", "", Mood::Sheds),
        ("peak_ewma", "", Mood::Says(404)),
        ("least_connections", outlier, Mood::Says(404)),
        ("p2c", "", Mood::Says(404)),
        ("peak_ewma", "", Mood::Says(302)),
        ("least_connections", "", Mood::Says(401)),
        ("p2c", outlier, Mood::Says(403)),
        ("peak_ewma", "", Mood::Says(501)),
        ("least_connections", "", Mood::Says(501)),
        ("p2c", "", Mood::Says(501)),
    ] {
        for seed in 0..5 {
            let section = format!("{}\n{more}\nretry = {{ attempts = 1 }}", balance(policy));
            let mut scene = Scene::plain(seed, 5, section, 0.5, 2000 * MS);
            scene.turns = vec![(300 * MS, 0, mood)];
            let share = World::new(scene, false).play().share(0, 1000 * MS, 2000 * MS);
            let what = format!("{policy} {more} {mood:?}, seed {seed}");
            assert!(share <= 1.2, "{what}: {share} of its share");
        }
    }
}

/// The free place of one who fails at once does not go to all that wait for the others, and who is sent
/// again waits for them, too.
#[test]
fn who_fails_fast_attracts_nobody_who_waits_for_others() {
    let most = "max_active = 4\nqueue = { size = 1000, timeout = \"2s\" }";
    let twice = "retry = { attempts = 3, on = [\"connect\", \"reset\", \"5xx\", 429], \
        budget = \"100%\", floor = \"1000/s\", backoff = { base = \"5ms\", max = \"5ms\" } }";
    let policies =
        ["round_robin", "least_connections", "p2c", "peak_ewma", "random", "consistent_hash"];
    for (policy, mood) in policies.iter().flat_map(|p| [(p, Mood::Fails), (p, Mood::Sheds)]) {
        for (retry, lost) in [("retry = { attempts = 1 }", false), (twice, true)] {
            for seed in 0..2 {
                let section = format!("{}\n{most}\n{retry}", balance(policy));
                // Nearly all that the four others can do with four places each.
                let mut scene = Scene::plain(seed, 5, section, 0.37, 2000 * MS);
                scene.turns = vec![(300 * MS, 0, mood)];
                let tally = World::new(scene, false).play();
                let (share, what) =
                    (tally.share(0, 800 * MS, 2000 * MS), format!("{policy} {mood:?}"));
                assert!(share <= 1.2, "{what}, {retry}, seed {seed}: {share} of its share");
                assert!(!lost || tally.failed == 0, "{what}, seed {seed}: {} lost", tally.failed);
            }
        }
    }
}

/// Who has nothing answers at once; where the others take long nothing is known of them for as long.
#[test]
fn who_has_nothing_attracts_nobody_while_the_others_take_their_time() {
    for policy in ["least_connections", "p2c", "peak_ewma"] {
        for seed in 0..5 {
            for from in [Duration::ZERO, 3000 * MS] {
                let section = format!("{}\nretry = {{ attempts = 1 }}", balance(policy));
                let mut scene = Scene::plain(seed, 5, section, 0.0, 6000 * MS);
                scene.crowd = 16;
                scene.servers.iter_mut().for_each(|server| {
                    (server.width, server.work) = (100, 1000 * MS);
                });
                scene.turns = vec![(from, 0, Mood::Says(404))];
                let tally = World::new(scene, false).play();
                let share = tally.share(0, from, 6000 * MS);
                // It might be five times; the sixteen that are looked at first are a quarter of all.
                assert!(share <= 2.0, "{policy} from {from:?}, seed {seed}: {share} of its share");
            }
        }
    }
}

#[test]
fn who_is_slow_gets_less() {
    for policy in ["least_connections", "p2c", "peak_ewma"] {
        for seed in 0..5 {
            let section = balance(policy);
            let mut scene = Scene::plain(seed, 5, section, 0.5, 2000 * MS);
            scene.turns = vec![(300 * MS, 0, Mood::Slow(10))];
            let share = World::new(scene, false).play().share(0, 1000 * MS, 2000 * MS);
            assert!(share <= 0.7, "{policy}, seed {seed}: {share} of its share");
        }
    }
}

/// Detection and one try: who asks a frozen backend is answered by another one, none is lost, and what
/// cannot be repeated is lost only where it had been sent there already.
#[test]
fn who_freezes_keeps_nobody_for_longer_than_it_takes_to_notice() {
    let health = "health = { tcp = true, interval = \"100ms\", timeout = \"50ms\", fall = 2 }";
    for (how, most) in [
        // Twice the wait at the most: what is usual is 15 ms at the most.
        ("outlier = {}", 2 * (100 + 2 * 40)),
        // The second bad probe, its jitter, and the next beat.
        (health, 110 + 110 + 50 + 40),
    ] {
        for policy in ["round_robin", "least_connections", "peak_ewma", "consistent_hash"] {
            let retry = "retry = { attempts = 5, backoff = { base = \"5ms\", max = \"5ms\" } }";
            let section = format!("{}\n{how}\n{retry}", balance(policy));
            let mut scene = Scene::plain(7, 5, section, 0.5, 3000 * MS);
            scene.turns = vec![(1000 * MS, 0, Mood::Frozen)];
            let tally = World::new(scene, false).play();
            assert_eq!(tally.failed, 0, "{policy} {how}");
            let slowest = tally.ends.iter().map(|end| end.took).max().unwrap();
            // The try that answers it, and its rest before.
            assert!(slowest <= (most + 5 + 40) * MS, "{policy} {how}: {slowest:?}");
        }
    }
}

/// Pages of two kinds, one 25 times slower, whatever the mix: nobody ever freezes, and nobody is lost to
/// the guess that somebody did, with a budget that is soon spent.
#[test]
fn slow_pages_beside_quick_ones_cost_nobody_an_answer() {
    let (mut silent, mut seeds) = (0, 0);
    for policy in ["round_robin", "least_connections", "peak_ewma", "consistent_hash"] {
        let shares = [0.01, 0.1, 0.3, 0.5, 0.9, 0.97, 1.0];
        for (seed, share) in (0..21).zip(shares.into_iter().cycle()) {
            for (rate, budget) in [(20.0, 10), (200.0, 1), (20.0, 100)] {
                let section = format!(
                    "{}\noutlier = {{ consecutive_failures = \"off\", success_rate = \"off\" }}\n\
                     retry = {{ attempts = 3, budget = \"{budget}%\", floor = \"1/s\" }}",
                    balance(policy)
                );
                let mut scene = Scene::plain(seed, 3, section, 1.0, 8000 * MS);
                scene.rate = rate;
                scene.servers.iter_mut().for_each(|server| server.width = 100);
                // What is usual is learnt of quick ones.
                scene.mixes = vec![(2000 * MS, (share, 25))];
                let tally = World::new(scene, false).play();
                assert_eq!(tally.failed, 0, "{policy}, {share} at {rate}/s, seed {seed}");
                (silent, seeds) = (silent + tally.silences, seeds + 1);
            }
        }
    }
    println!("{silent} ejections for silence in {seeds} scenes");
    assert!(silent <= seeds / 10, "{silent} ejections in {seeds} scenes");
}

/// One of three freezes amid pages of which a few take three hundred times as long as the others, so that no wait
/// by itself is too long for seconds: by how many wait in vain it is soon passed over.
#[test]
fn who_freezes_amid_slow_pages_costs_few_of_the_others() {
    for policy in ["round_robin", "least_connections", "random", "p2c", "peak_ewma"] {
        let (mut waited, mut failed, seeds) = (0, 0, 20);
        for seed in 0..seeds {
            let section =
                format!("{}\noutlier = {{}}\nretry = {{ attempts = 3 }}", balance(policy));
            let mut scene = Scene::plain(seed, 3, section, 1.0, 20_000 * MS);
            scene.rate = 50.0;
            scene.servers.iter_mut().for_each(|server| server.width = 100);
            scene.mixes = vec![(Duration::ZERO, (0.03, 300))];
            scene.turns = vec![(10_000 * MS, 0, Mood::Frozen)];
            let tally = World::new(scene, false).play();
            let late = |end: &&Ended| end.born >= 9900 * MS && end.took > 300 * MS;
            waited += tally.ends.iter().filter(late).count();
            failed += tally.failed;
        }
        println!("{policy}: of {} requests {waited} waited and {failed} failed", 500 * seeds);
        // Of 500 pages 15 are slow by themselves, and 167 are the frozen one's.
        assert!(waited < 30 * seeds as usize, "{policy}: {waited} waited");
        assert!(failed < seeds as usize, "{policy}: {failed} failed");
    }
}

/// A try beside one that takes long: who is frozen costs no more than that, and is found out all the same;
/// who comes back to his own keeps it.
#[test]
fn a_try_beside_hides_nobody_who_is_frozen() {
    for policy in ["round_robin", "least_connections", "peak_ewma"] {
        let section = format!("{}\noutlier = {{}}\nretry = {{ attempts = 3 }}", balance(policy));
        let mut scene = Scene::plain(3, 5, section, 0.3, 4000 * MS);
        scene.turns = vec![(2000 * MS, 0, Mood::Frozen)];
        scene.hedge = Some(Hedge { budget: Percent::new(1.0).unwrap(), ..Hedge::default() });
        let tally = World::new(scene, false).play();
        assert!(tally.failed == 0 && tally.hedges > 0 && tally.silences > 0, "{policy}");
        let mut took: Vec<Duration> = tally.ends.iter().map(|end| end.took).collect();
        took.sort_unstable();
        assert!(took[took.len() * 999 / 1000] < 50 * MS, "{policy}: {took:?}");
    }
}

/// A page that is broken fails wherever it is asked for: that ejects hardly anybody, however many ask for
/// it.
/// Who fails by himself goes all the same.
#[test]
fn a_broken_page_ejects_hardly_anybody() {
    for policy in ["round_robin", "least_connections", "p2c", "peak_ewma"] {
        for (seed, share) in (0..).zip([0.5, 0.9, 0.97, 1.0]) {
            let section =
                format!("{}\noutlier = {{}}\nretry = {{ attempts = 1 }}", balance(policy));
            let mut scene = Scene::plain(seed, 4, section, 0.0, 8000 * MS);
            (scene.rate, scene.broken) = (1000.0, (1000 * MS, share));
            let shared = World::new(scene, false).play();
            // Where others were asked nothing meanwhile there is nothing to compare with.
            let most = if share == 0.5 { 2 } else { 0 };
            let ejections = shared.ejections;
            assert!(ejections <= most, "{policy}, {share}: {ejections} ejections");
        }
        let section = format!("{}\noutlier = {{}}\nretry = {{ attempts = 1 }}", balance(policy));
        let mut scene = Scene::plain(7, 4, section, 0.3, 4000 * MS);
        (scene.broken, scene.turns) = ((Duration::ZERO, 0.1), vec![(1000 * MS, 0, Mood::Fails)]);
        let alone = World::new(scene, false).play();
        let share = alone.share(0, 2000 * MS, 4000 * MS);
        assert!(alone.ejections == 1 && share == 0.0, "{policy}: {} {share}", alone.ejections);
    }
}

/// Who is bound to one backend and asks there for a broken page in a loop ejects nobody, be the others
/// few and quiet; who fails by himself goes as soon as ever.
#[test]
fn a_client_bound_to_a_backend_ejects_it_by_its_page_nowhere() {
    let (hash, plain) = (balance("consistent_hash"), balance("round_robin"));
    for (policy, clients, keys, rate, broken) in [
        (&plain, 200, 0, 80.0, 0.6),
        (&hash, 0, 0, 80.0, 0.6),
        (&plain, 12, 0, 20.0, 0.9),
        (&hash, 0, 20, 20.0, 0.9),
    ] {
        for seed in 0..4 {
            let play = |turns| {
                let section = format!("{policy}\noutlier = {{}}\nretry = {{ attempts = 1 }}");
                let mut scene = Scene::plain(seed, 4, section, 0.0, 40_000 * MS);
                (scene.rate, scene.clients, scene.keys, scene.alone) = (rate, clients, keys, true);
                (scene.broken, scene.turns) = ((1000 * MS, broken), turns);
                World::new(scene, false).play()
            };
            let what = format!("{policy}, {clients} clients, {keys} keys, seed {seed}");
            assert_eq!(play(Vec::new()).ejections, 0, "{what}: a page");
            if rate == 80.0 {
                let failing = play(vec![(10_000 * MS, 0, Mood::Fails)]);
                let met = failing.picks[0].iter().filter(|at| **at >= 10_000 * MS).count();
                println!("{what}: {met} of {}", failing.picks[0].len());
                assert_eq!(failing.ejections, 1, "{what}: a backend");
            }
        }
    }
}

/// Nor where the others have a page that fails now and then, or others ask for it who are bound to nobody.
#[test]
fn a_client_bound_to_a_backend_ejects_it_not_by_the_failures_of_others() {
    for (clients, slips, strangers) in [(24, 0.01, 0.0), (12, 0.01, 0.0), (24, 0.0, 0.1)] {
        for seed in 0..4 {
            let section = "outlier = {}\nretry = { attempts = 1 }".into();
            let mut scene = Scene::plain(seed, 4, section, 0.0, 25_000 * MS);
            (scene.rate, scene.clients, scene.alone) = (250.0, clients, true);
            (scene.broken, scene.slips) = ((5000 * MS, 0.6), slips);
            scene.strangers = strangers;
            let ejections = World::new(scene, false).play().ejections;
            assert_eq!(ejections, 0, "{clients} clients, {slips}, {strangers}, seed {seed}");
        }
    }
}

/// Who has few clients or none that come back, as one that was just restarted, fares no worse than the others
/// where those who come without a cookie ask for a broken page.
#[test]
fn who_has_fewer_clients_than_others_stays_where_strangers_fail_everywhere() {
    for (seed, strangers) in (0..8).zip([0.1, 0.2, 0.4, 0.8].into_iter().cycle()) {
        let rate = "success_rate = { window = \"5s\", requests = 20 }";
        let section = format!("outlier = {{ eject = \"1s\", {rate} }}\nretry = {{ attempts = 1 }}");
        let mut scene = Scene::plain(seed, 4, section, 0.0, 60_000 * MS);
        (scene.rate, scene.clients, scene.strangers) = (200.0, 40, strangers);
        scene.broken = (5000 * MS, 0.0);
        // Ejected once, it comes back without its clients.
        scene.turns = vec![(1000 * MS, 1, Mood::Fails), (2000 * MS, 1, Mood::Well)];
        let tally = World::new(scene, false).play();
        println!("{strangers}, seed {seed}: {} ejections", tally.ejections);
        assert_eq!(tally.ejections, 1, "{strangers}, seed {seed}");
    }
}

/// Who fails most of what he is asked for goes, be it that one client alone asks there, or two.
#[test]
fn who_fails_few_clients_goes_though_some_are_answered() {
    let hash = balance("consistent_hash");
    // Four backends: with eight clients two of them come back to each.
    for (policy, keys, clients) in [
        (&*hash, 1, 0),
        (&hash, 2, 0),
        ("balance = \"round_robin\"", 0, 4),
        ("", 0, 8),
        ("", 0, 40),
    ] {
        for (seed, often) in (0..2).flat_map(|seed| [(seed, 60), (seed, 90), (seed, 100)]) {
            let play = |turns| {
                let section = format!("{policy}\noutlier = {{}}\nretry = {{ attempts = 1 }}");
                let mut scene = Scene::plain(seed, 4, section, 0.0, 30_000 * MS);
                (scene.rate, scene.keys, scene.clients) = (100.0, keys, clients);
                scene.turns = turns;
                World::new(scene, false).play()
            };
            let picks = play(Vec::new()).picks;
            let home = (0..4).max_by_key(|home| picks[*home].len()).unwrap();
            let failing = play(vec![(5000 * MS, home, Mood::FailsOften(often))]);
            let what = format!("{policy}, {keys} keys, {clients} clients, {often} %, seed {seed}");
            let last = failing.picks[home].last().unwrap();
            println!("{what}: {last:?} {}", failing.ejections);
            // Half a row of five in a row is chance.
            let most = if often == 60 { 25_000 * MS } else { 10_000 * MS };
            assert!(failing.ejections == 1 && *last < most, "{what}: {last:?}");
        }
    }
}

/// Three of 1 ms a page, 200 a second each; what befalls the first one after a second.
fn quick(policy: &str, seed: u64, turns: &[(Duration, Mood)]) -> Tally {
    let retry = "retry = { attempts = 3 }\noutlier = {}";
    let section = format!("{}\n{retry}", balance(policy));
    let mut scene = Scene::plain(seed, 3, section, 0.0, 3000 * MS);
    scene.rate = 600.0;
    scene.servers.iter_mut().for_each(|server| server.work = MS);
    scene.turns = turns.iter().map(|(at, mood)| (*at, 0, *mood)).collect();
    World::new(scene, false).play()
}

/// Who gives no first byte is asked by few until it is known why: a pause moves nothing, and ends by
/// itself.
#[test]
fn few_wait_at_a_frozen_backend_before_it_is_noticed() {
    for policy in ["round_robin", "least_connections", "random", "p2c", "peak_ewma"] {
        let (mut met, mut after) = (0, 0.0);
        for seed in 0..10 {
            let frozen = quick(policy, seed, &[(1000 * MS, Mood::Frozen)]);
            assert_eq!((frozen.failed, frozen.silences > 0), (0, true), "{policy}, seed {seed}");
            let took = |at: &&Duration| (1000 * MS..1500 * MS).contains(*at);
            met += frozen.picks[0].iter().filter(took).count();
            let pause = [(1000 * MS, Mood::Frozen), (1070 * MS, Mood::Well)];
            let paused = quick(policy, seed, &pause);
            let what = (paused.failed, paused.retries, paused.silences);
            assert_eq!(what, (0, 0, 0), "{policy}, seed {seed}");
            after += paused.share(0, 1080 * MS, 3000 * MS) / 10.0;
        }
        // In 100 ms it would have been asked 20 times.
        assert!(met <= 100, "{policy}: {met} in ten scenes");
        // By what a first byte cost at the worst the pause counts for a while.
        assert!(
            after > 0.8 || policy == "peak_ewma",
            "{policy}: {after} of its share after a pause"
        );
    }
}

/// Several freeze at once: each is noticed, and the last one that answers has all.
#[test]
fn whoever_freezes_is_noticed_however_many_do() {
    for (frozen, load) in [(2, 0.3), (4, 0.08)] {
        for policy in ["round_robin", "least_connections", "peak_ewma", "consistent_hash"] {
            for seed in 0..3 {
                let retry = "retry = { attempts = 5 }\ntimeout = { first_byte = \"off\" }";
                let section = format!("{}\noutlier = {{}}\n{retry}", balance(policy));
                let mut scene = Scene::plain(seed, 5, section, load, 4000 * MS);
                scene.turns = (0..frozen).map(|i| (1000 * MS, i, Mood::Frozen)).collect();
                let tally = World::new(scene, false).play();
                let what = format!("{frozen} of 5, {policy}, seed {seed}");
                assert_eq!(tally.failed, 0, "{what}");
                assert!(tally.silences >= frozen, "{what}: {}", tally.silences);
                let slowest = tally.ends.iter().map(|end| end.took).max().unwrap();
                assert!(slowest <= 1500 * MS, "{what}: {slowest:?}");
                let late = |i| tally.share(i, 2500 * MS, 4000 * MS);
                assert!((0..frozen).all(|i| late(i) < 0.1), "{what}");
            }
        }
    }
}

/// One request after the other: the first one that meets the frozen backend pays, once.
#[test]
fn a_quiet_site_pays_once_for_a_frozen_backend() {
    for repeatable in [1.0, 0.0] {
        let section = "outlier = {}\ntimeout = { first_byte = \"2s\" }".to_owned();
        let mut scene = Scene::plain(3, 3, section, 0.0, 60_000 * MS);
        (scene.rate, scene.repeatable) = (3.0, repeatable);
        scene.turns = vec![(30_000 * MS, 0, Mood::Frozen)];
        let tally = World::new(scene, false).play();
        let slow = tally.ends.iter().filter(|end| end.took > 500 * MS).count();
        assert!(tally.silences > 0, "{repeatable}");
        if repeatable == 1.0 {
            // Who tries it again later is moved as soon as one that waits suffices.
            assert_eq!((tally.failed, slow), (0, 1));
        } else {
            assert!(tally.failed <= tally.silences, "{} lost", tally.failed);
        }
    }
}

/// The only one of the first tier fails in whatever way, and backups are well: nobody is lost to it, and
/// nobody comes to them for the first time as long as it gets work.
#[test]
fn who_is_asked_again_goes_on_to_the_backups() {
    let moods = [
        Mood::Fails,
        Mood::Sheds,
        Mood::FailsOften(30),
        Mood::Resets,
        Mood::Gone,
        Mood::Full,
        Mood::Frozen,
    ];
    for (policy, mood) in POLICIES.iter().flat_map(|p| moods.map(|mood| (p, mood))) {
        for (seed, more) in [
            (0, ""),
            (1, "outlier = {}"),
            // Who waits for its turn at a frozen one has a wait of its own.
            (2, "max_active = 8\nqueue = { size = 100, timeout = \"1s\" }"),
        ] {
            if mood == Mood::Frozen && seed == 2 {
                continue;
            }
            let section = format!(
                "{}\n{more}\ntimeout = {{ connect = \"50ms\", first_byte = \"200ms\" }}\n\
                 retry = {{ attempts = 3, on = [\"connect\", \"reset\", \"timeout\", \"5xx\", 429], \
                 budget = \"100%\", floor = \"1000/s\", backoff = {{ base = \"5ms\", max = \"5ms\" }} }}",
                balance(policy)
            );
            let mut scene = Scene::plain(seed, 3, section, 0.1, 3000 * MS);
            scene.tiers = vec![1, 2, 2];
            scene.turns = vec![(1000 * MS, 0, mood)];
            let tally = World::new(scene, false).play();
            let what = format!("{policy} {mood:?} {more}");
            let early = |i: usize| tally.picks[i].iter().any(|at| *at < 1000 * MS);
            assert!(!early(1) && !early(2), "{what}: backups are left alone");
            assert_eq!(tally.failed, 0, "{what}");
            assert!(tally.by_status[1][0] > 20 && tally.by_status[2][0] > 20, "{what}");
            let is_out = mood == Mood::Frozen && more == "outlier = {}";
            assert!(!is_out || tally.ejections + tally.silences > 0, "{what}: it is found out");
        }
    }
}

/// The only one of the first tier freezes, and nothing ends a wait but its length: what can be repeated goes
/// on to a backup, whose answer tells that it was no slow page.
#[test]
fn who_freezes_alone_in_its_tier_is_found_out_by_a_backup() {
    for policy in POLICIES {
        let section = format!(
            "{}\noutlier = {{}}\ntimeout = {{ first_byte = \"off\" }}\nretry = {{ attempts = 2 }}",
            balance(policy)
        );
        let mut scene = Scene::plain(3, 2, section, 0.05, 6000 * MS);
        scene.tiers = vec![1, 2];
        scene.turns = vec![(2000 * MS, 0, Mood::Frozen)];
        let tally = World::new(scene, false).play();
        assert!(tally.failed == 0 && tally.silences > 0, "{policy}: {} lost", tally.failed);
        let slowest = tally.ends.iter().map(|end| end.took).max().unwrap();
        assert!(slowest <= 1500 * MS, "{policy}: {slowest:?}");
    }
}

/// A broken page beside others, asked for in vain of all: the backup that gets nothing else stays.
#[test]
fn a_broken_page_ejects_no_backup() {
    for policy in POLICIES {
        for seed in 0..3 {
            let retry =
                "retry = { attempts = 3, on = [\"5xx\"], budget = \"100%\", floor = \"1000/s\" }";
            let section = format!("{}\noutlier = {{}}\n{retry}", balance(policy));
            let mut scene = Scene::plain(seed, 3, section, 0.0, 8000 * MS);
            (scene.rate, scene.tiers) = (200.0, vec![1, 1, 2]);
            scene.broken = (1000 * MS, 0.1);
            let tally = World::new(scene, false).play();
            assert_eq!(tally.ejections, 0, "{policy}, seed {seed}");
            assert!(tally.by_status[2] == [0, tally.failed], "{policy}: {:?}", tally.by_status);
        }
    }
}
