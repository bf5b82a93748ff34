//! What the routes of one name share, whatever listeners they are of: kept through reloads.
use super::rate_limit::Limiter;
use crate::config::{Config, Name};
use crate::metrics::labels;
use std::collections::BTreeMap;

/// By the names of routes.
#[derive(Clone, Debug, Default)]
pub struct Shaping(BTreeMap<Name, Shaped>);

/// Of one route.
#[derive(Clone, Debug)]
pub struct Shaped {
    /// Rendered labels: `route="api"`.
    pub labels: String,
    /// How often its requests may come.
    pub limiter: Option<Limiter>,
}

impl Shaping {
    /// For a configuration, over what holds.
    pub fn compile(config: &Config, before: Option<&Self>) -> Self {
        let shaped = config.routes.iter().filter_map(|route| {
            let before = before.and_then(|before| before.of(&route.name));
            let before = before.and_then(|before| before.limiter.as_ref());
            let limiter = route.rate_limit.as_ref().map(|said| Limiter::new(said, before));
            let labels = labels(&[("route", &route.name)]);
            limiter.is_some().then(|| (route.name.clone(), Shaped { labels, limiter }))
        });
        Self(shaped.collect())
    }

    /// What the routes of a name share, if they do.
    pub fn of(&self, route: &Name) -> Option<&Shaped> {
        self.0.get(route)
    }

    /// Of every route that shares something.
    pub fn all(&self) -> impl Iterator<Item = &Shaped> {
        self.0.values()
    }
}
