//! Does a pick cost more with more backends?
//!
//! For each policy with 3, 100 and 10,000 backends: user instructions of a bare pick and of a whole
//! lease (taken and settled, 64 of them out at any time), counted under callgrind: it runs itself
//! twice for each figure, with few and with many rounds, and divides the difference. Then
//! nanoseconds of the same, as this machine happens to be. Needs `valgrind`. Exits with 1 when an
//! instruction count grows with the number of backends, or when a pick allocates.
//!
//! ```text
//! cargo bench --bench pick [-- POLICY]
//! ```
use evenkeel::config::{self, Balance, Name, Weight};
use evenkeel::pool::{Ask, Balancer, Candidate, Lease, Outcome, Policies, Pool};
use std::collections::VecDeque;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

/// Counts allocations, so that a pick can be seen to make none.
mod counted {
    #![allow(unsafe_code, reason = "an allocator cannot be had without; it only counts")]
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    pub(crate) static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

    pub(crate) struct Counting;

    // SAFETY: every call goes to the system's allocator as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            ALLOCATIONS.fetch_add(1, Relaxed);
            unsafe { System.alloc(layout) }
        }
        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            unsafe { System.dealloc(at, layout) }
        }
        unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            ALLOCATIONS.fetch_add(1, Relaxed);
            unsafe { System.realloc(at, layout, size) }
        }
    }

    pub(crate) fn so_far() -> u64 {
        ALLOCATIONS.load(Relaxed)
    }
}

#[global_allocator]
static COUNTING: counted::Counting = counted::Counting;

const SIZES: [usize; 3] = [3, 100, 10_000];
const ROUNDS: [u64; 2] = [20_000, 220_000];
/// Leases out at any time.
const OUT: usize = 64;
/// A figure may be so many times that of 100 backends, and so many instructions more.
const MOST: (f64, f64) = (1.1, 8.0);
/// What keeps an order walks it when a load changes: 14 steps for 10,000 backends where 100 take 7.
const MOST_ORDERED: (f64, f64) = (2.2, 8.0);

/// The `balance` of each case, and whether it keeps an order.
const CASES: [(&str, &str, bool); 10] = [
    ("round_robin", "\"round_robin\"", false),
    ("least_connections", "\"least_connections\"", true),
    ("random", "\"random\"", false),
    ("p2c", "\"p2c\"", false),
    ("peak_ewma", "\"peak_ewma\"", false),
    ("maglev", r#"{ policy = "consistent_hash", key = ["client_ip"] }"#, false),
    ("ring", r#"{ policy = "consistent_hash", key = ["client_ip"], table = "ring" }"#, false),
    (
        "maglev, bounded",
        r#"{ policy = "consistent_hash", key = ["client_ip"], bounded_load = 1.25 }"#,
        false,
    ),
    (
        "ring, bounded",
        r#"{ policy = "consistent_hash", key = ["client_ip"], table = "ring", bounded_load = 1.25 }"#,
        false,
    ),
    // Weights so many that from 100 backends on the schedule is not written out.
    ("round_robin, weighted", "\"round_robin\"", false),
];

#[derive(Clone, Copy)]
enum What {
    Pick,
    Lease,
}

const WHATS: [(&str, What); 2] = [("pick", What::Pick), ("lease", What::Lease)];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, rest @ ..] = &args[..]
        && flag == "--rounds"
    {
        let [what, case, backends, rounds] =
            rest.iter().map(|n| n.parse().expect("a number")).collect::<Vec<usize>>()[..]
        else {
            panic!("four numbers")
        };
        Bench::new(WHATS[what].1, case, backends).run(rounds as u64);
        return ExitCode::SUCCESS;
    }
    let only = args[1..].iter().find(|arg| !arg.starts_with('-'));
    println!(
        "{:<30}{:>8}{:>8}{:>8}   {:>8}{:>8}{:>8}",
        "", "3", "100", "10,000", "3", "100", "10,000"
    );
    println!("{:<30}{:>24}   {:>24}", "", "user instructions", "nanoseconds");
    let mut wrong = false;
    for (case, (name, ..)) in CASES.iter().enumerate() {
        if only.is_some_and(|only| !name.starts_with(only.as_str())) {
            continue;
        }
        for (what, (word, _)) in WHATS.iter().enumerate() {
            wrong |= row(what, case, &format!("{word}, {name}"));
        }
    }
    ExitCode::from(u8::from(wrong))
}

/// Prints a row; whether something is wrong with it.
fn row(what: usize, case: usize, name: &str) -> bool {
    let counts = SIZES.map(|backends| {
        let [few, many] = ROUNDS.map(|rounds| instructions([what, case, backends], rounds));
        (many - few) / (ROUNDS[1] - ROUNDS[0]) as f64
    });
    let mut allocates = false;
    let nanos = SIZES.map(|backends| {
        let mut bench = Bench::new(WHATS[what].1, case, backends);
        bench.run(100_000);
        let before = counted::so_far();
        // Short ones, of which some fall between whatever else the machine does.
        let best = (0..60).map(|_| bench.time(20_000)).fold(f64::MAX, f64::min);
        allocates |= counted::so_far() != before;
        best
    });
    print!("{name:<30}");
    counts.iter().for_each(|count| print!("{count:>8.0}"));
    print!("   ");
    nanos.iter().for_each(|nanos| print!("{nanos:>8.1}"));
    let (times, more) = if CASES[case].2 { MOST_ORDERED } else { MOST };
    let grows = counts[2] > counts[1] * times + more;
    let note = match (grows, allocates) {
        (_, true) => "   allocates",
        (true, _) => "   grows with the number of backends",
        _ => "",
    };
    println!("{note}");
    grows || allocates
}

/// Instructions of a whole run of this program with so many rounds.
fn instructions(numbers: [usize; 3], rounds: u64) -> f64 {
    let own = std::env::current_exe().expect("the path of this program");
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .arg("--rounds")
        .args(numbers.map(|n| n.to_string()))
        .arg(rounds.to_string())
        .output()
        .expect("valgrind starts (Debian's package valgrind)");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.unwrap_or_else(|| panic!("callgrind counted nothing:\n{text}"));
    number.trim().parse().expect("a number of instructions")
}

/// A set to pick from.
enum Bench {
    Pick { candidates: Vec<Candidate>, balancer: Box<dyn Balancer>, now: Instant },
    Lease { pool: Arc<Pool>, out: VecDeque<Lease>, now: Instant },
}

impl Bench {
    fn new(what: What, case: usize, backends: usize) -> Self {
        let (name, balance, _) = CASES[case];
        let weight = |n: usize| if name.ends_with("weighted") { 501 + n * 37 % 500 } else { 1 };
        let now = Instant::now();
        let pattern = base(balance);
        match what {
            What::Pick => {
                let candidate = |n: usize| {
                    let name = format!("10.0.0.1:{n}");
                    Candidate::new(&name, n as u32, weight(n) as u32).expect("a good name")
                };
                let candidates: Vec<Candidate> = (0..backends).map(candidate).collect();
                let balancer = build(&pattern.balance, &candidates);
                Self::Pick { candidates, balancer, now }
            }
            What::Lease => {
                let backend = |n: usize| config::Backend {
                    name: Name::new(&format!("10.0.0.1:{n}")).expect("a good name"),
                    weight: Weight::new(weight(n) as u16).expect("a good weight"),
                    ..pattern.backends[0].clone()
                };
                let backends = (0..backends).map(backend).collect();
                let config = config::Pool { backends, ..pattern };
                let pool = Pool::prepare(&config.name, &config, &Policies::default(), None);
                let (pool, _) = pool.expect("no problem").commit();
                Self::Lease { pool, out: VecDeque::with_capacity(OUT + 1), now }
            }
        }
    }

    fn run(&mut self, rounds: u64) {
        let mut random = 1u64;
        let mut ask = |now: Instant| {
            random = random.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            Ask::new(now, random).hash(Some(random.rotate_left(32)))
        };
        match self {
            Self::Pick { candidates, balancer, now } => {
                for _ in 0..rounds {
                    black_box(balancer.pick(candidates, &ask(*now)).expect("all are open"));
                }
            }
            Self::Lease { pool, out, now } => {
                for _ in 0..rounds {
                    out.push_back(pool.lease(&ask(*now)).expect("all are open"));
                    if out.len() > OUT {
                        out.pop_front().expect("it is there").settle(Outcome::Closed);
                    }
                }
            }
        }
    }

    /// Nanoseconds of a round.
    fn time(&mut self, rounds: u64) -> f64 {
        let begun = Instant::now();
        self.run(rounds);
        begun.elapsed().as_nanos() as f64 / rounds as f64
    }
}

fn build(balance: &Balance, candidates: &[Candidate]) -> Box<dyn Balancer> {
    Policies::default().build(balance, candidates, 42).expect("a built-in policy")
}

fn base(balance: &str) -> config::Pool {
    let text = format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [pool.app]\nbalance = {balance}\nbackends = [\"10.0.0.1:80\"]\n"
    );
    let config = config::parse(&text, Path::new("proxy.toml")).expect("a good config");
    config.pools["app"].clone()
}
