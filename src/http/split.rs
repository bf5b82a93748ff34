//! The pools a route forwards to: by weight, by what keeps a client in its share, by its cookie.
use super::affinity::{Affinity, Bond};
use super::cells::RouteCells;
use super::key::hash_key;
use super::path::Asked;
use crate::config::{Effective, Hash, HostSent, KeyPart};
use crate::pool::{self, Pool};
use std::net::SocketAddr;
use std::sync::Arc;

/// A pool as a route reaches it.
#[derive(Debug)]
pub struct Target {
    /// The pool.
    pub pool: Arc<Pool>,
    /// What holds: defaults, listener, pool, route.
    pub effective: Effective,
    /// What Host the backend sees: the route's `rewrite.host`, else the pool's `host`.
    pub host: HostSent,
    /// The parts of a hash key, where the policy wants one.
    pub hash: Option<Box<Hash>>,
    /// The cookie that brings clients back to their backends.
    pub(super) affinity: Option<Box<Affinity>>,
    /// What is counted.
    pub cells: Arc<RouteCells>,
}

/// Weighted targets; one entry for `pool`.
#[derive(Debug)]
pub struct Split {
    targets: pool::Split<Target>,
    /// What keeps a client in its share, where more is to be looked at than chance.
    by: Option<Box<[KeyPart]>>,
}

impl Split {
    /// From weights; zero ones are left out. `None` when nothing is left.
    pub(super) fn new(
        targets: impl IntoIterator<Item = (u32, Target)>,
        by: &[KeyPart],
    ) -> Option<Self> {
        let targets = pool::Split::new(targets)?;
        let is_one = targets.all().count() == 1;
        let is_sticky = targets.all().any(|(_, target)| target.affinity.is_some());
        let is_bound = !is_one && (is_sticky || !by.is_empty());
        Some(Self { targets, by: is_bound.then(|| by.into()) })
    }

    /// Each with its weight.
    pub(super) fn shares(&self) -> impl Iterator<Item = (u64, &Target)> {
        self.targets.all()
    }

    /// One by chance.
    pub(super) fn choose(&self, seed: u64) -> &Target {
        self.targets.choose(seed)
    }

    /// Where a request goes, and what its cookie says there.
    #[inline]
    pub(super) fn take(
        &self,
        asked: &Asked<'_>,
        client: impl Fn() -> Option<SocketAddr>,
        seed: u64,
    ) -> (&Target, Option<Bond<'_>>) {
        if let Some(by) = &self.by {
            return self.bound(by, asked, client(), seed);
        }
        let target = self.targets.choose(seed);
        (target, target.bond(asked))
    }

    /// A good cookie says it, else the first part of the key that is there, else chance.
    #[cold]
    fn bound(
        &self,
        by: &[KeyPart],
        asked: &Asked<'_>,
        client: Option<SocketAddr>,
        seed: u64,
    ) -> (&Target, Option<Bond<'_>>) {
        let bonds =
            self.targets.all().filter_map(|(_, target)| Some((target, target.bond(asked)?)));
        if let Some((target, bond)) = bonds.into_iter().find(|(_, bond)| bond.is_good()) {
            return (target, Some(bond));
        }
        let target = match hash_key(by, true, asked, client) {
            Some(key) => self.targets.stay(key, |target| target.pool.name.as_bytes()),
            None => self.targets.choose(seed),
        };
        (target, target.bond(asked))
    }
}

impl Target {
    fn bond(&self, asked: &Asked<'_>) -> Option<Bond<'_>> {
        self.affinity.as_ref().map(|affinity| affinity.bond(asked.head))
    }
}
