//! `retry`: how tries are repeated, and what bounds them.
use crate::config::units::Percent;
use std::time::Duration;

/// How tries are repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// All tries, the first one too; at least 1.
    pub attempts: u32,
    /// What is tried again.
    pub on: RetryOn,
    /// For each request so many tries more that a backend may have begun.
    pub budget: Percent,
    /// Or so many a second, where that is more.
    pub floor: f64,
    /// Both are counted over so long.
    pub window: Duration,
    /// How long a further try waits.
    pub backoff: Backoff,
    /// Bytes of a request's body that are kept to be sent again.
    pub body: usize,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: RetryOn { connect: true, reset: true, ..RetryOn::NOTHING },
            budget: Percent::new(0.2).expect("a share"),
            floor: 10.0,
            window: Duration::from_secs(10),
            backoff: Backoff::default(),
            body: 64 << 10,
        }
    }
}

/// `retry.backoff`: a further try waits for a random time, at first up to `base`, then twice as much
/// each time, `max` at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first one.
    pub base: Duration,
    /// The longest one, and the most that a backend may ask for.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

/// `retry.on`: which broken tries are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// It never reached the backend.
    pub connect: bool,
    /// It broke before the head of the answer, and the request is one that may be repeated.
    pub reset: bool,
    /// `timeout.first_byte` passed, and the request is one that may be repeated.
    pub timeout: bool,
    /// It was answered by one of these, and the request is one that may be repeated.
    pub statuses: Statuses,
}

impl RetryOn {
    /// Nothing is tried again.
    pub const NOTHING: Self =
        Self { connect: false, reset: false, timeout: false, statuses: Statuses::NONE };
}

/// A set of statuses from 400 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses([u64; 4]);

impl Statuses {
    /// None.
    pub const NONE: Self = Self([0; 4]);
    /// The lowest and the highest that can be in it.
    pub const RANGE: (u16, u16) = (400, 599);

    /// Adds one, if it can be in it.
    pub fn add(&mut self, status: u16) {
        if let Some((word, bit)) = place(status) {
            self.0[word] |= bit;
        }
    }
    /// Whether it is in it.
    #[inline]
    pub fn has(&self, status: u16) -> bool {
        place(status).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }
}

#[inline]
fn place(status: u16) -> Option<(usize, u64)> {
    let n = usize::from(status.checked_sub(Statuses::RANGE.0)?);
    (status <= Statuses::RANGE.1).then(|| (n / 64, 1 << (n % 64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_added_and_nothing_else() {
        let mut set = Statuses::NONE;
        assert!(set.is_empty());
        let added = [400, 429, 463, 464, 500, 503, 599];
        added.into_iter().chain([0, 200, 399, 600, u16::MAX]).for_each(|status| set.add(status));
        let all: Vec<u16> = (0..=u16::MAX).filter(|status| set.has(*status)).collect();
        assert_eq!(all, added);
    }
}
