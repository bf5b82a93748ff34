//! What somebody who waits for a first byte knows of the wait.
//!
//! A wait that is too long, while the backend answers others, is no silence: it is a slow page. How long
//! those take is learnt while they last, in the beginning; else nobody would know that they are usual before
//! the first of them ends, as long polls do half a minute after the start. Later only of those that end:
//! what hangs for ever teaches nothing.
use std::time::Duration;

/// What was heard during a wait.
#[derive(Clone, Copy, Debug)]
pub struct Awaited {
    /// First bytes of the whole pool when it was first looked at.
    pub(super) since: u32,
    /// When it was last found too long.
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    /// First bytes of its backend, modulo 2^32.
    own: u32,
    /// A wait as long as this is worth learning.
    next: Duration,
}

impl Awaited {
    /// It is first looked at, when its whole pool had given so many first bytes, modulo 2^32.
    pub(super) fn new(since: u32) -> Self {
        Self { since, told: None }
    }

    /// Whether it was found too long before.
    pub fn was_told(&self) -> bool {
        self.told.is_some()
    }

    /// It is found too long, when its backend has given so many first bytes. Says whether it is a slow page for
    /// sure, and the longest for some time: its backend has spoken since it was found so last, and it lasts twice as
    /// long as when that was said before.
    pub(super) fn tell(&mut self, own: u32, waited: Duration) -> bool {
        let told = self.told.unwrap_or(Told { own, next: waited });
        let is_slow = told.own != own && waited >= told.next;
        let next = if is_slow { waited.saturating_mul(2) } else { told.next };
        self.told = Some(Told { own, next });
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_page_is_told_of_while_it_lasts_and_more_and_more_seldom() {
        let mut awaited = Awaited::new(0);
        assert!(!awaited.was_told());
        let told = |awaited: &mut Awaited, speaks: bool| {
            let looks = (1..=100u32).filter(|n| {
                awaited.tell(if speaks { *n } else { 7 }, Duration::from_millis(200) * *n)
            });
            looks.collect::<Vec<_>>()
        };
        assert_eq!(told(&mut awaited, true), [2, 4, 8, 16, 32, 64]);
        assert!(awaited.was_told());
        assert!(told(&mut Awaited::new(0), false).is_empty(), "it may be silent");
    }
}
