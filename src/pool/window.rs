//! What came from a backend in a short time. Pure: time is an argument.
use std::time::Instant;

/// Latencies that are kept: the last ones.
const KEPT: usize = 64;

#[derive(Debug)]
pub(super) struct Window {
    pub(super) begun: Instant,
    pub(super) answers: u32,
    pub(super) faults: u32,
    pub(super) refusals: u32,
    pub(super) turned: u32,
    /// Most in work.
    pub(super) most: u32,
    took: Vec<f32>,
}

impl Window {
    pub(super) fn new(begun: Instant) -> Self {
        Self { begun, answers: 0, faults: 0, refusals: 0, turned: 0, most: 0, took: Vec::new() }
    }
    pub(super) fn all(&self) -> u32 {
        self.answers + self.faults + self.refusals + self.turned
    }
    pub(super) fn learn(&mut self, took: f32) {
        let at = self.answers as usize % KEPT;
        self.answers += 1;
        match self.took.get_mut(at) {
            Some(old) => *old = took,
            None => self.took.push(took),
        }
    }
    pub(super) fn median(&mut self) -> Option<f32> {
        let middle = self.took.len().checked_sub(1)? / 2;
        Some(*self.took.select_nth_unstable_by(middle, f32::total_cmp).1)
    }
    /// Begins anew and keeps its room.
    pub(super) fn clear(&mut self, now: Instant) {
        let mut took = std::mem::take(&mut self.took);
        took.clear();
        *self = Self { took, ..Self::new(now) };
    }
}
