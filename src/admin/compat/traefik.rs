//! The families of Traefik: a listener is an entry point, a route a router, a pool a service.
use super::kept::{Kept, Parts, part};
use super::sums::{retries, routes};
use crate::http::RouteCells;
use crate::metrics::Kind::{self, Counter, Gauge};
use crate::metrics::{BUCKETS, Text, labels, process};
use crate::plan::{Plan, Service};
use crate::server::State;
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

/// The upper bounds of its histograms; each is one of ours, which have more.
const BOUNDS: [f64; 4] = [0.1, 0.3, 1.2, 5.0];

pub(super) type Told = Kept<COUNTS>;

/// Requests, their buckets, nanoseconds and bytes both ways, together.
const COUNTS: usize = 20;

pub(super) fn metrics(state: &State, told: &Told) -> String {
    let mut text = Text::default();
    let Some(plan) = state.plan.load_full() else { return text.finish() };
    of_process(&mut text, state, &plan);
    let owners = owners(&plan);
    let is_there = |key: &str| key.split_once('\n').is_some_and(|(of, _)| owners.contains(of));
    let sums = told.tell_while(parts(&plan), is_there);
    for level in ["entrypoint", "router", "service"] {
        let of_level = sums.iter().filter_map(|(key, counts)| {
            let (of, labels) = key.split_once('\n')?;
            of.strip_prefix(level)?.starts_with(' ').then_some((labels, counts))
        });
        let sums: Vec<(&str, &[u64; COUNTS])> = of_level.collect();
        write(&mut text, level, &sums, plan.config.compat.traefik);
    }
    of_services(&mut text, &plan);
    process(&mut text);
    text.finish()
}

/// What a sum is of: a level and a name there.
fn owner(level: &str, own: &[(&str, &str)]) -> String {
    format!("{level} {}", labels(own))
}

/// Everything that sums are of. A code of which one route alone has ever answered is told of for as
/// long as its entry point and its service are there, even when the route is not.
fn owners(plan: &Plan) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    all.extend(plan.pools.keys().map(|pool| owner("service", &[("service", pool)])));
    for (listener, at) in &plan.listeners {
        all.insert(owner("entrypoint", &[("entrypoint", listener)]));
        for cells in routes(at).iter() {
            let own = [("router", &*cells.route), ("service", &*cells.pool)];
            all.insert(owner("router", &own));
        }
    }
    all
}

/// By what they are of and rendered labels, on two lines, what each route counted.
fn parts(plan: &Plan) -> Parts<COUNTS> {
    let mut parts = Parts::new();
    for (listener, at) in &plan.listeners {
        for cells in routes(at) {
            let (router, service) = (("router", &*cells.route), ("service", &*cells.pool));
            let mut levels = vec![("entrypoint", vec![("entrypoint", &**listener)])];
            if service.1 != "none" {
                levels.push(("router", vec![router, service]));
                levels.push(("service", vec![service]));
            }
            for (method, code, counts) in counts(&cells) {
                for (level, own) in &levels {
                    let key = format!("{}\n{}", owner(level, own), rendered(method, code, own));
                    part(&mut parts, key, cells.labels.clone(), counts);
                }
            }
        }
    }
    parts
}

fn rendered(method: &str, code: u16, own: &[(&str, &str)]) -> String {
    let code = code.to_string();
    let method = if method == "other" { "EXTENSION_METHOD" } else { method };
    let protocol = if code == "101" { "websocket" } else { "http" };
    let first = [("code", &*code), ("method", method), ("protocol", protocol)];
    labels(&[&first, own].concat())
}

/// What a route counted of each method and code.
fn counts(cells: &RouteCells) -> Vec<(&'static str, u16, [u64; COUNTS])> {
    let mut all: BTreeMap<_, [u64; COUNTS]> = BTreeMap::new();
    for (method, code, count) in cells.counts() {
        all.entry((method, code)).or_default()[0] = count;
    }
    for (method, code, detail) in cells.details() {
        let counts = all.entry((method, code)).or_default();
        counts[1..17].copy_from_slice(&detail.duration.counts());
        counts[17] = detail.duration.sum().as_nanos() as u64;
        (counts[18], counts[19]) = (detail.received.get(), detail.sent.get());
    }
    all.into_iter().map(|((method, code), counts)| (method, code, counts)).collect()
}

fn one(text: &mut Text, name: &str, kind: Kind, help: &str, value: f64) {
    text.family(name, kind, help);
    text.sample(name, "", value);
}

fn of_process(text: &mut Text, state: &State, plan: &Plan) {
    let name = "traefik_config_reloads_total";
    one(text, name, Counter, "Configurations taken.", state.reloads.0.get() as f64);
    let last = *state.last_success.lock();
    let last = last.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = "traefik_config_last_reload_success";
    one(text, name, Gauge, "When one was last taken.", last as f64);
    let name = "traefik_open_connections";
    text.family(name, Gauge, "Client connections open.");
    for (listener, at) in &plan.listeners {
        let protocol = if matches!(at.service, Service::Udp(_)) { "UDP" } else { "TCP" };
        let labels = [("entrypoint", &**listener), ("protocol", protocol)];
        text.sample_with(name, "", &labels, at.cells.open.get() as f64);
    }
    // One certificate may stand at several listeners: it is told of once.
    let mut all = BTreeMap::new();
    for listener in plan.listeners.values() {
        let acceptor = listener.entry.acceptor();
        for identity in acceptor.iter().flat_map(|acceptor| acceptor.identities()) {
            let mut names = identity.names().to_vec();
            names.sort();
            let facts = (identity.common_name.clone(), decimal(&identity.serial), names.join(","));
            all.insert(facts, identity.not_after);
        }
    }
    let name = "traefik_tls_certs_not_after";
    text.family(name, Gauge, "When certificates expire.");
    for ((cn, serial, sans), at) in &all {
        let labels = [("cn", &**cn), ("serial", serial), ("sans", sans)];
        text.sample_with(name, "", &labels, *at as f64);
    }
}

/// A hexadecimal number of any length in decimal: so Traefik says a serial.
fn decimal(hex: &str) -> String {
    let mut digits = vec![0_u8];
    for nibble in hex.chars().filter_map(|c| c.to_digit(16)) {
        let mut carry = nibble;
        for digit in &mut digits {
            carry += u32::from(*digit) * 16;
            *digit = (carry % 10) as u8;
            carry /= 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

fn write(text: &mut Text, level: &str, sums: &[(&str, &[u64; COUNTS])], is_detailed: bool) {
    let counters = [
        ("requests_total", "Requests answered.", 0),
        ("requests_bytes_total", "Bytes of their bodies.", 18),
        ("responses_bytes_total", "Bytes of their answers.", 19),
    ];
    for (name, help, at) in &counters[..if is_detailed { 3 } else { 1 }] {
        let name = format!("traefik_{level}_{name}");
        text.family(&name, Counter, help);
        sums.iter().for_each(|(labels, counts)| text.sample(&name, labels, counts[*at] as f64));
    }
    if !is_detailed {
        return;
    }
    let name = format!("traefik_{level}_request_duration_seconds");
    text.family(&name, Kind::Histogram, "From a request's head to the end of its answer.");
    for (labels, counts) in sums {
        let buckets = &counts[1..17];
        let below = |most: f64| -> u64 {
            let all = BUCKETS.iter().zip(buckets);
            all.take_while(|(bound, _)| **bound <= most).map(|(_, count)| count).sum()
        };
        let count = buckets.iter().sum::<u64>() as f64;
        let bucket = format!("{name}_bucket");
        for bound in BOUNDS {
            let le = bound.to_string();
            text.sample_with(&bucket, labels, &[("le", &le)], below(bound) as f64);
        }
        text.sample_with(&bucket, labels, &[("le", "+Inf")], count);
        text.sample(&format!("{name}_sum"), labels, counts[17] as f64 / 1e9);
        text.sample(&format!("{name}_count"), labels, count);
    }
}

fn of_services(text: &mut Text, plan: &Plan) {
    let name = "traefik_service_retries_total";
    text.family(name, Counter, "Tries that were sent again.");
    for (service, pool) in &plan.pools {
        text.sample_with(name, "", &[("service", service)], retries(pool) as f64);
    }
    let name = "traefik_service_server_up";
    text.family(name, Gauge, "Whether it gets work.");
    for (service, pool) in &plan.pools {
        let config = pool.config();
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        // Two backends may have one address: it is up as long as one of them is.
        let mut all = BTreeMap::new();
        for member in pool.members().iter().filter(|member| member.removed.is_none()) {
            let url = format!("{scheme}://{}", member.backend.written());
            *all.entry(url).or_insert(false) |= member.state.works();
        }
        for (url, is_up) in &all {
            let labels = [("service", &**service), ("url", url)];
            text.sample_with(name, "", &labels, f64::from(u8::from(*is_up)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_written_in_decimal() {
        assert_eq!(decimal(""), "0");
        assert_eq!(decimal("FF"), "255");
        assert_eq!(decimal("010000000000000000"), "18446744073709551616");
    }

    #[test]
    fn every_bound_is_one_of_ours() {
        assert!(BOUNDS.iter().all(|bound| BUCKETS.contains(bound)));
    }
}
