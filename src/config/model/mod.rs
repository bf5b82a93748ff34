//! The shapes of a configuration: one type for each table of `proxy.toml`, defaults applied.
mod action;
mod address;
mod balance;
mod effective;
mod listener;
mod matching;
mod over;
mod pool;
mod retry;
mod route;
mod server;

pub use super::rewrite::{PathRewrite, Rewrite};
pub use action::{Action, HeaderRules, Redirect, Respond};
pub use address::{Addr, Bind, BindAddr, arrives};
pub use balance::{Balance, Hash, KeyPart, Table};
pub use effective::{Effective, Limits, Timeouts};
pub use listener::{Listener, ListenerRef, PoolRef, Protocol};
pub use matching::{HostMatch, PathMatch, ValueMatch};
pub use over::{LimitsPart, Overrides, RetryPart, TimeoutsPart};
pub use pool::{
    Backend, Family, HostSent, KeepAlive, MaxActive, Pool, ProxyProtocol, Queue, Resolve,
};
pub use retry::{Backoff, Retry, RetryOn, Statuses};
pub use route::{Route, SniRoute};
pub use server::{ADMIN_SOCKET, Admin, AdminLimits, Compat, HAND_OVER_SOCKET, Memory, Server};

use super::env::PutIn;
use super::log::Log;
use super::sources::Sources;
use super::trace::Trace;
use super::units::Name;
use std::collections::BTreeMap;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[log]`
    pub log: Log,
    /// `[trace]`; `None` for no traces.
    pub trace: Option<Trace>,
    /// `[admin]`
    pub admin: Admin,
    /// `[metrics]`
    pub metrics: Option<Bind>,
    /// `metrics.compat`
    pub compat: Compat,
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
    /// What the environment put into it.
    pub put_in: PutIn,
}
