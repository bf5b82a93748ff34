//! The order of a smooth weighted round robin, made when the set is made.
//!
//! Two forms. Up to [`PLACES`] places the order is written out: exactly nginx's smooth weighted
//! round robin, which picks the one that is furthest behind its share. Beyond, where writing it out
//! would cost megabytes, the places of a period are visited with a stride of the golden ratio: each
//! place exactly once, neighbours far apart, each share exact over a period and close to it over
//! any part of one (three-distance theorem: a gap is below 2.7 times the even one).
use std::collections::VecDeque;

/// Places of a written order: two bytes each. 65,536 keep the making below about 20 ms at the most
/// different weights.
const PLACES: u64 = 1 << 16;
/// Guides for each candidate of a visited order: few enough candidates between two guides that the
/// search among them does not grow with their number.
const GUIDES: u64 = 4;

#[derive(Debug)]
pub(super) enum Schedule {
    /// Whose each place is.
    Written(Box<[u16]>),
    /// How they are visited.
    Visited {
        /// Where each candidate's places end.
        ends: Box<[u32]>,
        /// Whose the first place of each stretch of 2^`shift` places is.
        guides: Box<[u32]>,
        shift: u32,
        period: u64,
        stride: u64,
    },
}

impl Schedule {
    pub(super) fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().fold(0, |a, w| gcd(a, u64::from(*w))).max(1);
        let weights: Vec<u64> = weights.iter().map(|w| u64::from(*w) / divisor).collect();
        let period: u64 = weights.iter().sum();
        if period <= PLACES {
            Self::Written(write(&weights, period))
        } else {
            visit(&weights, period)
        }
    }

    /// Picks of a full schedule.
    #[cfg(test)]
    pub(super) fn period(&self) -> u64 {
        match self {
            Self::Written(places) => places.len() as u64,
            Self::Visited { period, .. } => *period,
        }
    }

    /// Whose turn the so-and-so-many-th is; `None` where there is nobody.
    pub(super) fn at(&self, turn: u64) -> Option<usize> {
        match self {
            Self::Written(places) => {
                let place = turn.checked_rem(places.len() as u64)?;
                Some(usize::from(places[place as usize]))
            }
            Self::Visited { ends, guides, shift, period, stride } => {
                let place = turn % period * stride % period;
                let guide = (place >> shift) as usize;
                let from = guides[guide] as usize;
                let to = guides.get(guide + 1).map_or(ends.len(), |to| *to as usize + 1);
                Some(from + ends[from..to].partition_point(|end| u64::from(*end) <= place))
            }
        }
    }
}

/// Those of one weight take turns, so that only one of each weight is looked at for a place: the
/// same order as looking at everybody, at a fraction of the cost.
fn write(weights: &[u64], period: u64) -> Box<[u16]> {
    struct Class {
        weight: i64,
        /// Times its first one was chosen already, in units of the period.
        chosen: i64,
        /// Those of this weight, the one longest not chosen first, with their own counts.
        queue: VecDeque<(u16, i64)>,
    }
    let mut sorted: Vec<(u64, u16)> =
        weights.iter().enumerate().map(|(i, w)| (*w, i as u16)).collect();
    sorted.sort_by_key(|(weight, index)| (std::cmp::Reverse(*weight), *index));
    let mut classes: Vec<Class> = Vec::new();
    for (weight, index) in sorted {
        if classes.last().is_none_or(|class| class.weight != weight as i64) {
            classes.push(Class { weight: weight as i64, chosen: 0, queue: VecDeque::new() });
        }
        if let Some(class) = classes.last_mut() {
            class.queue.push_back((index, 0));
        }
    }
    let mut places = Vec::with_capacity(period as usize);
    for turn in 1..=period as i64 {
        // Behind its share by weight x turn - chosen x period; of equals the heaviest, then first.
        let behind = |class: &Class| class.weight * turn - class.chosen;
        let mut best: Option<(usize, i64)> = None;
        for (i, class) in classes.iter().enumerate() {
            let behind = behind(class);
            if best.is_none_or(|(_, most)| behind > most) {
                best = Some((i, behind));
            }
        }
        let Some(class) = best.and_then(|(i, _)| classes.get_mut(i)) else { break };
        let Some((index, count)) = class.queue.pop_front() else { break };
        places.push(index);
        class.queue.push_back((index, count + period as i64));
        class.chosen = class.queue.front().map_or(0, |(_, count)| *count);
    }
    places.into()
}

/// A period is at most 65,536 thousands, so that products of two places fit into 64 bits.
fn visit(weights: &[u64], period: u64) -> Schedule {
    let end = |end: &mut u64, weight: &u64| {
        *end += weight;
        Some(*end as u32)
    };
    let ends: Box<[u32]> = weights.iter().scan(0, end).collect();
    let shift = (period / (GUIDES * weights.len() as u64)).max(1).ilog2();
    let mut index = 0;
    let mut guide = |stretch: u64| {
        while u64::from(ends[index]) <= stretch << shift {
            index += 1;
        }
        index as u32
    };
    let guides = (0..period.div_ceil(1 << shift)).map(&mut guide).collect();
    let mut stride = (period as f64 * 0.618_033_988_749_894_9) as u64;
    while gcd(stride, period) != 1 {
        stride += 1;
    }
    Schedule::Visited { ends, guides, shift, period, stride }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(schedule: &Schedule) -> Vec<usize> {
        (0..schedule.period()).map(|turn| schedule.at(turn).unwrap()).collect()
    }

    /// nginx's own way, one pick at a time.
    fn nginx(weights: &[u32]) -> Vec<usize> {
        let total: i64 = weights.iter().map(|w| i64::from(*w)).sum();
        let mut current = vec![0i64; weights.len()];
        let pick = |_| {
            current.iter_mut().zip(weights).for_each(|(c, w)| *c += i64::from(*w));
            let best = (0..weights.len()).rev().max_by_key(|i| current[*i]).unwrap();
            current[best] -= total;
            best
        };
        (0..total).map(pick).collect()
    }

    #[test]
    fn written_order_is_that_of_nginx() {
        assert_eq!(turns(&Schedule::new(&[5, 1, 1])), [0, 0, 1, 0, 2, 0, 0]);
        for weights in [&[1, 1, 1][..], &[4, 2, 1], &[7, 5, 3, 3, 1], &[9, 1], &[10, 9, 8, 1, 1, 1]]
        {
            assert_eq!(turns(&Schedule::new(weights)), nginx(weights), "{weights:?}");
        }
    }

    #[test]
    fn both_forms_give_exact_shares_over_a_period() {
        let many: Vec<u32> = (0..3000).map(|i| 1 + i * 7 % 1000).collect();
        let lopsided: Vec<u32> = [vec![1; 700], vec![999; 100], vec![1, 1000]].concat();
        for weights in [vec![3, 2, 1], vec![1000, 1, 999], vec![2; 500], many, lopsided] {
            let schedule = Schedule::new(&weights);
            let mut counts = vec![0u64; weights.len()];
            turns(&schedule).into_iter().for_each(|i| counts[i] += 1);
            let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            for (count, weight) in counts.iter().zip(&weights) {
                assert_eq!(count * sum, u64::from(*weight) * schedule.period());
            }
        }
    }

    #[test]
    fn a_visited_order_is_smooth() {
        let weights: Vec<u32> = (0..1000).map(|i| 500 + i % 500).collect();
        let schedule = Schedule::new(&weights);
        assert!(matches!(schedule, Schedule::Visited { .. }));
        let (mut last, mut widest) = (vec![None; weights.len()], vec![0u64; weights.len()]);
        for turn in 0..schedule.period() {
            let index = schedule.at(turn).unwrap();
            if let Some(last) = last[index].replace(turn) {
                widest[index] = widest[index].max(turn - last);
            }
        }
        let even = |i: usize| schedule.period() as f64 / f64::from(weights[i]);
        let worst = (0..weights.len()).map(|i| widest[i] as f64 / even(i)).fold(0.0, f64::max);
        println!("widest gap of a visited order: {worst:.2} times the even one");
        assert!(worst < 2.7, "{worst}");
    }

    #[test]
    fn nobody_has_no_turn() {
        assert_eq!(Schedule::new(&[]).at(3), None);
        assert_eq!(Schedule::new(&[]).period(), 0);
    }
}
