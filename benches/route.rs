//! Does finding a route cost more with more routes?
//!
//! Counts user instructions of one look-up (target and host split, normalised, the route found)
//! with 10, 1,000 and 10,000 routes, under callgrind: it runs itself twice for each figure, with
//! few and with many look-ups, and divides the difference. Needs `valgrind`. Exits with 1 when a
//! figure grows by more than a tenth.
//!
//! ```text
//! cargo bench --bench route
//! ```
use evenkeel::config::{self, Config, HostMatch, Name, PathMatch};
use evenkeel::http::{Gateway, Shaping, asked};
use evenkeel::message::{Head, Known, Version};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

const SIZES: [usize; 3] = [10, 1_000, 10_000];
const ROUNDS: [u64; 2] = [2_000, 12_000];

/// What tells the routes of a set apart, and the request for the n-th of them.
#[derive(Clone, Copy)]
enum Case {
    Host,
    Wildcard,
    Prefix,
    Exact,
    HostAndPrefix,
    Missed,
}

const CASES: [(&str, Case); 6] = [
    ("host", Case::Host),
    ("wildcard host", Case::Wildcard),
    ("prefix", Case::Prefix),
    ("exact path", Case::Exact),
    ("host and prefix", Case::HostAndPrefix),
    ("no route", Case::Missed),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, case, routes, rounds] = &args[..]
        && flag == "--look-up"
    {
        let (_, case) = CASES[case.parse::<usize>().expect("a case")];
        look_up(case, routes.parse().expect("a number"), rounds.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    println!(
        "user instructions a look-up\n{:<18}{:>8}{:>8}{:>8}",
        "routes", "10", "1,000", "10,000"
    );
    let mut grew = false;
    for (at, (name, _)) in CASES.iter().enumerate() {
        let figures = SIZES.map(|routes| a_look_up(at, routes));
        println!("{name:<18}{:>8.0}{:>8.0}{:>8.0}", figures[0], figures[1], figures[2]);
        grew |= figures[2] > figures[0] * 1.1;
    }
    if grew {
        println!("a look-up grows with the number of routes");
    }
    ExitCode::from(u8::from(grew))
}

/// Instructions of one look-up.
fn a_look_up(case: usize, routes: usize) -> f64 {
    let [few, many] = ROUNDS.map(|rounds| instructions(case, routes, rounds));
    (many - few) / (ROUNDS[1] - ROUNDS[0]) as f64
}

/// Instructions of a whole run of this program with so many look-ups.
fn instructions(case: usize, routes: usize, rounds: u64) -> f64 {
    let own = std::env::current_exe().expect("the path of this program");
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["--look-up", &case.to_string(), &routes.to_string(), &rounds.to_string()])
        .output()
        .expect("valgrind starts (Debian's package valgrind)");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.unwrap_or_else(|| panic!("callgrind counted nothing:\n{text}"));
    number.trim().parse().expect("a number of instructions")
}

fn look_up(case: Case, routes: usize, rounds: u64) {
    let gateway = gateway(case, routes);
    // As many requests for every size, so that their making and their caches cost the same.
    let requests: Vec<Head> = (0..10).map(|n| request(case, n * routes / 10)).collect();
    let mut taken = 0u64;
    for round in 0..rounds {
        let head = &requests[(round % 10) as usize];
        let asked = asked(head, head.get(Known::Host)).expect("a good target");
        taken += u64::from(black_box(gateway.find(&asked)).is_some());
    }
    assert_eq!(taken, if matches!(case, Case::Missed) { 0 } else { rounds });
}

fn host(n: usize) -> String {
    format!("shop-{n:05}.example.com")
}

fn request(case: Case, n: usize) -> Head {
    let (host, target) = match case {
        Case::Host => (host(n), "/index.html".into()),
        Case::Wildcard => (format!("www.{}", host(n)), "/index.html".into()),
        Case::Prefix => ("example.com".into(), format!("/api/service-{n:05}/v1/item/7?x=1")),
        Case::Exact => ("example.com".into(), format!("/api/service-{n:05}")),
        Case::HostAndPrefix => (host(n), format!("/api/service-{n:05}/v1/item/7?x=1")),
        Case::Missed => ("example.org".into(), "/no/such/thing".into()),
    };
    let mut head = Head::new();
    head.start_request(b"GET", target.as_bytes(), Version::Http11).expect("a good target");
    head.append("Host", host.as_bytes()).expect("a good host");
    head
}

fn gateway(case: Case, routes: usize) -> Gateway {
    let mut config = base();
    let pattern = config.routes.remove(0);
    config.routes = (0..routes)
        .map(|n| {
            let (hosts, path) = matched(case, n);
            let name = Name::new(&format!("r{n}")).expect("a name");
            config::Route { name, hosts, path, ..pattern.clone() }
        })
        .collect();
    let listener = &config.listeners["web"];
    let (pools, shaping) = (BTreeMap::new(), Shaping::default());
    Gateway::compile(listener, &config, &pools, &shaping, Arc::default(), None).expect("no problem")
}

fn matched(case: Case, n: usize) -> (Vec<HostMatch>, PathMatch) {
    let any = PathMatch::Prefix("/".into());
    let service = format!("/api/service-{n:05}");
    match case {
        Case::Host => (vec![HostMatch::Exact(host(n))], any),
        Case::Wildcard => (vec![HostMatch::Wildcard(host(n))], any),
        Case::Prefix => (vec![], PathMatch::Prefix(service)),
        Case::Exact => (vec![], PathMatch::Exact(service)),
        Case::HostAndPrefix | Case::Missed => {
            (vec![HostMatch::Exact(host(n))], PathMatch::Prefix(service))
        }
    }
}

fn base() -> Config {
    let text = "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n\
                [[route]]\nrespond = { status = 204 }\n";
    config::parse(text, Path::new("proxy.toml")).expect("a good config")
}
