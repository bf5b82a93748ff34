//! What holds for every policy, and for each by its own.
use super::balancer::{Ask, Balancer};
use super::draw::mix;
use super::key::key_hash;
use super::policies::Policies;
use crate::config::{Balance, Hash, Table};
use crate::pool::backend::{BackendId, Candidate};
use crate::pool::testing::{balance, every_policy, hash, hashed, named, weighted};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn build(balance: &Balance, candidates: &[Candidate]) -> Box<dyn Balancer> {
    Policies::default().build(balance, candidates, 42).expect("a built-in policy")
}

/// An ask with every sort of seed and, now and then, without a hash.
fn ask(now: Instant, step: u64, avoid: &[BackendId]) -> Ask<'_> {
    let hash = (!step.is_multiple_of(5)).then(|| mix(step));
    Ask::new(now, mix(!step)).hash(hash).avoid(avoid)
}

fn take(balancer: &dyn Balancer, candidates: &[Candidate], index: usize) {
    assert!(candidates[index].backend.hot.take(u32::MAX));
    balancer.load_changed(candidates, index);
}

fn settle(balancer: &dyn Balancer, candidates: &[Candidate], index: usize) {
    candidates[index].backend.hot.release();
    balancer.load_changed(candidates, index);
}

fn set_usable(balancer: &dyn Balancer, candidates: &[Candidate], index: usize, usable: bool) {
    candidates[index].backend.hot.set_usable(usable);
    balancer.load_changed(candidates, index);
}

#[test]
fn nobody_closed_is_picked_and_somebody_open_always_is() {
    for (word, balance) in every_policy() {
        for n in [1, 2, 3, 13, 40, 200] {
            let weights: Vec<u32> = (0..n).map(|i| 1 + i * 7 % 10).collect();
            let candidates = weighted(&weights);
            let balancer = build(&balance, &candidates);
            let now = Instant::now();
            let mut out: Vec<usize> = Vec::new();
            for step in 0..400u64 {
                let random = mix(step);
                let some = random as usize % n as usize;
                match random >> 32 & 7 {
                    0 => candidates[some].backend.hot.set_usable(false),
                    1 => set_usable(&*balancer, &candidates, some, true),
                    2 => candidates[some].backend.hot.set_limit(2),
                    3 => candidates[some].backend.hot.set_limit(u32::MAX),
                    4 if !out.is_empty() => {
                        settle(&*balancer, &candidates, out.swap_remove(some % out.len()));
                    }
                    _ => {}
                }
                let avoid: Vec<BackendId> = (0..random >> 40 & 3)
                    .map(|k| BackendId((mix(random + k) % u64::from(n)) as u32))
                    .collect();
                let ask = ask(now, step, &avoid);
                let open = candidates.iter().filter(|c| c.is_open(&ask)).count();
                let picked = balancer.pick_within(&candidates, &ask);
                let Some((index, most)) = picked else {
                    assert_eq!(open, 0, "{word} of {n}: {open} are open at step {step}");
                    continue;
                };
                assert!(candidates[index].is_open(&ask), "{word} of {n}: step {step}");
                assert!(candidates[index].backend.active() < most);
                take(&*balancer, &candidates, index);
                out.push(index);
            }
        }
    }
}

#[test]
fn an_avoided_backend_is_never_picked() {
    for (word, balance) in every_policy() {
        for n in [2, 3, 20, 150] {
            let candidates = weighted(&vec![1; n]);
            let balancer = build(&balance, &candidates);
            for step in 0..300 {
                let gone = BackendId((mix(step) % n as u64) as u32);
                let avoid = [gone];
                let index = balancer.pick(&candidates, &ask(Instant::now(), step, &avoid));
                let index = index.unwrap_or_else(|| panic!("{word} of {n} picks nobody"));
                assert_ne!(candidates[index].backend.id, gone, "{word} of {n}");
            }
            let everybody: Vec<BackendId> = candidates.iter().map(|c| c.backend.id).collect();
            let ask = ask(Instant::now(), 1, &everybody);
            assert_eq!(balancer.pick(&candidates, &ask), None, "{word}");
        }
    }
}

/// Shares of one-at-a-time picks, each over what the weight says: the least and the most.
fn shares(balance: &Balance, weights: &[u32], picks: u64) -> (f64, f64) {
    let candidates = weighted(weights);
    let balancer = build(balance, &candidates);
    let (now, mut counts) = (Instant::now(), vec![0u64; weights.len()]);
    for step in 0..picks {
        let ask = Ask::new(now, mix(step)).hash(Some(mix(!step)));
        counts[balancer.pick(&candidates, &ask).expect("somebody is open")] += 1;
    }
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    let over = |(count, w): (&u64, &u32)| *count as f64 * sum / picks as f64 / f64::from(*w);
    let all = || counts.iter().zip(weights).map(over);
    (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max))
}

#[test]
fn round_robin_shares_are_exact_over_a_full_schedule() {
    let many: Vec<u32> = (0..300).map(|i| 1 + i * 13 % 1000).collect();
    for weights in [vec![1; 3], vec![5, 3, 1], vec![1000, 1], vec![2; 100], many] {
        let gcd = weights.iter().fold(0, |a, w| gcd(a, *w));
        let period: u64 = weights.iter().map(|w| u64::from(w / gcd)).sum();
        let (low, high) = shares(&balance("round_robin"), &weights, period);
        assert!((low - 1.0).abs() < 1e-9 && (high - 1.0).abs() < 1e-9, "{low} to {high}");
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[test]
fn shares_follow_the_weights() {
    for (word, table) in [("random", None), ("maglev", Some(Table::Maglev(None)))] {
        let balance = table.map_or_else(|| balance(word), |table| hash(table, None));
        // 3 standard deviations of 1,000,000 draws for the smallest share are 0.9 %.
        let (low, high) = shares(&balance, &[3, 2, 4, 1], 1_000_000);
        println!("{word}: shares from {low:.4} to {high:.4} of the weight's");
        assert!(low > 0.985 && high < 1.015, "{word}: {low} to {high}");
    }
    // The ring's own spread: see `ring`. What is held here is that weights count at all.
    let (low, high) = shares(&hash(Table::Ring, None), &[3, 2, 4, 1], 200_000);
    assert!(low > 0.85 && high < 1.15, "{low} to {high}");
}

/// Shares of what is in work at the same time, over what the weight says.
fn loaded(balance: &Balance, weights: &[u32]) -> (f64, f64) {
    let candidates = weighted(weights);
    let balancer = build(balance, &candidates);
    let now = Instant::now();
    let total = 400 * weights.len() as u64;
    let mut out = Vec::new();
    for step in 0..5 * total {
        if out.len() as u64 == total {
            settle(&*balancer, &candidates, out.swap_remove((mix(step) % total) as usize));
        }
        let index = balancer.pick(&candidates, &Ask::new(now, mix(!step))).expect("all are open");
        take(&*balancer, &candidates, index);
        out.push(index);
    }
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    let over =
        |c: &Candidate| f64::from(c.backend.active()) * sum / total as f64 / f64::from(c.weight);
    let all = || candidates.iter().map(over);
    (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max))
}

#[test]
fn policies_by_load_carry_the_weights_in_what_is_in_work() {
    for word in ["least_connections", "p2c", "peak_ewma"] {
        for weights in [vec![3, 1, 2], (0..50).map(|i| 1 + i % 4).collect()] {
            let (low, high) = loaded(&balance(word), &weights);
            println!("{word} of {}: in work {low:.3} to {high:.3} of the weight's", weights.len());
            assert!(low > 0.95 && high < 1.05, "{word}: {low} to {high}");
        }
    }
}

#[test]
fn least_connections_never_picks_a_strictly_more_loaded_one() {
    for n in [2u32, 5, 12, 13, 100, 129, 500] {
        let weights: Vec<u32> = (0..n).map(|i| 1 + i % 3).collect();
        let candidates = weighted(&weights);
        let balancer = build(&balance("least_connections"), &candidates);
        let mut out = Vec::new();
        for step in 0..3000u64 {
            let random = mix(step);
            match random & 3 {
                0 if !out.is_empty() => {
                    let index = out.swap_remove(random as usize / 4 % out.len());
                    settle(&*balancer, &candidates, index);
                }
                1 => {
                    let index = (random >> 8) as usize % n as usize;
                    set_usable(&*balancer, &candidates, index, random >> 40 & 3 != 0);
                }
                _ => {}
            }
            let avoid = [BackendId((random >> 20) as u32 % n)];
            let ask = Ask::new(Instant::now(), random).avoid(&avoid);
            let load = |c: &Candidate| f64::from(c.backend.active() + 1) / f64::from(c.weight);
            let open = candidates.iter().filter(|c| c.is_open(&ask));
            let least = open.map(load).fold(f64::INFINITY, f64::min);
            let Some(index) = balancer.pick(&candidates, &ask) else {
                assert_eq!(least, f64::INFINITY);
                continue;
            };
            assert!(load(&candidates[index]) <= least, "{n}: step {step}");
            take(&*balancer, &candidates, index);
            out.push(index);
        }
    }
}

#[test]
fn least_connections_looks_at_no_more_than_it_is_told_of_beyond_a_few() {
    for n in [129, 1000, 10_000] {
        let candidates = weighted(&vec![1; n]);
        let balancer = build(&balance("least_connections"), &candidates);
        candidates.iter().for_each(|c| c.backend.hot.set_active(5));
        (0..n).for_each(|index| balancer.load_changed(&candidates, index));
        let pick = |seed| balancer.pick(&candidates, &Ask::new(Instant::now(), seed)).unwrap();
        for seed in 0..20 {
            let idle = mix(seed) as usize % n;
            candidates[idle].backend.hot.set_active(0);
            assert_ne!(pick(seed), idle, "a scan of {n} would have seen it");
            balancer.load_changed(&candidates, idle);
            assert_eq!(pick(seed), idle);
            candidates[idle].backend.hot.set_active(5);
            balancer.load_changed(&candidates, idle);
        }
    }
}

#[test]
fn least_connections_rotates_among_equals() {
    for n in [3, 12, 13, 100, 1000] {
        let candidates = weighted(&vec![1; n]);
        let balancer = build(&balance("least_connections"), &candidates);
        let mut counts = vec![0u32; n];
        for step in 0..20 * n as u64 {
            let ask = Ask::new(Instant::now(), mix(step));
            let index = balancer.pick(&candidates, &ask).unwrap();
            counts[index] += 1;
            take(&*balancer, &candidates, index);
            settle(&*balancer, &candidates, index);
        }
        assert!(counts.iter().all(|c| (4..=48).contains(c)), "of {n}: {counts:?}");
    }
}

#[test]
fn bounded_load_holds_for_the_total_at_each_pick() {
    for table in [Table::Maglev(Some(4099)), Table::Ring] {
        for factor in [1.05, 1.25, 2.0] {
            let weights = [1, 1, 2, 5, 3];
            let candidates = weighted(&weights);
            let balancer = build(&hash(table, Some(factor)), &candidates);
            let mut out: Vec<usize> = Vec::new();
            for step in 0..20_000u64 {
                let random = mix(step);
                if !out.is_empty() && random & 7 < 3 {
                    let index = out.swap_remove(random as usize / 8 % out.len());
                    settle(&*balancer, &candidates, index);
                }
                // One hot key for half of it, and now and then none at all.
                let hash = if random >> 20 & 1 == 0 { Some(7) } else { Some(random) };
                let ask = Ask::new(Instant::now(), random).hash(hash.filter(|_| step % 9 != 0));
                let (index, most) = balancer.pick_within(&candidates, &ask).expect("has room");
                take(&*balancer, &candidates, index);
                out.push(index);
                let share = f64::from(weights[index]) / 12.0;
                let bound = (factor * share * out.len() as f64 - 1e-9).ceil().max(1.0) as u32;
                assert_eq!(most, bound);
                let active = candidates[index].backend.active();
                assert!(active <= bound, "{active} over {bound} of {} at {step}", out.len());
            }
        }
    }
}

/// Four threads take and settle. Nobody's bound is ever above the one of a total that held while
/// it was picked, the highest of which is counted here: those who began to pick, less those who
/// had settled before.
#[test]
fn bounded_load_holds_among_threads() {
    for table in [Table::Maglev(Some(4099)), Table::Ring] {
        let weights = [1, 1, 2, 5, 3];
        let candidates = weighted(&weights);
        let balancer = build(&hash(table, Some(1.25)), &candidates);
        let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        let worker = |thread: u64| {
            let mut out: Vec<usize> = Vec::new();
            for step in 0..20_000u64 {
                let random = mix(thread << 32 | step);
                if out.len() > 9 || (!out.is_empty() && random & 1 == 0) {
                    let index = out.swap_remove(random as usize / 2 % out.len());
                    settle(&*balancer, &candidates, index);
                    ended.fetch_add(1, SeqCst);
                }
                let over = ended.load(SeqCst);
                begun.fetch_add(1, SeqCst);
                let ask = Ask::new(Instant::now(), random).hash(Some(random >> 60));
                let picked = balancer.pick_within(&candidates, &ask);
                let total = begun.load(SeqCst) - over;
                let taken = picked.filter(|(index, most)| {
                    let share = f64::from(weights[*index]) / 12.0;
                    let bound = (1.25 * share * total as f64 - 1e-9).ceil().max(1.0);
                    assert!(f64::from(*most) <= bound, "{most} over {bound} of {total}");
                    candidates[*index].backend.hot.take(*most)
                });
                match taken {
                    Some((index, _)) => {
                        balancer.load_changed(&candidates, index);
                        out.push(index);
                    }
                    // Another thread was faster: not in work.
                    None => drop(ended.fetch_add(1, SeqCst)),
                }
            }
            out.into_iter().for_each(|index| settle(&*balancer, &candidates, index));
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|thread| _ = scope.spawn(move || worker(thread)));
        });
        assert!(candidates.iter().all(|c| c.backend.active() == 0));
        let ask = Ask::new(Instant::now(), 1).hash(Some(1));
        assert_eq!(balancer.pick_within(&candidates, &ask).unwrap().1, 1, "no load was lost");
    }
}

#[test]
fn a_bound_is_that_of_those_who_can_be_asked() {
    // One of two is gone: the other must carry everything, bound or not.
    let candidates = weighted(&[1, 1]);
    let balancer = build(&hash(Table::Maglev(Some(4099)), Some(1.25)), &candidates);
    let avoid = [BackendId(0)];
    for step in 0..50 {
        let ask = Ask::new(Instant::now(), step).hash(Some(mix(step))).avoid(&avoid);
        let (index, _) = balancer.pick_within(&candidates, &ask).expect("one is left");
        assert_eq!(index, 1);
        take(&*balancer, &candidates, index);
    }
}

/// Whom two proxies pick for the same keys, with the same backends in another order.
#[test]
fn two_proxies_pick_alike_for_a_key() {
    let set: Vec<(String, u32)> = (0..40).map(|i| (format!("10.0.0.{i}:80"), 1 + i % 4)).collect();
    let set: Vec<(&str, u32)> = set.iter().map(|(name, w)| (name.as_str(), *w)).collect();
    let mut other = set.clone();
    other.reverse();
    other.swap(3, 30);
    for balance in [Table::Maglev(None), Table::Ring].map(|table| hash(table, None)) {
        let (one, two) = (named(&set), named(&other));
        let (here, there) = (build(&balance, &one), build(&balance, &two));
        // Also when the first choice is closed: the next one is the key's own.
        let by_name = |all: &[Candidate], name: &str| {
            all.iter().position(|c| &*c.backend.name == name).expect("it is in both")
        };
        for gone in [None, Some("10.0.0.7:80"), Some("10.0.0.39:80")] {
            for (balancer, all) in [(&here, &one), (&there, &two)] {
                all.iter().for_each(|c| c.backend.hot.set_usable(true));
                if let Some(gone) = gone {
                    set_usable(&**balancer, all, by_name(all, gone), false);
                }
            }
            for key in 0..3000 {
                let pick = |balancer: &dyn Balancer, all: &[Candidate], seed| {
                    let ask = Ask::new(Instant::now(), seed).hash(Some(mix(key)));
                    all[balancer.pick(all, &ask).unwrap()].backend.name.clone()
                };
                assert_eq!(pick(&*here, &one, 1), pick(&*there, &two, 2), "{gone:?} {key}");
            }
        }
    }
}

#[test]
fn without_a_key_the_fallback_picks() {
    let candidates = weighted(&[1; 20]);
    let fallback = Hash { fallback: "least_connections".into(), ..hashed() };
    let balance = Balance { hash: Some(fallback), ..balance("consistent_hash") };
    let balancer = build(&balance, &candidates);
    assert!(balancer.wants_load(), "the fallback keeps an order");
    for step in 0..40 {
        let index = balancer.pick(&candidates, &Ask::new(Instant::now(), step)).unwrap();
        assert_eq!(candidates[index].backend.active(), (step / 20) as u32);
        take(&*balancer, &candidates, index);
    }
}

#[test]
fn a_key_is_its_parts_in_order_and_none_without_any() {
    let all = |parts: &[Option<&str>]| key_hash(parts.iter().map(|p| p.map(str::as_bytes)), false);
    let first = |parts: &[Option<&str>]| key_hash(parts.iter().map(|p| p.map(str::as_bytes)), true);
    assert_eq!((all(&[None, None]), first(&[None, None]), all(&[])), (None, None, None));
    assert_eq!(all(&[Some("a"), Some("b")]), all(&[Some("a"), Some("b")]));
    let different = [
        all(&[Some("a"), Some("b")]),
        all(&[Some("b"), Some("a")]),
        all(&[Some("ab"), Some("")]),
        all(&[Some(""), Some("ab")]),
        all(&[Some("a"), None]),
        all(&[None, Some("a")]),
        all(&[Some(""), None]),
    ];
    for (i, one) in different.iter().enumerate() {
        assert!(one.is_some() && !different[..i].contains(one), "{i}");
    }
    // The first that is there is the whole key, wherever it stands.
    assert_eq!(first(&[None, Some("b"), Some("c")]), first(&[Some("b"), None]));
    assert_ne!(first(&[Some("a"), Some("b")]), first(&[Some("b"), Some("a")]));
}

#[test]
fn those_who_are_left_share_by_weight_when_some_are_closed() {
    for (word, balance) in every_policy() {
        let weights = [3, 1, 2, 4, 2];
        let candidates = weighted(&weights);
        let balancer = build(&balance, &candidates);
        set_usable(&*balancer, &candidates, 3, false);
        let avoid = [BackendId(4)];
        for step in 0..6000 {
            let ask = ask(Instant::now(), step, &avoid);
            let (index, most) = balancer.pick_within(&candidates, &ask).unwrap();
            assert!(candidates[index].backend.active() < most, "{word}");
            take(&*balancer, &candidates, index);
        }
        for (index, want) in [(0, 3000.0), (1, 1000.0), (2, 2000.0), (3, 0.0), (4, 0.0)] {
            let got = f64::from(candidates[index].backend.active());
            // What is closed falls to its neighbours on a table, not to all exactly by weight.
            assert!((got - want).abs() <= want * 0.15, "{word}: {index} has {got} of {want}");
        }
    }
}

#[test]
fn two_choices_keep_the_longest_queue_short() {
    // Mitzenmacher: n in n bins, one random choice gives ln n / ln ln n, two give ln ln n.
    let most = |word| {
        let candidates = weighted(&[1; 1000]);
        let balancer = build(&balance(word), &candidates);
        for step in 0..1000 {
            let ask = Ask::new(Instant::now(), mix(step));
            take(&*balancer, &candidates, balancer.pick(&candidates, &ask).unwrap());
        }
        candidates.iter().map(|c| c.backend.active()).max().unwrap()
    };
    let (random, two) = (most("random"), most("p2c"));
    println!("longest queue of 1,000 in 1,000: random {random}, p2c {two}");
    assert!(two <= 3 && random > two, "{random} {two}");
}

/// Plays 20 s of requests, 40 each tenth of a second, on backends that answer after these
/// milliseconds, or fail at once for 0. The share that each got in the last half.
fn play(answer_ms: &[u64]) -> Vec<f64> {
    played("peak_ewma", answer_ms)
}

fn played(policy: &str, answer_ms: &[u64]) -> Vec<f64> {
    let candidates = weighted(&vec![1; answer_ms.len()]);
    let balancer = build(&balance(policy), &candidates);
    let start = Instant::now();
    let mut ends: Vec<(u64, usize)> = Vec::new();
    let (mut counts, mut all) = (vec![0.0; answer_ms.len()], 0.0);
    for ms in 0..20_000u64 {
        let now = start + Duration::from_millis(ms);
        ends.retain(|(end, index)| {
            if *end > ms {
                return true;
            }
            match answer_ms[*index] {
                0 => candidates[*index].backend.penalise(now, true),
                took => candidates[*index].backend.learn(Duration::from_millis(took), now),
            }
            settle(&*balancer, &candidates, *index);
            false
        });
        if ms % 5 < 2 {
            let index = balancer.pick(&candidates, &Ask::new(now, mix(ms))).unwrap();
            take(&*balancer, &candidates, index);
            ends.push((ms + answer_ms[index].max(1), index));
            if ms >= 10_000 {
                counts[index] += 1.0;
                all += 1.0;
            }
        }
    }
    counts.iter().map(|count| count / all).collect()
}

#[test]
fn peak_ewma_leaves_the_slow_one_and_the_failing_one() {
    let equal = play(&[10, 10, 10]);
    assert!(equal.iter().all(|share| (0.25..0.42).contains(share)), "{equal:?}");
    let slow = play(&[10, 10, 500]);
    println!("peak_ewma, 10, 10 and 500 ms: {slow:.3?}");
    assert!(slow[2] < 0.03 && slow[0] > 0.4 && slow[1] > 0.4, "{slow:?}");
    let failing = play(&[10, 10, 0]);
    println!("peak_ewma, 10 ms, 10 ms and failing at once: {failing:.3?}");
    assert!(failing[2] < 0.03, "fails fast and is not taken for fast: {failing:?}");
}

#[test]
fn no_policy_is_drawn_to_a_backend_that_fails_at_once() {
    for n in [3, 20] {
        let mut answer_ms = vec![20; n];
        answer_ms[n - 1] = 0;
        for policy in ["round_robin", "random", "p2c", "least_connections", "peak_ewma"] {
            let share = played(policy, &answer_ms)[n - 1];
            println!("{policy} of {n}: {share:.4}");
            let fair = 1.0 / n as f64;
            let by_load = !["round_robin", "random"].contains(&policy);
            assert!(
                share < if by_load { fair / 3.0 } else { fair * 1.2 },
                "{policy} of {n}: {share}"
            );
        }
    }
}

#[test]
fn peak_ewma_does_not_flood_a_backend_it_knows_nothing_of() {
    let candidates = weighted(&[1; 4]);
    let now = Instant::now();
    candidates[..3].iter().for_each(|c| c.backend.learn(Duration::from_millis(300), now));
    let balancer = build(&balance("peak_ewma"), &candidates);
    for step in 0..200 {
        let index = balancer.pick(&candidates, &Ask::new(now, mix(step))).unwrap();
        take(&*balancer, &candidates, index);
    }
    let got = candidates[3].backend.active();
    assert!((35..=65).contains(&got), "its share of 200 is 50, it got {got}");
}

#[test]
fn a_users_own_policy_enters_by_its_word() {
    struct Last;
    impl Balancer for Last {
        fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
            candidates.iter().rposition(|c| c.is_open(ask))
        }
    }
    let policies = Policies::default().with("My-Last", |_, _| Box::new(Last));
    assert!(policies.words().contains(&"my_last"));
    let candidates = weighted(&[1, 1, 1]);
    let balancer = policies.build(&balance("my_last"), &candidates, 1).unwrap();
    assert_eq!(balancer.pick(&candidates, &Ask::new(Instant::now(), 1)), Some(2));
    assert!(Policies::default().build(&balance("my_last"), &candidates, 1).is_none());
}

#[test]
fn a_set_published_again_and_again_goes_on_with_its_schedule() {
    let candidates = weighted(&[1; 7]);
    let mut counts = [0u32; 7];
    for _ in 0..700 {
        // A new one for each pick: its start is where the last one stopped.
        let balancer = build(&balance("round_robin"), &candidates);
        let index = balancer.pick(&candidates, &Ask::new(Instant::now(), 1)).unwrap();
        candidates[index].backend.picks().policy.inc();
        counts[index] += 1;
    }
    assert_eq!(counts, [100; 7]);
}
