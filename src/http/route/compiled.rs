//! A compiled route: everything a request needs of it, made when the plan is made.
use super::super::gateway::{RouteCells, Target};
use super::super::headers::Rules;
use super::super::path::Asked;
use super::super::reply::Reply;
use super::super::rewrite;
use crate::config::{Name, PathMatch, Redirect as Said, Respond as Text, Rewrite};
use crate::message::Fields;
use std::sync::Arc;

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// Its name, `default` for the listener's own pool.
    pub name: Name,
    /// What it does.
    pub action: Action,
    /// Rules on fields, both ways.
    pub rules: Rules,
    /// Its path, for rewrites of a prefix.
    pub path: PathMatch,
    /// Changes of host and path.
    pub rewrite: Rewrite,
    /// Whether WebSocket upgrades are let through.
    pub websocket: bool,
    /// Whether `%2f` and `%00` in a path are refused.
    pub refuse_encoded_slash: bool,
}

/// What a compiled route does.
#[derive(Debug)]
pub enum Action {
    /// Forwards.
    Forward(Split),
    /// Answers itself.
    Redirect(Said, Arc<RouteCells>),
    /// Answers itself.
    Respond(Text, Arc<RouteCells>),
}

/// Weighted pools; one entry for `pool`.
#[derive(Debug)]
pub struct Split {
    /// Cumulative weights.
    pub(super) rows: Vec<(u64, Target)>,
}

impl Split {
    /// From weights; zero ones are left out.
    pub(in crate::http) fn new(targets: Vec<(u32, Target)>) -> Self {
        let mut sum = 0;
        let rows = targets.into_iter().filter(|(weight, _)| *weight > 0).map(|(weight, target)| {
            sum += u64::from(weight);
            (sum, target)
        });
        Self { rows: rows.collect() }
    }
    /// Draws one by weight.
    pub fn choose(&self, seed: u64) -> &Target {
        let (sum, last) =
            self.rows.last().map(|(sum, target)| (*sum, target)).expect("a route has a pool");
        if self.rows.len() == 1 {
            return last;
        }
        let drawn = (u128::from(seed) * u128::from(sum) >> 64) as u64;
        self.rows.iter().find(|(sum, _)| drawn < *sum).map_or(last, |(_, target)| target)
    }
    /// Every target.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.rows.iter().map(|(_, target)| target)
    }
}

/// The answer of a `respond`.
pub(in crate::http) fn respond(said: &Text) -> Reply {
    let mut fields = Fields::new();
    for (name, value) in &said.headers {
        // Checked by the config.
        let _ = fields.append(name, value.as_bytes());
    }
    Reply::with(said.status, fields, said.body.clone().into_bytes())
}

/// The answer of a `redirect`: what it does not name it keeps, the query too.
pub(in crate::http) fn redirect(
    said: &Said,
    route: &PathMatch,
    asked: &Asked<'_>,
    scheme: &str,
) -> Reply {
    let scheme = said.scheme.as_deref().unwrap_or(scheme);
    let authority = asked.authority.unwrap_or(b"");
    let host =
        said.host.as_ref().map_or_else(|| asked.host.unwrap_or(authority), |host| host.as_bytes());
    let mut location = Vec::with_capacity(256);
    location.extend_from_slice(scheme.as_bytes());
    location.extend_from_slice(b"://");
    location.extend_from_slice(host);
    let kept =
        authority.strip_prefix(asked.host.unwrap_or(b"")).and_then(|rest| rest.strip_prefix(b":"));
    match (said.port, kept) {
        (Some(port), _) => location.extend_from_slice(format!(":{port}").as_bytes()),
        // A port belongs to its scheme: another scheme has its own default.
        (None, Some(port)) if said.scheme.is_none() && said.host.is_none() => {
            location.push(b':');
            location.extend_from_slice(port);
        }
        _ => {}
    }
    match &said.path {
        Some(path) => location.extend_from_slice(&rewrite::path(path, route, &asked.path)),
        None => location.extend_from_slice(&asked.path),
    }
    if let Some(query) = asked.query {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    let mut fields = Fields::new();
    if fields.append("Location", &location).is_err() {
        return Reply::own(400, "bad_redirect");
    }
    Reply::with(said.status, fields, Vec::new())
}
