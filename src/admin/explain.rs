//! `GET /v1/explain`: why a request would go where it goes, or why one went there.
use super::answer::{Answer, Problem, json};
use super::config_view::key;
use super::errors::{self, One};
use crate::config::{BindAddr, Name};
use crate::http::{Explanation, Gateway, Question};
use crate::message::{Head, Version};
use crate::net::client_hello;
use crate::plan::{Plan, Service};
use crate::server::State;
use crate::tcp::Relay;
use crate::telemetry::Kept;
use hyper::StatusCode;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Header fields that are taken: as many as a head may have.
const FIELDS: usize = 100;

#[derive(Debug, Serialize)]
struct View {
    /// The request that happened, where one is asked for.
    request: Option<One>,
    listener: String,
    rules: Vec<Rule>,
    route: Option<String>,
    /// What the proxy answers itself.
    answer: Option<Own>,
    rate_limit: Option<Limit>,
    shares: Vec<Share>,
    pool: Option<String>,
    key: Option<Key>,
    candidates: Vec<Candidate>,
    pick: Option<Pick>,
    /// Where it would wait, as nobody has room.
    queue: Option<Queue>,
    runner_up: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rule {
    route: String,
    matched: bool,
    why: String,
}

#[derive(Debug, Serialize)]
struct Own {
    /// Null where it is an alert of TLS, or the end of a connection.
    status: Option<u16>,
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Queue {
    waiting: usize,
    size: usize,
    /// Seconds.
    timeout: f64,
}

#[derive(Debug, Serialize)]
struct Limit {
    burst: u32,
    left: u64,
    /// Seconds until there is a token; null while there is one.
    wait: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Share {
    pool: String,
    weight: u64,
}

#[derive(Debug, Serialize)]
struct Key {
    parts: Vec<Part>,
    /// 16 hexadecimal digits.
    hash: Option<String>,
}

#[derive(Debug, Serialize)]
struct Part {
    part: String,
    value: Option<String>,
}

#[derive(Debug, Serialize)]
struct Candidate {
    backend: String,
    weight: u32,
    state: &'static str,
    reason: &'static str,
    active: u32,
    max_active: Option<u32>,
    open: bool,
}

#[derive(Debug, Serialize)]
struct Pick {
    backend: String,
    why: String,
}

/// What is asked about.
#[derive(Debug, Default)]
struct Asked {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    client: Option<SocketAddr>,
    listener: Option<String>,
    id: Option<String>,
    /// The name that is asked for by TLS; empty: none.
    sni: Option<String>,
}

impl Asked {
    fn read(all: &[(String, String)]) -> Result<Self, Problem> {
        let mut asked = Self { method: "GET".into(), ..Self::default() };
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in all {
            if name != "header" && seen.contains(&name.as_str()) {
                return Err(wrong(name, "is said twice"));
            }
            seen.push(name);
            match name.as_str() {
                "method" => asked.method.clone_from(value),
                "url" => asked.url.clone_from(value),
                "header" => asked.headers.push(header(value)?),
                "client" => asked.client = Some(client(value)?),
                "listener" => asked.listener = Some(value.clone()),
                "id" => asked.id = Some(value.clone()),
                "sni" => asked.sni = Some(value.clone()),
                _ => return Err(wrong(name, "unknown parameter")),
            }
        }
        if asked.id.is_some() && seen.len() > 1 {
            return Err(wrong("id", "a request that happened is asked for by its id alone"));
        }
        let of_requests = |name: &&&str| matches!(**name, "method" | "url" | "header");
        if let Some(name) = seen.iter().find(of_requests).filter(|_| asked.sni.is_some()) {
            return Err(wrong(
                name,
                "what TLS that is let pass carries is not known: say sni alone",
            ));
        }
        if asked.id.is_none() && asked.sni.is_none() && asked.url.is_empty() {
            let what = "says no request: ?url=https://a.example.com/x, ?sni=NAME, or ?id=";
            return Err(wrong("url", what));
        }
        if asked.headers.len() > FIELDS {
            return Err(wrong("header", format!("more than {FIELDS}")));
        }
        Ok(asked)
    }
}

/// A parameter that can be read and makes no sense.
fn wrong(name: &str, what: impl Into<String>) -> Problem {
    let mut problem = Problem::field(name, what);
    problem.status = StatusCode::UNPROCESSABLE_ENTITY;
    problem
}

fn header(text: &str) -> Result<(String, String), Problem> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| wrong("header", format!("{text:?}: write name: value")))?;
    Ok((name.trim().into(), value.trim().into()))
}

/// An address, with or without a port.
fn client(text: &str) -> Result<SocketAddr, Problem> {
    let ip = || text.trim_matches(['[', ']']).parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 0));
    let addr = text.parse().ok().or_else(ip);
    addr.ok_or_else(|| wrong("client", format!("{text:?} is no address")))
}

/// A URL in its parts: whether it is by TLS, host and port, and what follows.
fn parts(url: &str) -> Result<(Option<bool>, &str, &str), Problem> {
    if url.starts_with('/') {
        return Ok((None, "", url));
    }
    let broken = || wrong("url", format!("{url:?}: write http://host/path, or /path"));
    let (scheme, rest) = url.split_once("://").ok_or_else(broken)?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(broken()),
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() || authority.contains('@') {
        return Err(broken());
    }
    Ok((Some(tls), authority, target))
}

fn head(
    method: &str,
    authority: &str,
    target: &str,
    fields: &[(String, String)],
) -> Result<Head, Problem> {
    let mut head = Head::new();
    let slash = if target.starts_with('/') || target == "*" { "" } else { "/" };
    let target = format!("{slash}{target}");
    let started = head.start_request(method.as_bytes(), target.as_bytes(), Version::Http11);
    started.map_err(|invalid| match invalid {
        crate::message::Invalid::Name => wrong("method", format!("{method:?} is no method")),
        _ => wrong("url", invalid.to_string()),
    })?;
    let host = [("Host".to_string(), authority.to_string())];
    let host = host.iter().filter(|_| {
        !authority.is_empty() && !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"))
    });
    for (name, value) in host.chain(fields) {
        let added = head.append(name, value.as_bytes());
        added.map_err(|invalid| wrong("header", format!("{name}: {invalid}")))?;
    }
    Ok(head)
}

/// Says why.
pub(super) async fn explain(state: &State, asked: &[(String, String)]) -> Result<Answer, Problem> {
    let asked = Asked::read(asked)?;
    let starting = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "nothing runs yet");
    let plan = state.plan.load_full().ok_or_else(starting)?;
    let kept = match &asked.id {
        None => None,
        Some(id) => Some(state.telemetry.errors.find(id).ok_or_else(|| {
            let what = format!("no failed or slow request {id:?} is kept (log.errors, log.slow)");
            Problem::new(StatusCode::NOT_FOUND, what)
        })?),
    };
    if let Some(name) = &asked.sni {
        let listener = passing(&plan, asked.listener.as_deref())?;
        let name = named(name)?;
        let view = passed(&plan, listener, name.as_deref(), asked.client.unwrap_or(NOBODY));
        return Ok(json(&view));
    }
    let question = match &kept {
        None => asked_about(state, &plan, &asked)?,
        Some(kept) => happened(&plan, kept)?,
    };
    // Ten thousand routes take a while.
    let done = tokio::task::spawn_blocking(move || question.answer(&plan, kept.as_deref()));
    let view = done
        .await
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(json(&view))
}

/// Who asks where nobody is named.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A name as TLS asks for it.
fn named(text: &str) -> Result<Option<String>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let name = client_hello::host(text.as_bytes());
    name.map(Some).ok_or_else(|| wrong("sni", format!("{text:?} is no name of a host")))
}

/// The listener that lets TLS pass: the one that is named, else the first.
fn passing<'p>(plan: &'p Plan, named: Option<&str>) -> Result<(&'p Name, &'p Relay), Problem> {
    let mut all = plan.listeners.iter().filter_map(|(name, listener)| match &listener.service {
        Service::Tcp(relay) if relay.lets_pass() => Some((name, &**relay)),
        _ => None,
    });
    let found = match named {
        Some(named) => all.find(|(name, _)| ***name == *named),
        None => all.next(),
    };
    found.ok_or_else(|| match named {
        Some(named) => {
            let what = format!("no listener named {named:?} lets TLS pass");
            Problem::new(StatusCode::NOT_FOUND, what)
        }
        None => wrong("sni", "no listener lets TLS pass (tls = \"passthrough\")"),
    })
}

/// Where a connection goes that asks for a name by TLS that is let pass.
fn passed(
    plan: &Plan,
    (listener, relay): (&Name, &Relay),
    name: Option<&str>,
    client: SocketAddr,
) -> View {
    let led = relay.explain(&plan.config, name, client, fastrand::u64(..));
    let rule = |tried: crate::tcp::Tried| {
        let crate::tcp::Tried { route, matched, why } = tried;
        crate::http::Rule { route, matched, why }
    };
    let bytes = |(part, value): (_, Option<String>)| (part, value.map(String::into_bytes));
    let parts: Vec<_> = led.key.into_iter().map(bytes).collect();
    let key = (!parts.is_empty()).then_some(crate::http::Key { parts, hash: led.hash });
    let said = Explanation {
        rules: led.tried.into_iter().map(rule).collect(),
        route: led.route,
        shares: led.shares,
        pool: led.pool,
        key,
        chosen: led.chosen,
        ..Explanation::default()
    };
    let mut view = shown(listener, plan, said);
    view.answer = led.refused.map(|reason| Own { status: None, reason });
    view
}

/// A question to a gateway.
struct Put {
    listener: Name,
    gateway: Arc<Gateway>,
    head: Head,
    client: SocketAddr,
}

fn asked_about(state: &State, plan: &Plan, asked: &Asked) -> Result<Put, Problem> {
    let (tls, authority, target) = parts(&asked.url)?;
    let head = head(&asked.method, authority, target, &asked.headers)?;
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    if let (None, Some(port)) = (&asked.listener, port)
        && let Some(name) = other(state, plan, port)
    {
        let what = format!("port {port} is of listener {name}, which carries no requests");
        return Err(wrong("url", what));
    }
    let (listener, gateway) = listener(state, plan, asked.listener.as_deref(), tls, port)?;
    Ok(Put { listener, gateway, head, client: asked.client.unwrap_or(NOBODY) })
}

fn happened(plan: &Plan, kept: &Kept) -> Result<Put, Problem> {
    let gone = |what: String| Problem::new(StatusCode::NOT_FOUND, what);
    let found = http(plan).find(|(name, _)| ***name == *kept.listener);
    let (listener, gateway) = found
        .ok_or_else(|| gone(format!("listener {:?} of that request is gone", kept.listener)))?;
    let target = kept.target.strip_suffix('…').unwrap_or(&kept.target);
    let head = head(&kept.method, &kept.host, target, &[])
        .map_err(|_| gone("that request was refused before it had a meaning".into()))?;
    let (listener, client) = (listener.clone(), kept.client.unwrap_or(NOBODY));
    Ok(Put { listener, gateway: gateway.clone(), head, client })
}

fn http(plan: &Plan) -> impl Iterator<Item = (&Name, &Arc<Gateway>)> {
    plan.listeners.iter().filter_map(|(name, listener)| match &listener.service {
        Service::Http(gateway) => Some((name, gateway)),
        Service::Tcp(_) | Service::Udp(_) => None,
    })
}

/// The listener with this port, where it is not one of HTTP and none that is has it.
fn other<'p>(state: &State, plan: &'p Plan, port: u16) -> Option<&'p Name> {
    let addresses = state.addresses();
    let has = |name: &Name, stream: bool| {
        let bound = addresses.get(name).into_iter().flatten();
        bound.clone().any(|at| matches!(at, BindAddr::Ip(addr) if addr.port() == port)) && stream
    };
    let mut all = plan.listeners.iter();
    let found = all.find(|(name, it)| has(name, !matches!(it.service, Service::Http(_))))?.0;
    (!http(plan).any(|(name, _)| has(name, true))).then_some(found)
}

/// The listener that is named; else, of those that speak so, the one with this port, the one with the
/// usual port, or the first.
fn listener(
    state: &State,
    plan: &Plan,
    named: Option<&str>,
    tls: Option<bool>,
    port: Option<u16>,
) -> Result<(Name, Arc<Gateway>), Problem> {
    let addresses = state.addresses();
    let has = |name: &Name, port: u16| {
        let bound = addresses.get(name).into_iter().flatten();
        bound.clone().any(|at| matches!(at, BindAddr::Ip(addr) if addr.port() == port))
    };
    let speaks = |name: &Name| {
        let secure = plan.listeners.get(name).is_some_and(|l| l.entry.acceptor().is_some());
        tls.is_none_or(|tls| tls == secure)
    };
    let fits = |(name, _): &(&Name, &Arc<Gateway>)| match named {
        Some(named) => ***name == *named,
        None => speaks(name),
    };
    let mut all: Vec<_> = http(plan).filter(fits).collect();
    let usual = if tls == Some(true) { 443 } else { 80 };
    all.sort_by_key(|(name, _)| (!port.is_some_and(|port| has(name, port)), !has(name, usual)));
    let (name, gateway) = all.first().ok_or_else(|| match named {
        Some(named) => {
            Problem::new(StatusCode::NOT_FOUND, format!("no http listener named {named:?}"))
        }
        None => {
            let what = "no http listener speaks so: say http or https, or listener=NAME";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what)
        }
    })?;
    Ok(((*name).clone(), (*gateway).clone()))
}

impl Put {
    fn answer(&self, plan: &Plan, kept: Option<&Kept>) -> View {
        let question = Question {
            head: &self.head,
            client: self.client,
            seed: fastrand::u64(..),
            whole: kept.is_none(),
        };
        let said = self.gateway.explain(&plan.config, question);
        let mut view = shown(&self.listener, plan, said);
        if let Some(kept) = kept {
            happened_so(&mut view, plan, kept);
        }
        view
    }
}

fn shown(listener: &Name, plan: &Plan, said: Explanation) -> View {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let rule = |rule: crate::http::Rule| {
        let crate::http::Rule { route, matched, why } = rule;
        Rule { route, matched, why }
    };
    let of_key = |said: crate::http::Key| Key {
        parts: said
            .parts
            .iter()
            .map(|(part, value)| Part { part: key(part), value: value.as_deref().map(text) })
            .collect(),
        hash: said.hash.map(|hash| format!("{hash:016x}")),
    };
    let policy = said.pool.as_deref().and_then(|pool| plan.pools.get(pool));
    let policy = policy.map_or_else(String::new, |pool| pool.config().balance.policy.clone());
    let queue = said.chosen.as_ref().and_then(|chosen| chosen.queue).map(|queue| Queue {
        waiting: queue.waiting,
        size: queue.size,
        timeout: queue.timeout.as_secs_f64(),
    });
    let (candidates, pick, runner_up) = said.chosen.map_or_else(Default::default, chosen);
    let pick = pick.map(|(backend, why)| Pick {
        backend,
        why: if why == "policy" { policy } else { why.into() },
    });
    View {
        request: None,
        listener: listener.to_string(),
        rules: said.rules.into_iter().map(rule).collect(),
        route: said.route,
        answer: said.answer.map(|(status, reason)| Own { status: Some(status), reason }),
        rate_limit: said.rate_limit.map(|said| Limit {
            burst: said.burst,
            left: said.left,
            wait: said.wait,
        }),
        shares: said.shares.into_iter().map(|(pool, weight)| Share { pool, weight }).collect(),
        pool: said.pool,
        key: said.key.map(of_key),
        candidates,
        pick,
        queue,
        runner_up,
    }
}

type Chosen = (Vec<Candidate>, Option<(String, &'static str)>, Option<String>);

fn chosen(said: crate::pool::Explained) -> Chosen {
    let candidate = |one: crate::pool::Standing| Candidate {
        backend: one.backend.to_string(),
        weight: one.weight,
        state: one.state.word(),
        reason: one.reason.word(),
        active: one.active,
        max_active: one.most,
        open: one.open,
    };
    let pick = said.pick.map(|(name, why)| (name.to_string(), why));
    let candidates = said.candidates.into_iter().map(candidate).collect();
    (candidates, pick, said.runner_up.map(|name| name.to_string()))
}

/// What was decided then takes the place of what would be now; who may be chosen is as it is now.
fn happened_so(view: &mut View, plan: &Plan, kept: &Kept) {
    let said = |name: &str| (!matches!(name, "none" | "-")).then(|| name.to_string());
    view.route = said(&kept.route);
    for rule in &mut view.rules {
        let was = view.route.as_deref() == Some(rule.route.as_str());
        if was != rule.matched && (was || rule.why.contains("most specific")) {
            rule.matched = was;
            rule.why = match was {
                true => "it took the request".into(),
                false => {
                    "another took the request: by its header fields, or before a reload".into()
                }
            };
        }
    }
    let own = kept.status != 0 && kept.reason != "-" && kept.backend.as_ref() == "-";
    view.answer = own.then_some(Own { status: Some(kept.status), reason: kept.reason });
    view.pool = said(&kept.pool);
    (view.key, view.rate_limit, view.queue) = (None, None, None);
    view.runner_up = None;
    let pool = view.pool.as_deref().and_then(|pool| plan.pools.get(pool));
    let now = pool.map(|pool| pool.explain(&crate::pool::Ask::new(std::time::Instant::now(), 0)));
    view.candidates = now.map_or_else(Vec::new, |now| chosen(now).0);
    view.pick = said(&kept.backend).map(|backend| {
        let before: Vec<String> =
            kept.attempts.iter().map(|a| format!("{} ({})", a.backend, a.result)).collect();
        let policy = pool.map_or_else(String::new, |pool| pool.config().balance.policy.clone());
        let why = if before.is_empty() { policy } else { format!("after {}", before.join(", ")) };
        Pick { backend, why }
    });
    view.request = Some(errors::one(kept));
}
