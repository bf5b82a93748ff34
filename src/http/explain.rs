//! Why a request would go where it goes: by the same routes, keys and balancers, with nothing counted
//! and nothing moved by the question.
//!
//! Why a route does not match is found by the router itself: it is asked with a table of that one
//! route, then with a part of it at a time.
use super::affinity::Bond;
use super::choose::{Aim, Own, aim, routed, taken};
use super::gateway::Gateway;
use super::headers;
use super::key::parts;
use super::path::{self, Asked};
use super::route::{Action, Conditions, Route, Router, Row};
use crate::config::{self, HostMatch, KeyPart, Limits, PathMatch, ValueMatch};
use crate::http1::{self, BodyLength, HeadLimits, Parsed, Refusal, RequestVerdict};
use crate::message::{Head, Known};
use crate::net::Peer;
use crate::pool::{self, Ask};
use std::net::SocketAddr;
use std::time::Instant;

/// One rule that was tried.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The route's name; `default` for the listener's own pool.
    pub route: String,
    /// Whether it holds for the request.
    pub matched: bool,
    /// Why it was not chosen, or was.
    pub why: String,
}

/// What a hash is made of.
#[derive(Clone, Debug)]
pub struct Key {
    /// Each part as the configuration names it, with its value where it is there.
    pub parts: Vec<(KeyPart, Option<Vec<u8>>)>,
    /// The hash; `None` where no part is there.
    pub hash: Option<u64>,
}

/// Where a client stands with a rate limit.
#[derive(Clone, Copy, Debug)]
pub struct Limited {
    /// Requests that may come at once.
    pub burst: u32,
    /// How many of them may come now.
    pub left: u64,
    /// Without one: seconds until one may.
    pub wait: Option<u64>,
}

/// Why a request would go where it goes.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// Every route of the listener.
    pub rules: Vec<Rule>,
    /// The one that takes it.
    pub route: Option<String>,
    /// What it is answered by the proxy itself: status and reason.
    pub answer: Option<Own>,
    /// Where its client stands with the route's rate limit, no token of which is taken.
    pub rate_limit: Option<Limited>,
    /// The pools of its route with their weights, where there are several.
    pub shares: Vec<(String, u64)>,
    /// The pool that it gets.
    pub pool: Option<String>,
    /// What its policy looks at.
    pub key: Option<Key>,
    /// Whom the pool would choose, and among whom.
    pub chosen: Option<pool::Explained>,
}

/// A request that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its head as it comes from the client.
    pub head: &'a Head,
    /// Who sends it.
    pub client: SocketAddr,
    /// Chance, for what is drawn.
    pub seed: u64,
    /// Whether its header fields are all there; without, routes that ask for some cannot be judged.
    pub whole: bool,
}

impl Gateway {
    /// What would be done with a request; `config` is what the gateway was compiled from.
    pub fn explain(&self, config: &config::Config, question: Question<'_>) -> Explanation {
        let Question { head, client, seed, whole } = question;
        let mut out = Explanation::default();
        // One that happened was judged then, and not all of it is known.
        let body = match judged(head, &self.effective.limits) {
            Err(refusal) if whole => {
                out.answer = Some((refusal.rule.status(), refusal.rule.word()));
                return out;
            }
            judged => judged.map_or(BodyLength::None, |verdict| verdict.body),
        };
        if !headers::method_allowed(head.method()) {
            out.answer = Some((405, "method_not_allowed"));
            return out;
        }
        if headers::ends_here(head) {
            out.answer = Some((204, "max_forwards"));
            return out;
        }
        let asked = match path::asked(head, head.get(Known::Host)) {
            Ok(asked) => asked,
            Err(_) => {
                out.answer = Some((400, "bad_target"));
                return out;
            }
        };
        let found = routed(self, &asked);
        out.rules = self.rules(config, &asked, found.ok().map(|route| &**route), whole);
        let route = match found {
            Ok(route) => route,
            Err(own) => {
                out.answer = Some(own);
                return out;
            }
        };
        out.route = Some(route.name.to_string());
        if let Err(own) = taken(route, &asked) {
            out.answer = Some(own);
            return out;
        }
        if let Some(limiter) = &route.limiter {
            let (left, wait) = limiter.peek(head, Peer::Ip(client), &self.trusted, Instant::now());
            out.rate_limit = Some(Limited { burst: limiter.burst(), left, wait });
            if wait.is_some() {
                out.answer = Some((429, "rate_limited"));
                return out;
            }
        }
        let split = match &route.action {
            Action::Forward(split) => split,
            Action::Redirect(said, _) => {
                let reply = said.answer(&asked, "http");
                out.answer = Some((reply.status(), reply.reason()));
                return out;
            }
            Action::Respond(said, _) => {
                let reply = said.answer();
                out.answer = Some((reply.status(), reply.reason()));
                return out;
            }
        };
        let client = || headers::client_address(head, Peer::Ip(client), &self.trusted);
        let Aim { target, bond, hash } = aim(split, &asked, client, seed);
        let shares = split.shares().map(|(weight, to)| (to.pool.name.to_string(), weight));
        out.shares = shares.collect();
        if out.shares.len() == 1 {
            out.shares.clear();
        }
        out.pool = Some(target.pool.name.to_string());
        let most = target.effective.limits.body;
        if matches!((body, most), (BodyLength::Exact(n), Some(most)) if n > most) {
            out.answer = Some((413, "body_too_large"));
            return out;
        }
        out.key = target.hash.as_ref().map(|said| {
            let values = parts(&said.key, &asked, client());
            Key { parts: said.key.iter().cloned().zip(values).collect(), hash }
        });
        let preferred = bond.as_ref().and_then(Bond::backend);
        let ask = Ask::new(Instant::now(), seed).hash(hash).prefer(preferred);
        let chosen = target.pool.explain(&ask);
        out.answer = chosen.refused.map(|reason| (503, reason));
        out.chosen = Some(chosen);
        out
    }

    /// Every route of this listener, in the order of the file, and why it holds or does not.
    fn rules(
        &self,
        config: &config::Config,
        asked: &Asked<'_>,
        found: Option<&Route>,
        whole: bool,
    ) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        let chosen = found.map(|route| &*route.name);
        for route in config.routes.iter().filter(|route| route.belongs_to(&self.listener)) {
            let is_chosen = chosen == Some(&*route.name);
            let unknown = !whole && !route.headers.is_empty();
            let (matched, why) = match why_not(route, asked, unknown) {
                Some(why) => (false, why),
                None if is_chosen => (true, "the most specific that matches".into()),
                None if unknown => (false, "asks for header fields, which are not known".into()),
                None => (true, format!("matches, but {} comes first", chosen.unwrap_or("none"))),
            };
            let why = config.put_in.hide(&why);
            rules.push(Rule { route: route.name.to_string(), matched, why });
        }
        if self.has_default() {
            let why = match chosen {
                Some("default") | None => "no route matches: the listener's own pool".to_string(),
                Some(route) => format!("only where no route matches, and {route} does"),
            };
            let matched = chosen == Some("default");
            rules.push(Rule { route: "default".into(), matched, why });
        }
        rules
    }
}

/// Reads and judges a head as if it came by HTTP/1.1.
fn judged(head: &Head, limits: &Limits) -> Result<RequestVerdict, Refusal> {
    let mut wire = Vec::new();
    let line = [head.method_token(), b" ", head.target_that_came(), b" HTTP/1.1\r\n"];
    line.iter().for_each(|part| wire.extend_from_slice(part));
    for (name, value) in head.iter() {
        [name, b": ", value, b"\r\n"].iter().for_each(|part| wire.extend_from_slice(part));
    }
    if !head.has(Known::Host) {
        // Asked about by a path alone: of some host.
        wire.extend_from_slice(b"Host: a\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    let most = HeadLimits { head: limits.head, fields: limits.fields, target: limits.target };
    let mut read = Head::new();
    match http1::request(&wire, 0, &most, &mut read)? {
        Parsed::Done(_) => http1::of_request(&read),
        Parsed::Partial(_) => Err(http1::Rule::HeadTooLarge.into()),
    }
}

/// A router with this one row.
fn holds(hosts: &[HostMatch], path: &PathMatch, conditions: Conditions, asked: &Asked<'_>) -> bool {
    Router::build([Row { hosts, path, conditions, value: () }]).find(asked).is_some()
}

/// Why a route does not hold, part by part; `None` where it does.
fn why_not(route: &config::Route, asked: &Asked<'_>, unknown: bool) -> Option<String> {
    let any = PathMatch::Prefix("/".into());
    let headers: &[_] = if unknown { &[] } else { &route.headers };
    let all = Conditions::new(&route.methods, headers, &route.query);
    if holds(&route.hosts, &route.path, all, asked) {
        return None;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !holds(&route.hosts, &any, Conditions::default(), asked) {
        let host = asked.host().map_or("no host".into(), text);
        return Some(format!("host {host} is not {}", hosts(&route.hosts)));
    }
    if !holds(&[], &route.path, Conditions::default(), asked) {
        return Some(format!("path {} is not {}", text(&asked.path), path_words(&route.path)));
    }
    if !holds(&[], &any, Conditions::new(&route.methods, &[], &[]), asked) {
        let method = text(asked.head.method_token());
        return Some(format!("method {method} is not {}", route.methods.join(" or ")));
    }
    for one in headers {
        if !holds(&[], &any, Conditions::new(&[], std::slice::from_ref(one), &[]), asked) {
            let found = asked.head.find(&one.0);
            let found = found.map_or("is not there".into(), |v| format!("is {:?}", text(v)));
            return Some(format!("header {} {found}, not {}", one.0, value(one)));
        }
    }
    for one in &route.query {
        if !holds(&[], &any, Conditions::new(&[], &[], std::slice::from_ref(one)), asked) {
            return Some(format!("query {} is not {}", one.0, value(one)));
        }
    }
    // Of several hosts each has its own table: nothing else is left.
    Some("does not match".into())
}

fn hosts(all: &[HostMatch]) -> String {
    let one = |host: &HostMatch| match host {
        HostMatch::Exact(name) => name.clone(),
        HostMatch::Wildcard(name) => format!("*.{name}"),
    };
    all.iter().map(one).collect::<Vec<_>>().join(" or ")
}

fn path_words(path: &PathMatch) -> String {
    match path {
        PathMatch::Prefix(path) => format!("below {path}"),
        PathMatch::Exact(path) => path.clone(),
        PathMatch::Regex(regex) => format!("matched by {regex}"),
    }
}

/// What a condition asks for, unless it may be a secret.
fn value((name, wanted): &(String, ValueMatch)) -> String {
    let hidden = config::may_be_secret(name);
    match wanted {
        ValueMatch::Exact(_) | ValueMatch::Regex(_) if hidden => config::MASK.into(),
        ValueMatch::Exact(value) => format!("{value:?}"),
        ValueMatch::Regex(regex) => format!("matched by {regex}"),
        ValueMatch::Present(true) => "there".into(),
        ValueMatch::Present(false) => "absent".into(),
    }
}
