//! What each mechanism is worth, by policy and fault, and what is served at twice what can be: the tables
//! of `benches/README.md`.
//!
//! ```console
//! $ cargo test --lib simulation::table -- --ignored --nocapture
//! ```
use super::laws::Tally;
use super::scene::{POLICIES, Scene, balance};
use super::server::Mood;
use super::world::World;
use crate::config::Hedge;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
/// The fault begins.
const FROM: Duration = Duration::from_secs(2);
const TO: Duration = Duration::from_secs(12);

/// What an operator switches on.
const MECHANISMS: [&str; 7] =
    ["retries", "outlier", "silence", "slow start", "queue", "adaptive", "hedging"];

/// One of five, from `FROM` on.
fn fault(name: &str) -> Vec<(Duration, usize, Mood)> {
    let always = |mood| vec![(FROM, 0, mood)];
    match name {
        "500 at once" => always(Mood::Fails),
        "frozen" => always(Mood::Frozen),
        "ten times slower" => always(Mood::Slow(10)),
        _ => (0..4)
            .flat_map(|n| {
                let at = FROM + MS * 2500 * n;
                [(at, 0, Mood::Gone), (at + MS * 1500, 0, Mood::Well)]
            })
            .collect(),
    }
}

const FAULTS: [&str; 4] = ["500 at once", "frozen", "ten times slower", "restarting"];

/// Whether a row has a mechanism: all, none, one alone, or all but one.
fn is_on(row: &str, name: &str) -> bool {
    match row.split_once(' ') {
        Some(("only", alone)) => name == alone,
        Some(("without", missing)) => name != missing,
        _ => row == "all",
    }
}

/// The section of a row.
fn section(policy: &str, row: &str) -> String {
    let is_on = |name: &str| is_on(row, name);
    let retries = match is_on("retries") {
        true => "attempts = 3, on = [\"connect\", \"reset\", \"timeout\", \"5xx\"]",
        false => "attempts = 1",
    };
    let outlier = match (is_on("outlier"), is_on("silence")) {
        (true, true) => "outlier = {}",
        (true, false) => "outlier = { silence = \"off\" }",
        (false, true) => "outlier = { consecutive_failures = \"off\", success_rate = \"off\" }",
        (false, false) => "",
    };
    let slow_start = if is_on("slow start") { "slow_start = \"5s\"" } else { "" };
    let queue = match is_on("queue") {
        true => "queue = { size = 1000, timeout = \"2s\" }",
        false => "",
    };
    let limit = match (is_on("adaptive"), is_on("queue") || row.starts_with("without")) {
        (true, _) => "max_active = { min = 4, max = 1000 }",
        (false, true) => "max_active = 24",
        (false, false) => "",
    };
    format!(
        "{}\nhealth = {{ http = \"/\", interval = \"2s\", timeout = \"1s\" }}\n\
         timeout = {{ connect = \"1s\", first_byte = \"3s\" }}\nretry = {{ {retries} }}\n\
         {outlier}\n{slow_start}\n{limit}\n{queue}\n",
        balance(policy)
    )
}

/// The share of errors; of what was answered well the 99th percentile, and the slowest.
fn cell(tally: &Tally) -> String {
    let ends = || tally.ends.iter().filter(|end| end.born >= FROM);
    let bad = ends().filter(|end| !end.good).count();
    let mut took: Vec<Duration> = ends().filter(|end| end.good).map(|end| end.took).collect();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
    let share = bad as f64 * 100.0 / ends().count().max(1) as f64;
    let most = took.last().copied().unwrap_or_default();
    format!("{share:.2} % · {} · {}", p99.as_millis(), most.as_millis())
}

#[test]
#[ignore = "prints a table; takes minutes"]
fn table() {
    let of = |word: &'static str| MECHANISMS.iter().map(move |name| format!("{word} {name}"));
    let rows: Vec<String> = ["none".to_owned()]
        .into_iter()
        .chain(of("only"))
        .chain(["all".to_owned()])
        .chain(of("without"))
        .collect();
    println!("| policy | switched on | {} |", FAULTS.join(" | "));
    println!("|---|---|{}", "---:|".repeat(FAULTS.len()));
    // One policy alone, for who asks for it.
    let only = std::env::var("EVENKEEL_POLICY").ok();
    for policy in POLICIES.into_iter().filter(|it| only.as_deref().is_none_or(|only| only == *it)) {
        for row in &rows {
            let cells = FAULTS.map(|name| {
                let (section, hedges) = (section(policy, row), is_on(row, "hedging"));
                std::thread::spawn(move || {
                    let mut scene = Scene::plain(1, 5, section, 0.5, TO);
                    scene.hedge = hedges.then(Hedge::default);
                    scene.turns = fault(name);
                    // Its health check does not see that it answers 500.
                    scene.servers[0].honest = false;
                    cell(&World::new(scene, false).play())
                })
            });
            let cells: Vec<String> = cells.into_iter().map(|cell| cell.join().unwrap()).collect();
            println!("| {policy} | {row} | {} |", cells.join(" | "));
        }
    }
}

/// Of five backends that are asked for twice what they can do, by clients that wait for 300 ms: what is
/// answered in time, as a share of what they can do.
fn overloaded(policy: &str, limit: &str) -> String {
    let section = format!("{}\n{limit}", balance(policy));
    let mut scene = Scene::plain(1, 5, section, 2.0, Duration::from_secs(8));
    scene.patience = Some(MS * 300);
    let most = scene.rate / 2.0;
    let tally = World::new(scene, false).play();
    format!("{:.0} %", tally.goodput(FROM, MS * 7500) * 100.0 / most)
}

/// Of five backends that all answer 500 at once: further tries for each hundred requests.
fn spent(policy: &str, budget: &str) -> String {
    let retry = format!("retry = {{ attempts = 3, on = [\"5xx\"], floor = \"0/s\"{budget} }}");
    let mut scene = Scene::plain(1, 5, format!("{}\n{retry}", balance(policy)), 0.5, TO);
    scene.turns = (0..5).map(|server| (MS, server, Mood::Fails)).collect();
    let tally = World::new(scene, false).play();
    let tries: usize = tally.picks.iter().map(Vec::len).sum();
    format!("{:.1}", (tries - tally.all()) as f64 * 100.0 / tally.all() as f64)
}

#[test]
#[ignore = "prints a table"]
fn table_of_overload() {
    let queue = "queue = { size = 1000, timeout = \"200ms\" }";
    let limits = [
        String::new(),
        format!("max_active = 12\n{queue}"),
        format!("max_active = {{ min = 4, max = 200 }}\n{queue}"),
    ];
    println!(
        "| policy | no limit | `max_active` and queue | adaptive and queue | tries, 20 % | tries, 5 % |"
    );
    println!("|---|{}", "---:|".repeat(5));
    for policy in POLICIES {
        let cells = limits.each_ref().map(|limit| overloaded(policy, limit)).join(" | ");
        let tries = ["", ", budget = \"5%\""].map(|budget| spent(policy, budget)).join(" | ");
        println!("| {policy} | {cells} | {tries} |");
    }
}

/// 200 clients, who come back by a cookie or do not: errors, the 99th percentile, and how often, by a hundred
/// clients, one was answered by another backend than before.
#[test]
#[ignore = "prints a table"]
fn table_of_sticky() {
    println!("| policy | sticky | {} |", FAULTS.join(" | "));
    println!("|---|---|{}", "---:|".repeat(FAULTS.len()));
    for policy in ["round_robin", "least_connections", "peak_ewma"] {
        for sticky in [false, true] {
            let cells = FAULTS.map(|name| {
                let text = format!("{}\noutlier = {{}}", section(policy, "only retries"));
                let mut scene = Scene::plain(1, 5, text, 0.5, TO);
                (scene.turns, scene.servers[0].honest) = (fault(name), false);
                scene.clients = if sticky { 200 } else { 0 };
                let tally = World::new(scene, false).play();
                let moves = tally.moves.iter().filter(|at| **at >= FROM).count();
                match sticky {
                    true => format!("{} · {}", cell(&tally), moves / 2),
                    false => cell(&tally),
                }
            });
            let word = if sticky { "on" } else { "off" };
            println!("| {policy} | {word} | {} |", cells.join(" | "));
        }
    }
}

/// Four of five backends that probes speak against, rightly or wrongly: with `panic_threshold` and without.
#[test]
#[ignore = "prints a table"]
fn table_of_panic() {
    let faults = [("only their probes fail", Mood::Misjudged), ("refuse", Mood::Gone)];
    let faults = faults.into_iter().chain([("frozen", Mood::Frozen)]);
    let words: Vec<&str> = faults.clone().map(|(word, _)| word).collect();
    println!("| policy | `panic_threshold` | {} |", words.join(" | "));
    println!("|---|---|{}", "---:|".repeat(words.len()));
    for policy in ["round_robin", "least_connections", "peak_ewma"] {
        for panic in ["off", "50%"] {
            let cells = faults.clone().map(|(_, mood)| {
                let text = section(policy, "without hedging");
                let text = format!("{text}panic_threshold = \"{panic}\"\n");
                let mut scene = Scene::plain(1, 5, text, 0.5, TO);
                scene.turns = (0..4).map(|server| (FROM, server, mood)).collect();
                cell(&World::new(scene, false).play())
            });
            println!("| {policy} | {panic} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
}
