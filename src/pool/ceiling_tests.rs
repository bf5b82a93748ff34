//! What is answered well beside backends that bear so many at once, and say 503 to more: more is asked than
//! they can do, and waits for two seconds at the most.
use super::*;

const TICK: Duration = Duration::from_micros(250);
const SECOND: u32 = 4000;

#[derive(Clone, Copy, Debug)]
struct Overload {
    backends: usize,
    bears: u32,
    /// In ticks, for a good answer and for a refusal.
    work: u32,
    refuses: u32,
    /// So many times what they can do.
    load: f64,
}

/// Who is in work, until then, and whether it is answered well.
type Places = Vec<(u32, bool)>;

/// The share of what they can do that is answered well from the sixth second on.
fn goodput(it: Overload) -> f64 {
    let start = Instant::now();
    let mut rng = fastrand::Rng::with_seed(7);
    let young = |seed| Adaptive::new(Bounds { min: 4, max: 1000 }, seed, start);
    let mut all: Vec<(Adaptive, Places)> =
        (0..it.backends as u64).map(|seed| (young(seed), Places::new())).collect();
    let can = f64::from(it.bears) * it.backends as f64 / f64::from(it.work);
    let (mut waiting, mut good) = (0.0, 0);
    for tick in 0..30 * SECOND {
        let now = start + TICK * tick;
        for (adaptive, places) in &mut all {
            while let Some(at) = places.iter().position(|(until, _)| *until <= tick) {
                let (active, (_, well)) = (places.len() as u32, places.swap_remove(at));
                let (took, end) = if well {
                    (it.work, End::Took(TICK * it.work))
                } else {
                    (it.refuses, End::Turned)
                };
                good += u32::from(well && tick > 5 * SECOND);
                adaptive.learn(Heard { begun: now - TICK * took, end, active }, now);
            }
        }
        waiting = f64::min(waiting + can * it.load, can * it.load * f64::from(2 * SECOND));
        while waiting >= 1.0 {
            let free = |(adaptive, places): &&mut (Adaptive, Places)| {
                (places.len() as u32) < adaptive.limit()
            };
            let least = all.iter_mut().filter(free).min_by_key(|(_, places)| places.len());
            let Some((_, places)) = least else { break };
            let works = places.iter().filter(|(_, good)| *good).count() as u32;
            let takes = if works < it.bears { it.work } else { it.refuses };
            let until = tick + (takes * rng.u32(90..=110) / 100).max(1);
            places.push((until, works < it.bears));
            waiting -= 1.0;
        }
    }
    f64::from(good) / (can * f64::from(25 * SECOND))
}

#[test]
fn who_says_503_at_once_to_what_is_too_much_does_nearly_all_that_it_can() {
    for (backends, bears, work) in [
        (1, 10, 200),
        (1, 10, 800),
        (1, 100, 20),
        (5, 10, 200),
        (1, 40, 80),
        (1, 5, 4000),
        (1, 4, 200),
    ] {
        for (load, refuses) in [(1.2, 4), (2.0, 4), (5.0, 4), (2.0, 1), (2.0, 20), (5.0, 40)] {
            let it = Overload { backends, bears, work, refuses, load };
            let share = goodput(it);
            println!("{share:.2} {it:?}");
            assert!(share >= 0.9, "{share}: {it:?}");
        }
    }
}

#[test]
fn the_limit_is_met_and_one_more_is_tried_less_and_less_often() {
    let mut ceiling = Ceiling::default();
    let (mut limit, mut refused) = (4.0, Vec::new());
    for window in 0..400 {
        limit = if limit > 30.0 {
            refused.push(window);
            ceiling.refused(limit, 0.3)
        } else {
            ceiling.went_well(limit).min(limit + limit.sqrt().floor())
        };
        assert!(window < 20 || (30.0..=31.0).contains(&limit), "{limit} in {window}");
    }
    let late = refused.iter().filter(|window| **window >= 200).count();
    assert!((8..=14).contains(&late), "{refused:?}");
    // What bears more one day gets more.
    for _ in 0..20 {
        limit = ceiling.went_well(limit).min(limit + 5.0);
    }
    assert!(limit > 31.0, "{limit}");
}
