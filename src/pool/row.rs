//! Whether failures in a row speak against one backend, or of what all are asked for. Pure: counts are
//! arguments.
//!
//! A page that is broken fails wherever it is asked for, and who asks for it in a loop would have half
//! of a pool ejected. So a row is held against the others' tries since it began: were the backend as they
//! are, it would be so long by the chance that each of its tries fails as a try of theirs does.
use super::outlier::Tally;

/// A row that comes by chance so rarely is none: rows are many where much fails.
const CHANCE: f64 = 1e-6;

/// What was counted of the others when a row of failures began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    /// The set that they are of.
    set: u32,
    others: Tally,
}

impl Row {
    /// It begins with a first failure.
    pub(super) fn begin(set: u32, others: Tally) -> Self {
        Self { set, others }
    }

    /// Whether so many failures are its backend's own. With others beside it nothing can be compared:
    /// then they are.
    pub(super) fn stands_out(self, row: u32, set: u32, others: Tally) -> bool {
        let since = others.since(self.others);
        let share = 1.0 - since.rate();
        set != self.set || since.bad == 0 || share.powi(row.min(100_000) as i32) <= CHANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stands_out(row: u32, good: u64, bad: u64) -> bool {
        let before = Tally { good: 1000, bad: 7 };
        let now = Tally { good: 1000 + good, bad: 7 + bad };
        Row::begin(1, before).stands_out(row, 1, now)
    }

    #[test]
    fn a_row_counts_by_how_much_fails_elsewhere() {
        assert!(stands_out(5, 10, 0) && stands_out(5, 0, 0), "nothing else fails");
        assert!(!stands_out(5, 0, 15) && !stands_out(10_000, 0, 30_000), "everything does");
        assert!(!stands_out(5, 9, 1) && stands_out(10, 18, 2), "a tenth does");
        assert!(!stands_out(15, 20, 20) && stands_out(20, 30, 30), "half of it");
        assert!(!stands_out(200, 30, 570), "one broken page that nearly all ask for");
        let elsewhere = Row::begin(1, Tally { good: 0, bad: 50 });
        assert!(elsewhere.stands_out(5, 2, Tally { good: 0, bad: 100 }), "they are others by now");
    }

    /// Of four backends each answers what it is asked for; this share of it fails wherever it is asked.
    #[test]
    fn what_fails_everywhere_ejects_hardly_anybody() {
        let mut rng = fastrand::Rng::with_seed(7);
        for (share, most) in [(0.5, 200), (0.9, 20), (0.97, 0), (1.0, 0)] {
            let (mut tallies, mut rows) = ([Tally::default(); 4], [(0u32, Row::default()); 4]);
            let (mut ejected, mut plain) = (0, 0);
            for n in 0..400_000 {
                let others = |tallies: &[Tally; 4]| {
                    let all = tallies.iter().enumerate().filter(|(i, _)| *i != n % 4);
                    all.fold(Tally::default(), |sum, (_, one)| sum.and(*one))
                };
                let (row, began) = &mut rows[n % 4];
                if rng.f64() >= share {
                    (tallies[n % 4].good, *row) = (tallies[n % 4].good + 1, 0);
                    continue;
                }
                (tallies[n % 4].bad, *row) = (tallies[n % 4].bad + 1, *row + 1);
                if *row == 1 {
                    *began = Row::begin(1, others(&tallies));
                }
                if *row % 5 == 0 {
                    plain += 1;
                    ejected += i32::from(began.stands_out(*row, 1, others(&tallies)));
                }
            }
            println!("{share}: {ejected} ejections, {plain} if none compared");
            assert!(ejected <= most, "{share}: {ejected} of {plain}");
        }
    }
}
