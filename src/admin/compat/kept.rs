//! Sums of counters whose parts come and go: a backend that is removed must not take what it counted
//! out of its pool's sum, which a counter may never do.
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};

/// Several counters of one thing, summed together.
pub(super) type Counts<const N: usize> = [u64; N];

/// What was told of each sum, and of which parts.
#[derive(Debug)]
pub(in crate::admin) struct Kept<const N: usize>(Mutex<BTreeMap<String, Sum<N>>>);

impl<const N: usize> Default for Kept<N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[derive(Debug)]
struct Sum<const N: usize> {
    told: Counts<N>,
    parts: HashMap<String, Counts<N>>,
}

/// Parts of sums, by what the sum is of and by what the part is.
pub(super) type Parts<const N: usize> = BTreeMap<String, HashMap<String, Counts<N>>>;

/// Adds a part, or to it.
pub(super) fn part<const N: usize>(
    parts: &mut Parts<N>,
    sum: String,
    part: String,
    counts: Counts<N>,
) {
    let to = parts.entry(sum).or_default().entry(part).or_insert([0; N]);
    to.iter_mut().zip(counts).for_each(|(to, count)| *to += count);
}

impl<const N: usize> Kept<N> {
    /// Each sum as it is told: what it was, and what its parts counted since. A part that is new, or
    /// begins anew, adds all it has; one that is gone adds nothing more. A sum without parts is
    /// forgotten.
    pub(super) fn tell(&self, parts: Parts<N>) -> BTreeMap<String, Counts<N>> {
        self.tell_while(parts, |_| false)
    }

    /// The same, but a sum without parts is forgotten only when what it is of is no longer there.
    pub(super) fn tell_while(
        &self,
        mut parts: Parts<N>,
        is_there: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, Counts<N>> {
        let mut kept = self.0.lock();
        kept.retain(|name, _| parts.contains_key(name) || is_there(name));
        for name in
            kept.keys().filter(|name| !parts.contains_key(*name)).cloned().collect::<Vec<_>>()
        {
            parts.insert(name, HashMap::new());
        }
        let mut all = BTreeMap::new();
        for (name, parts) in parts {
            let empty = || Sum { told: [0; N], parts: HashMap::new() };
            let sum = kept.entry(name.clone()).or_insert_with(empty);
            for (part, counts) in &parts {
                let before = sum.parts.get(part).copied().unwrap_or([0; N]);
                // One of its counters went back: it is another thing of the same name.
                let is_new = counts.iter().zip(before).any(|(count, before)| *count < before);
                for ((told, count), before) in sum.told.iter_mut().zip(counts).zip(before) {
                    *told += if is_new { *count } else { count - before };
                }
            }
            sum.parts = parts;
            all.insert(name, sum.told);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_never_sinks_whatever_becomes_of_its_parts() {
        let kept = Kept::<2>::default();
        let tell = |all: &[(&str, Counts<2>)]| {
            let mut parts = Parts::new();
            for (name, counts) in all {
                part(&mut parts, "app".into(), (*name).into(), *counts);
            }
            kept.tell(parts).get("app").copied()
        };
        assert_eq!(tell(&[("a", [5, 1]), ("b", [10, 0])]), Some([15, 1]));
        assert_eq!(tell(&[("a", [6, 1]), ("b", [10, 2])]), Some([16, 3]));
        assert_eq!(tell(&[("a", [7, 1])]), Some([17, 3]), "what b counted stays");
        assert_eq!(tell(&[("a", [7, 1]), ("c", [4, 0])]), Some([21, 3]), "c is new");
        assert_eq!(tell(&[("a", [2, 1]), ("c", [4, 0])]), Some([23, 4]), "a begins anew");
        assert_eq!(tell(&[]), None, "the pool is gone");
        assert_eq!(tell(&[("a", [2, 1])]), Some([2, 1]), "and comes again");
    }

    #[test]
    fn a_sum_whose_last_part_goes_stays_as_long_as_what_it_is_of() {
        let kept = Kept::<1>::default();
        let tell = |count: Option<u64>, is_there| {
            let mut parts = Parts::new();
            if let Some(count) = count {
                part(&mut parts, "app".into(), "a".into(), [count]);
            }
            kept.tell_while(parts, |_| is_there).get("app").copied()
        };
        assert_eq!(tell(Some(13), true), Some([13]));
        assert_eq!(tell(None, true), Some([13]), "the route is gone, its service is not");
        assert_eq!(tell(None, true), Some([13]));
        assert_eq!(tell(Some(7), true), Some([20]), "another route counts on");
        assert_eq!(tell(None, false), None, "the service is gone");
    }

    #[test]
    fn parts_of_one_name_are_one() {
        let mut parts = Parts::new();
        part(&mut parts, "app".into(), "a".into(), [1]);
        part(&mut parts, "app".into(), "a".into(), [2]);
        assert_eq!(Kept::<1>::default().tell(parts)["app"], [3]);
    }
}
