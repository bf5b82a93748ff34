//! What a balancing policy is.
use crate::pool::backend::{Backend, BackendId, Candidate};
use crate::pool::clients::Who;
use std::sync::Arc;
use std::time::Instant;

/// What a backend is chosen for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// The first try of a request; with backends to avoid it is another one.
    #[default]
    First,
    /// Another try of it.
    Again,
    /// A try beside one that takes long.
    Hedge,
}

/// What is known of a request when a backend is chosen for it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ask<'a> {
    /// Hash of its key parts; `None` when all are absent.
    pub hash: Option<u64>,
    /// Backends it has already tried.
    pub avoid: &'a [BackendId],
    /// Who gets it if it may, whatever the policy.
    pub prefer: Option<&'a Arc<Backend>>,
    /// Whether it is for its tier alone.
    pub within: bool,
    /// A number of the client that comes back to it.
    pub client: u64,
    /// Now.
    pub now: Instant,
    /// Randomness, fresh for each ask.
    pub seed: u64,
    /// What for.
    pub why: Why,
}

impl<'a> Ask<'a> {
    /// Without a hash and with nothing to avoid.
    pub const fn new(now: Instant, seed: u64) -> Self {
        Self {
            hash: None,
            avoid: &[],
            prefer: None,
            within: false,
            client: 0,
            now,
            seed,
            why: Why::First,
        }
    }
    /// With a hash.
    #[must_use]
    pub const fn hash(mut self, hash: Option<u64>) -> Self {
        self.hash = hash;
        self
    }
    /// With backends to avoid.
    #[must_use]
    pub const fn avoid(mut self, avoid: &'a [BackendId]) -> Self {
        self.avoid = avoid;
        self
    }
    /// For another try than the first.
    #[must_use]
    pub const fn why(mut self, why: Why) -> Self {
        self.why = why;
        self
    }
    /// With one who gets it if it may.
    #[must_use]
    pub const fn prefer(mut self, prefer: Option<&'a Arc<Backend>>) -> Self {
        self.prefer = prefer;
        self
    }
    /// With a number of the client that comes back to somebody.
    #[must_use]
    pub const fn client(mut self, client: u64) -> Self {
        self.client = client;
        self
    }
    /// For nobody of a later tier.
    #[must_use]
    pub const fn within(mut self, within: bool) -> Self {
        self.within = within;
        self
    }
    /// Who asks: bound to one backend by whom it prefers, or by a hash.
    pub(in crate::pool) fn who(&self) -> Who {
        match (self.prefer, self.hash) {
            (Some(_), _) => Who::bound(self.client),
            (None, Some(hash)) => Who::bound(hash),
            (None, None) => Who::anybody(self.seed),
        }
    }
    /// Whether it is for the first try of a request.
    pub(in crate::pool) fn is_first(&self) -> bool {
        self.why == Why::First && self.avoid.is_empty()
    }
    /// Whether it is for another try of a request after one that came to nothing: where its tier is left
    /// with nobody for that, the next one is asked.
    pub(in crate::pool) fn goes_on(&self) -> bool {
        !self.within && self.why != Why::Hedge && !self.avoid.is_empty()
    }
    /// Whether this one is to be avoided.
    pub fn avoids(&self, id: BackendId) -> bool {
        self.avoid.contains(&id)
    }
}

/// Chooses among the candidates it was built for. Never changes: a new set gets a new balancer.
///
/// A pick is on the path of every request: it takes no lock and allocates nothing.
pub trait Balancer: Send + Sync {
    /// Index into `candidates`, or `None` when nobody is open (see [`Candidate::is_open`]).
    /// Candidates show live counters. `candidates` is the slice it was built for.
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize>;

    /// As `pick`, with the most that the picked one may have in work once it is taken. It is held
    /// when the lease is counted, so a policy that bounds load keeps its bound among threads, too.
    fn pick_within(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<(usize, u32)> {
        self.pick(candidates, ask).map(|index| (index, u32::MAX))
    }

    /// Whom `pick` would choose, moving nothing by it: for who only wants to know. A policy whose pick
    /// moves something has a look of its own.
    fn peek(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        self.pick_within(candidates, ask).map(|(index, _)| index)
    }

    /// Called at take and settle with the index in the current set, for policies that keep an
    /// order, and once for each candidate when a set is published. Only a hint to look again: it
    /// may come late, twice, or for two threads in another order than their counts.
    fn load_changed(&self, candidates: &[Candidate], index: usize) {
        let _ = (candidates, index);
    }

    /// Whether `load_changed` is of use. A policy that says no saves each lease two look-ups.
    fn wants_load(&self) -> bool {
        true
    }

    /// Whether it reads [`Backend::cost`](crate::pool::Backend::cost). Where it says no, first bytes
    /// are not learnt from.
    fn wants_cost(&self) -> bool {
        true
    }
}

/// The next open one from a place on, in the order of the set: for when a policy's own choice is
/// closed.
pub(super) fn next_open(candidates: &[Candidate], start: u64, ask: &Ask<'_>) -> Option<usize> {
    let start = start.checked_rem(candidates.len() as u64)? as usize;
    let mut failed = None;
    for index in (start..candidates.len()).chain(0..start) {
        let candidate = &candidates[index];
        if candidate.stands_in(ask) {
            return Some(index);
        }
        if failed.is_none() && candidate.is_open(ask) {
            failed = Some(index);
        }
    }
    failed
}
