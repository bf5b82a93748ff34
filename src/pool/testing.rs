//! What the room's tests build: candidates and sections of a config.
use super::backend::Candidate;
use crate::config::{
    self, Addr, Balance, Carries, Family, Hash, HostSent, KeepAlive, KeyPart, Name, Overrides,
    Resolve, Table, Timeout, Weight,
};
use std::time::Duration;

/// Candidates `b000`, `b001` …, in the order of their names.
pub(super) fn weighted(weights: &[u32]) -> Vec<Candidate> {
    let one = |(i, w): (u32, &u32)| Candidate::new(&format!("b{i:05}"), i, *w).unwrap();
    (0..).zip(weights).map(one).collect()
}

pub(super) fn named(set: &[(&str, u32)]) -> Vec<Candidate> {
    (0..).zip(set).map(|(i, (name, w))| Candidate::new(name, i, *w).unwrap()).collect()
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A backend with an address of its own.
pub(super) fn backend(text: &str) -> config::Backend {
    config::Backend {
        name: name(text),
        at: config::At::default(),
        addr: Addr::Unix(format!("/{text}").into()),
        weight: Weight::DEFAULT,
        tier: 1,
    }
}

pub(super) fn pool(text: &str, backends: &[&str]) -> config::Pool {
    config::Pool {
        http: Some(config::PoolHttp::One),
        http2: config::PoolHttp2::default(),
        tls: None,
        send_proxy_protocol: None,
        name: name(text),
        at: config::At::default(),
        host: HostSent::Preserve,
        balance: Balance { policy: "round_robin".into(), hash: None, at: config::At::default() },
        sticky: None,
        health: None,
        outlier: None,
        slow_start: None,
        panic_threshold: None,
        max_active: None,
        queue: None,
        keep_alive: KeepAlive {
            idle: Timeout::OFF,
            max_idle: 0,
            max_age: Timeout::OFF,
            renew: None,
        },
        resolve: Resolve { interval: Duration::from_secs(30), family: Family::Any },
        drain: Timeout::secs(300),
        carries: Carries::Streams,
        backends: backends.iter().map(|b| backend(b)).collect(),
        over: Overrides::default(),
    }
}

pub(super) fn hashed() -> Hash {
    Hash {
        key: vec![KeyPart::ClientIp],
        first: false,
        fallback: "random".into(),
        table: Table::Maglev(None),
        bounded_load: None,
    }
}

pub(super) fn balance(policy: &str) -> Balance {
    Balance { policy: policy.into(), hash: None, at: config::At::default() }
}

pub(super) fn hash(table: Table, bounded_load: Option<f64>) -> Balance {
    let hash = Hash { table, bounded_load, ..hashed() };
    Balance { hash: Some(hash), ..balance("consistent_hash") }
}

/// Every policy there is, in each of its forms.
pub(super) fn every_policy() -> Vec<(String, Balance)> {
    let plain = ["round_robin", "least_connections", "random", "p2c", "peak_ewma"];
    let mut all: Vec<_> = plain.iter().map(|word| (word.to_string(), balance(word))).collect();
    for (word, table) in [("maglev", Table::Maglev(Some(4099))), ("ring", Table::Ring)] {
        all.push((word.into(), hash(table, None)));
        all.push((format!("bounded {word}"), hash(table, Some(1.25))));
    }
    all
}
