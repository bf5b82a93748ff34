//! The shapes of a configuration: one type for each table of `proxy.toml`, defaults applied.
use super::datagrams::{Carries, Sessions};
use super::health::Health;
use super::http2::Http2;
use super::log::Log;
use super::pool_http::{PoolHttp, PoolHttp2};
use super::problem::At;
pub use super::rewrite::{PathRewrite, Rewrite};
use super::sources::Sources;
use super::tls::{ListenerTls, PoolTls};
use super::units::{ByteSize, Name, Percent, Timeout, Weight};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[log]`
    pub log: Log,
    /// `[admin]`
    pub admin: Admin,
    /// `[metrics]`
    pub metrics: Option<Bind>,
    /// `[defaults]`
    pub defaults: Overrides,
    /// `[listener.*]`
    pub listeners: BTreeMap<Name, Listener>,
    /// `[[route]]` in file order, those of HTTP.
    pub routes: Vec<Route>,
    /// `[[route]]` in file order, those with `sni`.
    pub sni_routes: Vec<SniRoute>,
    /// `[pool.*]`
    pub pools: BTreeMap<Name, Pool>,
    /// The files it came from, to be watched.
    pub sources: Sources,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Data-plane threads; `None` is `"auto"`.
    pub workers: Option<usize>,
    /// How long work in flight may take after SIGTERM or after its listener is removed.
    pub grace: Duration,
    /// After SIGTERM: how long `/readyz` says 503 while connections are still accepted.
    pub shutdown_delay: Duration,
    /// Client connections over all listeners; `None`: what the descriptor limit carries.
    pub max_connections: Option<usize>,
    /// Bytes buffered for all connections together.
    pub memory: Memory,
}

/// `server.memory`
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Memory {
    /// A share of the machine's or cgroup's memory.
    Share(Percent),
    /// A number of bytes.
    Bytes(ByteSize),
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// `None` is `"off"`.
    pub bind: Option<Bind>,
    /// Further `Host` names it answers to.
    pub hosts: Vec<String>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The address.
    pub addr: BindAddr,
    /// Where it is said.
    pub at: At,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BindAddr {
    /// An IP address and port. IPv6 sockets are v6-only.
    Ip(SocketAddr),
    /// A host name and port, resolved when it is bound.
    Host(Arc<str>, u16),
    /// `unix:/path`
    Unix(PathBuf),
}

/// Members of `timeout`, `limits` and `retry` that one place says; absent ones say nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `timeout`
    pub timeout: TimeoutsPart,
    /// `limits`
    pub limits: LimitsPart,
    /// `retry`
    pub retry: RetryPart,
}

/// `timeout`, as said in one place.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "members are documented at `Timeouts`")]
pub struct TimeoutsPart {
    pub connect: Option<Timeout>,
    pub first_byte: Option<Timeout>,
    pub idle: Option<Timeout>,
    pub request: Option<Timeout>,
    pub header: Option<Timeout>,
    pub keep_alive: Option<Timeout>,
    pub tunnel: Option<Timeout>,
    pub tunnel_max: Option<Timeout>,
}

/// `limits`, as said in one place. `Some(None)` is `"off"`.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "members are documented at `Limits`")]
pub struct LimitsPart {
    pub head: Option<usize>,
    pub fields: Option<usize>,
    pub target: Option<usize>,
    pub body: Option<Option<u64>>,
    pub body_rate: Option<Option<u64>>,
    pub per_client: Option<Option<u32>>,
    pub interim: Option<u32>,
    pub trailers: Option<usize>,
    pub drain: Option<u64>,
}

/// `retry`, as said in one place.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "members are documented at `Retry`")]
pub struct RetryPart {
    pub attempts: Option<u32>,
    pub on: Option<RetryOn>,
}

/// What holds for a request or connection once every place has spoken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective {
    /// Time limits.
    pub timeout: Timeouts,
    /// Size limits.
    pub limits: Limits,
    /// Tries.
    pub retry: Retry,
}

impl Effective {
    /// Lays the places over the built-in defaults, later ones winning member by member. The order
    /// is: `defaults`, `listener`, `pool`, `route`.
    pub fn layered<'a>(places: impl IntoIterator<Item = &'a Overrides>) -> Self {
        let mut all = Self::default();
        macro_rules! lay {
            ($($part:ident . $member:ident),* $(,)?) => {
                |o: &Overrides| { $( if let Some(v) = o.$part.$member { all.$part.$member = v; } )* }
            };
        }
        let mut lay = lay!(
            timeout.connect,
            timeout.first_byte,
            timeout.idle,
            timeout.request,
            timeout.header,
            timeout.keep_alive,
            timeout.tunnel,
            timeout.tunnel_max,
            limits.head,
            limits.fields,
            limits.target,
            limits.body,
            limits.body_rate,
            limits.per_client,
            limits.interim,
            limits.trailers,
            limits.drain,
            retry.attempts,
            retry.on,
        );
        for place in places {
            lay(place);
        }
        all
    }
}

/// Time limits, one meaning each.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// To connect to a backend, each try.
    pub connect: Timeout,
    /// From the request written to the first byte of the answer, each try.
    pub first_byte: Timeout,
    /// No byte either way inside an HTTP message.
    pub idle: Timeout,
    /// All tries of a request together.
    pub request: Timeout,
    /// The whole request head.
    pub header: Timeout,
    /// The client between two requests.
    pub keep_alive: Timeout,
    /// No byte either way on TCP and on upgraded connections.
    pub tunnel: Timeout,
    /// The whole life of a tunnel.
    pub tunnel_max: Timeout,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Timeout::secs(2),
            first_byte: Timeout::secs(30),
            idle: Timeout::secs(60),
            request: Timeout::OFF,
            header: Timeout::secs(10),
            keep_alive: Timeout::secs(75),
            tunnel: Timeout::secs(3600),
            tunnel_max: Timeout::OFF,
        }
    }
}

/// Size limits. `None` is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a head.
    pub head: usize,
    /// Fields of a head.
    pub fields: usize,
    /// Bytes of a request target.
    pub target: usize,
    /// Bytes of a request body.
    pub body: Option<u64>,
    /// Least progress of a request body, bytes a second.
    pub body_rate: Option<u64>,
    /// Connections of one client address.
    pub per_client: Option<u32>,
    /// Interim (1xx) answers of one request.
    pub interim: u32,
    /// Bytes of a trailer section.
    pub trailers: usize,
    /// Bytes of an upload read on after an early answer.
    pub drain: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 32 << 10,
            fields: 100,
            target: 8 << 10,
            body: None,
            body_rate: Some(500),
            per_client: None,
            interim: 16,
            trailers: 8 << 10,
            drain: 64 << 10,
        }
    }
}

/// How tries are repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// All tries, the first one too; at least 1.
    pub attempts: u32,
    /// What is tried again.
    pub on: RetryOn,
}

/// `retry.on`: which broken tries are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// It never reached the backend.
    pub connect: bool,
    /// It broke before the head of the answer, and the request is one that may be repeated.
    pub reset: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 2, on: RetryOn { connect: true, reset: true } }
    }
}

/// `[listener.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: Name,
    /// Where it is said.
    pub at: At,
    /// Addresses; at least one.
    pub bind: Vec<Bind>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it goes when no route matches; for tcp and udp the pool.
    pub pool: Option<PoolRef>,
    /// The TLS its clients speak.
    pub tls: Option<ListenerTls>,
    /// `tls = "passthrough"`: what TLS its clients speak is between them and the backends.
    pub passthrough: bool,
    /// `proxy_protocol.from`: of whom a PROXY header is required.
    pub proxy_protocol: Vec<ipnet::IpNet>,
    /// What HTTP/2 may cost.
    pub http2: Http2,
    /// Client connections of this listener.
    pub max_connections: Option<usize>,
    /// Sessions of a udp listener.
    pub udp: Sessions,
    /// Whose forwarded fields are believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Its word on times, limits and retries.
    pub over: Overrides,
}

/// A pool named somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRef {
    /// The pool's name.
    pub name: Name,
    /// Where it is named.
    pub at: At,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP, layer 7.
    Http,
    /// Bytes, layer 4.
    Tcp,
    /// Datagrams, layer 4.
    Udp,
}

impl Protocol {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// `[[route]]` with `sni`: where connections go that ask for a name by TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct SniRoute {
    /// Its name; `#<index>` when it says none.
    pub name: Name,
    /// Where it is said.
    pub at: At,
    /// Listeners it belongs to; empty: every one that lets TLS pass.
    pub listeners: Vec<ListenerRef>,
    /// Names; at least one. Lower case, no trailing dot.
    pub names: Vec<HostMatch>,
    /// Its pools with their weights; one where it says `pool`.
    pub pools: Vec<(PoolRef, u32)>,
    /// Its word on times and retries.
    pub over: Overrides,
}

impl SniRoute {
    /// Whether it is one of this listener.
    pub fn belongs_to(&self, listener: &Name) -> bool {
        self.listeners.is_empty() || self.listeners.iter().any(|to| to.name == *listener)
    }
}

/// `[[route]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name; `#<index>` when it says none.
    pub name: Name,
    /// Where it is said.
    pub at: At,
    /// Listeners it belongs to; empty: every http listener.
    pub listeners: Vec<ListenerRef>,
    /// Hosts; empty: any. Lower case, no port, no trailing dot.
    pub hosts: Vec<HostMatch>,
    /// Path.
    pub path: PathMatch,
    /// Methods; empty: any.
    pub methods: Vec<String>,
    /// Header fields that must match, names in lower case.
    pub headers: Vec<(String, ValueMatch)>,
    /// Query parameters that must match.
    pub query: Vec<(String, ValueMatch)>,
    /// What it does.
    pub action: Action,
    /// Rules on the request's fields.
    pub request_headers: HeaderRules,
    /// Rules on the response's fields.
    pub response_headers: HeaderRules,
    /// Changes of host and path before the backend sees them.
    pub rewrite: Rewrite,
    /// Whether WebSocket upgrades are let through (`upgrade = ["websocket"]`, the default).
    pub websocket: bool,
    /// Whether `%2f` and `%00` in a path are refused.
    pub refuse_encoded_slash: bool,
    /// Its word on times, limits and retries.
    pub over: Overrides,
}

/// A listener named somewhere.
pub type ListenerRef = PoolRef;

/// A host to match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostMatch {
    /// `api.example.com`
    Exact(String),
    /// `*.example.com` as `example.com`: one or more labels before it.
    Wildcard(String),
}

/// A path to match.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// `path = "/v1"`: on segment boundaries; `/` is any path. No trailing slash but for `/` itself.
    Prefix(String),
    /// `{ exact = "/x" }`
    Exact(String),
    /// `{ regex = "…" }`
    Regex(regex::Regex),
}

impl PartialEq for PathMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(a), Self::Prefix(b)) | (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// A value to match.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// Equal.
    Exact(String),
    /// `{ regex = "…" }`
    Regex(regex::Regex),
    /// `{ present = true }` or `false`
    Present(bool),
}

impl PartialEq for ValueMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Present(a), Self::Present(b)) => a == b,
            _ => false,
        }
    }
}

/// What a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `pool = "app"`
    Pool(PoolRef),
    /// `pools = { app = 95, canary = 5 }`
    Pools(Vec<(PoolRef, u32)>),
    /// `redirect = {…}`
    Redirect(Redirect),
    /// `respond = {…}`
    Respond(Respond),
}

/// `redirect`: what it does not name it keeps, the query too.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308 (the default).
    pub status: u16,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<PathRewrite>,
}

/// `respond`
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Further fields.
    pub headers: Vec<(String, String)>,
}

/// Rules on fields, applied in the order remove, set, add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderRules {
    /// Names to remove, in lower case.
    pub remove: Vec<String>,
    /// Fields to set, case kept.
    pub set: Vec<(String, String)>,
    /// Fields to add, case kept.
    pub add: Vec<(String, String)>,
}

/// `[pool.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// Where it is said.
    pub at: At,
    /// What `Host` the backend sees.
    pub host: HostSent,
    /// How a backend is chosen.
    pub balance: Balance,
    /// The version its backends are spoken to in; `None` where only tcp listeners use it.
    pub http: Option<PoolHttp>,
    /// Limits of connections that speak HTTP/2.
    pub http2: PoolHttp2,
    /// The TLS its backends speak.
    pub tls: Option<PoolTls>,
    /// In which version of the PROXY protocol backends are told of clients.
    pub send_proxy_protocol: Option<ProxyProtocol>,
    /// Active probes.
    pub health: Option<Health>,
    /// Below this share of healthy backends the unhealthy are tried too.
    pub panic_threshold: Option<Percent>,
    /// Connections or requests a backend may have at once.
    pub max_active: Option<u32>,
    /// Idle connections to the backends.
    pub keep_alive: KeepAlive,
    /// How names of backends are resolved.
    pub resolve: Resolve,
    /// How long a drained backend's connections may last.
    pub drain: Timeout,
    /// What its backends are reached by, as its users say.
    pub carries: Carries,
    /// Its backends; names are unique.
    pub backends: Vec<Backend>,
    /// Its word on times, limits and retries.
    pub over: Overrides,
}

/// `pool.send_proxy_protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary, with what is known of the client's TLS.
    V2,
}

/// `pool.host`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostSent {
    /// The client's.
    Preserve,
    /// The backend's address as written.
    Backend,
    /// This name.
    Name(String),
}

/// `pool.balance`: the word is checked by the pool, so that a user's own policy can be named.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// The policy's word, normalised: lower case, `_` for `-`, aliases resolved.
    pub policy: String,
    /// Members for `consistent_hash`; `None` for a policy that takes none.
    pub hash: Option<Hash>,
    /// Where it is said.
    pub at: At,
}

/// Members of `consistent_hash`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hash {
    /// Parts of the key, in order; at least one.
    pub key: Vec<KeyPart>,
    /// Whether the first part that is present is the key, instead of all that are.
    pub first: bool,
    /// The policy's word for requests where every part is absent; default `random`.
    pub fallback: String,
    /// The table.
    pub table: Table,
    /// No backend gets more than this times its fair share; `None` is off. Above 1.
    pub bounded_load: Option<f64>,
}

/// A part of a hash key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// `header:X-User`, in lower case.
    Header(String),
    /// `cookie:sid`
    Cookie(String),
    /// `query:id`
    Query(String),
    /// `path`
    Path,
    /// `client_ip`
    ClientIp,
    /// `client_addr`
    ClientAddr,
}

/// The table of a consistent hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Maglev (Eisenbud et al., NSDI 2016). `None` is `size = "auto"`: 65,537 slots, or 1,000,003
    /// when the sum of weights is over 655 times the smallest. A prime.
    Maglev(Option<u32>),
    /// Ketama-like ring.
    Ring,
}

/// `pool.keep_alive`
#[derive(Clone, Debug, PartialEq)]
pub struct KeepAlive {
    /// How long a connection may be idle; off keeps none.
    pub idle: Timeout,
    /// Idle connections, per worker and backend.
    pub max_idle: usize,
    /// How old a connection may become.
    pub max_age: Timeout,
}

/// `pool.resolve`
#[derive(Clone, Debug, PartialEq)]
pub struct Resolve {
    /// From one look-up to the next.
    pub interval: Duration,
    /// Which addresses count.
    pub family: Family,
}

/// Address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A backend of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Its name, else its address as written: its identity.
    pub name: Name,
    /// Where it is said.
    pub at: At,
    /// Its address.
    pub addr: Addr,
    /// Its weight.
    pub weight: Weight,
    /// 1 is the first; `backup = true` is 2.
    pub tier: u8,
}

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Addr {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A name to resolve, and a port.
    Host(Arc<str>, u16),
    /// `unix:/path`
    Unix(PathBuf),
}

impl std::fmt::Display for Addr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl std::fmt::Display for BindAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
