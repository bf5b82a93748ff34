//! Whom the keys are for: a backend by its name, as lists change by themselves. Pure.
use super::seen::View;
use crate::cli::args::Place;

/// Where the mark stands among the backends of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: usize,
    /// Else it is where who was chosen stood: nobody is marked.
    pub(super) is_there: bool,
}

/// The backend that was chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    who: Option<Place>,
    mark: Mark,
}

impl Chosen {
    /// The first of them.
    pub(super) fn first(view: &View) -> Self {
        let mut chosen = Self { who: None, mark: Mark { at: 0, is_there: false } };
        chosen.choose(view, 0);
        chosen
    }

    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    fn choose(&mut self, view: &View, at: usize) {
        let at = at.min(view.backends().count().saturating_sub(1));
        let row = view.backends().nth(at);
        self.mark = Mark { at, is_there: row.is_some() };
        if let Some(row) = row {
            self.who = Some(Place { pool: row.pool.clone(), backend: row.name.clone() });
        }
    }

    /// Finds the same one after another look.
    pub(super) fn look(&mut self, view: &View) {
        let Some(who) = &self.who else { return };
        let is = |row: &super::seen::Row| row.pool == who.pool && row.name == who.backend;
        self.mark = match view.backends().position(is) {
            Some(at) => Mark { at, is_there: true },
            None => Mark { is_there: false, ..self.mark },
        };
    }

    /// The next one down or up; where the chosen one went, who stands there now.
    pub(super) fn step(&mut self, view: &View, down: bool) {
        let Mark { at, is_there } = self.mark;
        self.choose(
            view,
            match (is_there, down) {
                (false, _) => at,
                (true, true) => at + 1,
                (true, false) => at.saturating_sub(1),
            },
        );
    }

    /// # Errors
    ///
    /// Nobody is chosen: what to do.
    pub(super) fn who(&self) -> Result<&Place, String> {
        match &self.who {
            Some(who) if self.mark.is_there => Ok(who),
            Some(Place { pool, backend }) => {
                Err(format!("{pool}/{backend} is gone: up/down choose another"))
            }
            None => Err("nobody is chosen: up/down choose".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::seen::Seen;
    use serde_json::{Value, json};
    use std::time::Instant;

    fn view(names: &[&str]) -> View {
        let members: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        let pools = json!({ "pools": [{ "name": "app", "members": members }] });
        Seen::default().look(&json!({}), &pools, Instant::now())
    }

    #[test]
    fn the_mark_stays_with_its_backend_and_no_key_is_for_another() {
        let all = view(&["a", "b", "c", "d"]);
        let mut chosen = Chosen::first(&all);
        assert_eq!(chosen.who().unwrap().backend, "a");
        chosen.step(&all, false);
        assert_eq!(chosen.mark(), Mark { at: 0, is_there: true });
        chosen.step(&all, true);
        chosen.step(&all, true);
        // Somebody before it goes, somebody comes.
        for (names, at) in [(&["a", "c", "d"][..], 1), (&["0", "a", "b", "c"], 3), (&["c"], 0)] {
            chosen.look(&view(names));
            assert_eq!(chosen.mark(), Mark { at, is_there: true }, "{names:?}");
            assert_eq!(chosen.who().unwrap().backend, "c");
        }
        // It goes: nobody is marked until somebody is chosen.
        chosen.look(&all);
        let left = view(&["a", "b", "d"]);
        chosen.look(&left);
        assert_eq!(chosen.mark(), Mark { at: 2, is_there: false });
        assert_eq!(chosen.who().unwrap_err(), "app/c is gone: up/down choose another");
        chosen.step(&left, true);
        assert_eq!(chosen.who().unwrap().backend, "d");
        chosen.step(&left, true);
        assert_eq!(chosen.mark(), Mark { at: 2, is_there: true }, "the last");
        // Where there is nobody there is nobody to choose.
        chosen.look(&view(&[]));
        chosen.step(&view(&[]), true);
        assert!(chosen.who().is_err());
        chosen.look(&left);
        assert_eq!(chosen.who().unwrap().backend, "d", "it came back");
        let mut none = Chosen::first(&view(&[]));
        none.look(&left);
        assert!(none.who().is_err());
        none.step(&left, true);
        assert_eq!(none.who().unwrap().backend, "a");
    }
}
