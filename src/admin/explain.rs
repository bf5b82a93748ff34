//! `GET /v1/explain`: why a request would go where it goes, or why one went there.
use super::answer::{Answer, Problem, json};
use super::asked::{Asked, head, named, parts, wrong};
use super::config_view::key;
use super::errors::{self, One};
use super::serve::Desk;
use crate::config::{BindAddr, Name};
use crate::http::{Explanation, Gateway, Question};
use crate::message::Head;
use crate::plan::{Plan, Service};
use crate::server::State;
use crate::tcp::Relay;
use crate::telemetry::Kept;
use hyper::StatusCode;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

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
    doubt: bool,
}

#[derive(Debug, Serialize)]
struct Pick {
    backend: String,
    why: String,
}

/// Says why.
pub(super) async fn explain(desk: &Desk, asked: &[(String, String)]) -> Result<Answer, Problem> {
    let (state, asked) = (desk.reloader.state(), Asked::read(asked)?);
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
        let name = named(name)?;
        let explained = desk.explained.take(state, move || {
            let listener = passing(&plan, asked.listener.as_deref())?;
            let client = asked.client.unwrap_or(NOBODY);
            Ok(json(&passed(&plan, listener, name.as_deref(), client)))
        });
        return explained.await?;
    }
    let question = match &kept {
        None => asked_about(state, &plan, &asked)?,
        Some(kept) => happened(&plan, kept)?,
    };
    // Ten thousand routes take a while.
    let answer = move || json(&question.answer(&plan, kept.as_deref()));
    desk.explained.take(state, answer).await
}

/// Who asks where nobody is named.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

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

/// So many listeners are named to who asks by a scheme that none speaks.
const NAMED: usize = 8;

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
            let scheme = if tls == Some(true) { "https" } else { "http" };
            let names: Vec<&str> = http(plan).map(|(name, _)| &**name).take(NAMED).collect();
            let what = match names.first() {
                None => format!("no listener speaks {scheme}: there is none of HTTP"),
                Some(one) => format!(
                    "no listener speaks {scheme}: say to which one it comes, as listener={one} \
                     (--listener {one}); of HTTP there are {}",
                    names.join(", ")
                ),
            };
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
        doubt: one.doubt,
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
