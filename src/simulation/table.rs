//! What each mechanism is worth, by policy and fault: the table of `benches/README.md`.
//!
//! ```console
//! $ cargo test --release --lib simulation::table -- --ignored --nocapture
//! ```
use super::laws::Tally;
use super::scene::{POLICIES, Scene, balance};
use super::server::Mood;
use super::world::World;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
/// The fault begins.
const FROM: Duration = Duration::from_secs(2);
const TO: Duration = Duration::from_secs(12);

/// What an operator switches on, and the words for it.
const MECHANISMS: [(&str, &str); 5] = [
    ("retries", "retry = { attempts = 3, on = [\"connect\", \"reset\", \"timeout\", \"5xx\"] }"),
    ("outlier", "outlier = { silence = \"off\" }"),
    ("slow start", "slow_start = \"5s\""),
    ("queue", "max_active = 24\nqueue = { size = 1000, timeout = \"2s\" }"),
    ("adaptive", "max_active = { min = 4, max = 1000 }"),
];

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

/// The section of a row: all but one, none, or all.
fn section(policy: &str, row: &str) -> String {
    let is_on = |name: &str| match row {
        "all" => true,
        "none" => false,
        row => row != format!("without {name}"),
    };
    let mut text = format!(
        "{}\nhealth = {{ tcp = true, interval = \"2s\", timeout = \"1s\" }}\n\
         timeout = {{ connect = \"1s\", first_byte = \"3s\" }}\n",
        balance(policy)
    );
    let mut say = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    say(if is_on("retries") { MECHANISMS[0].1 } else { "retry = { attempts = 1 }" });
    match (is_on("outlier"), is_on("silence")) {
        (true, true) => say("outlier = {}"),
        (true, false) => say(MECHANISMS[1].1),
        (false, _) => {}
    }
    if is_on("slow start") {
        say(MECHANISMS[2].1);
    }
    match (is_on("adaptive"), is_on("queue")) {
        (true, true) => {
            say(MECHANISMS[4].1);
            say("queue = { size = 1000, timeout = \"2s\" }");
        }
        (false, true) => say(MECHANISMS[3].1),
        (true, false) => say(MECHANISMS[4].1),
        (false, false) if row == "none" => {}
        (false, false) => say("max_active = 24"),
    }
    text
}

/// Errors in a thousand, and the 99th percentile of what was answered well.
fn cell(tally: &Tally) -> String {
    let ends = || tally.ends.iter().filter(|end| end.born >= FROM);
    let bad = ends().filter(|end| !end.good).count();
    let mut took: Vec<Duration> = ends().filter(|end| end.good).map(|end| end.took).collect();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
    let share = bad as f64 * 100.0 / ends().count().max(1) as f64;
    format!("{share:.2} %, {} ms", p99.as_millis())
}

#[test]
#[ignore = "prints a table; takes a minute"]
fn table() {
    let rows = [
        "none",
        "all",
        "without retries",
        "without outlier",
        "without silence",
        "without slow start",
        "without queue",
        "without adaptive",
    ];
    println!("| policy | switched on | {} |", FAULTS.join(" | "));
    println!("|---|---|{}", "---:|".repeat(FAULTS.len()));
    for policy in POLICIES {
        for row in rows {
            let cells = FAULTS.map(|name| {
                std::thread::spawn(move || {
                    let mut scene = Scene::plain(1, 5, section(policy, row), 0.5, TO);
                    scene.turns = fault(name);
                    cell(&World::new(scene, false).play())
                })
            });
            let cells: Vec<String> = cells.into_iter().map(|cell| cell.join().unwrap()).collect();
            println!("| {policy} | {row} | {} |", cells.join(" | "));
        }
    }
}
