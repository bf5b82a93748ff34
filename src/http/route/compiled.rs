//! A compiled route: everything a request needs of it, made when the plan is made.
use crate::config::{Hedge, Name};
use crate::http::answer::{Redirect, Respond};
use crate::http::cells::RouteCells;
use crate::http::headers::Rules;
use crate::http::mirror::Mirror;
use crate::http::rate_limit::Limiter;
use crate::http::rewrite::PathChange;
use crate::http::split::Split;
use std::sync::Arc;

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// Its name, `default` for the listener's own pool.
    pub name: Name,
    /// What it does.
    pub action: Action,
    /// Rules on fields, both ways.
    pub(in crate::http) rules: Rules,
    /// What path the backend sees; `None`: the request's. (What host: `Target::host`.)
    pub(in crate::http) path: Option<PathChange>,
    /// Whether WebSocket upgrades are let through.
    pub websocket: bool,
    /// Whether `%2f` and `%00` in a path are refused.
    pub refuse_encoded_slash: bool,
    /// When a request is sent to another backend as well.
    pub(in crate::http) hedge: Option<Hedge>,
    /// How often its requests may come.
    pub(in crate::http) limiter: Option<Limiter>,
    /// Where copies of its requests go.
    pub(in crate::http) mirror: Option<Arc<Mirror>>,
}

/// What a compiled route does.
#[allow(clippy::large_enum_variant, reason = "the usual one is the large one")]
#[derive(Debug)]
pub enum Action {
    /// Forwards.
    Forward(Split),
    /// Answers itself.
    Redirect(Redirect, Arc<RouteCells>),
    /// Answers itself.
    Respond(Respond, Arc<RouteCells>),
}

impl Action {
    /// Where a request that it would get is counted.
    pub fn cells(&self, seed: u64) -> &Arc<RouteCells> {
        match self {
            Self::Forward(split) => &split.choose(seed).cells,
            Self::Redirect(_, cells) | Self::Respond(_, cells) => cells,
        }
    }
}
