//! `[listener.*]`: where clients connect.
use super::addr;
use super::chains::Owner;
use super::datagrams::Sessions;
use super::draft::{Draft, Ref};
use super::http2::{self, Http2};
use super::model::{Bind, BindAddr, Listener, PoolRef, Protocol};
use super::over::{self, Only, Place};
use super::problem::Wrong;
use super::server;
use super::table::{Item, Table};
use super::tls::{self, Alpn, ListenerTls};
use super::units::Name;
use super::value::Kind;

const PROTOCOLS: [(&str, Protocol); 3] =
    [("http", Protocol::Http), ("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
/// More sessions than this no machine has descriptors for.
const MOST: u64 = 10_000_000;

/// All listeners of a file.
pub(super) fn listeners(item: &Item<'_>, draft: &mut Draft) {
    let all = item.entries();
    draft.listener_said |= !all.is_empty() || item.kind() != Kind::Table;
    for (name, item) in all {
        let Some(name) = item.name(name) else { continue };
        if let Some((first, _)) = draft.listener_names.get(&name) {
            item.twice("listener", first);
            continue;
        }
        draft.listener_names.insert(name.clone(), (item.key_at(), None));
        item.table("listener", |t| listener(&name, &item, t, draft));
    }
}

fn listener(name: &Name, item: &Item<'_>, t: &mut Table<'_>, draft: &mut Draft) {
    let bind = t.take("bind");
    if bind.is_none() {
        t.missing(Wrong::new("says no bind").hint("write for example bind = \"0.0.0.0:8080\""));
    }
    let protocol = t
        .take("protocol")
        .map_or(Some(Protocol::Http), |item| item.word("listener.protocol", &PROTOCOLS));
    let bind = bind.map(|item| binds(&item, protocol, draft)).unwrap_or_default();
    let pool = t.take("pool").and_then(|item| pool(&item, protocol, draft));
    let tls = t.take("tls");
    // A word that cannot be read may have been meant for one that lets TLS pass.
    let is_word = tls.as_ref().is_some_and(|item| item.kind() == Kind::Text);
    let proxy_protocol = t.take("proxy_protocol");
    let max_connections = t.take("max_connections");
    let place = match protocol {
        Some(Protocol::Tcp) if tls.is_some() || proxy_protocol.is_some() => Place::TcpEntered,
        Some(Protocol::Tcp) => Place::Tcp,
        Some(Protocol::Udp) => Place::Udp,
        Some(Protocol::Http) | None => Place::Http,
    };
    if place == Place::Udp {
        for (key, item) in [("tls", &tls), ("proxy_protocol", &proxy_protocol)] {
            if let Some(item) = item {
                item.key_wrong(Wrong::new(format!("{key} means nothing to a udp listener")));
            }
        }
        if let Some(item) = &max_connections {
            let wrong = Wrong::new("max_connections means nothing to a udp listener");
            item.key_wrong(wrong.hint("write udp = { sessions = 20000 }"));
        }
    }
    let of_streams = |_: &Item<'_>| place != Place::Udp;
    let tls = tls.filter(of_streams).and_then(|item| secured(&item, protocol, draft));
    let passthrough = matches!(tls, Some(Secured::Passthrough));
    if let Some(item) = proxy_protocol.as_ref().filter(|_| of_streams(item) && has_no_peers(&bind))
    {
        let what = "means nothing here: who comes by a Unix socket is served without a header";
        item.key_wrong(Wrong::new(what).hint("leave it out, or bind an address of IP, too"));
    }
    let proxy_protocol = proxy_protocol.filter(of_streams).map(|item| proxies(&item));
    let terminated = tls.as_ref().and_then(Secured::table);
    let http2 = t.take("http2").map(|item| multiplexed(&item, protocol, terminated));
    let max_connections =
        max_connections.and_then(|item| item.count_or_off(1..=u64::from(u32::MAX))).flatten();
    let udp = t.take("udp");
    if let (Some(item), Some(Protocol::Http | Protocol::Tcp)) = (&udp, protocol) {
        item.key_wrong(Wrong::new("udp means nothing to a listener of another protocol"));
    }
    let udp = udp.map(|item| sessions(&item)).unwrap_or_default();
    let raw = protocol.filter(|protocol| *protocol != Protocol::Http);
    let trusted = t.take("trusted_proxies");
    if let (Some(item), Some(protocol)) = (&trusted, raw) {
        let word = protocol.word();
        item.key_wrong(Wrong::new(format!(
            "trusted_proxies means nothing to a {word} listener: it has no forwarded fields"
        )));
    }
    if let Some(item) = trusted.as_ref().filter(|_| raw.is_none() && has_no_peers(&bind)) {
        let what = "means nothing here: who comes by a Unix socket has no address to be trusted by";
        item.key_wrong(Wrong::new(what).hint("leave it out, or bind an address of IP, too"));
    }
    let trusted = trusted.map(|item| item.list()).unwrap_or_default();
    let trusted_proxies = trusted.iter().filter_map(|item| item.checked(addr::net)).collect();
    let mut only = Only::default();
    let over = over::overrides(t, place, &mut only);
    draft.retries.insert(Owner::Listener(name.clone()), only.retry);
    let needs_pool = raw.filter(|protocol| *protocol == Protocol::Udp || !is_word);
    if let (Some(protocol), false) = (needs_pool, t.has("pool")) {
        let what = format!("a {} listener needs a pool", protocol.word());
        t.missing(Wrong::new(what).hint("write pool = \"name\""));
    }
    let Some(protocol) = protocol else { return };
    let at = item.key_at();
    draft.listener_names.insert(name.clone(), (at.clone(), Some(protocol)));
    if passthrough {
        draft.passthrough.insert(name.clone());
    }
    let name = name.clone();
    let listener = Listener {
        name: name.clone(),
        at,
        bind,
        protocol,
        pool,
        tls: tls.and_then(Secured::terminated),
        passthrough,
        proxy_protocol: proxy_protocol.unwrap_or_default(),
        http2: http2.flatten().unwrap_or_default(),
        max_connections,
        udp,
        trusted_proxies,
        over,
    };
    draft.listeners.insert(name, listener);
}

/// `listener.*.tls`
enum Secured {
    /// It is spoken here.
    Terminated(Box<ListenerTls>),
    /// It is between clients and backends.
    Passthrough,
}

impl Secured {
    fn table(&self) -> Option<&ListenerTls> {
        match self {
            Self::Terminated(tls) => Some(tls),
            Self::Passthrough => None,
        }
    }
    fn terminated(self) -> Option<ListenerTls> {
        match self {
            Self::Terminated(tls) => Some(*tls),
            Self::Passthrough => None,
        }
    }
}

/// A table, or the word of a listener that lets TLS pass.
fn secured(item: &Item<'_>, protocol: Option<Protocol>, draft: &mut Draft) -> Option<Secured> {
    if item.kind() != Kind::Text {
        return tls::listener(item, protocol, draft).map(|tls| Secured::Terminated(Box::new(tls)));
    }
    item.word("listener.tls", &[("passthrough", ())])?;
    if protocol == Some(Protocol::Http) {
        let what = "\"passthrough\" means nothing to an http listener: it sees no request";
        item.wrong(Wrong::new(what).hint("write protocol = \"tcp\", or a table with certificates"));
        return None;
    }
    Some(Secured::Passthrough)
}

/// Whether all its clients come by Unix sockets.
fn has_no_peers(bind: &[Bind]) -> bool {
    !bind.is_empty() && bind.iter().all(|bind| matches!(bind.addr, BindAddr::Unix(_)))
}

/// Networks whose connections begin with a PROXY header.
fn proxies(item: &Item<'_>) -> Vec<ipnet::IpNet> {
    const EXAMPLE: &str = "write for example { from = [\"10.0.0.0/8\"] }";
    let read = item.table("listener.proxy_protocol", |t| {
        let Some(from) = t.take("from") else {
            t.missing(Wrong::new("says not from whom").hint(EXAMPLE));
            return Vec::new();
        };
        let all = from.list();
        if all.is_empty() {
            from.wrong(Wrong::new("an empty list is nobody").hint(EXAMPLE));
        }
        all.iter().filter_map(|item| item.checked(addr::net)).collect()
    });
    read.unwrap_or_default()
}

/// What bounds the sessions of a udp listener.
fn sessions(item: &Item<'_>) -> Sessions {
    let mut all = Sessions::default();
    item.table("listener.udp", |t| {
        all.most = t.take("sessions").and_then(|item| item.count(1..=MOST)).unwrap_or(all.most);
        all.per_client = t
            .take("per_client")
            .and_then(|item| item.count_or_off(1..=u64::from(u32::MAX)))
            .unwrap_or(all.per_client);
        all.idle = t.take("idle").and_then(|item| item.duration()).unwrap_or(all.idle);
    });
    all
}

/// Means nothing where HTTP/2 is never spoken.
fn multiplexed(
    item: &Item<'_>,
    protocol: Option<Protocol>,
    tls: Option<&ListenerTls>,
) -> Option<Http2> {
    if let Some(protocol) = protocol.filter(|protocol| *protocol != Protocol::Http) {
        let word = protocol.word();
        item.key_wrong(Wrong::new(format!(
            "http2 means nothing to a {word} listener: it carries any bytes"
        )));
    } else if tls.is_some_and(|tls| !tls.alpn.contains(&Alpn::H2)) {
        item.key_wrong(Wrong::new("http2 means nothing where tls.alpn does not have \"h2\""));
    }
    http2::http2(item)
}

fn binds(item: &Item<'_>, protocol: Option<Protocol>, draft: &mut Draft) -> Vec<Bind> {
    let all = item.list();
    if all.is_empty() {
        item.fault("an empty list is no address to listen on");
    }
    let mut binds = Vec::new();
    for item in all {
        let Some(bind) = server::bind(&item) else { continue };
        if let (Some(Protocol::Udp), BindAddr::Unix(_)) = (protocol, &bind.addr) {
            item.fault("a udp listener has no use for a Unix socket");
            continue;
        }
        draft.binds.push((item.path.clone(), bind.clone(), protocol));
        binds.push(bind);
    }
    binds
}

fn pool(item: &Item<'_>, protocol: Option<Protocol>, draft: &mut Draft) -> Option<PoolRef> {
    let reference = item.refers()?;
    let users = match protocol {
        Some(Protocol::Tcp) => &mut draft.tcp_pools,
        Some(Protocol::Udp) => &mut draft.udp_pools,
        Some(Protocol::Http) | None => &mut draft.http_pools,
    };
    users.push(reference.clone());
    Some(PoolRef { name: reference.name, at: reference.at })
}

impl Item<'_> {
    /// A name chosen by the operator, standing as a key.
    pub(super) fn name(&self, name: &str) -> Option<Name> {
        match Name::new(name) {
            Ok(name) => Some(name),
            Err(what) => {
                self.key_wrong(Wrong::new(what));
                None
            }
        }
    }

    /// The name of something said elsewhere, standing as a value.
    pub(super) fn refers(&self) -> Option<Ref> {
        let name = self.checked(|text| Name::new(text).map_err(Wrong::new))?;
        Some(Ref { key: self.path.clone(), at: self.at(), name })
    }

    /// Says that a name was used before.
    pub(super) fn twice(&self, kind: &str, first: &super::problem::At) {
        let what = format!(
            "a {kind} of this name is already at {}:{}:{}",
            first.file, first.line, first.column
        );
        self.key_wrong(Wrong::new(what));
    }
}
