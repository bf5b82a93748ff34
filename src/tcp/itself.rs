//! Connections that would come back to the listener they came from, again and again, until there are no
//! more descriptors.
use crate::config::{Addr, BindAddr, Config, Listener, Pool, PoolRef, Problem, Protocol};
use crate::pool::Backend;
use std::net::SocketAddr;

/// Whether a connection that came to `here` comes there again when it goes on to this backend. However
/// that is spelled, it is so the second time at the latest.
pub(super) fn comes_back(here: SocketAddr, backend: &Backend) -> bool {
    match backend.addr() {
        Addr::Ip(to) => is_dialled(here, *to),
        Addr::Host(_, port) if *port == here.port() => {
            backend.resolved().addrs().iter().any(|to| is_dialled(here, *to))
        }
        Addr::Host(..) | Addr::Unix(_) => false,
    }
}

/// Whether who dials `to` arrives here. The kernel takes "any address" for the loopback one.
fn is_dialled(here: SocketAddr, to: SocketAddr) -> bool {
    let any = to.ip().is_unspecified() && here.ip().is_loopback() && to.is_ipv4() == here.is_ipv4();
    to.port() == here.port() && (to.ip() == here.ip() || any)
}

/// What the file says of a listener whose connections come back to it, straight or by others of layer 4.
pub(super) fn problem(listener: &Listener, config: &Config) -> Option<Problem> {
    let (mut next, mut seen) = (vec![listener], vec![&listener.name]);
    while let Some(at) = next.pop() {
        for (pool, backend) in
            pools(at, config).flat_map(|p| p.backends.iter().map(move |b| (p, b)))
        {
            let tcp = config.listeners.values().filter(|to| to.protocol == Protocol::Tcp);
            for to in tcp.filter(|to| to.bind.iter().any(|bind| takes(&bind.addr, &backend.addr))) {
                if to.name == listener.name && (at.name == to.name || !to.passthrough) {
                    let what = format!(
                        "{} is listener {:?} itself: each connection would come \
                        back to it for ever",
                        backend.addr, &*to.name
                    );
                    let key = format!("pool.{}.backends", pool.name);
                    return Some(
                        Problem::new(&backend.at, key, what)
                            .hint("name a backend that listens elsewhere"),
                    );
                }
                // Where names decide, another one may lead elsewhere.
                if !to.passthrough && !seen.contains(&&to.name) {
                    seen.push(&to.name);
                    next.push(to);
                }
            }
        }
    }
    None
}

/// The pools that a listener's connections go to.
fn pools<'a>(listener: &'a Listener, config: &'a Config) -> impl Iterator<Item = &'a Pool> {
    let routes = config.sni_routes.iter();
    let routes = routes.filter(|r| listener.passthrough && r.belongs_to(&listener.name));
    let routed = routes.flat_map(|route| &route.pools).map(|(pool, _)| pool);
    let all = listener.pool.iter().chain(routed);
    all.filter_map(|pool: &PoolRef| config.pools.get(&pool.name))
}

/// Whether who dials this arrives at that socket, as far as their spelling says. Only loopback addresses
/// are surely this machine's.
fn takes(bind: &BindAddr, to: &Addr) -> bool {
    match (bind, to) {
        (BindAddr::Ip(bind), Addr::Ip(to)) => {
            let local = to.ip().is_loopback() || to.ip().is_unspecified();
            let any = bind.ip().is_unspecified() && local && bind.is_ipv4() == to.is_ipv4();
            bind.port() != 0 && bind.port() == to.port() && (any || is_dialled(*bind, *to))
        }
        (BindAddr::Host(bind, own), Addr::Host(to, port)) => own == port && *own != 0 && bind == to,
        (BindAddr::Unix(bind), Addr::Unix(to)) => bind == to,
        _ => false,
    }
}
