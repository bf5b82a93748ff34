//! The learnt limit against a backend that serves so many at once, and makes the others queue.
use super::*;

const MS: Duration = Duration::from_millis(1);
const BOUNDS: Bounds = Bounds { min: 4, max: 1000 };

/// A backend that serves `width` at once, each within `work`; more make all of them slower.
struct Server {
    width: f64,
    work: Duration,
    /// How it fails, where it does.
    fails: Option<End>,
}

impl Server {
    fn takes(&self, active: u32) -> Duration {
        self.work.mul_f64((f64::from(active) / self.width).max(1.0))
    }
}

/// Requests for so long, `wanted` of them at once as far as the limit allows; returns what the limit
/// was at each end.
fn run(
    adaptive: &mut Adaptive,
    server: &Server,
    wanted: u32,
    now: &mut Instant,
    time: Duration,
) -> Vec<u32> {
    let (until, mut limits) = (*now + time, Vec::new());
    while *now < until {
        let active = wanted.min(adaptive.limit());
        let took = server.takes(active);
        // They end one after the other within that time.
        for _ in 0..active {
            *now += took / active;
            let end = server.fails.unwrap_or(End::Took(took));
            adaptive.learn(Heard { begun: *now - server.takes(active), end, active }, *now);
            assert!(
                (adaptive.bounds.min..=adaptive.bounds.max).contains(&adaptive.limit()),
                "{adaptive:?}"
            );
            limits.push(adaptive.limit());
        }
    }
    limits
}

fn median(mut limits: Vec<u32>) -> u32 {
    limits.sort_unstable();
    limits[limits.len() / 2]
}

#[test]
fn it_finds_what_a_backend_serves_at_once_and_stays_there_however_long_the_overload_lasts() {
    for width in [10.0, 40.0, 300.0] {
        let mut now = Instant::now();
        let mut adaptive = Adaptive::new(BOUNDS, 7, now);
        let server = Server { width, work: 10 * MS, fails: None };
        run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(10));
        let soon = f64::from(median(run(&mut adaptive, &server, 5000, &mut now, 1000 * MS)));
        run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(600));
        let late = f64::from(median(run(&mut adaptive, &server, 5000, &mut now, 1000 * MS)));
        for limit in [soon, late] {
            assert!((width..=2.0 * width).contains(&limit), "{width}: {soon}, later {late}");
        }
    }
}

#[test]
fn a_backend_that_loses_strength_is_cut_down_and_one_that_gains_it_back_grows() {
    let mut now = Instant::now();
    let mut adaptive = Adaptive::new(BOUNDS, 7, now);
    let mut server = Server { width: 200.0, work: 10 * MS, fails: None };
    run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(20));
    assert!(adaptive.limit() > 180, "{adaptive:?}");
    server.width = 20.0;
    run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(2));
    assert!(adaptive.limit() < 50, "{adaptive:?}");
    server.width = 200.0;
    run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(5));
    assert!(adaptive.limit() > 180, "{adaptive:?}");
}

#[test]
fn what_takes_longer_for_good_is_learnt() {
    let mut now = Instant::now();
    let mut adaptive = Adaptive::new(BOUNDS, 7, now);
    let mut server = Server { width: 100.0, work: 10 * MS, fails: None };
    run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(20));
    server.work = 40 * MS;
    run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(300));
    let limit = median(run(&mut adaptive, &server, 5000, &mut now, 1000 * MS));
    assert!((90..=200).contains(&limit), "{adaptive:?}");
}

#[test]
fn it_grows_no_further_than_the_load_uses_it() {
    let mut now = Instant::now();
    let mut adaptive = Adaptive::new(BOUNDS, 7, now);
    let server = Server { width: 1e6, work: 10 * MS, fails: None };
    run(&mut adaptive, &server, 30, &mut now, Duration::from_secs(300));
    assert!((30..=90).contains(&adaptive.limit()), "{adaptive:?}");
}

/// Of `of` answers one fails like this, at the limit, for ten thousand answers.
fn fail(adaptive: &mut Adaptive, how: End, of: u32, now: &mut Instant) {
    for n in 0..10_000u32 {
        *now += MS / 4;
        let end = if n % of == 0 { how } else { End::Took(10 * MS) };
        adaptive.learn(Heard { begun: *now - 10 * MS, end, active: adaptive.limit() }, *now);
    }
}

#[test]
fn refusals_bring_it_down_and_few_of_them_do_not() {
    let mut now = Instant::now();
    let mut adaptive = Adaptive::new(BOUNDS, 7, now);
    let mut server = Server { width: 100.0, work: 10 * MS, fails: None };
    run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(10));
    let before = adaptive.limit();
    fail(&mut adaptive, End::Refused, 50, &mut now);
    assert!(adaptive.limit() >= before, "2 % of refusals: {before}, then {}", adaptive.limit());
    server.fails = Some(End::Refused);
    run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(3));
    assert_eq!(adaptive.limit(), BOUNDS.min);
}

#[test]
fn an_applications_failures_take_their_share_of_it_and_half_at_the_most() {
    for (of, least) in [(50, 1.0), (10, 0.85), (2, 0.45), (1, 0.45)] {
        let mut now = Instant::now();
        let mut adaptive = Adaptive::new(BOUNDS, 7, now);
        let server = Server { width: 100.0, work: 10 * MS, fails: None };
        run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(10));
        let before = f64::from(adaptive.limit());
        fail(&mut adaptive, End::Fault, of, &mut now);
        let after = f64::from(adaptive.limit());
        assert!(after >= least * before, "one of {of}: {before}, then {after}");
        // It grows all the same: it never was above that.
        let mut young = Adaptive::new(BOUNDS, 7, now);
        fail(&mut young, End::Fault, of.max(2), &mut now);
        assert!(young.limit() > 100, "one of {of}: {}", young.limit());
    }
}

/// Answers at the limit until so many windows are over; as [`run`].
fn windows(adaptive: &mut Adaptive, server: &Server, wanted: u32, now: &mut Instant, n: u32) {
    let took = server.takes(1);
    // A window is a tenth of a second, or as long as ten answers take at the least limit.
    let window = WINDOW.max(took * ANSWERS / BOUNDS.min);
    run(adaptive, server, wanted, now, window * n);
}

#[test]
fn pages_that_take_a_hundred_times_as_long_do_not_lock_it_at_its_least() {
    for (work, wanted) in [(5 * MS, 20), (20 * MS, 20), (2 * MS, 200), (50 * MS, 40)] {
        for bounds in [BOUNDS, Bounds { min: 1, max: 1000 }] {
            let mut now = Instant::now();
            let mut adaptive = Adaptive::new(bounds, 7, now);
            let quick = Server { width: 1e6, work, fails: None };
            let slow = Server { width: 1e6, work: work * 100, fails: None };
            windows(&mut adaptive, &quick, wanted, &mut now, 50);
            for _ in 0..3 {
                windows(&mut adaptive, &slow, wanted, &mut now, 30);
                let limit = adaptive.limit();
                assert!(limit >= wanted, "{work:?}, {bounds:?}: {limit} of {wanted}: {adaptive:?}");
                windows(&mut adaptive, &quick, wanted, &mut now, 10);
                let limit = adaptive.limit();
                assert!(limit >= wanted, "{work:?}, and back: {limit} of {wanted}: {adaptive:?}");
            }
        }
    }
}

#[test]
fn a_measurement_whose_time_is_over_takes_what_there_is() {
    let mut now = Instant::now();
    let mut adaptive = Adaptive::new(BOUNDS, 7, now);
    let server = Server { width: 100.0, work: 10 * MS, fails: None };
    run(&mut adaptive, &server, 4, &mut now, Duration::from_secs(10));
    now += Duration::from_secs(200);
    adaptive.look(4, now);
    adaptive.look(4, now);
    for _ in 0..3 {
        let begun = now;
        now += 300 * MS;
        adaptive.learn(Heard { begun, end: End::Took(300 * MS), active: 4 }, now);
    }
    adaptive.look(4, now + 200 * MS);
    assert_eq!(adaptive.rest, Some(0.3));
}

#[test]
fn a_measurement_that_comes_to_no_end_is_given_up() {
    let mut now = Instant::now();
    let mut adaptive = Adaptive::new(BOUNDS, 7, now);
    let server = Server { width: 100.0, work: 10 * MS, fails: None };
    run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(10));
    let full = adaptive.limit();
    now += Duration::from_secs(100);
    // All of its places are taken by what goes on for ever.
    adaptive.look(full, now);
    assert_eq!(adaptive.limit(), full / 2);
    adaptive.look(full, now + 1001 * MS);
    assert_eq!(adaptive.limit(), full);
}

#[test]
fn backends_are_not_measured_all_at_once() {
    let now = Instant::now();
    let when = |seed| match Adaptive::new(BOUNDS, seed, now).measure {
        Measure::At(at) => at,
        other => panic!("{other:?}"),
    };
    let mut all: Vec<Instant> = (0..8).map(when).collect();
    all.dedup();
    assert!(all.len() > 6, "{all:?}");
    assert!(all.iter().all(|at| *at >= now + REST_EVERY && *at <= now + REST_EVERY * 2));
}

#[test]
fn new_bounds_hold_at_once() {
    let mut now = Instant::now();
    let mut adaptive = Adaptive::new(BOUNDS, 7, now);
    let server = Server { width: 100.0, work: 10 * MS, fails: None };
    run(&mut adaptive, &server, 5000, &mut now, Duration::from_secs(10));
    adaptive.bound(Bounds { min: 4, max: 20 });
    assert_eq!(adaptive.limit(), 20);
    adaptive.bound(Bounds { min: 30, max: 40 });
    assert_eq!(adaptive.limit(), 30);
}
