//! Walks the plan at scrape time and writes every family. Labels were rendered when the things were
//! built; series of what is gone disappear by themselves.
use crate::http::{Limiter, MirrorCells, RouteCells};
use crate::http2;
use crate::message::memory;
use crate::metrics::{Counter, Kind, ListenerCells, Text, process};
use crate::plan::{Plan, Service};
use crate::pool::{Member, Pool, Reason, State as BackendState, StickyCells};
use crate::server::{Stage, State};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const STATES: [BackendState; BackendState::ALL.len()] = BackendState::ALL;

/// The text of `/metrics`.
pub(super) fn metrics(state: &State) -> String {
    let mut text = Text::default();
    of_process(&mut text, state);
    if let Some(plan) = state.plan.load_full() {
        of_listeners(&mut text, &plan);
        of_certificates(&mut text, &plan);
        of_routes(&mut text, &plan);
        of_shaping(&mut text, &plan);
        of_pools(&mut text, &plan);
        of_backends(&mut text, &plan);
    }
    process(&mut text);
    text.finish()
}

fn one(text: &mut Text, name: &str, kind: Kind, help: &str, value: f64) {
    text.family(name, kind, help);
    text.sample(name, "", value);
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn of_process(text: &mut Text, state: &State) {
    text.family("evenkeel_build_info", Kind::Gauge, "The version that runs.");
    text.sample_with("evenkeel_build_info", "", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let name = "evenkeel_config_reloads_total";
    text.family(name, Kind::Counter, "Reloads taken and refused; the start counts.");
    text.sample_with(name, "", &[("result", "success")], state.reloads.0.get() as f64);
    text.sample_with(name, "", &[("result", "failure")], state.reloads.1.get() as f64);
    let good = state.last.lock().as_ref().is_none_or(|last| last.problems.is_empty());
    let name = "evenkeel_config_last_reload_successful";
    one(text, name, Kind::Gauge, "Whether the last reload was taken.", f64::from(u8::from(good)));
    let name = "evenkeel_config_last_reload_success_timestamp_seconds";
    one(text, name, Kind::Gauge, "When a reload was last taken.", unix(*state.last_success.lock()));
    let generation = state.plan.load_full().map_or(0, |plan| plan.generation);
    one(
        text,
        "evenkeel_config_generation",
        Kind::Gauge,
        "Plans of this process so far.",
        generation as f64,
    );
    let waiting = state.needs_restart.lock().len();
    let name = "evenkeel_config_needs_restart";
    one(text, name, Kind::Gauge, "Changed keys that need a restart.", waiting as f64);
    let name = "evenkeel_stage";
    text.family(name, Kind::Gauge, "1 for the stage the process is in.");
    for stage in Stage::ALL {
        let is = f64::from(u8::from(state.stage() == stage));
        text.sample_with(name, "", &[("stage", stage.word())], is);
    }
    let name = "evenkeel_buffered_bytes";
    one(text, name, Kind::Gauge, "Bytes buffered for connections.", memory().used() as f64);
    let name = "evenkeel_buffered_limit_bytes";
    one(text, name, Kind::Gauge, "Bytes that may be (server.memory).", memory().most() as f64);
    let name = "evenkeel_handovers_total";
    text.family(name, Kind::Counter, "Hand-overs, those of the processes before this one too.");
    let (success, failure) = (&state.hand_overs.success, &state.hand_overs.failure);
    text.sample_with(name, "", &[("result", "success")], success.get() as f64);
    text.sample_with(name, "", &[("result", "failure")], failure.get() as f64);
    let dropped = state.telemetry.access.dropped();
    one(
        text,
        "evenkeel_log_dropped_total",
        Kind::Counter,
        "Access log lines lost.",
        dropped as f64,
    );
    let dropped = state.log.as_ref().map_or(0, |log| log.dropped());
    one(
        text,
        "evenkeel_process_log_dropped_total",
        Kind::Counter,
        "Lines of the process's own log lost.",
        dropped as f64,
    );
    let name = "evenkeel_trace_spans_total";
    text.family(name, Kind::Counter, "Spans by what became of them.");
    let spans = &state.telemetry.tracer.cells;
    for (result, count) in
        [("sent", &spans.sent), ("dropped", &spans.dropped), ("failed", &spans.failed)]
    {
        text.sample_with(name, "", &[("result", result)], count.load(Relaxed) as f64);
    }
    let name = "evenkeel_admin_requests_total";
    text.family(name, Kind::Counter, "Requests that the admin side answered.");
    for (status, count) in state.admin.requests.all() {
        text.sample_with(name, "", &[("code", &status.to_string())], count as f64);
    }
    let name = "evenkeel_admin_limit_hits_total";
    text.family(name, Kind::Counter, "Limits of the admin side that were reached.");
    for (limit, count) in state.admin.limit_hits.all() {
        text.sample_with(name, "", &[("limit", limit)], count as f64);
    }
    let panics = state.panics.0.get();
    one(
        text,
        "evenkeel_panics_total",
        Kind::Counter,
        "Panics that ended a connection.",
        panics as f64,
    );
}

fn of_listeners(text: &mut Text, plan: &Plan) {
    let all: Vec<&Arc<ListenerCells>> =
        plan.listeners.values().map(|listener| &listener.cells).collect();
    let mut family = |name: &str, kind, help: &str, write: &dyn Fn(&mut Text, &ListenerCells)| {
        text.family(name, kind, help);
        all.iter().for_each(|cells| write(text, cells));
    };
    let name = "evenkeel_listener_open_connections";
    family(name, Kind::Gauge, "Client connections open.", &|t, c| {
        t.sample(name, &c.labels, c.open.get() as f64)
    });
    let name = "evenkeel_listener_connections_total";
    family(name, Kind::Counter, "Client connections accepted.", &|t, c| {
        t.sample(name, &c.labels, c.accepted.get() as f64);
    });
    // Those that alerts ask for, from the beginning.
    let limits = ["max_connections", "per_client", "max_active", "queue", "memory"];
    let reasons = ["max_active", "queue"];
    let floods = http2::Kind::ALL.map(http2::Kind::word);
    let http = plan.listeners.values().filter(|at| matches!(at.service, Service::Http(_)));
    let http: HashSet<&str> = http.map(|at| &*at.cells.labels).collect();
    let words = [
        ("evenkeel_accept_errors_total", "errno", "Accepts that failed."),
        ("evenkeel_limit_hits_total", "limit", "Limits that were reached."),
        ("evenkeel_responses_own_total", "reason", "Answers the proxy gave itself."),
        ("evenkeel_datagrams_dropped_total", "reason", "Datagrams that went no further."),
        ("evenkeel_http2_floods_total", "kind", "HTTP/2 connections ended for what they cost."),
        ("evenkeel_http2_errors_total", "reason", "HTTP/2 streams and connections ended as wrong."),
    ];
    for (at, (name, label, help)) in words.into_iter().enumerate() {
        family(name, Kind::Counter, help, &|t, c| {
            let cells =
                [&c.accept_errors, &c.limit_hits, &c.own, &c.dropped, &c.floods, &c.http2_errors]
                    [at];
            let known: &[&str] = match at {
                1 => &limits,
                2 => &reasons,
                4 if http.contains(&*c.labels) => &floods,
                _ => &[],
            };
            for (word, count) in cells.all_with(known) {
                t.sample_with(name, &c.labels, &[(label, word)], count as f64);
            }
        });
    }
    let name = "evenkeel_proxy_protocol_errors_total";
    family(name, Kind::Counter, "Connections closed for want of a sound PROXY header.", &|t, c| {
        for (word, count) in c.proxy_protocol_errors.all() {
            t.sample_with(name, &c.labels, &[("reason", word)], count as f64);
        }
    });
    let name = "evenkeel_tls_handshakes_total";
    family(name, Kind::Counter, "TLS handshakes with clients.", &|t, c| {
        for (version, result, count) in c.handshakes.all() {
            let labels = [("version", version), ("result", result)];
            t.sample_with(name, &c.labels, &labels, count as f64);
        }
    });
    let name = "evenkeel_bytes_total";
    family(name, Kind::Counter, "Bytes from and to clients.", &|t, c| {
        t.sample_with(name, &c.labels, &[("direction", "received")], c.received.get() as f64);
        t.sample_with(name, &c.labels, &[("direction", "sent")], c.sent.get() as f64);
    });
}

fn of_certificates(text: &mut Text, plan: &Plan) {
    let name = "evenkeel_tls_certificate_not_after_timestamp_seconds";
    text.family(name, Kind::Gauge, "When certificates expire.");
    for listener in plan.listeners.values() {
        let acceptor = listener.entry.acceptor();
        // One name may have several, with keys of different kinds: the first of them to expire.
        let mut first = BTreeMap::new();
        for one in acceptor.iter().flat_map(|acceptor| acceptor.identities()) {
            let expires = first.entry(&*one.label).or_insert(one.not_after);
            *expires = one.not_after.min(*expires);
        }
        for (subject, expires) in first {
            let labels = [("subject", subject)];
            text.sample_with(name, &listener.cells.labels, &labels, expires as f64);
        }
    }
}

fn of_routes(text: &mut Text, plan: &Plan) {
    let gateways = plan.listeners.values().filter_map(|listener| match &listener.service {
        Service::Http(gateway) => Some(gateway),
        Service::Tcp(_) | Service::Udp(_) => None,
    });
    let all: Vec<Arc<RouteCells>> = gateways.flat_map(|gateway| gateway.route_cells()).collect();
    let name = "evenkeel_requests_total";
    text.family(name, Kind::Counter, "Requests answered.");
    for cells in &all {
        for (method, code, count) in cells.counts() {
            let code = code.to_string();
            text.sample_with(
                name,
                &cells.labels,
                &[("method", method), ("code", &code)],
                count as f64,
            );
        }
    }
    let name = "evenkeel_request_duration_seconds";
    text.family(name, Kind::Histogram, "From a request's head to the last byte of its answer.");
    for cells in &all {
        text.histogram(name, &cells.duration_labels, &cells.duration);
    }
}

fn of_shaping(text: &mut Text, plan: &Plan) {
    type Cell = fn(&Limiter) -> u64;
    let families: [(&str, &str, Cell); 2] = [
        ("evenkeel_rate_limited_total", "Requests refused by a rate limit.", |l| l.refused.get()),
        (
            "evenkeel_rate_limit_evictions_total",
            "Keys of a rate limit that were forgotten early.",
            Limiter::evicted,
        ),
    ];
    for (name, help, cell) in families {
        text.family(name, Kind::Counter, help);
        for shaped in plan.shaping.all() {
            if let Some(limiter) = &shaped.limiter {
                text.sample(name, &shaped.labels, cell(limiter) as f64);
            }
        }
    }
    let name = "evenkeel_mirror_total";
    text.family(name, Kind::Counter, "Copies of requests.");
    for shaped in plan.shaping.all() {
        let Some(cells) = &shaped.mirror else { continue };
        let MirrorCells { success, failure, dropped, .. } = &**cells;
        for (result, cell) in [("success", success), ("failure", failure), ("dropped", dropped)] {
            text.sample_with(name, &shaped.labels, &[("result", result)], cell.get() as f64);
        }
    }
}

fn of_pools(text: &mut Text, plan: &Plan) {
    let mut counter = |name: &str, help: &str, cell: &dyn Fn(&Pool) -> u64| {
        text.family(name, Kind::Counter, help);
        plan.pools.values().for_each(|pool| text.sample(name, &pool.labels, cell(pool) as f64));
    };
    counter("evenkeel_balancer_no_backend_total", "Asks without a backend.", &|p| {
        p.no_backend.get()
    });
    counter(
        "evenkeel_balancer_passed_over_total",
        "Picks that others got, as nobody had a first byte of the one picked for long.",
        &|p| p.passed_over.get(),
    );
    counter(
        "evenkeel_retry_budget_exhausted_total",
        "Tries that the budget had no room for.",
        &|p| p.budget_exhausted.get(),
    );
    let name = "evenkeel_upstream_retries_total";
    text.family(name, Kind::Counter, "Tries that were sent again.");
    for pool in plan.pools.values() {
        let mut sample = |reason: &str, count: u64| {
            text.sample_with(name, &pool.labels, &[("reason", reason)], count as f64);
        };
        sample("connect", pool.retries_connect.get());
        sample("reset", pool.retries_reset.get());
        sample("timeout", pool.retries_timeout.get());
        for (status, count) in pool.retries_status.all() {
            sample(&status.to_string(), count);
        }
    }
    let name = "evenkeel_hedges_total";
    text.family(name, Kind::Counter, "Tries beside others that took long, by what came of them.");
    for pool in plan.pools.values() {
        let outcomes = [
            ("won", &pool.hedges_won),
            ("lost", &pool.hedges_lost),
            ("failed", &pool.hedges_failed),
        ];
        for (outcome, cell) in outcomes {
            text.sample_with(name, &pool.labels, &[("outcome", outcome)], cell.get() as f64);
        }
    }
    let name = "evenkeel_sticky_total";
    text.family(name, Kind::Counter, "Clients that came back to their backend, or did not.");
    for pool in plan.pools.values().filter(|pool| pool.config().sticky.is_some()) {
        let StickyCells { hit, miss, expired, forged, gone } = &pool.sticky;
        let results = [
            ("hit", hit),
            ("miss", miss),
            ("expired", expired),
            ("forged", forged),
            ("gone", gone),
        ];
        for (result, cell) in results {
            text.sample_with(name, &pool.labels, &[("result", result)], cell.get() as f64);
        }
    }
    let name = "evenkeel_upstream_limit_hits_total";
    text.family(name, Kind::Counter, "Limits towards backends that were reached.");
    for pool in plan.pools.values() {
        for (limit, count) in pool.limit_hits.all() {
            text.sample_with(name, &pool.labels, &[("limit", limit)], count as f64);
        }
    }
    let name = "evenkeel_pool_panic";
    text.family(name, Kind::Gauge, "Whether so few are healthy that the unhealthy are tried too.");
    plan.pools.values().for_each(|pool| text.sample(name, &pool.labels, pool.panic.get() as f64));
    let name = "evenkeel_queue_depth";
    text.family(name, Kind::Gauge, "Requests and connections that wait for a place at a backend.");
    plan.pools.values().for_each(|pool| text.sample(name, &pool.labels, pool.queue_depth() as f64));
    let name = "evenkeel_queue_duration_seconds";
    text.family(name, Kind::Histogram, "How long those who waited for a place did.");
    plan.pools.values().for_each(|pool| text.histogram(name, &pool.labels, pool.queue_duration()));
    let name = "evenkeel_ejections_total";
    text.family(
        name,
        Kind::Counter,
        "Backends that were taken out for what became of their tries.",
    );
    for pool in plan.pools.values() {
        for (reason, count) in Reason::EJECTIONS.iter().zip(&pool.ejections) {
            let of = [("reason", reason.word())];
            text.sample_with(name, &pool.labels, &of, count.get() as f64);
        }
    }
    let name = "evenkeel_upstream_connect_duration_seconds";
    text.family(name, Kind::Histogram, "How long connects took.");
    plan.pools.values().for_each(|pool| text.histogram(name, &pool.labels, &pool.connect_duration));
    let name = "evenkeel_health_check_duration_seconds";
    text.family(name, Kind::Histogram, "How long probes took.");
    plan.pools.values().for_each(|pool| text.histogram(name, &pool.labels, &pool.check_duration));
}

/// Counters of a backend that differ by one label: its value and its cell.
type Cells = &'static [(&'static str, fn(&Member) -> &Counter)];

const REQUESTS: Cells = &[
    ("none", |m| &m.cells().by_class[0]),
    ("1xx", |m| &m.cells().by_class[1]),
    ("2xx", |m| &m.cells().by_class[2]),
    ("3xx", |m| &m.cells().by_class[3]),
    ("4xx", |m| &m.cells().by_class[4]),
    ("5xx", |m| &m.cells().by_class[5]),
];
const CONNECTIONS: Cells = &[
    ("ok", |m| &m.cells().connect_ok),
    ("refused", |m| &m.cells().connect_refused),
    ("timeout", |m| &m.cells().connect_timeout),
    ("tls", |m| &m.cells().connect_tls),
    ("unreachable", |m| &m.cells().connect_unreachable),
    ("error", |m| &m.cells().connect_error),
];
const RENEWALS: Cells = &[("new", |m| &m.cells().renewed), ("kept", |m| &m.cells().unrenewed)];
const CHECKS: Cells = &[("pass", |m| &m.cells().checks_pass), ("fail", |m| &m.cells().checks_fail)];
const PICKS: Cells = &[
    ("policy", |m| &m.picks().policy),
    ("sticky", |m| &m.picks().sticky),
    ("retry", |m| &m.picks().retry),
    ("hedge", |m| &m.picks().hedge),
    ("panic", |m| &m.picks().panic),
];

/// One for each series: of several with one name the one that tells what all of them counted.
fn members(pool: &Pool) -> Vec<Member> {
    let all = pool.members().into_iter();
    all.filter(|member| !member.is_told_elsewhere()).collect()
}

/// How many there are, and get work: told of a pool without any, too.
fn of_sets(text: &mut Text, sets: &[(&Pool, Vec<Member>)]) {
    type Is = fn(&Member) -> bool;
    let families: [(&str, &str, Is); 2] = [
        ("evenkeel_pool_backends", "Its backends; those that leave are none.", |m| {
            m.removed.is_none()
        }),
        ("evenkeel_pool_backends_working", "Those of them that get work.", |m| m.state.works()),
    ];
    for (name, help, is) in families {
        text.family(name, Kind::Gauge, help);
        for (pool, members) in sets {
            let count = members.iter().filter(|m| is(m)).count();
            text.sample(name, &pool.labels, count as f64);
        }
    }
}

fn of_backends(text: &mut Text, plan: &Plan) {
    let sets: Vec<(&Pool, Vec<Member>)> =
        plan.pools.values().map(|pool| (&**pool, members(pool))).collect();
    of_sets(text, &sets);
    let all: Vec<&Member> = sets.iter().flat_map(|(_, members)| members).collect();
    let groups = [
        ("evenkeel_upstream_requests_total", "code", "Tries by class of their answer.", REQUESTS),
        ("evenkeel_upstream_connections_total", "result", "Connects by result.", CONNECTIONS),
        (
            "evenkeel_upstream_renewals_total",
            "result",
            "Requests whose kept connections were not trusted, by what they got.",
            RENEWALS,
        ),
        ("evenkeel_health_checks_total", "result", "Probes by result.", CHECKS),
        ("evenkeel_balancer_picks_total", "reason", "Picks by reason.", PICKS),
    ];
    for (name, label, help, cells) in groups {
        text.family(name, Kind::Counter, help);
        for m in &all {
            for (value, cell) in cells {
                text.sample_with(name, &m.backend.labels, &[(label, value)], cell(m).get() as f64);
            }
        }
    }
    type Gauge = (&'static str, &'static str, fn(&Member) -> f64);
    let gauges: [Gauge; 4] = [
        ("evenkeel_backend_up", "Whether it gets work.", |m| f64::from(u8::from(m.state.works()))),
        ("evenkeel_backend_weight", "Its weight.", |m| f64::from(m.weight)),
        ("evenkeel_backend_active", "Requests or connections in work.", |m| {
            f64::from(m.backend.active())
        }),
        (
            "evenkeel_health_last_probe_timestamp_seconds",
            "When its last probe ended; 0 for never.",
            |m| m.backend.cells.last_probe_ms.get() as f64 / 1e3,
        ),
    ];
    for (name, help, value) in gauges {
        text.family(name, Kind::Gauge, help);
        all.iter().for_each(|m| text.sample(name, &m.backend.labels, value(m)));
    }
    let name = "evenkeel_backend_limit";
    text.family(name, Kind::Gauge, "Requests or connections it may have, where that is limited.");
    for m in &all {
        if let Some(limit) = m.backend.limit() {
            text.sample(name, &m.backend.labels, f64::from(limit));
        }
    }
    let name = "evenkeel_backend_drain_ends_timestamp_seconds";
    text.family(name, Kind::Gauge, "When what a drained backend still has will be cut.");
    let (now, wall) = (Instant::now(), SystemTime::now());
    for m in &all {
        if let Some(at) = m.backend.drain_ends() {
            let left = at.saturating_duration_since(now);
            text.sample(name, &m.backend.labels, unix(wall + left));
        }
    }
    let name = "evenkeel_upstream_open_connections";
    text.family(name, Kind::Gauge, "Connections to it.");
    for m in &all {
        let (open, idle) = (m.backend.cells.open.get(), m.backend.cells.idle.get());
        text.sample_with(name, &m.backend.labels, &[("state", "active")], (open - idle) as f64);
        text.sample_with(name, &m.backend.labels, &[("state", "idle")], idle as f64);
    }
    let name = "evenkeel_backend_state";
    text.family(name, Kind::Gauge, "1 for the state it is in.");
    for m in &all {
        for state in STATES {
            let is = f64::from(u8::from(m.state == state));
            text.sample_with(name, &m.backend.labels, &[("state", state.word())], is);
        }
    }
    let name = "evenkeel_backend_transitions_total";
    text.family(name, Kind::Counter, "Turns into each state.");
    for m in &all {
        for state in STATES {
            let count = m.cells().turns[state as usize].get();
            text.sample_with(name, &m.backend.labels, &[("to", state.word())], count as f64);
        }
    }
    let name = "evenkeel_upstream_request_duration_seconds";
    text.family(name, Kind::Histogram, "From a try's begin to the last byte of its answer.");
    all.iter().for_each(|m| text.histogram(name, &m.backend.labels, &m.cells().request_duration));
}
