//! A listener's compiled routes: everything a request needs, made when the plan is made.
pub use super::cells::RouteCells;
use super::compile::Compiler;
use super::headers::Via;
use super::path::Asked;
use super::route::{Route, Router};
use super::shaping::Shaping;
pub use super::split::Target;
use crate::config::{Compat, Config, Effective, Http2, Listener, Name, Problem};
use crate::metrics::ListenerCells;
use crate::pool::Pool;
use std::collections::{BTreeMap, BTreeSet};
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
    /// What HTTP/2 may cost.
    pub http2: Http2,
    /// What is counted besides.
    pub compat: Compat,
    /// Whose forwarded fields are believed.
    pub trusted: Vec<ipnet::IpNet>,
    /// What this listener calls itself in `Via`: random, kept through reloads.
    pub(super) via: Arc<Via>,
    /// The names of the cookies of all pools of the configuration, which no backend sees.
    pub(super) cookies: Box<[String]>,
    /// Counts requests that no route took (`route="none"`).
    pub none: Arc<RouteCells>,
    router: Router<Arc<Route>>,
    /// The listener's own pool, as a route named `default`.
    default: Option<Arc<Route>>,
    counted: Vec<Arc<RouteCells>>,
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
        shaping: &Shaping,
        cells: Arc<ListenerCells>,
        previous: Option<&Gateway>,
    ) -> Result<Self, Vec<Problem>> {
        let before = previous.map_or_else(Vec::new, Gateway::route_cells);
        let mut compiler = Compiler::new(listener, config, pools, shaping, before);
        let default = listener.pool.as_ref().and_then(|pool| compiler.default(pool));
        let router = compiler.router();
        let none = compiler.cells("none", "none");
        let counted = compiler.finish()?;
        Ok(Self {
            listener: listener.name.clone(),
            cells,
            effective: Effective::layered([&config.defaults, &listener.over]),
            http2: listener.http2,
            compat: config.compat,
            trusted: listener.trusted_proxies.clone(),
            via: previous.map_or_else(|| Arc::new(Via::pseudonym()), |before| before.via.clone()),
            cookies: cookies(config),
            none,
            router,
            default: default.map(Arc::new),
            counted,
        })
    }

    /// Finds the route of a request; `None`: 404. Nearly free where there are no routes.
    pub fn find(&self, asked: &Asked<'_>) -> Option<&Arc<Route>> {
        self.router.find(asked).or(self.default.as_ref())
    }

    /// Whether it has a pool of its own, for what no route takes.
    pub(super) fn has_default(&self) -> bool {
        self.default.is_some()
    }

    /// Every set of route cells, for the collector.
    pub fn route_cells(&self) -> Vec<Arc<RouteCells>> {
        self.counted.clone()
    }
}

/// The names of the cookies of all pools, each once.
fn cookies(config: &Config) -> Box<[String]> {
    let all = config.pools.values().filter_map(|pool| Some(pool.sticky.as_ref()?.cookie.clone()));
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::path::asked;
    use super::super::route::Action;
    use super::*;
    use crate::config::{self, HostSent};
    use crate::message::{Head, Method, Version};
    use crate::pool::Policies;
    use std::path::Path;
    use std::time::Duration;

    const POOLS: &str = "
        [pool.app]
        backends = [\"127.0.0.1:1\"]
        timeout = { connect = \"3s\", idle = \"3s\" }
        [pool.canary]
        host = \"backend\"
        balance = { policy = \"consistent_hash\", key = [\"path\"] }
        backends = [\"127.0.0.1:2\"]
    ";

    fn read(text: &str) -> Config {
        config::parse(&format!("{text}{POOLS}"), Path::new("proxy.toml")).unwrap()
    }

    fn pools(config: &Config) -> BTreeMap<Name, Arc<Pool>> {
        let prepare = |(name, said): (&Name, &config::Pool)| {
            let pool = Pool::prepare(name, said, &Policies::default(), None).unwrap();
            (name.clone(), pool.commit().0)
        };
        config.pools.iter().map(prepare).collect()
    }

    fn compile(config: &Config, previous: Option<&Gateway>) -> Result<Gateway, Vec<Problem>> {
        let (pools, shaping) = (pools(config), Shaping::compile(config, None));
        let listener = &config.listeners["web"];
        Gateway::compile(listener, config, &pools, &shaping, Arc::default(), previous)
    }

    fn found<'g>(gateway: &'g Gateway, target: &str) -> Option<&'g Arc<Route>> {
        let mut head = Head::new();
        head.start_request(b"GET", target.as_bytes(), Version::Http11).unwrap();
        let asked = asked(&head, Some(b"a")).unwrap();
        gateway.find(&asked)
    }

    fn target(route: &Route) -> &Target {
        let Action::Forward(split) = &route.action else { panic!("{route:?}") };
        split.choose(0)
    }

    const WEB: &str = "
        [defaults]
        timeout = { connect = \"1s\", idle = \"1s\", request = \"9s\", first_byte = \"1s\" }
        [listener.web]
        bind = \"127.0.0.1:0\"
        protocol = \"http\"
        pool = \"app\"
        timeout = { request = \"2s\" }
        [listener.other]
        bind = \"127.0.0.1:0\"
        protocol = \"http\"
        pool = \"app\"
        [[route]]
        name = \"api\"
        path = \"/api\"
        pool = \"canary\"
        timeout = { idle = \"4s\" }
        rewrite = { host = \"named\" }
        [[route]]
        name = \"elsewhere\"
        listener = \"other\"
        path = \"/elsewhere\"
        pool = \"app\"
    ";

    #[test]
    fn routes_of_other_listeners_are_not_found() {
        let gateway = compile(&read(WEB), None).unwrap();
        assert_eq!(&*found(&gateway, "/api/x").unwrap().name, "api");
        assert_eq!(&*found(&gateway, "/elsewhere").unwrap().name, "default");
    }

    #[test]
    fn without_a_pool_what_no_route_takes_is_nobodys() {
        let text = WEB.replacen("pool = \"app\"\n        timeout", "timeout", 1);
        let gateway = compile(&read(&text), None).unwrap();
        assert!(found(&gateway, "/x").is_none() && found(&gateway, "/api").is_some());
    }

    #[test]
    fn limits_are_laid_over_each_other() {
        let gateway = compile(&read(WEB), None).unwrap();
        let seconds = |t: config::Timeout| t.get().unwrap().as_secs();
        let default = &target(found(&gateway, "/").unwrap()).effective.timeout;
        let all = [default.first_byte, default.request, default.connect, default.idle];
        assert_eq!(all.map(seconds), [1, 2, 3, 3]);
        let api = &target(found(&gateway, "/api").unwrap()).effective.timeout;
        assert_eq!([api.request, api.connect, api.idle].map(seconds), [2, 1, 4]);
        assert_eq!(seconds(gateway.effective.timeout.connect), 1);
    }

    #[test]
    fn a_target_knows_its_host_and_its_key() {
        let gateway = compile(&read(WEB), None).unwrap();
        let api = target(found(&gateway, "/api").unwrap());
        assert_eq!(api.host, HostSent::Name("named".into()));
        assert_eq!(api.hash.as_ref().unwrap().key, [config::KeyPart::Path]);
        let default = target(found(&gateway, "/").unwrap());
        assert_eq!((&default.host, &default.hash), (&HostSent::Preserve, &None));
        let plain = read(&WEB.replace("rewrite", "# rewrite"));
        let plain = compile(&plain, None).unwrap();
        assert_eq!(target(found(&plain, "/api").unwrap()).host, HostSent::Backend);
    }

    #[test]
    fn counts_and_pseudonym_survive_a_reload() {
        let config = read(WEB);
        let first = compile(&config, None).unwrap();
        let api = target(found(&first, "/api").unwrap()).cells.clone();
        api.count(Method::Get, 200, Duration::ZERO);
        let second = compile(&config, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&api, &target(found(&second, "/api").unwrap()).cells));
        assert!(Arc::ptr_eq(&first.none, &second.none));
        assert_eq!(first.via.name, second.via.name);
        let shown: Vec<String> = second.route_cells().iter().map(|c| c.labels.clone()).collect();
        let label = |route, pool| format!("listener=\"web\",route=\"{route}\",pool=\"{pool}\"");
        assert_eq!(shown, [label("api", "canary"), label("default", "app"), label("none", "none")]);
    }

    #[test]
    fn series_of_a_removed_route_disappear() {
        let first = compile(&read(WEB), None).unwrap();
        let without = WEB.split("[[route]]").next().unwrap();
        let second = compile(&read(without), Some(&first)).unwrap();
        assert!(second.route_cells().iter().all(|cells| !cells.labels.contains("api")));
    }

    #[test]
    fn every_problem_is_said_at_once() {
        let mut config = read(WEB);
        let absent = Name::new("absent").unwrap();
        config.listeners.get_mut("web").unwrap().pool.as_mut().unwrap().name = absent.clone();
        config.routes[0].request_headers.set.push(("X-A".into(), "1\r\nX-B: 2".into()));
        if let config::Action::Pool(pool) = &mut config.routes[0].action {
            pool.name = absent;
        }
        let problems = compile(&config, None).unwrap_err();
        let keys: Vec<&str> = problems.iter().map(|p| &*p.key).collect();
        assert_eq!(keys, ["listener.web.pool", "route.api.request_headers.X-A", "route.api.pool"]);
    }
}
