//! The immutable usable set with its balancer: what the `ArcSwap` holds.
use super::backend::Candidate;
use super::balance::Balancer;

/// Who is usable, and how one is picked.
pub(super) struct Snapshot {
    pub(super) candidates: Box<[Candidate]>,
    pub(super) balancer: Box<dyn Balancer>,
    /// `max_active`
    pub(super) limit: u32,
    pub(super) panic: bool,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("candidates", &self.candidates.len())
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Nobody.
    pub(super) fn empty() -> Self {
        struct Nobody;
        impl Balancer for Nobody {
            fn pick(&self, _: &[Candidate], _: &super::balance::Ask<'_>) -> Option<usize> {
                None
            }
        }
        Self { candidates: Box::new([]), balancer: Box::new(Nobody), limit: u32::MAX, panic: false }
    }
}
