//! Whether failures in a row speak against one backend, or of what all are asked for. Pure: counts are
//! arguments.
//!
//! A page that is broken fails wherever it is asked for, and who asks for it in a loop would have half
//! of a pool ejected. So a row is held against the others' tries since it began, or lately if more of those
//! failed: were the backend as they are, it would be so long by the chance that each of its tries fails as
//! a try of theirs does.
//!
//! Who comes back to a backend asks for other pages than who comes for the first time, or is no browser, and
//! not all backends have as many such: the failures of each are held against what became of their like.
//!
//! Who has too much to do turns away whoever comes while all of its places are taken (503), each at once: a long row
//! in a moment, of a backend that answers all it can. What it was at before tells: once that is over its row speaks.
use super::outlier::Tally;
use std::time::{Duration, Instant};

/// A row that comes by chance so rarely is none: rows are many where much fails.
const CHANCE: f64 = 1e-6;
/// What the others' tries came to is looked back on for so long, and up to twice that.
const WHILE: Duration = Duration::from_secs(5);
/// What it was at before is waited for so long: of what takes longer nothing is learnt.
const AT_WORK: Duration = Duration::from_secs(1);

/// What was counted so far when somebody looks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside {
    /// Who the others are.
    pub(super) set: u64,
    /// What became of their tries: of those who come back or of all where nobody does, and of unbound ones.
    pub(super) others: [Tally; 2],
    /// Of its own tries so many unbound ones failed.
    pub(super) unbound: u64,
}

/// What was counted when a row of failures began, and of the others some time before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    began: Beside,
    /// When it began, and how many tries that were in work then have not ended since.
    at: Option<Instant>,
    older: u32,
    /// The first failures, which came when the others were not the same.
    before: u32,
    /// When it was noted last, and what was counted then and the time before.
    noted: Option<Instant>,
    lately: [[Tally; 2]; 2],
}

impl Row {
    /// It begins with a first failure, while `others` are in work.
    pub(super) fn begin(&mut self, beside: Beside, others: u32, now: Instant) {
        self.note(beside, now);
        (self.before, self.began) = (0, beside);
        (self.at, self.older) = (Some(now), others);
    }

    /// A try that was taken then is turned away: whether the backend may be at work on others all the while.
    pub(super) fn is_turned_away(&mut self, taken: Instant, now: Instant) -> bool {
        let Some(at) = self.at else { return false };
        if taken < at && now > at {
            self.older = self.older.saturating_sub(1);
        }
        self.older > 0 && now.saturating_duration_since(at) < AT_WORK
    }

    /// Whether so many failures are its backend's own, `most` of which suffice where nothing else fails. Where
    /// the others were asked for nothing meanwhile they do, too; where they are not the same as before, it begins
    /// anew.
    pub(super) fn stands_out(&mut self, row: u32, most: u32, beside: Beside, now: Instant) -> bool {
        if self.note(beside, now) {
            (self.before, self.began) = (row, beside);
            return false;
        }
        let row = f64::from(row.saturating_sub(self.before));
        let unbound = row.min(beside.unbound.saturating_sub(self.began.unbound) as f64);
        // Counted by orders of magnitude.
        let least = CHANCE.ln() / f64::from(most);
        let found = |like: usize, failures: f64| {
            let share = |before: Tally| match beside.others[like].since(before) {
                Tally { bad: 0, .. } => 0.0,
                since => 1.0 - since.rate(),
            };
            let share = share(self.began.others[like]).max(share(self.lately[0][like]));
            failures * share.ln().max(least)
        };
        found(0, row - unbound) + found(1, unbound) <= CHANCE.ln() * (1.0 - f64::EPSILON * 8.0)
    }

    /// Notes what was counted; whether they are others now.
    fn note(&mut self, beside: Beside, now: Instant) -> bool {
        let Beside { set, others, .. } = beside;
        let changed = self.began.set != set;
        let is_old = |noted| now.saturating_duration_since(noted) >= WHILE;
        if changed {
            (self.began.set, self.lately, self.noted) = (set, [others; 2], Some(now));
        } else if self.noted.is_none_or(is_old) {
            (self.lately, self.noted) = ([self.lately[1], others], Some(now));
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(set: u64, others: Tally) -> Beside {
        Beside { set, others: [others, Tally::default()], unbound: 0 }
    }

    fn stands_out(row: u32, good: u64, bad: u64) -> bool {
        let (mut began, now) = (Row::default(), Instant::now());
        began.begin(beside(1, Tally { good: 1000, bad: 7 }), 0, now);
        began.stands_out(row, 5, beside(1, Tally { good: 1000 + good, bad: 7 + bad }), now)
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
    fn who_is_at_work_on_what_came_before_may_turn_away_the_rest() {
        let (mut row, start) = (Row::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!row.is_turned_away(at(0), at(0)), "nothing began");
        row.begin(beside(1, Tally::default()), 2, at(100));
        assert!((0..50).all(|n| row.is_turned_away(at(100), at(100 + n))), "two are in work");
        assert!(row.is_turned_away(at(99), at(120)), "one of them is turned away, too");
        assert!(!row.is_turned_away(at(98), at(130)), "and the other");
        assert!(!row.is_turned_away(at(140), at(140)));
        row.begin(beside(1, Tally::default()), 2, at(200));
        assert!(row.is_turned_away(at(201), at(1100)) && !row.is_turned_away(at(201), at(1200)));
        row.begin(beside(1, Tally::default()), 0, at(2000));
        assert!(!row.is_turned_away(at(2001), at(2002)), "it had nothing else to do");
    }

    #[test]
    fn where_others_stand_beside_it_a_row_begins_anew() {
        let (mut row, now) = (Row::default(), Instant::now());
        row.begin(beside(1, Tally { good: 0, bad: 50 }), 0, now);
        assert!(!row.stands_out(5, 5, beside(1, Tally { good: 0, bad: 65 }), now), "all fail");
        // One of them was drained: what it failed is out of the count.
        assert!(
            !row.stands_out(30, 5, beside(2, Tally { good: 0, bad: 40 }), now),
            "they are others by now"
        );
        assert!(
            !row.stands_out(35, 5, beside(2, Tally { good: 0, bad: 50 }), now),
            "and fail, too"
        );
        assert!(!row.stands_out(40, 5, beside(3, Tally { good: 9, bad: 30 }), now));
        assert!(row.stands_out(45, 5, beside(3, Tally { good: 19, bad: 30 }), now), "these do not");
    }

    #[test]
    fn what_failed_elsewhere_lately_counts_as_well() {
        let (mut row, start) = (Row::default(), Instant::now());
        row.begin(beside(1, Tally { good: 100, bad: 0 }), 0, start);
        let (others, now) = (Tally { good: 120, bad: 80 }, start + WHILE / 2);
        row.begin(beside(1, others), 0, now);
        let few = Tally { good: 121, ..others };
        assert!(
            !row.stands_out(5, 5, beside(1, few), now),
            "by chance none of theirs failed since it began"
        );
        let later = |n: u32| now + WHILE * n;
        row.begin(beside(1, few), 0, later(1));
        assert!(!row.stands_out(5, 5, beside(1, few), later(1)));
        row.begin(beside(1, few), 0, later(2));
        assert!(row.stands_out(5, 5, beside(1, few), later(2)), "long ago");
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
                    began.begin(beside(1, others(&tallies)), 0, now);
                }
                if *row % 5 == 0 {
                    plain += 1;
                    let beside = beside(1, others(&tallies));
                    ejected += i32::from(began.stands_out(*row, 5, beside, now));
                }
            }
            println!("{share}: {ejected} ejections, {plain} if none compared");
            assert!(ejected <= most, "{share}: {ejected} of {plain}");
        }
    }

    /// Five suffice as long as they are of those of whom the others fail none.
    #[test]
    fn failures_are_held_against_those_of_their_like() {
        let tally = |good, bad| Tally { good, bad };
        let stands_out = |row, unbound: u64, others: [(u64, u64); 2]| {
            let (mut began, now) = (Row::default(), Instant::now());
            began.begin(Beside { set: 1, others: [tally(90, 3); 2], unbound: 70 }, 0, now);
            let others = others.map(|(good, bad)| tally(90 + good, 3 + bad));
            began.stands_out(row, 5, Beside { set: 1, others, unbound: 70 + unbound }, now)
        };
        assert!(!stands_out(500, 500, [(5000, 0), (0, 1500)]), "a page that fails everywhere");
        assert!(stands_out(5, 5, [(0, 50), (90, 0)]) && stands_out(5, 0, [(90, 0), (0, 50)]));
        assert!(!stands_out(10, 6, [(90, 0), (0, 50)]) && stands_out(10, 5, [(90, 0), (0, 50)]));
        assert!(stands_out(5, 3, [(90, 0), (90, 0)]), "both together");
        assert!(!stands_out(10, 10, [(0, 0), (3, 3)]) && stands_out(20, 20, [(0, 0), (3, 3)]));
    }
}
