//! Where the connections of a listener go: to its pool, or by the name a client asks for.
use crate::config::{
    Config, Effective, HostMatch, KeyPart, Listener, Name, Overrides, PoolRef, Problem, SniRoute,
};
use crate::net::Peer;
use crate::pool::{Pool, Split, client_hash};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A pool as a connection reaches it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pool: Arc<Pool>,
    /// What holds: defaults, listener, pool, route.
    pub(super) effective: Effective,
    /// The parts of a hash key that a connection has; empty where the policy wants none.
    pub(super) key: Vec<KeyPart>,
    /// Only the first part that is present counts.
    first: bool,
}

impl Target {
    pub(super) fn hash(&self, peer: Peer) -> Option<u64> {
        client_hash(&self.key, self.first, peer.addr()?)
    }
}

/// A route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: Name,
    /// Its pools by weight.
    pub(super) to: Split<Target>,
}

/// The routes of a listener that lets TLS pass.
#[derive(Debug)]
pub(super) struct Names<R = Route> {
    exact: HashMap<String, Arc<R>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Arc<R>>,
}

impl<R> Default for Names<R> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<R> Names<R> {
    /// The route of a name: an exact one before the longest wildcard, which stands for one label or
    /// more.
    pub(super) fn find(&self, name: &str) -> Option<&R> {
        let mut rest = name;
        let mut wildcards = std::iter::from_fn(|| {
            rest = rest.split_once('.')?.1;
            Some(rest)
        });
        let exact = self.exact.get(name);
        let found = exact.or_else(|| wildcards.find_map(|above| self.wildcard.get(above)));
        found.map(|route| &**route)
    }

    /// Of two routes of one name the first counts.
    pub(super) fn add(&mut self, names: &[HostMatch], route: Arc<R>) {
        for name in names {
            let (map, name) = match name {
                HostMatch::Exact(name) => (&mut self.exact, name),
                HostMatch::Wildcard(above) => (&mut self.wildcard, above),
            };
            map.entry(name.clone()).or_insert_with(|| route.clone());
        }
    }
}

/// What the routes of a listener are compiled from.
pub(super) struct Compiler<'a> {
    pub(super) listener: &'a Listener,
    pub(super) config: &'a Config,
    pub(super) pools: &'a BTreeMap<Name, Arc<Pool>>,
}

impl Compiler<'_> {
    /// Its routes by name.
    ///
    /// # Errors
    ///
    /// Every pool that is not there.
    pub(super) fn names(&self) -> Result<Names, Vec<Problem>> {
        let (mut names, mut problems) = (Names::default(), Vec::new());
        let all = self.config.sni_routes.iter();
        for said in all.filter(|route| route.belongs_to(&self.listener.name)) {
            match self.route(said) {
                Ok(route) => names.add(&said.names, Arc::new(route)),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(names) } else { Err(problems) }
    }

    /// The listener's own pool.
    ///
    /// # Errors
    ///
    /// The pool is not there.
    pub(super) fn default(&self, pool: &PoolRef) -> Result<Route, Problem> {
        let key = format!("listener.{}.pool", self.listener.name);
        let target = self.target(&key, pool, None)?;
        let name = Name::new("default").expect("a valid name");
        Ok(Route { name, to: Split::new([(1, target)]).expect("one that has a weight") })
    }

    fn route(&self, said: &SniRoute) -> Result<Route, Problem> {
        let key = format!("route.{}.pools", said.name);
        let to = |(pool, weight): &(PoolRef, u32)| {
            Ok((*weight, self.target(&key, pool, Some(&said.over))?))
        };
        let to: Vec<_> = said.pools.iter().map(to).collect::<Result<_, _>>()?;
        let nobody = || Problem::new(&said.at, key, "every pool has the weight 0");
        Ok(Route { name: said.name.clone(), to: Split::new(to).ok_or_else(nobody)? })
    }

    fn target(
        &self,
        key: &str,
        pool: &PoolRef,
        route: Option<&Overrides>,
    ) -> Result<Target, Problem> {
        let found = self.pools.get(&pool.name).zip(self.config.pools.get(&pool.name));
        let Some((running, section)) = found else {
            let what = format!("no pool named {:?}", &*pool.name);
            return Err(Problem::new(&pool.at, key, what));
        };
        let places = [&self.config.defaults, &self.listener.over, &section.over];
        let hash = section.balance.hash.as_ref();
        Ok(Target {
            pool: running.clone(),
            effective: Effective::layered(places.into_iter().chain(route)),
            key: hash.map_or_else(Vec::new, |hash| hash.key.clone()),
            first: hash.is_some_and(|hash| hash.first),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Policies;
    use std::path::Path;

    fn names(routes: &str) -> Names {
        let text = format!(
            "[listener.tls]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\ntls = \"passthrough\"\n\
             [listener.other]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\ntls = \"passthrough\"\n\
             {routes}\n[pool.app]\nbackends = []\n"
        );
        let config = crate::config::parse(&text, Path::new("x.toml")).unwrap();
        let pool = Pool::prepare(
            &Name::new("app").unwrap(),
            &config.pools["app"],
            &Policies::default(),
            None,
        );
        let pools = [(Name::new("app").unwrap(), pool.unwrap().commit().0)].into();
        let listener = &config.listeners["tls"];
        Compiler { listener, config: &config, pools: &pools }.names().unwrap()
    }

    #[test]
    fn an_exact_name_counts_before_the_longest_wildcard_and_the_first_route_before_the_next() {
        let names = names(
            "[[route]]\nname = \"any\"\nlistener = \"tls\"\nsni = \"*.a.test\"\npool = \"app\"\n\
             [[route]]\nname = \"b\"\nsni = [\"*.b.A.test\", \"c.test.\"]\npool = \"app\"\n\
             [[route]]\nname = \"late\"\nsni = [\"*.a.test\", \"x.b.a.test\"]\npool = \"app\"\n",
        );
        for (name, route) in [
            ("x.a.test", Some("any")),
            ("x.y.a.test", Some("any")),
            ("b.a.test", Some("any")),
            ("y.b.a.test", Some("b")),
            ("x.b.a.test", Some("late")),
            ("c.test", Some("b")),
            ("a.test", None),
            ("d.c.test", None),
            ("test", None),
            ("", None),
            ("xa.test", None),
        ] {
            assert_eq!(names.find(name).map(|route| &*route.name), route, "{name}");
        }
    }
}
