//! The families of HAProxy's exporter: a listener is a frontend, a pool a backend, a backend a
//! server. Labels stand in its order; where it has no figure for a limit it says NaN, as do we.
use super::kept::{Kept, Parts, part};
use super::sums::{self, CLASSES, Classes};
use crate::config::{Check, Name};
use crate::metrics::Kind::{self, Counter, Gauge};
use crate::metrics::{ListenerCells, Recent, Text, labels};
use crate::plan::Listener;
use crate::pool::{self, Member, Pool, State as Health};
use crate::server::{Stage, State};
use std::sync::Arc;
use std::time::SystemTime;

/// A family with one sample for each thing.
type Row<T> = (&'static str, Kind, &'static str, fn(&T) -> f64);

/// What a backend counts and its pool sums up.
#[derive(Clone, Copy, Debug)]
enum Sum {
    Sessions,
    /// Sessions that the policy chose a backend for.
    Balanced,
    Connects,
    FailedConnects,
    /// Turns to down.
    Downs,
    Received,
    Sent,
    ClientAborts,
    ServerAborts,
    ResponseErrors,
}

impl Sum {
    /// Each at the place of its number.
    const ALL: [Self; 10] = [
        Self::Sessions,
        Self::Balanced,
        Self::Connects,
        Self::FailedConnects,
        Self::Downs,
        Self::Received,
        Self::Sent,
        Self::ClientAborts,
        Self::ServerAborts,
        Self::ResponseErrors,
    ];
}

/// One count for each [`Sum`].
type Sums = [u64; Sum::ALL.len()];

/// What was told of sums whose parts come and go.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Requests of listeners and pools, by class.
    requests: Kept<6>,
    /// Of pools, what their backends counted.
    backs: Kept<{ Sum::ALL.len() }>,
    /// Of the process, what its listeners counted.
    process: Kept<4>,
}

pub(super) fn metrics(state: &State, told: &Told) -> String {
    let mut text = Text::default();
    let Some(plan) = state.plan.load_full() else { return text.finish() };
    let mut parts = Parts::new();
    for (name, listener) in &plan.listeners {
        for cells in sums::routes(listener) {
            let classes = sums::classes(&cells);
            part(&mut parts, format!("frontend {name}"), cells.labels.clone(), classes);
            part(&mut parts, format!("backend {}", cells.pool), cells.labels.clone(), classes);
        }
    }
    let requests = told.requests.tell(parts);
    let of = |kind: &str, name: &str| requests.get(&format!("{kind} {name}")).copied();
    let front = |(name, listener): (&Name, &Listener)| {
        Front::new(listener, state, of("frontend", name).unwrap_or_default())
    };
    let fronts: Vec<Front> = plan.listeners.iter().map(front).collect();
    let pools = || plan.pools.iter();
    let servers: Vec<Vec<Server>> = pools().map(|(_, pool)| servers(pool)).collect();
    let mut parts = Parts::new();
    for ((name, _), servers) in pools().zip(&servers) {
        // A pool that lost its last backend keeps what they counted.
        part(&mut parts, name.to_string(), String::new(), Sums::default());
        for server in servers {
            part(&mut parts, name.to_string(), server.key(), server.counts());
        }
    }
    let counts = told.backs.tell(parts);
    let backs: Vec<Back> = pools()
        .zip(servers)
        .map(|((name, pool), servers)| Back {
            labels: labels(&[("proxy", name)]),
            pool: pool.clone(),
            classes: of("backend", name).unwrap_or_default(),
            counts: counts.get(&**name).copied().unwrap_or(Sums::default()),
            servers: servers.into_iter().filter(|server| server.member.removed.is_none()).collect(),
        })
        .collect();
    of_process(&mut text, state, &fronts, &told.process);
    of_frontends(&mut text, &fronts);
    let is_told = plan.config.compat.haproxy;
    of_backends(&mut text, &backs, is_told);
    of_servers(&mut text, &backs, is_told);
    text.finish()
}

fn rows<T>(text: &mut Text, rows: &[Row<T>], all: &[T], of: impl Fn(&T) -> &str) {
    for (name, kind, help, value) in rows {
        text.family(name, *kind, help);
        all.iter().for_each(|one| text.sample(name, of(one), value(one)));
    }
}

/// One sample for each word: 1 for the one that is so.
fn states(text: &mut Text, name: &str, labels: &str, words: &[&str], is: Option<&str>) {
    for word in words {
        let value = f64::from(u8::from(is == Some(*word)));
        text.sample_with(name, labels, &[("state", word)], value);
    }
}

fn classes(text: &mut Text, name: &str, labels: &str, counts: &Classes) {
    for (code, count) in CLASSES.iter().zip(counts) {
        text.sample_with(name, labels, &[("code", code)], *count as f64);
    }
}

fn number(n: Option<u64>) -> f64 {
    n.map_or(f64::NAN, |n| n as f64)
}

struct Front {
    name: String,
    labels: String,
    cells: Arc<ListenerCells>,
    classes: Classes,
    most: usize,
    is_tls: bool,
}

impl Front {
    fn new(listener: &Listener, state: &State, classes: Classes) -> Self {
        let name = &listener.config.name;
        Self {
            name: name.to_string(),
            labels: labels(&[("proxy", name)]),
            cells: listener.cells.clone(),
            classes,
            most: listener.config.max_connections.unwrap_or_else(|| state.most_connections()),
            is_tls: listener.entry.acceptor().is_some(),
        }
    }
    fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }
    /// Answers of our own for one of these reasons.
    fn own(&self, is: impl Fn(&str) -> bool) -> f64 {
        let all = self.cells.own.all().into_iter();
        all.filter(|(word, _)| is(word)).map(|(_, n)| n).sum::<u64>() as f64
    }
}

/// Reasons for which a request was refused as it came.
fn is_request_error(reason: &str) -> bool {
    const REST: [&str; 20] = [
        "bare_lf",
        "obs_fold",
        "head_too_large",
        "too_many_fields",
        "target_too_long",
        "host_missing",
        "host_repeated",
        "host_differs",
        "connection_field",
        "unknown_protocol",
        "both_lengths",
        "content_length_repeated",
        "unknown_transfer_encoding",
        "transfer_encoding_in_http_1_0",
        "unknown_expectation",
        "chunk_overhead",
        "trailers_too_large",
        "timeout_header",
        "timeout_body",
        "body_too_large",
    ];
    let is_bad = reason.starts_with("bad_") && !matches!(reason, "bad_response" | "bad_rewrite");
    is_bad || REST.contains(&reason)
}

fn of_process(text: &mut Text, state: &State, fronts: &[Front], told: &Kept<4>) {
    let begun = SystemTime::now() - state.started.elapsed();
    let begun = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let name = "haproxy_process_build_info";
    text.family(name, Gauge, "The version of Evenkeel that runs.");
    text.sample_with(name, "", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let mut parts = Parts::new();
    for front in fronts {
        let tls = front.cells.handshakes.all().into_iter().filter(|(_, result, _)| *result == "ok");
        let tls = tls.map(|(_, _, n)| n).sum::<u64>();
        let (accepted, sent) = (front.cells.accepted.get(), front.cells.sent.get());
        let counts = [accepted, front.classes.iter().sum(), tls, sent];
        part(&mut parts, String::new(), front.name.clone(), counts);
    }
    let sums = told.tell(parts).remove("").unwrap_or_default();
    let [accepted, requests, handshakes, sent] = sums.map(|count| count as f64);
    let tls = fronts.iter().filter(|front| front.is_tls).map(|front| front.cells.open.get());
    let stopping = f64::from(u8::from(state.stage() == Stage::Draining));
    let all: [(&str, Kind, &str, f64); 12] = [
        ("uptime_seconds", Gauge, "Since the start.", state.started.elapsed().as_secs() as f64),
        ("start_time_seconds", Gauge, "When it started.", begun.as_secs() as f64),
        ("max_connections", Gauge, "Connections it carries.", state.most_connections() as f64),
        ("current_connections", Gauge, "Connections open.", state.connections() as f64),
        ("connections_total", Counter, "Connections accepted.", accepted),
        ("requests_total", Counter, "Requests answered.", requests),
        ("current_ssl_connections", Gauge, "Those with TLS.", tls.sum::<i64>() as f64),
        ("ssl_connections_total", Counter, "Handshakes that came about.", handshakes),
        ("stopping", Gauge, "1 while it drains.", stopping),
        ("listeners", Gauge, "Listeners.", fronts.len() as f64),
        ("dropped_logs_total", Counter, "Log lines lost.", state.telemetry.access.dropped() as f64),
        ("bytes_out_total", Counter, "Bytes sent to clients.", sent),
    ];
    for (name, kind, help, value) in all {
        let name = format!("haproxy_process_{name}");
        text.family(&name, kind, help);
        text.sample(&name, "", value);
    }
}

const FRONTS: &[Row<Front>] = &[
    ("haproxy_frontend_current_sessions", Gauge, "Connections open.", |f| {
        f.cells.open.get() as f64
    }),
    ("haproxy_frontend_limit_sessions", Gauge, "How many there may be.", |f| f.most as f64),
    ("haproxy_frontend_sessions_total", Counter, "Connections accepted.", |f| {
        f.cells.accepted.get() as f64
    }),
    ("haproxy_frontend_connections_total", Counter, "Connections accepted.", |f| {
        f.cells.accepted.get() as f64
    }),
    ("haproxy_frontend_bytes_in_total", Counter, "Bytes from clients.", |f| {
        f.cells.received.get() as f64
    }),
    ("haproxy_frontend_bytes_out_total", Counter, "Bytes to clients.", |f| {
        f.cells.sent.get() as f64
    }),
    ("haproxy_frontend_http_requests_total", Counter, "Requests answered.", |f| {
        f.requests() as f64
    }),
    ("haproxy_frontend_requests_denied_total", Counter, "Requests a rate limit refused.", |f| {
        f.own(|reason| reason == "rate_limited")
    }),
    ("haproxy_frontend_request_errors_total", Counter, "Requests refused as they came.", |f| {
        f.own(is_request_error)
    }),
    ("haproxy_frontend_intercepted_requests_total", Counter, "Answered by a route itself.", |f| {
        f.own(|reason| matches!(reason, "redirect" | "respond"))
    }),
];

fn of_frontends(text: &mut Text, all: &[Front]) {
    rows(text, FRONTS, all, |front| &front.labels);
    let name = "haproxy_frontend_status";
    text.family(name, Gauge, "1 for the state it is in.");
    all.iter().for_each(|front| states(text, name, &front.labels, &["DOWN", "UP"], Some("UP")));
    let name = "haproxy_frontend_http_responses_total";
    text.family(name, Counter, "Answers by class of their status.");
    all.iter().for_each(|front| classes(text, name, &front.labels, &front.classes));
}

struct Back {
    labels: String,
    pool: Arc<Pool>,
    classes: Classes,
    counts: Sums,
    /// Those that somebody names.
    servers: Vec<Server>,
}

/// Those of a pool, one for each name, with those that are no longer named and still have work.
fn servers(pool: &Pool) -> Vec<Server> {
    let config = pool.config();
    let check = config.health.as_ref().map(|health| &health.check);
    let server = |member: Member| Server {
        labels: labels(&[("proxy", &pool.name), ("server", &member.backend.name)]),
        checked: member.last_probe.as_ref().map(|(_, word)| checked(check, word)),
        member,
    };
    let all = pool.members().into_iter().filter(|member| !member.is_told_elsewhere());
    all.map(server).collect()
}

impl Back {
    fn working(&self) -> impl Iterator<Item = &Member> {
        self.servers.iter().map(|server| &server.member).filter(|member| member.state.works())
    }
    fn count(&self, of: Sum) -> f64 {
        self.counts[of as usize] as f64
    }
    /// The mean of its backends' means, by what these are made of.
    fn mean(&self, of: fn(&pool::Told) -> &Recent) -> f64 {
        let all = || self.servers.iter().map(|server| of(&server.member.backend.cells.told));
        let count: u64 = all().map(Recent::count).sum();
        let sum: f64 = all().map(|recent| recent.mean() * recent.count() as f64).sum();
        sum / count.max(1) as f64
    }
}

const BACKS: &[Row<Back>] = &[
    ("haproxy_backend_current_queue", Gauge, "Who waits for a place.", |b| {
        b.pool.queue_depth() as f64
    }),
    ("haproxy_backend_current_sessions", Gauge, "Requests or connections in work.", |b| {
        b.servers.iter().map(Server::active).sum()
    }),
    ("haproxy_backend_active_servers", Gauge, "Backends of the first tier with work.", |b| {
        b.working().filter(|member| member.tier == 1).count() as f64
    }),
    ("haproxy_backend_backup_servers", Gauge, "Backends of further tiers that could.", |b| {
        b.working().filter(|member| member.tier > 1).count() as f64
    }),
    ("haproxy_backend_weight", Gauge, "Weight of those that get work.", |b| {
        b.working().map(|member| f64::from(member.weight)).sum()
    }),
    ("haproxy_backend_http_requests_total", Counter, "Requests answered.", |b| {
        b.classes.iter().sum::<u64>() as f64
    }),
    ("haproxy_backend_sessions_total", Counter, "Requests or connections sent there.", |b| {
        b.count(Sum::Sessions)
    }),
    ("haproxy_backend_loadbalanced_total", Counter, "Picks of the policy.", |b| {
        b.count(Sum::Balanced)
    }),
    ("haproxy_backend_connection_attempts_total", Counter, "Connects.", |b| b.count(Sum::Connects)),
    ("haproxy_backend_connection_errors_total", Counter, "Connects that failed.", |b| {
        b.count(Sum::FailedConnects)
    }),
    ("haproxy_backend_retry_warnings_total", Counter, "Tries that were sent again.", |b| {
        sums::retries(&b.pool) as f64
    }),
    ("haproxy_backend_check_up_down_total", Counter, "Turns of its backends to down.", |b| {
        b.count(Sum::Downs)
    }),
];

/// Where `metrics.compat` names "haproxy".
const BACKS_TOLD: &[Row<Back>] = &[
    ("haproxy_backend_bytes_in_total", Counter, "Bytes sent there.", |b| b.count(Sum::Received)),
    ("haproxy_backend_bytes_out_total", Counter, "Bytes of its answers.", |b| b.count(Sum::Sent)),
    ("haproxy_backend_client_aborts_total", Counter, "Ends by the client.", |b| {
        b.count(Sum::ClientAborts)
    }),
    ("haproxy_backend_server_aborts_total", Counter, "Ends by a backend.", |b| {
        b.count(Sum::ServerAborts)
    }),
    ("haproxy_backend_response_errors_total", Counter, "No answer that could be used.", |b| {
        b.count(Sum::ResponseErrors)
    }),
    ("haproxy_backend_connect_time_average_seconds", Gauge, "Of the last connects.", |b| {
        b.mean(|told| &told.connect)
    }),
    ("haproxy_backend_response_time_average_seconds", Gauge, "Until the last answers.", |b| {
        b.mean(|told| &told.response)
    }),
    ("haproxy_backend_total_time_average_seconds", Gauge, "Of the last requests.", |b| {
        b.mean(|told| &told.total)
    }),
];

fn of_backends(text: &mut Text, all: &[Back], is_told: bool) {
    rows(text, BACKS, all, |back| &back.labels);
    let name = "haproxy_backend_status";
    text.family(name, Gauge, "1 for the state it is in.");
    for back in all {
        let is = if back.working().next().is_some() { "UP" } else { "DOWN" };
        states(text, name, &back.labels, &["DOWN", "UP"], Some(is));
    }
    let name = "haproxy_backend_http_responses_total";
    text.family(name, Counter, "Answers by class of their status.");
    all.iter().for_each(|back| classes(text, name, &back.labels, &back.classes));
    let name = "haproxy_backend_agg_server_status";
    text.family(name, Gauge, "Backends in each state.");
    for back in all {
        for word in STATUSES {
            let count = back.servers.iter().filter(|s| status(s.member.state) == word).count();
            text.sample_with(name, &back.labels, &[("state", word)], count as f64);
        }
    }
    let name = "haproxy_backend_agg_check_status";
    text.family(name, Gauge, "Backends by what their last probe came to.");
    for back in all {
        for word in CHECKS {
            let count = back.servers.iter().filter(|s| s.checked == Some(word)).count();
            text.sample_with(name, &back.labels, &[("state", word)], count as f64);
        }
    }
    if is_told {
        rows(text, BACKS_TOLD, all, |back| &back.labels);
    }
}

const STATUSES: [&str; 5] = ["DOWN", "UP", "MAINT", "DRAIN", "NOLB"];

fn status(state: Health) -> &'static str {
    match state {
        Health::Up | Health::SlowStart => "UP",
        Health::Down | Health::Unknown | Health::Ejected => "DOWN",
        Health::Drain => "DRAIN",
        Health::Maintenance => "MAINT",
    }
}

const CHECKS: [&str; 16] = [
    "HANA", "SOCKERR", "L4OK", "L4TOUT", "L4CON", "L6OK", "L6TOUT", "L6RSP", "L7TOUT", "L7RSP",
    "L7OK", "L7OKC", "L7STS", "PROCERR", "PROCTOUT", "PROCOK",
];

/// What a probe came to in HAProxy's words: by layer, from what it asked and what was said of it.
fn checked(check: Option<&Check>, said: &str) -> &'static str {
    let asks = match check {
        None => false,
        Some(Check::Tcp { expect, .. }) => expect.is_some(),
        Some(Check::Udp { .. } | Check::Http { .. } | Check::Grpc { .. }) => true,
    };
    let begins = |with: &str| said.starts_with(with);
    match (said, asks) {
        ("ok", true) => "L7OK",
        ("ok", false) => "L4OK",
        _ if begins("no answer within") && asks => "L7TOUT",
        _ if begins("no answer within") => "L4TOUT",
        _ if begins("TLS: ") => "L6RSP",
        _ if begins("connect: ") || begins("its name has no address") || !asks => "L4CON",
        _ if begins("status ") || begins("grpc-status ") || begins("it says ") => "L7STS",
        _ => "L7RSP",
    }
}

struct Server {
    labels: String,
    member: Member,
    checked: Option<&'static str>,
}

impl Server {
    fn active(&self) -> f64 {
        f64::from(self.member.backend.active())
    }
    /// Which name of all that its pool ever had.
    fn key(&self) -> String {
        self.member.line.0.to_string()
    }
    fn balanced(&self) -> u64 {
        let picks = self.member.picks();
        let all = [&picks.policy, &picks.retry, &picks.hedge, &picks.panic];
        all.map(|cell| cell.get()).iter().sum()
    }
    fn sessions(&self) -> u64 {
        self.balanced() + self.member.picks().sticky.get()
    }
    fn failed_connects(&self) -> u64 {
        let cells = self.member.cells();
        let failed = [
            &cells.connect_refused,
            &cells.connect_timeout,
            &cells.connect_tls,
            &cells.connect_unreachable,
            &cells.connect_error,
        ];
        failed.map(|cell| cell.get()).iter().sum()
    }
    /// What its pool sums up.
    fn counts(&self) -> Sums {
        Sum::ALL.map(|of| self.counted(of))
    }
    fn counted(&self, of: Sum) -> u64 {
        let cells = self.member.cells();
        let told = &cells.told;
        match of {
            Sum::Sessions => self.sessions(),
            Sum::Balanced => self.balanced(),
            Sum::Connects => self.failed_connects() + cells.connect_ok.get(),
            Sum::FailedConnects => self.failed_connects(),
            Sum::Downs => cells.turns[Health::Down as usize].get(),
            Sum::Received => told.received.get(),
            Sum::Sent => told.sent.get(),
            Sum::ClientAborts => told.client_aborts.get(),
            Sum::ServerAborts => told.server_aborts.get(),
            Sum::ResponseErrors => told.response_errors.get(),
        }
    }
    fn count(&self, of: Sum) -> f64 {
        self.counted(of) as f64
    }
}

const SERVERS: &[Row<Server>] = &[
    ("haproxy_server_weight", Gauge, "Its weight.", |s| f64::from(s.member.weight)),
    ("haproxy_server_current_sessions", Gauge, "Requests or connections in work.", Server::active),
    ("haproxy_server_limit_sessions", Gauge, "How many it may have.", |s| {
        number(s.member.backend.limit().map(u64::from))
    }),
    ("haproxy_server_sessions_total", Counter, "Requests or connections sent there.", |s| {
        s.count(Sum::Sessions)
    }),
    ("haproxy_server_loadbalanced_total", Counter, "Picks of the policy.", |s| {
        s.count(Sum::Balanced)
    }),
    ("haproxy_server_connection_attempts_total", Counter, "Connects.", |s| s.count(Sum::Connects)),
    ("haproxy_server_connection_errors_total", Counter, "Failed connects.", |s| {
        s.count(Sum::FailedConnects)
    }),
    ("haproxy_server_check_failures_total", Counter, "Probes that failed.", |s| {
        s.member.cells().checks_fail.get() as f64
    }),
    ("haproxy_server_check_up_down_total", Counter, "Turns to down.", |s| s.count(Sum::Downs)),
    ("haproxy_server_check_last_change_seconds", Gauge, "Since its last turn.", |s| {
        s.member.since.elapsed().unwrap_or_default().as_secs() as f64
    }),
    ("haproxy_server_check_duration_seconds", Gauge, "How long its last probe took.", |s| {
        s.member.backend.cells.last_probe_micros.get() as f64 / 1e6
    }),
    ("haproxy_server_idle_connections_current", Gauge, "Idle connections to it.", |s| {
        s.member.backend.cells.idle.get() as f64
    }),
    ("haproxy_server_used_connections_current", Gauge, "Busy connections to it.", |s| {
        (s.member.backend.cells.open.get() - s.member.backend.cells.idle.get()) as f64
    }),
];

/// Where `metrics.compat` names "haproxy".
const SERVERS_TOLD: &[Row<Server>] = &[
    ("haproxy_server_bytes_in_total", Counter, "Bytes sent there.", |s| s.count(Sum::Received)),
    ("haproxy_server_bytes_out_total", Counter, "Bytes of its answers.", |s| s.count(Sum::Sent)),
    ("haproxy_server_client_aborts_total", Counter, "Ends by the client.", |s| {
        s.count(Sum::ClientAborts)
    }),
    ("haproxy_server_server_aborts_total", Counter, "Ends by the backend.", |s| {
        s.count(Sum::ServerAborts)
    }),
    ("haproxy_server_response_errors_total", Counter, "No answer that could be used.", |s| {
        s.count(Sum::ResponseErrors)
    }),
    ("haproxy_server_connect_time_average_seconds", Gauge, "Of the last connects.", |s| {
        s.member.backend.cells.told.connect.mean()
    }),
    ("haproxy_server_response_time_average_seconds", Gauge, "Until the last answers.", |s| {
        s.member.backend.cells.told.response.mean()
    }),
    ("haproxy_server_total_time_average_seconds", Gauge, "Of the last requests.", |s| {
        s.member.backend.cells.told.total.mean()
    }),
];

fn of_servers(text: &mut Text, backs: &[Back], is_told: bool) {
    let all: Vec<&Server> = backs.iter().flat_map(|back| &back.servers).collect();
    for (name, kind, help, value) in SERVERS {
        text.family(name, *kind, help);
        all.iter().for_each(|one| text.sample(name, &one.labels, value(one)));
    }
    let name = "haproxy_server_status";
    text.family(name, Gauge, "1 for the state it is in.");
    for server in &all {
        states(text, name, &server.labels, &STATUSES, Some(status(server.member.state)));
    }
    let name = "haproxy_server_check_status";
    text.family(name, Gauge, "1 for what its last probe came to.");
    for server in &all {
        states(text, name, &server.labels, &CHECKS, server.checked);
    }
    let name = "haproxy_server_http_responses_total";
    text.family(name, Counter, "Answers by class of their status.");
    for server in &all {
        let by_class = &server.member.cells().by_class;
        let counts = [1, 2, 3, 4, 5].map(|class: usize| by_class[class].get());
        let [a, b, c, d, e] = counts;
        classes(text, name, &server.labels, &[a, b, c, d, e, 0]);
    }
    if is_told {
        for (name, kind, help, value) in SERVERS_TOLD {
            text.family(name, *kind, help);
            all.iter().for_each(|one| text.sample(name, &one.labels, value(one)));
        }
    }
}
