//! Whether failures in a row speak against one backend, or of what all are asked for. Pure: counts are
//! arguments.
//!
//! A page that is broken fails wherever it is asked for, and who asks for it in a loop would have half
//! of a pool ejected. So a row is held against the others' tries since it began, or lately if more of those
//! failed: were the backend as they are, it would be so long by the chance that each of its tries fails as
//! a try of theirs does.
use super::outlier::Tally;
use std::time::{Duration, Instant};

/// A row that comes by chance so rarely is none: rows are many where much fails.
const CHANCE: f64 = 1e-6;
/// What the others' tries came to is looked back on for so long, and up to twice that.
const WHILE: Duration = Duration::from_secs(5);

/// What was counted of the others when a row of failures began, and some time before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    /// Who the others are.
    set: u64,
    /// The first failures, which came when the others were not the same.
    before: u32,
    began: Tally,
    /// When it was noted last, and what was counted then and the time before.
    noted: Option<Instant>,
    lately: [Tally; 2],
}

impl Row {
    /// It begins with a first failure.
    pub(super) fn begin(&mut self, set: u64, others: Tally, now: Instant) {
        self.note(set, others, now);
        (self.before, self.began) = (0, others);
    }

    /// Whether so many failures are its backend's own. Where the others were asked for nothing
    /// meanwhile they are; where they are not the same as before, it begins anew.
    pub(super) fn stands_out(&mut self, row: u32, set: u64, others: Tally, now: Instant) -> bool {
        if self.note(set, others, now) {
            (self.before, self.began) = (row, others);
            return false;
        }
        let share = |before: Tally| match others.since(before) {
            Tally { bad: 0, .. } => 0.0,
            since => 1.0 - since.rate(),
        };
        let share = share(self.began).max(share(self.lately[0]));
        let row = row.saturating_sub(self.before).min(100_000);
        share == 0.0 || share.powi(row as i32) <= CHANCE
    }

    /// Notes what was counted; whether they are others now.
    fn note(&mut self, set: u64, others: Tally, now: Instant) -> bool {
        let changed = self.set != set;
        let is_old = |noted| now.saturating_duration_since(noted) >= WHILE;
        if changed {
            (self.set, self.lately, self.noted) = (set, [others; 2], Some(now));
        } else if self.noted.is_none_or(is_old) {
            (self.lately, self.noted) = ([self.lately[1], others], Some(now));
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stands_out(row: u32, good: u64, bad: u64) -> bool {
        let (mut began, now) = (Row::default(), Instant::now());
        began.begin(1, Tally { good: 1000, bad: 7 }, now);
        began.stands_out(row, 1, Tally { good: 1000 + good, bad: 7 + bad }, now)
    }

    #[test]
    fn a_row_counts_by_how_much_fails_elsewhere() {
        assert!(stands_out(5, 10, 0) && stands_out(5, 0, 0), "nothing else fails");
        assert!(!stands_out(5, 0, 15) && !stands_out(10_000, 0, 30_000), "everything does");
        assert!(!stands_out(5, 9, 1) && stands_out(10, 18, 2), "a tenth does");
        assert!(!stands_out(15, 20, 20) && stands_out(20, 30, 30), "half of it");
        assert!(!stands_out(200, 30, 570), "one broken page that nearly all ask for");
    }

    #[test]
    fn where_others_stand_beside_it_a_row_begins_anew() {
        let (mut row, now) = (Row::default(), Instant::now());
        row.begin(1, Tally { good: 0, bad: 50 }, now);
        assert!(!row.stands_out(5, 1, Tally { good: 0, bad: 65 }, now), "all fail");
        // One of them was drained: what it failed is out of the count.
        assert!(!row.stands_out(30, 2, Tally { good: 0, bad: 40 }, now), "they are others by now");
        assert!(!row.stands_out(35, 2, Tally { good: 0, bad: 50 }, now), "and fail, too");
        assert!(!row.stands_out(40, 3, Tally { good: 9, bad: 30 }, now));
        assert!(row.stands_out(45, 3, Tally { good: 19, bad: 30 }, now), "these do not");
    }

    #[test]
    fn what_failed_elsewhere_lately_counts_as_well() {
        let (mut row, start) = (Row::default(), Instant::now());
        row.begin(1, Tally { good: 100, bad: 0 }, start);
        let (others, now) = (Tally { good: 120, bad: 80 }, start + WHILE / 2);
        row.begin(1, others, now);
        let few = Tally { good: 121, ..others };
        assert!(!row.stands_out(5, 1, few, now), "by chance none of theirs failed since it began");
        let later = |n: u32| now + WHILE * n;
        row.begin(1, few, later(1));
        assert!(!row.stands_out(5, 1, few, later(1)));
        row.begin(1, few, later(2));
        assert!(row.stands_out(5, 1, few, later(2)), "long ago");
    }

    /// Of four backends each answers what it is asked for; this share of it fails wherever it is asked.
    #[test]
    fn what_fails_everywhere_ejects_hardly_anybody() {
        let mut rng = fastrand::Rng::with_seed(7);
        for (share, most) in [(0.5, 200), (0.9, 20), (0.97, 0), (1.0, 0)] {
            let (mut tallies, mut rows) = ([Tally::default(); 4], [(0u32, Row::default()); 4]);
            let start = Instant::now();
            let (mut ejected, mut plain) = (0, 0);
            for n in 0..400_000 {
                let others = |tallies: &[Tally; 4]| {
                    let all = tallies.iter().enumerate().filter(|(i, _)| *i != n % 4);
                    all.fold(Tally::default(), |sum, (_, one)| sum.and(*one))
                };
                let (row, began) = &mut rows[n % 4];
                let now = start + Duration::from_millis(n as u64);
                if rng.f64() >= share {
                    (tallies[n % 4].good, *row) = (tallies[n % 4].good + 1, 0);
                    continue;
                }
                (tallies[n % 4].bad, *row) = (tallies[n % 4].bad + 1, *row + 1);
                if *row == 1 {
                    began.begin(1, others(&tallies), now);
                }
                if *row % 5 == 0 {
                    plain += 1;
                    ejected += i32::from(began.stands_out(*row, 1, others(&tallies), now));
                }
            }
            println!("{share}: {ejected} ejections, {plain} if none compared");
            assert!(ejected <= most, "{share}: {ejected} of {plain}");
        }
    }
}
