//! A configuration while it is read: what its files said so far, and what they refer to.
use super::chains::{Owner, RetrySaid};
use super::log::Log;
use super::model::{
    Admin, Bind, Compat, Listener, Overrides, Pool, Protocol, Route, Server, SniRoute,
};
use super::problem::At;
use super::sources::Sources;
use super::trace::Trace;
use super::units::Name;
use std::collections::{BTreeMap, BTreeSet};

/// Something named somewhere, to be found once all files are read.
#[derive(Clone, Debug)]
pub(super) struct Ref {
    /// The full path of the key that names it.
    pub(super) key: String,
    /// Where.
    pub(super) at: At,
    /// The name.
    pub(super) name: Name,
}

/// A key that means something to some of those only who may use its pool.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The full path of the key.
    pub(super) key: String,
    /// Where it is said.
    pub(super) at: At,
}

/// What the files said so far.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "as in `Config`")]
pub(super) struct Draft {
    pub(super) server: Option<Server>,
    pub(super) log: Option<Log>,
    pub(super) trace: Option<Trace>,
    pub(super) admin: Option<Admin>,
    pub(super) metrics: Option<Bind>,
    pub(super) compat: Compat,
    pub(super) defaults: Overrides,
    pub(super) listeners: BTreeMap<Name, Listener>,
    pub(super) routes: Vec<Route>,
    pub(super) sni_routes: Vec<SniRoute>,
    pub(super) pools: BTreeMap<Name, Pool>,
    pub(super) sources: Sources,
    /// Bytes of certificates, keys and secrets so far.
    pub(super) blob_bytes: usize,

    /// Tables that may stand once, and where they did.
    pub(super) once: BTreeMap<&'static str, At>,
    /// Whether a file speaks of listeners at all, be it wrongly.
    pub(super) listener_said: bool,
    /// Where each listener is said; `None` of a protocol that could not be read.
    pub(super) listener_names: BTreeMap<Name, (At, Option<Protocol>)>,
    /// Where each route with a name is said.
    pub(super) route_names: BTreeMap<Name, At>,
    /// Routes so far, those that could not be read too.
    pub(super) route_count: usize,
    /// Where each pool is said.
    pub(super) pool_names: BTreeMap<Name, At>,
    /// Pools that http listeners and routes name.
    pub(super) http_pools: Vec<Ref>,
    /// Pools that tcp listeners name.
    pub(super) tcp_pools: Vec<Ref>,
    /// Pools that udp listeners name.
    pub(super) udp_pools: Vec<Ref>,
    /// Listeners that routes of HTTP name.
    pub(super) route_listeners: Vec<Ref>,
    /// Listeners that routes with `sni` name.
    pub(super) sni_listeners: Vec<Ref>,
    /// `sni` of routes that name no listener.
    pub(super) sni_anywhere: Vec<Said>,
    /// Listeners that let TLS pass.
    pub(super) passthrough: BTreeSet<Name>,
    /// Addresses to listen on with their keys.
    pub(super) binds: Vec<(String, Bind, Option<Protocol>)>,
    /// Keys of pools that mean nothing when only tcp and udp listeners use the pool.
    pub(super) http_only: BTreeMap<Name, Vec<Said>>,
    /// Keys of pools that mean nothing when only udp listeners use the pool.
    pub(super) stream_only: BTreeMap<Name, Vec<Said>>,
    /// Keys of pools that mean nothing when no tcp listener uses the pool.
    pub(super) tcp_only: BTreeMap<Name, Vec<Said>>,
    /// Backends of pools that take no datagrams.
    pub(super) unix: BTreeMap<Name, Vec<Said>>,
    /// `health.port` of pools.
    pub(super) probe_ports: BTreeMap<Name, Said>,
    /// `upgrade` of routes that say it, and the pools they go to.
    pub(super) upgrades: Vec<(Said, Vec<Name>)>,
    /// What each table of `retry` says.
    pub(super) retries: BTreeMap<Owner, RetrySaid>,
    /// `pool.http`, which no pool of a tcp or udp listener may have.
    pub(super) pool_http: BTreeMap<Name, Said>,
}
