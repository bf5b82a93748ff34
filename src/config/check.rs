//! What only the whole document can tell: names that are not there, addresses said twice, keys of
//! a pool that mean nothing to those who use it.
use super::bodies::bodies_in_vain;
use super::chains::{bounds_without_tries, tries_without_budget};
use super::datagrams::Carries;
use super::draft::{Draft, Ref, Said};
use super::faults::Faults;
use super::health::Check;
use super::hint::{did_you_mean, quoted};
use super::model::{ADMIN_SOCKET, Addr, BindAddr, HAND_OVER_SOCKET, Pool, Protocol, Server};
use super::passthrough::passthrough;
use super::pool_http::PoolHttp;
use super::problem::{At, Problem, Wrong};
use super::units::Name;
use super::unmatched::unmatched;
use super::waits::waits_in_vain;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

/// Checks a whole document; `file` is the place of what is missing altogether.
pub(super) fn check(draft: &Draft, server: &Server, file: &At, faults: &mut Faults) {
    if !faults.is_whole() {
        return; // a name that is not there may be in the text that could not be read
    }
    if !draft.listener_said {
        let none = Problem::new(file, "listener", "there is no listener");
        faults.push(
            none.hint("write [listener.web] with bind = \"0.0.0.0:8080\" and pool = \"app\""),
        );
    }
    for to in draft.http_pools.iter().chain(&draft.tcp_pools).chain(&draft.udp_pools) {
        known("pool", to, &draft.pool_names, faults);
    }
    for to in &draft.route_listeners {
        known("listener", to, &draft.listener_names, faults);
        let protocol = draft.listener_names.get(&to.name).and_then(|(_, protocol)| *protocol);
        if draft.passthrough.contains(&to.name) {
            let what = format!("{} lets TLS pass: its routes have sni", quoted(&to.name));
            say(faults, &Said { key: to.key.clone(), at: to.at.clone() }, Wrong::new(what));
        } else if let Some(protocol @ (Protocol::Tcp | Protocol::Udp)) = protocol {
            let (name, word) = (quoted(&to.name), protocol.word());
            let what = format!("{name} is a {word} listener: routes belong to http listeners");
            say(faults, &Said { key: to.key.clone(), at: to.at.clone() }, Wrong::new(what));
        }
    }
    bounds_without_tries(draft, faults);
    tries_without_budget(draft, faults);
    waits_in_vain(draft, faults);
    bodies_in_vain(draft, faults);
    passthrough(draft, faults);
    binds(draft, server, faults);
    raw_pools(draft, faults);
    nameless(draft, faults);
    upgrades(draft, faults);
    unmatched(draft, faults);
    open_to_all(draft, server, faults);
}

/// A backend that is the API of this proxy: whoever reaches its pool would be taken for this machine.
fn open_to_all(draft: &Draft, server: &Server, faults: &mut Faults) {
    let Some(admin) = &draft.admin else { return };
    let sockets: Vec<_> = admin.sockets(server).map(|path| plain(&path)).collect();
    for (name, pool) in &draft.pools {
        for backend in pool.backends.iter().filter(|backend| admin.is_open_to(&backend.addr)) {
            let what =
                format!("{} is admin.bind, which asks this machine for no token", backend.addr);
            let key = format!("pool.{name}.backends");
            faults.push(Problem::new(&backend.at, key, what).hint(
                "whoever reaches the pool could change the proxy: write admin.token_file, or leave it out",
            ));
        }
        let is_own = |to: &Addr| admin.is_open_to(to);
        if let (Some(said), Some(to)) = (draft.probe_ports.get(name), probed(pool).find(is_own)) {
            let what = format!("{to} is admin.bind, where no probe goes without admin.token_file");
            let wrong = Wrong::new(what).hint("write the port where the backends say how they are");
            say(faults, said, wrong);
        }
        for backend in &pool.backends {
            if matches!(&backend.addr, Addr::Unix(path) if sockets.contains(&plain(path))) {
                let what =
                    format!("{} is a socket by which this proxy itself is governed", backend.addr);
                let key = format!("pool.{name}.backends");
                faults.push(Problem::new(&backend.at, key, what).hint(
                    "whoever reaches the pool would be taken for the owner of the proxy: leave it out",
                ));
            }
        }
    }
}

/// Where probes go that have a port of their own.
fn probed(pool: &Pool) -> impl Iterator<Item = Addr> {
    let by_tcp = pool.health.as_ref().filter(|it| !matches!(it.check, Check::Udp { .. }));
    let at = |port: u16, addr: &Addr| match addr {
        Addr::Ip(addr) => Some(Addr::Ip(SocketAddr::new(addr.ip(), port))),
        Addr::Host(name, _) => Some(Addr::Host(name.clone(), port)),
        Addr::Unix(_) => None,
    };
    let port = by_tcp.and_then(|health| health.port);
    let all = port.into_iter().flat_map(|port| pool.backends.iter().map(move |b| (port, b)));
    all.filter_map(move |(port, backend)| at(port, &backend.addr))
}

/// A path as far as its spelling says where it leads; what links say is seen when it is dialled.
fn plain(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut out = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}

/// Connections of HTTP/2 to backends do not switch to another protocol.
fn upgrades(draft: &Draft, faults: &mut Faults) {
    for (said, pools) in &draft.upgrades {
        let two =
            |name: &&Name| draft.pools.get(*name).is_some_and(|p| p.http == Some(PoolHttp::Two));
        if let Some(name) = pools.iter().find(two) {
            let what = format!("pool.{name} is spoken to in HTTP/2, where no WebSocket goes");
            let hint = format!("leave the key out, or write http = \"auto\" in pool.{name}");
            say(faults, said, Wrong::new(what).hint(hint));
        }
    }
}

/// A Unix socket has no name that TLS could ask for and verify.
fn nameless(draft: &Draft, faults: &mut Faults) {
    let asks = |pool: &Pool| pool.tls.as_ref().is_some_and(|tls| tls.sni.is_none());
    // To udp listeners neither TLS nor such a socket means anything, which was said.
    let of_udp = |name: &Name| draft.udp_pools.iter().any(|to| to.name == *name);
    for (name, _) in draft.pools.iter().filter(|(name, pool)| asks(pool) && !of_udp(name)) {
        for said in draft.unix.get(name).into_iter().flatten() {
            let wrong = Wrong::new("TLS asks each backend for a name, and a Unix socket has none");
            say(
                faults,
                said,
                wrong.hint(format!("write sni = \"app.example\" in pool.{name}.tls")),
            );
        }
    }
}

pub(super) fn say(faults: &mut Faults, said: &Said, wrong: Wrong) {
    let Wrong { what, hint } = wrong;
    faults.push(Problem { at: said.at.clone(), key: said.key.clone(), what, hint });
}

pub(super) fn known<T>(kind: &str, to: &Ref, names: &BTreeMap<Name, T>, faults: &mut Faults) {
    if names.contains_key(&to.name) {
        return;
    }
    let wrong = Wrong::new(format!("no {kind} named {}", quoted(&to.name)));
    let near = did_you_mean(&to.name, names.keys().map(|name| &**name));
    say(faults, &Said { key: to.key.clone(), at: to.at.clone() }, wrong.maybe(near));
}

/// No address is listened on twice, and none takes that of the admin side or the metrics with it:
/// listeners may overlap among themselves, where the more exact address counts. Port 0 is another
/// port each time. The sockets in the state folder are there already.
fn binds(draft: &Draft, server: &Server, faults: &mut Faults) {
    let kept = [ADMIN_SOCKET, HAND_OVER_SOCKET].map(|name| plain(&server.state.join(name)));
    let admin = draft.admin.as_ref().and_then(|admin| admin.bind.clone());
    let metrics = draft.metrics.clone();
    let admin = admin.map(|bind| ("admin.bind".to_owned(), bind));
    let metrics = metrics.map(|bind| ("metrics.bind".to_owned(), bind));
    let own: Vec<_> = admin.into_iter().chain(metrics).collect();
    // Ports of datagrams are others than those of connections.
    let mut first: HashMap<(&BindAddr, bool), &str> = HashMap::new();
    let mut all: Vec<_> = own.iter().map(|(key, bind)| (key, bind, false)).collect();
    let of_datagrams = |protocol: &Option<Protocol>| *protocol == Some(Protocol::Udp);
    all.extend(draft.binds.iter().map(|(key, bind, of)| (key, bind, of_datagrams(of))));
    for (at, (key, bind, datagrams)) in all.iter().enumerate() {
        if matches!(&bind.addr, BindAddr::Ip(addr) if addr.port() == 0)
            || matches!(bind.addr, BindAddr::Host(_, 0))
        {
            continue;
        }
        let said = Said { key: (*key).clone(), at: bind.at.clone() };
        if matches!(&bind.addr, BindAddr::Unix(path) if kept.contains(&plain(path))) {
            let what = "is where the proxy listens in server.state in any case";
            say(faults, &said, Wrong::new(what).hint("write another path, or leave it out"));
            continue;
        }
        if let Some(other) = first.get(&(&bind.addr, *datagrams)) {
            say(faults, &said, Wrong::new(format!("{other} is the same address")));
            continue;
        }
        first.insert((&bind.addr, *datagrams), key);
        if *datagrams {
            continue;
        }
        for (other, held) in own.iter().take(at).filter(|(_, held)| overlap(&held.addr, &bind.addr))
        {
            let what = format!("{} overlaps with {other}, {}", bind.addr, held.addr);
            say(faults, &said, Wrong::new(what).hint("give one of them another port"));
        }
    }
}

/// Whether one of two addresses is every address of the other's kind, on its port. IPv6 sockets
/// take IPv6 alone.
fn overlap(one: &BindAddr, other: &BindAddr) -> bool {
    let (BindAddr::Ip(a), BindAddr::Ip(b)) = (one, other) else { return false };
    let every = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && every
}

/// A pool of tcp and udp listeners alone has no use for what concerns HTTP, one of udp listeners
/// alone none for what concerns connections, one without a tcp listener none for what concerns TCP.
fn raw_pools(draft: &Draft, faults: &mut Faults) {
    let of = |users: &[Ref]| -> BTreeSet<Name> { users.iter().map(|to| to.name.clone()).collect() };
    let (http, tcp, udp) = (of(&draft.http_pools), of(&draft.tcp_pools), of(&draft.udp_pools));
    for name in http.difference(&tcp) {
        for said in draft.tcp_only.get(name).into_iter().flatten() {
            say(faults, said, Wrong::new("means nothing here: no tcp listener uses this pool"));
        }
    }
    for name in tcp.union(&udp) {
        let of_tcp = tcp.contains(name);
        if let Some(said) = draft.pool_http.get(name) {
            let word = if of_tcp { "tcp" } else { "udp" };
            let what = format!("means nothing here: a {word} listener uses this pool");
            say(faults, said, Wrong::new(what));
        }
        let mut nothing = |keys: &BTreeMap<Name, Vec<Said>>, who: &str| {
            for said in keys.get(name).into_iter().flatten() {
                let what = format!("means nothing here: only {who} listeners use this pool");
                say(faults, said, Wrong::new(what));
            }
        };
        if !http.contains(name) {
            let who = match (of_tcp, udp.contains(name)) {
                (true, true) => "tcp and udp",
                (true, false) => "tcp",
                (false, _) => "udp",
            };
            nothing(&draft.http_only, who);
            if !of_tcp {
                nothing(&draft.stream_only, who);
            }
        }
        if udp.contains(name) {
            for said in draft.unix.get(name).into_iter().flatten() {
                let wrong = Wrong::new("a Unix socket takes no datagrams of a udp listener");
                say(faults, said, wrong);
            }
        }
    }
}

/// Notes at each pool what it is used for.
pub(super) fn carry(draft: &mut Draft) {
    let of = |users: &[Ref]| -> BTreeSet<Name> { users.iter().map(|to| to.name.clone()).collect() };
    let datagrams = of(&draft.udp_pools);
    let mut streams = of(&draft.tcp_pools);
    let bytes: BTreeSet<_> = streams.union(&datagrams).cloned().collect();
    streams.extend(of(&draft.http_pools));
    for (name, pool) in &mut draft.pools {
        // A pool that carries bytes carries them in whatever version.
        if bytes.contains(name) {
            pool.http = None;
        }
        pool.carries = match (datagrams.contains(name), streams.contains(name)) {
            (true, true) => Carries::Both,
            (true, false) => Carries::Datagrams,
            (false, _) => Carries::Streams,
        };
    }
}
