//! What the routes of one name share, whatever listeners they are of: kept through reloads.
use super::mirror::MirrorCells;
use super::rate_limit::Limiter;
use crate::config::{Config, Name};
use crate::drain::Drain;
use crate::metrics::labels;
use std::collections::BTreeMap;
use std::sync::Arc;

/// By the names of routes.
#[derive(Clone, Debug, Default)]
pub struct Shaping {
    routes: BTreeMap<Name, Shaped>,
    /// Copies of requests that are under way.
    pub mirrors: Drain,
}

/// Of one route.
#[derive(Clone, Debug)]
pub struct Shaped {
    /// Rendered labels: `route="api"`.
    pub labels: String,
    /// How often its requests may come.
    pub limiter: Option<Limiter>,
    /// Where copies of its requests go, what is counted of them.
    pub mirror: Option<Arc<MirrorCells>>,
}

impl Shaping {
    /// For a configuration, over what holds.
    pub fn compile(config: &Config, before: Option<&Self>) -> Self {
        let shaped = config.routes.iter().filter_map(|route| {
            let kept = before.and_then(|before| before.of(&route.name));
            let limiter = kept.and_then(|kept| kept.limiter.as_ref());
            let limiter = route.rate_limit.as_ref().map(|said| Limiter::new(said, limiter));
            let mirror = kept.and_then(|kept| kept.mirror.clone());
            let mirror = route.mirror.as_ref().map(|_| mirror.unwrap_or_default());
            let labels = labels(&[("route", &route.name)]);
            let shares = limiter.is_some() || mirror.is_some();
            shares.then(|| (route.name.clone(), Shaped { labels, limiter, mirror }))
        });
        let mirrors = before.map_or_else(Drain::new, |before| before.mirrors.clone());
        Self { routes: shaped.collect(), mirrors }
    }

    /// What the routes of a name share, if they do.
    pub fn of(&self, route: &Name) -> Option<&Shaped> {
        self.routes.get(route)
    }

    /// Of every route that shares something.
    pub fn all(&self) -> impl Iterator<Item = &Shaped> {
        self.routes.values()
    }
}
