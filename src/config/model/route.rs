//! `[[route]]`
use super::action::{Action, HeaderRules};
use super::balance::KeyPart;
use super::listener::{ListenerRef, PoolRef};
use super::matching::{HostMatch, PathMatch, ValueMatch};
use super::over::Overrides;
use crate::config::hedge::Hedge;
use crate::config::mirror::Mirror;
use crate::config::problem::At;
use crate::config::rate_limit::RateLimit;
use crate::config::rewrite::Rewrite;
use crate::config::units::Name;

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
    /// What keeps a client in its share of `pools`: the first of these that is there.
    pub split_by: Vec<KeyPart>,
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
    /// When a request is sent to another backend as well.
    pub hedge: Option<Hedge>,
    /// Where copies of its requests go.
    pub mirror: Option<Mirror>,
    /// How often requests of one key may come.
    pub rate_limit: Option<RateLimit>,
    /// Its word on times, limits and retries.
    pub over: Overrides,
}

impl Route {
    /// Whether it is one of this listener.
    pub fn belongs_to(&self, listener: &Name) -> bool {
        self.listeners.is_empty() || self.listeners.iter().any(|to| to.name == *listener)
    }
}
