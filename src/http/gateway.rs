//! A listener's compiled routes: everything a request needs, made when the plan is made.
use super::route::Router;
use crate::config::{Config, Effective, Listener, Name, Problem};
use crate::metrics::{Counter, Histogram, ListenerCells};
use crate::pool::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The service of an http listener.
#[derive(Debug)]
pub struct Gateway {
    /// The listener's name.
    pub listener: Name,
    /// What is counted at the listener.
    pub cells: Arc<ListenerCells>,
    /// What holds before a route is known: `defaults` and `listener`.
    pub effective: Effective,
    /// Whose forwarded fields are believed.
    pub trusted: Vec<ipnet::IpNet>,
    /// Finds a route.
    pub router: Router,
    /// The listener's own pool, as a route named `default`.
    pub default: Option<Arc<Route>>,
    /// Counts requests that no route took (`route="none"`).
    pub none: Arc<RouteCells>,
}

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// Its name, `default` for the listener's own pool.
    pub name: Name,
    /// What it does.
    pub action: Action,
    // host rewrite, header rules (validated), path rewrite, websocket, refuse_encoded_slash …
}

/// What a compiled route does.
#[derive(Debug)]
pub enum Action {
    /// Forwards to one of these; the numbers are cumulative weights. One entry for `pool`.
    Forward(Vec<(u32, Target)>),
    /// Answers itself (redirect, respond).
    Answer,
}

/// A pool as a route reaches it.
#[derive(Debug)]
pub struct Target {
    /// The pool.
    pub pool: Arc<Pool>,
    /// What holds: defaults, listener, pool, route.
    pub effective: Effective,
    /// What is counted.
    pub cells: Arc<RouteCells>,
}

/// What is counted of a route (and pool): `evenkeel_requests_total`, `evenkeel_request_duration_seconds`.
/// Lives as long as (listener, route, pool) keep their names.
#[derive(Debug, Default)]
pub struct RouteCells {
    /// Rendered labels: `listener="web",route="api",pool="app"`.
    pub labels: String,
    /// Rendered labels: `route="api",pool="app"`.
    pub duration_labels: String,
    /// How long requests took.
    pub duration: Histogram,
    /// The handle most asked for: GET 200.
    pub get_200: Counter,
    // … others by method and code, made when first seen
}

impl Gateway {
    /// Compiles an http listener. Cells of `previous` are kept where the names are.
    ///
    /// # Errors
    ///
    /// Every problem of the listener's routes.
    pub fn compile(
        listener: &Listener,
        config: &Config,
        pools: &BTreeMap<Name, Arc<Pool>>,
        cells: Arc<ListenerCells>,
        previous: Option<&Gateway>,
    ) -> Result<Self, Vec<Problem>> {
        let _ = (listener, config, pools, cells, previous);
        todo!()
    }
    /// Every set of route cells, for the collector.
    pub fn route_cells(&self) -> Vec<Arc<RouteCells>> {
        todo!()
    }
}
