//! How often a backend closes kept connections under requests, of those it got on them of late. Pure:
//! time does not matter, for while none is used again nothing is learnt.

/// What "of late" is: each use counts for less the more came since, as 1/e after so many.
const LATE: f64 = 400.0;
/// Fewer closed ones say nothing of a rate: a restart or bad luck looks the same.
const FEW: f64 = 2.5;

/// What is known of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Races {
    closed: f64,
    used: f64,
    /// Uses in all when that was known.
    seen: u64,
}

impl Races {
    /// It closed one more, after so many uses in all.
    pub(super) fn note(&mut self, uses: u64) {
        let more = uses.saturating_sub(self.seen).max(1) as f64;
        let left = (-more / LATE).exp();
        self.closed = self.closed * left + 1.0;
        self.used = (self.used * left + LATE * (1.0 - left)).max(self.closed);
        self.seen = self.seen.max(uses);
    }

    /// The share that it closed, 0.0 to 1.0, less one standard deviation of so many uses; 0.0 where that may
    /// be chance.
    pub(super) fn share(&self) -> f64 {
        let share = self.closed / self.used;
        if self.closed < FEW { 0.0 } else { share - (share * (1.0 - share) / self.used).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After some uses and so many closed ones, one of so many uses.
    fn after(races: &mut Races, uses: u64, closed: u64, of: u64) -> f64 {
        let from = races.seen + uses;
        (1..=closed).for_each(|n| races.note(from + n * of));
        races.share()
    }

    #[test]
    fn one_or_two_are_none() {
        let mut races = Races::default();
        assert_eq!(after(&mut races, 0, 2, 1), 0.0);
        assert!(after(&mut races, 0, 1, 1) > 0.9, "three of three");
        assert_eq!(after(&mut Races::default(), 1000, 2, 1), 0.0);
    }

    #[test]
    fn the_share_is_that_of_late() {
        let mut races = Races::default();
        for of in [2, 5, 10, 20] {
            let (share, is) = (after(&mut races, 0, 1000, of), 1.0 / of as f64);
            assert!(share > 0.7 * is && share < 1.1 * is, "{share} for {is}");
        }
        assert!(after(&mut races, 0, 400, 500) < 0.02, "one of 500");
        // As many as a restart closes at once, after a long time without one.
        let share = after(&mut races, 10_000, 12, 1);
        assert!(share > 0.01 && share < 0.04, "{share}");
        assert!(after(&mut races, 499, 1, 1) < 0.02);
    }

    #[test]
    fn who_closes_a_little_less_than_a_share_hardly_ever_shows_it() {
        let mut rng = fastrand::Rng::with_seed(3);
        let shows = |rng: &mut fastrand::Rng, of: f64| {
            let mut races = Races::default();
            let closes = |n: &u64| *n > 1000 && rng.f64() < of;
            let closed: Vec<u64> = (0..100_000).filter(closes).collect();
            let seen = closed.iter().filter(|uses| {
                races.note(**uses);
                races.share() > 0.05
            });
            seen.count() as f64 / closed.len() as f64
        };
        let (few, many) = (shows(&mut rng, 0.04), shows(&mut rng, 0.08));
        assert!(few < 0.05 && many > 0.9, "{few} {many}");
    }

    #[test]
    fn nothing_is_forgotten_while_none_is_used() {
        let mut races = Races::default();
        let share = after(&mut races, 0, 100, 1);
        races.note(races.seen + 1);
        assert!(races.share() >= share - 0.01, "the first one tells at once");
        // Uses that were not told of, as where two tell at once.
        races.note(races.seen - 1);
        assert!(races.share() <= 1.0 && races.share() > 0.9);
    }
}
