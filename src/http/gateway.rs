//! A listener's compiled routes: everything a request needs, made when the plan is made.
use super::headers::{Rules, pseudonym};
use super::path::Asked;
use super::route::{Action, Conditions, Route, Router, Row, Split};
use crate::config::{
    self, Config, Effective, Hash, HostSent, Listener, Name, PathMatch, PoolRef, Problem,
};
use crate::message::Method;
use crate::metrics::{Counter, Histogram, ListenerCells, labels};
use crate::pool::Pool;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
    /// What this process calls itself in `Via`.
    pub via: Arc<str>,
    /// Counts requests that no route took (`route="none"`).
    pub none: Arc<RouteCells>,
    router: Router<Arc<Route>>,
    default: Option<Arc<Route>>,
    counted: BTreeMap<(Name, Name), Arc<RouteCells>>,
}

/// A pool as a route reaches it.
#[derive(Debug)]
pub struct Target {
    /// The pool.
    pub pool: Arc<Pool>,
    /// What holds: defaults, listener, pool, route.
    pub effective: Effective,
    /// What Host the backend sees.
    pub host: HostSent,
    /// The parts of a hash key, where the policy wants one.
    pub hash: Option<Hash>,
    /// What is counted.
    pub cells: Arc<RouteCells>,
}

/// What is counted of a route (and pool). Lives as long as (listener, route, pool) keep their names.
#[derive(Debug, Default)]
pub struct RouteCells {
    /// Rendered labels: `listener="web",route="api",pool="app"`.
    pub labels: String,
    /// Rendered labels of the histogram.
    pub duration_labels: String,
    /// How long requests took.
    pub duration: Histogram,
    /// By method and class of status: made when first seen, looked up without a lock.
    counts: [[OnceLock<Box<[Counter; 100]>>; 5]; 10],
}

const METHODS: [(Method, &str); 10] = [
    (Method::Get, "GET"),
    (Method::Head, "HEAD"),
    (Method::Post, "POST"),
    (Method::Put, "PUT"),
    (Method::Delete, "DELETE"),
    (Method::Connect, "CONNECT"),
    (Method::Options, "OPTIONS"),
    (Method::Trace, "TRACE"),
    (Method::Patch, "PATCH"),
    (Method::Other, "other"),
];

impl RouteCells {
    fn new(listener: &str, route: &str, pool: &str) -> Self {
        Self {
            labels: labels(&[("listener", listener), ("route", route), ("pool", pool)]),
            // Routes of one name on several listeners are told apart here too: a series is one thing.
            duration_labels: labels(&[("listener", listener), ("route", route), ("pool", pool)]),
            ..Self::default()
        }
    }
    /// Counts a request: three relaxed additions.
    pub fn count(&self, method: Method, code: u16, took: Duration) {
        let class = usize::from((code / 100).clamp(1, 5)) - 1;
        let cells = self.counts[method as usize][class]
            .get_or_init(|| Box::new([const { Counter::new() }; 100]));
        cells[usize::from(code % 100)].inc();
        self.duration.observe(took);
    }
    /// Every method and code seen, and how often.
    pub fn counts(&self) -> Vec<(&'static str, u16, u64)> {
        let mut all = Vec::new();
        for (method, word) in METHODS {
            for (class, cells) in (1u16..).zip(&self.counts[method as usize]) {
                for (code, cell) in
                    (0u16..).zip(cells.get().into_iter().flat_map(|cells| cells.iter()))
                {
                    if cell.get() > 0 {
                        all.push((word, class * 100 + code, cell.get()));
                    }
                }
            }
        }
        all
    }
}

/// What the routes of a listener are compiled from.
struct Compiler<'a> {
    listener: &'a Listener,
    config: &'a Config,
    pools: &'a BTreeMap<Name, Arc<Pool>>,
    previous: Option<&'a Gateway>,
    counted: BTreeMap<(Name, Name), Arc<RouteCells>>,
    problems: Vec<Problem>,
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
        let mut c = Compiler {
            listener,
            config,
            pools,
            previous,
            counted: BTreeMap::new(),
            problems: Vec::new(),
        };
        let belongs = |route: &&config::Route| {
            route.listeners.is_empty() || route.listeners.iter().any(|l| l.name == listener.name)
        };
        let compiled: Vec<(&config::Route, Option<Arc<Route>>)> =
            config.routes.iter().filter(belongs).map(|route| (route, c.route(route))).collect();
        let router = Router::build(compiled.into_iter().filter_map(|(said, route)| {
            let conditions = Conditions::new(&said.methods, &said.headers, &said.query);
            Some(Row { hosts: &said.hosts, path: &said.path, conditions, value: route? })
        }));
        let default = listener.pool.as_ref().and_then(|pool| c.default(pool));
        let none = c.cells("none", "none");
        if !c.problems.is_empty() {
            return Err(c.problems);
        }
        Ok(Self {
            listener: listener.name.clone(),
            cells,
            effective: Effective::layered([&config.defaults, &listener.over]),
            trusted: listener.trusted_proxies.clone(),
            via: previous.map_or_else(pseudonym, |before| before.via.clone()),
            none,
            router,
            default,
            counted: c.counted,
        })
    }

    /// Finds the route of a request; `None`: 404.
    pub fn find(&self, asked: &Asked<'_>) -> Option<&Arc<Route>> {
        self.router.find(asked).or(self.default.as_ref())
    }

    /// Every set of route cells, for the collector.
    pub fn route_cells(&self) -> Vec<Arc<RouteCells>> {
        self.counted.values().cloned().collect()
    }
}

impl Compiler<'_> {
    fn route(&mut self, said: &config::Route) -> Option<Arc<Route>> {
        let action = match &said.action {
            config::Action::Pool(pool) => {
                let target = self.target(&said.name, pool, Some(&said.over))?;
                Action::Forward(Split::new(vec![(1, target)]))
            }
            config::Action::Pools(pools) => {
                let targets: Vec<_> = pools
                    .iter()
                    .filter_map(|(pool, weight)| {
                        Some((*weight, self.target(&said.name, pool, Some(&said.over))?))
                    })
                    .collect();
                if targets.iter().all(|(weight, _)| *weight == 0) {
                    return None;
                }
                Action::Forward(Split::new(targets))
            }
            config::Action::Redirect(redirect) => {
                Action::Redirect(redirect.clone(), self.cells(&said.name, "none"))
            }
            config::Action::Respond(respond) => {
                Action::Respond(respond.clone(), self.cells(&said.name, "none"))
            }
        };
        Some(Arc::new(Route {
            name: said.name.clone(),
            action,
            rules: Rules::new(&said.request_headers, &said.response_headers),
            path: said.path.clone(),
            rewrite: said.rewrite.clone(),
            websocket: said.websocket,
            refuse_encoded_slash: said.refuse_encoded_slash,
        }))
    }

    fn default(&mut self, pool: &PoolRef) -> Option<Arc<Route>> {
        let name = Name::new("default").expect("a valid name");
        let target = self.target(&name, pool, None)?;
        Some(Arc::new(Route {
            name,
            action: Action::Forward(Split::new(vec![(1, target)])),
            rules: Rules::default(),
            path: PathMatch::Prefix("/".into()),
            rewrite: config::Rewrite::default(),
            websocket: true,
            refuse_encoded_slash: false,
        }))
    }

    fn target(
        &mut self,
        route: &str,
        said: &PoolRef,
        over: Option<&config::Overrides>,
    ) -> Option<Target> {
        let (Some(pool), Some(section)) =
            (self.pools.get(&said.name), self.config.pools.get(&said.name))
        else {
            let what = format!("no pool named {:?}", &*said.name);
            self.problems.push(Problem::new(&said.at, format!("route.{route}.pool"), what));
            return None;
        };
        let places =
            [&self.config.defaults, &self.listener.over, &section.over].into_iter().chain(over);
        Some(Target {
            pool: pool.clone(),
            effective: Effective::layered(places),
            host: section.host.clone(),
            hash: section.balance.hash.clone(),
            cells: self.cells(route, &said.name),
        })
    }

    /// The cells of (route, pool): those of the plan before where there are some.
    fn cells(&mut self, route: &str, pool: &str) -> Arc<RouteCells> {
        let name = |text: &str| {
            Name::new(text).unwrap_or_else(|_| Name::new("none").expect("a valid name"))
        };
        let key = (name(route), name(pool));
        let before = self.previous.and_then(|gateway| gateway.counted.get(&key));
        let make = || {
            before
                .cloned()
                .unwrap_or_else(|| Arc::new(RouteCells::new(&self.listener.name, route, pool)))
        };
        self.counted.entry(key).or_insert_with(make).clone()
    }
}
