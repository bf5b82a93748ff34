//! Why a connection would go where it goes that asks for a name by TLS that is let pass: by the same
//! names and pools, with nothing counted and nothing moved by the question.
use super::relay::Relay;
use super::route::Names;
use crate::config::{Config, HostMatch, KeyPart, SniRoute};
use crate::net::Peer;
use crate::pool::{self, Ask};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// One route that was tried.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Its name; `default` for the listener's own pool.
    pub route: String,
    /// Whether it holds for the name.
    pub matched: bool,
    /// Why it was not chosen, or was.
    pub why: String,
}

/// Where a connection goes.
#[derive(Clone, Debug, Default)]
pub struct Led {
    /// Every route of the listener, in the order of the file.
    pub tried: Vec<Tried>,
    /// The one that takes it.
    pub route: Option<String>,
    /// The pools of its route with their weights, where there are several.
    pub shares: Vec<(String, u64)>,
    /// The pool that it gets.
    pub pool: Option<String>,
    /// What its policy looks at, with its value where a connection has it.
    pub key: Vec<(KeyPart, Option<String>)>,
    /// The hash of that.
    pub hash: Option<u64>,
    /// Whom the pool would choose, and among whom.
    pub chosen: Option<pool::Explained>,
    /// Why nobody gets it: a reason.
    pub refused: Option<&'static str>,
}

impl Relay {
    /// Whether it lets TLS pass.
    pub fn lets_pass(&self) -> bool {
        self.names.is_some()
    }

    /// Where a client goes that asks for this name, in its one form; `None`: that names none. `config`
    /// is what the relay was compiled from.
    pub fn explain(
        &self,
        config: &Config,
        name: Option<&str>,
        client: SocketAddr,
        seed: u64,
    ) -> Led {
        let found = self.names.as_ref().and_then(|names| self.led(names, name));
        let chosen = found.map(|route| &*route.name);
        let mut out = Led { tried: self.tried(config, name, chosen), ..Led::default() };
        let Some(route) = found else {
            out.refused = Some("no_route");
            return out;
        };
        out.route = Some(route.name.to_string());
        let target = route.to.choose(seed);
        let shares = route.to.all().map(|(weight, to)| (to.pool.name.to_string(), weight));
        out.shares = shares.collect();
        if out.shares.len() == 1 {
            out.shares.clear();
        }
        out.pool = Some(target.pool.name.to_string());
        out.hash = target.hash(Peer::Ip(client));
        let value = |part: &KeyPart| match part {
            KeyPart::ClientIp => Some(client.ip().to_string()),
            KeyPart::ClientAddr => Some(client.to_string()),
            _ => None,
        };
        out.key = target.key.iter().map(|part| (part.clone(), value(part))).collect();
        let chosen = target.pool.explain(&Ask::new(Instant::now(), seed).hash(out.hash));
        out.refused = chosen.refused;
        out.chosen = Some(chosen);
        out
    }

    fn tried(&self, config: &Config, name: Option<&str>, chosen: Option<&str>) -> Vec<Tried> {
        let routes = config.sni_routes.iter().filter(|route| route.belongs_to(&self.listener));
        let one = |route: &SniRoute| {
            let (matched, why) = match chosen {
                Some(chosen) if chosen == &*route.name => {
                    (true, "the most specific that matches".into())
                }
                _ if name.is_some_and(|name| is_of(route, name)) => {
                    (true, format!("matches, but {} comes first", chosen.unwrap_or("none")))
                }
                _ => (false, format!("sni {} is not {}", name.unwrap_or("none"), names(route))),
            };
            Tried { route: route.name.to_string(), matched, why }
        };
        let mut all: Vec<Tried> = routes.map(one).collect();
        if self.default.is_some() {
            let matched = chosen == Some("default");
            let why = match chosen {
                Some("default") | None => "no route matches".into(),
                Some(chosen) => format!("only where no route matches, and {chosen} does"),
            };
            all.push(Tried { route: "default".into(), matched, why });
        }
        all
    }
}

/// Whether a route has a name, as the table of one route finds it.
fn is_of(route: &SniRoute, name: &str) -> bool {
    let mut one = Names::default();
    one.add(&route.names, Arc::new(()));
    one.find(name).is_some()
}

fn names(route: &SniRoute) -> String {
    let one = |name: &HostMatch| match name {
        HostMatch::Exact(name) => name.clone(),
        HostMatch::Wildcard(above) => format!("*.{above}"),
    };
    route.names.iter().map(one).collect::<Vec<_>>().join(" or ")
}
