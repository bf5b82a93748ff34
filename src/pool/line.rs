//! What was counted under one name. Each address that a name had is a backend with counters of its
//! own: all of them together are the name's, so that no counter sinks where an address changes.
use super::backend::{Backend, BackendId};
use super::cells::{Cells, Picks};
use super::known::Known;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Counters of several, added up.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) cells: Cells,
    pub(super) picks: Picks,
}

impl Sum {
    fn add(&self, cells: &Cells, picks: &Picks) {
        self.cells.add(cells);
        self.picks.add(picks);
    }
}

/// What is told of a member's counters.
#[derive(Clone, Debug)]
pub(super) enum Counted {
    /// Its own are all that its name has.
    Own,
    /// Those of its name.
    Line(Arc<Sum>),
    /// Another member tells them.
    Elsewhere(Arc<Sum>),
}

/// Those that are forgotten while somebody else has their name.
#[derive(Debug, Default)]
pub(super) struct Past(HashMap<BackendId, Gone>);

#[derive(Debug, Default)]
struct Gone {
    sum: Sum,
    /// Somebody has them still, and may count.
    held: Vec<Arc<Backend>>,
}

impl Past {
    /// One is forgotten.
    pub(super) fn forget(&mut self, gone: &Known) {
        self.0.entry(gone.line).or_default().held.push(gone.backend.clone());
    }

    /// Adds up whom nobody has any more; of a name that nobody has, nothing stays.
    pub(super) fn settle(&mut self, list: &[Known]) {
        if self.0.is_empty() {
            return;
        }
        let lines: HashSet<BackendId> = list.iter().map(|known| known.line).collect();
        self.0.retain(|line, _| lines.contains(line));
        for Gone { sum, held } in self.0.values_mut() {
            held.retain(|backend| {
                let is_held = Arc::strong_count(backend) > 1;
                if !is_held {
                    sum.add(&backend.cells, backend.picks());
                }
                is_held
            });
        }
    }

    /// What is told of each, in the order of the list: all that its name counted by who has it now,
    /// or had it last.
    pub(super) fn told(&self, list: &[Known]) -> Vec<Counted> {
        let mut all = vec![Counted::Own; list.len()];
        if self.0.is_empty() && list.iter().all(|known| known.removed.is_none()) {
            return all;
        }
        let mut lines: HashMap<BackendId, Vec<usize>> = HashMap::new();
        for (place, known) in list.iter().enumerate() {
            lines.entry(known.line).or_default().push(place);
        }
        for (line, places) in lines {
            let gone = self.0.get(&line);
            if places.len() == 1 && gone.is_none() {
                continue;
            }
            let sum = Sum::default();
            let here = places.iter().map(|place| &list[*place].backend);
            for backend in here.chain(gone.iter().flat_map(|gone| &gone.held)) {
                sum.add(&backend.cells, backend.picks());
            }
            gone.iter().for_each(|gone| sum.add(&gone.sum.cells, &gone.sum.picks));
            let last = places.iter().copied().max_by_key(|place| {
                let known = &list[*place];
                let gone = known.removed.map(|(at, _)| at);
                (gone.is_none(), gone, known.backend.id)
            });
            places.iter().for_each(|place| all[*place] = Counted::Elsewhere(Arc::default()));
            if let Some(last) = last {
                all[last] = Counted::Line(Arc::new(sum));
            }
        }
        all
    }
}
