//! What do 10,000 backends cost when they are said, and when they come up one by one?
//!
//! For each policy: processor time to compile a plan with a pool of them and to commit it, to do
//! the same over the running plan with one of them changed, and of ten seconds in which each comes
//! up by its first good probe, one a millisecond, with sets published as the cadence says. Exits
//! with 1 when one of them takes a second or more, but for the largest Maglev table, whose figures
//! are only shown.
//!
//! ```text
//! cargo bench --bench plan [-- POLICY]
//! ```
use evenkeel::config::{self, Config, Name};
use evenkeel::plan::{self, Plan};
use evenkeel::pool::{Change, Policies, Pool, State};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BACKENDS: u32 = 10_000;
/// From one backend to the next.
const PACE: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_secs(1);

/// The `balance` of each case, and whether its figures are held to `MOST`.
const CASES: [(&str, &str, bool); 5] = [
    ("round_robin", "\"round_robin\"", true),
    ("least_connections", "\"least_connections\"", true),
    ("ring", r#"{ policy = "consistent_hash", key = ["client_ip"], table = "ring" }"#, true),
    ("maglev", r#"{ policy = "consistent_hash", key = ["client_ip"] }"#, true),
    (
        "maglev, largest",
        r#"{ policy = "consistent_hash", key = ["client_ip"], size = 5000011 }"#,
        false,
    ),
];

fn main() -> ExitCode {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    println!("milliseconds of processor time, {BACKENDS} backends");
    println!("{:<20}{:>12}{:>12}{:>12}{:>8}", "", "compile", "recompile", "come up", "sets");
    let mut slow = false;
    for (name, balance, held) in CASES {
        if only.as_ref().is_some_and(|only| !name.starts_with(only.as_str())) {
            continue;
        }
        // Without probes all are up at once, so that the whole set is built.
        let config = config(balance, "");
        let (plan, compile) = timed(|| compile(&config, None));
        let mut other = (*config).clone();
        let pool = other.pools.get_mut("app").expect("it is there");
        pool.backends[77].tier = 2;
        let (plan, again) = timed(|| self::compile(&Arc::new(other), Some(&plan)));
        drop(plan);
        let probed = self::compile(&self::config(balance, "health = \"/healthz\""), None);
        let (sets, up) = timed(|| come_up(&probed.pools["app"]));
        println!("{name:<20}{:>12.1}{:>12.1}{:>12.1}{sets:>8}", ms(compile), ms(again), ms(up));
        slow |= held && [compile, again, up].iter().any(|took| *took >= MOST);
    }
    if slow {
        println!("a second or more");
    }
    ExitCode::from(u8::from(slow))
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// What comes of it, and the processor time it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = processor();
    let made = work();
    (made, processor() - begun)
}

/// Processor time of this process so far, user's and system's, in the kernel's hundredths.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, rest) = stat.rsplit_once(')').expect("a name in brackets");
    // Fields 14 and 15 of proc_pid_stat(5); the third is the first behind the name.
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|n| n.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

fn compile(config: &Arc<Config>, current: Option<&Plan>) -> Plan {
    let draft = plan::compile(config.clone(), current, &Policies::default()).expect("no problem");
    for pool in draft.prepared {
        pool.commit();
    }
    draft.plan
}

/// Each gets its first good probe, in an order of its own; how many sets were published.
fn come_up(pool: &Arc<Pool>) -> u32 {
    let mut ids: Vec<_> = pool.members().iter().map(|member| member.backend.id).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut ids);
    let (begun, mut next, mut sets) = (Instant::now(), Instant::now(), 0);
    let mut publish = |next: &mut Instant| match pool.publish(Instant::now()) {
        Some(at) => *next = at,
        None => sets += 1,
    };
    for (turn, id) in (0u32..).zip(ids) {
        // Ten at a wake-up: ten thousand sleeps would cost a tenth of what is measured.
        let ahead = (begun + PACE * turn).saturating_duration_since(Instant::now());
        if ahead >= PACE * 10 {
            std::thread::sleep(ahead);
        }
        pool.apply(Change::Probed { id, verdict: Ok(()) }, Instant::now());
        if next <= Instant::now() {
            publish(&mut next);
        }
    }
    std::thread::sleep(next.saturating_duration_since(Instant::now()));
    publish(&mut next);
    assert!(pool.members().iter().all(|member| member.state == State::Up));
    sets
}

fn config(balance: &str, health: &str) -> Arc<Config> {
    let text = format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [pool.app]\n{health}\nbalance = {balance}\nbackends = [\"10.0.0.1:80\"]\n"
    );
    let mut config = config::parse(&text, Path::new("proxy.toml")).expect("a good config");
    let pool = config.pools.get_mut("app").expect("it is there");
    let pattern = pool.backends.remove(0);
    let backend = |n: u32| {
        let addr = format!("10.1.{}.{}:80", n / 250, n % 250);
        config::Backend {
            name: Name::new(&addr).expect("a good name"),
            addr: config::Addr::Ip(addr.parse().expect("an address")),
            ..pattern.clone()
        }
    };
    pool.backends = (0..BACKENDS).map(backend).collect();
    Arc::new(config)
}
