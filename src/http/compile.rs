//! From a listener and its routes to a gateway: every problem at once, nothing running touched.
use super::affinity::Affinity;
use super::answer::{Redirect, Respond};
use super::cells::RouteCells;
use super::headers::Rules;
use super::mirror::Mirror;
use super::rewrite::PathChange;
use super::route::{Action, Conditions, Route, Router, Row};
use super::shaping::Shaping;
use super::split::{Split, Target};
use crate::config::{
    self, Config, Effective, HostSent, Listener, Name, Overrides, PoolRef, Problem,
};
use crate::pool::Pool;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What the routes of a listener are compiled from, and what was found on the way.
pub(super) struct Compiler<'a> {
    listener: &'a Listener,
    config: &'a Config,
    pools: &'a BTreeMap<Name, Arc<Pool>>,
    shaping: &'a Shaping,
    /// Cells of the plan before, by their labels.
    before: HashMap<String, Arc<RouteCells>>,
    /// Cells of this one.
    counted: BTreeMap<String, Arc<RouteCells>>,
    problems: Vec<Problem>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(
        listener: &'a Listener,
        config: &'a Config,
        pools: &'a BTreeMap<Name, Arc<Pool>>,
        shaping: &'a Shaping,
        before: Vec<Arc<RouteCells>>,
    ) -> Self {
        let before = before.into_iter().map(|cells| (cells.labels.clone(), cells)).collect();
        let (counted, problems) = (BTreeMap::new(), Vec::new());
        Self { listener, config, pools, shaping, before, counted, problems }
    }

    /// Every set of cells that was made or kept.
    ///
    /// # Errors
    ///
    /// Every problem found.
    pub(super) fn finish(self) -> Result<Vec<Arc<RouteCells>>, Vec<Problem>> {
        if self.problems.is_empty() {
            Ok(self.counted.into_values().collect())
        } else {
            Err(self.problems)
        }
    }

    /// The routes that belong to the listener, to be found.
    pub(super) fn router(&mut self) -> Router<Arc<Route>> {
        let (config, listener) = (self.config, self.listener);
        let belongs = |route: &&config::Route| route.belongs_to(&listener.name);
        Router::build(config.routes.iter().filter(belongs).filter_map(|said| {
            let conditions = Conditions::new(&said.methods, &said.headers, &said.query);
            let value = Arc::new(self.route(said)?);
            Some(Row { hosts: &said.hosts, path: &said.path, conditions, value })
        }))
    }

    /// The route to the listener's own pool.
    pub(super) fn default(&mut self, pool: &PoolRef) -> Option<Route> {
        let name = Name::new("default").expect("a valid name");
        let key = format!("listener.{}.pool", self.listener.name);
        let target = self.target(&name, &key, pool, None)?;
        Some(Route {
            name,
            action: Action::Forward(Split::new([(1, target)], &[])?),
            rules: Rules::default(),
            path: None,
            websocket: true,
            refuse_encoded_slash: false,
            hedge: None,
            limiter: None,
            mirror: None,
        })
    }

    fn route(&mut self, said: &config::Route) -> Option<Route> {
        let rules = Rules::new(&said.request_headers, &said.response_headers);
        let rules = rules.map_err(|(word, name, invalid)| {
            let key = format!("route.{}.{word}.{name}", said.name);
            self.problems.push(Problem::new(&said.at, key, invalid.to_string()));
        });
        let action = self.action(said);
        let mirror = said.mirror.as_ref().map(|mirror| self.mirror(said, mirror));
        let mirror = match mirror {
            Some(found) => Some(found?),
            None => None,
        };
        Some(Route {
            name: said.name.clone(),
            action: action?,
            rules: rules.ok()?,
            path: said.rewrite.path.as_ref().map(|rule| PathChange::new(rule, &said.path)),
            websocket: said.websocket,
            refuse_encoded_slash: said.refuse_encoded_slash,
            hedge: said.hedge,
            mirror: mirror.map(Arc::new),
            limiter: self.shaping.of(&said.name).and_then(|shaped| shaped.limiter.clone()),
        })
    }

    fn action(&mut self, said: &config::Route) -> Option<Action> {
        match &said.action {
            config::Action::Pool(pool) => {
                let key = format!("route.{}.pool", said.name);
                let target = self.target(&said.name, &key, pool, Some(said))?;
                Split::new([(1, target)], &[]).map(Action::Forward)
            }
            config::Action::Pools(pools) => self.split(said, pools),
            config::Action::Redirect(redirect) => {
                let redirect = Redirect::new(redirect, &said.path);
                Some(Action::Redirect(redirect, self.cells(&said.name, "none")))
            }
            config::Action::Respond(respond) => match Respond::new(respond) {
                Ok(respond) => Some(Action::Respond(respond, self.cells(&said.name, "none"))),
                Err((name, invalid)) => {
                    let key = format!("route.{}.respond.headers.{name}", said.name);
                    self.problems.push(Problem::new(&said.at, key, invalid.to_string()));
                    None
                }
            },
        }
    }

    fn split(&mut self, said: &config::Route, pools: &[(PoolRef, u32)]) -> Option<Action> {
        let key = format!("route.{}.pools", said.name);
        let found: Vec<_> = pools
            .iter()
            .map(|(pool, weight)| Some((*weight, self.target(&said.name, &key, pool, Some(said))?)))
            .collect();
        let split = Split::new(found.into_iter().collect::<Option<Vec<_>>>()?, &said.split_by);
        if split.is_none() {
            self.problems.push(
                Problem::new(&said.at, key, "every pool has the weight 0")
                    .hint("a request must have somewhere to go"),
            );
        }
        split.map(Action::Forward)
    }

    /// A pool as the route (`None`: the listener itself) reaches it.
    fn target(
        &mut self,
        name: &Name,
        key: &str,
        pool: &PoolRef,
        route: Option<&config::Route>,
    ) -> Option<Target> {
        let (running, section) = self.pool(key, pool)?;
        let places: [&Overrides; 3] = [&self.config.defaults, &self.listener.over, &section.over];
        let rewritten = route.and_then(|route| route.rewrite.host.clone()).map(HostSent::Name);
        Some(Target {
            pool: running.clone(),
            effective: Effective::layered(places.into_iter().chain(route.map(|r| &r.over))),
            host: rewritten.unwrap_or_else(|| section.host.clone()),
            hash: section.balance.hash.clone().map(Box::new),
            affinity: section.sticky.as_ref().map(|said| Box::new(Affinity::new(running, said))),
            cells: self.cells(name, &pool.name),
        })
    }

    /// Where copies of a route's requests go.
    fn mirror(&mut self, route: &config::Route, said: &config::Mirror) -> Option<Mirror> {
        let key = format!("route.{}.mirror.pool", route.name);
        let (pool, section) = self.pool(&key, &said.pool)?;
        let places = [&self.config.defaults, &self.listener.over, &section.over, &route.over];
        let rewritten = route.rewrite.host.clone().map(HostSent::Name);
        Some(Mirror {
            said: said.clone(),
            route: route.name.to_string(),
            pool: pool.clone(),
            effective: Effective::layered(places),
            host: rewritten.unwrap_or_else(|| section.host.clone()),
            hash: section.balance.hash.clone(),
            cells: self.shaping.of(&route.name).and_then(|s| s.mirror.clone()).unwrap_or_default(),
            drain: self.shaping.mirrors.clone(),
        })
    }

    /// A pool by its name.
    fn pool(&mut self, key: &str, pool: &PoolRef) -> Option<(&'a Arc<Pool>, &'a config::Pool)> {
        let found = self.pools.get(&pool.name).zip(self.config.pools.get(&pool.name));
        if found.is_none() {
            let what = format!("no pool named {:?}", &*pool.name);
            self.problems.push(Problem::new(&pool.at, key, what));
        }
        found
    }

    /// The cells of (listener, route, pool): those of the plan before where there are some.
    pub(super) fn cells(&mut self, route: &str, pool: &str) -> Arc<RouteCells> {
        let fresh = RouteCells::new(&self.listener.name, route, pool);
        let labels = fresh.labels.clone();
        let kept = self.before.get(&labels).cloned();
        self.counted
            .entry(labels)
            .or_insert_with(|| kept.unwrap_or_else(|| Arc::new(fresh)))
            .clone()
    }
}
