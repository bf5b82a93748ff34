//! Copies of what a client sent before its first answer, so that another backend can be asked the
//! same. Bounded for each session, and counted with the process's buffers.
use crate::message::{Pressure, memory};
use std::time::{Duration, Instant};

/// Datagrams kept of one session: what a client sends before it hears anything is a handshake.
const MOST: usize = 8;
/// Their bytes: one datagram of any size.
const BYTES: usize = 64 << 10;
/// A refusal comes within the time of a round trip: later there is no use for copies.
const AGE: Duration = Duration::from_secs(2);

/// The copies of one session.
#[derive(Debug, Default)]
pub(super) struct Held {
    all: Vec<Box<[u8]>>,
    bytes: usize,
    since: Option<Instant>,
}

impl Held {
    /// Keeps one more; `false` where there is no room for it.
    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) -> bool {
        let full = self.all.len() >= MOST || self.bytes + bytes.len() > BYTES;
        if full || memory().pressure() != Pressure::None {
            return false;
        }
        memory().take(bytes.len());
        self.bytes += bytes.len();
        self.all.push(bytes.into());
        self.since = Some(now);
        true
    }

    /// Everything, in the order of its coming.
    pub(super) fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.all.iter().map(|one| &**one)
    }

    pub(super) fn clear(&mut self) {
        if self.since.take().is_some() {
            memory().give(self.bytes);
            self.bytes = 0;
            self.all = Vec::new();
        }
    }

    /// Forgets what is too old to be of use.
    pub(super) fn age(&mut self, now: Instant) {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) >= AGE) {
            self.clear();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_bounded_in_number_and_bytes_and_forgotten_in_time() {
        let now = Instant::now();
        let mut held = Held::default();
        assert!(held.push(&[1; 60_000], now) && !held.push(&[2; 6_000], now));
        assert!(held.push(b"", now), "an empty datagram is one, too");
        assert_eq!(held.all().map(<[u8]>::len).collect::<Vec<_>>(), [60_000, 0]);
        held.clear();
        assert!((0..MOST).all(|_| held.push(b"x", now)) && !held.push(b"x", now));
        held.age(now + AGE / 2);
        assert_eq!(held.all().count(), MOST);
        held.age(now + AGE);
        assert_eq!(held.all().count(), 0);
    }
}
