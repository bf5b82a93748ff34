//! How many requests a connection to a backend lives for, as far as is known: learnt where one ended
//! that had more.
//!
//! Else a crowd goes on together from each connection that ends to the next one, and whoever comes last
//! there does so again and again.
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Of the connections of one worker to one backend.
#[derive(Debug)]
pub(super) struct Span(AtomicUsize);

impl Default for Span {
    /// As many as there are.
    fn default() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }
}

impl Span {
    /// Requests that one connection gets.
    #[inline]
    pub(super) fn get(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// A connection ended that had more than these.
    pub(super) fn ended(&self, served: usize) {
        self.0.store(served.max(1), Relaxed);
    }

    /// One lives on, although it answered its `nth`: the next ones may get more.
    pub(super) fn lives(&self, nth: usize) {
        if nth >= self.get() {
            self.0.store(nth.saturating_mul(2), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_last_one_had_and_grows_with_those_that_live_on() {
        let span = Span::default();
        span.lives(1_000_000);
        assert_eq!(span.get(), usize::MAX);
        span.ended(20);
        span.lives(19);
        assert_eq!(span.get(), 20);
        span.lives(20);
        assert_eq!(span.get(), 40);
        span.ended(30);
        assert_eq!(span.get(), 30);
        span.ended(0);
        assert_eq!(span.get(), 1, "each gets one at the least");
    }
}
