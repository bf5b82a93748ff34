//! From a pool's section to a pool, in two steps: `prepare` may fail and changes nothing, `commit`
//! changes and cannot fail.
use super::backend::Endpoint;
use super::balance::{Policies, Sizes, check};
use super::change::Turn;
use super::core::Pool;
use crate::config::{self, Blob, Name, Problem, Table};
use crate::net::OffLimits;
use crate::reach::Reach;
use std::sync::Arc;
use std::time::Instant;

/// A pool that was checked and has changed nothing yet.
#[derive(Debug)]
pub struct Prepared {
    pool: Arc<Pool>,
    config: Arc<config::Pool>,
    reach: Arc<Reach>,
    policies: Policies,
    notes: Vec<String>,
}

impl Prepared {
    /// Applies it: cannot fail. The same `Arc` where the name stays.
    pub fn commit(self) -> (Arc<Pool>, Vec<Turn>) {
        self.commit_at(Instant::now())
    }
    /// As `commit`, at this moment.
    pub(crate) fn commit_at(self, now: Instant) -> (Arc<Pool>, Vec<Turn>) {
        let turns = self.pool.settle(self.config, self.reach, self.policies, now);
        (self.pool, turns)
    }
    /// What the pool is after `commit`: the same `Arc` that `commit` returns, so that routes can be
    /// compiled against it before.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
    /// Its backends are dialled nowhere there: to be said before `commit`.
    pub fn keep_off(&self, off_limits: &Arc<OffLimits>) {
        self.reach.keep_off(off_limits);
    }
    /// What the operator should hear before and when this is committed, each a line: that nearly
    /// all keys of a consistent hash move, because its table has to change its size.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Pool {
    /// Checks a pool's section, changing nothing.
    ///
    /// # Errors
    ///
    /// Every problem of the section that is the pool's to know: policies and their tables.
    pub fn prepare(
        name: &Name,
        config: &config::Pool,
        policies: &Policies,
        previous: Option<&Arc<Pool>>,
    ) -> Result<Prepared, Vec<Problem>> {
        let mut problems = check(config, policies);
        let before = previous.map(|pool| pool.reach());
        let reach = Reach::new(config, before.as_ref()).map_err(|more| problems.extend(more));
        let Some(reach) = reach.ok().filter(|_| problems.is_empty()) else { return Err(problems) };
        let notes =
            previous.map(|pool| resized(name, &pool.config(), config)).into_iter().flatten();
        let config = Arc::new(config.clone());
        let pool = previous.cloned().unwrap_or_else(|| {
            Arc::new_cyclic(|me| Pool::new(name, &config, &reach, policies, me.clone()))
        });
        let secrets = config.sticky.iter().flat_map(|sticky| &sticky.secrets);
        let cautions = secrets.filter_map(Blob::caution).map(|problem| problem.to_string());
        let notes = notes.chain(reach.notes()).chain(cautions).collect();
        Ok(Prepared { notes, pool, config, reach, policies: policies.clone() })
    }
}

/// The endpoints a config says.
pub(super) fn endpoints(config: &config::Pool) -> Vec<Endpoint> {
    config.backends.iter().map(Endpoint::of).collect()
}

fn sizes(config: &config::Pool) -> Sizes {
    Sizes::of(config.backends.iter().map(|b| u32::from(b.weight.get())))
}

/// What is said of a table that changes its size with the set.
fn resized(name: &Name, before: &config::Pool, after: &config::Pool) -> Option<String> {
    let (old, new) = (before.balance.hash.as_ref()?, after.balance.hash.as_ref()?);
    let (was, is) = (sizes(before), sizes(after));
    match (old.table, new.table) {
        (Table::Maglev(a), Table::Maglev(b)) => {
            let (a, b) = (a.unwrap_or(was.slots), b.unwrap_or(is.slots));
            (a != b).then(|| {
                format!("pool.{name}: its maglev table goes from {a} to {b} slots; most keys move")
            })
        }
        (Table::Ring, Table::Ring) if was.halvings != is.halvings => Some(format!(
            "pool.{name}: the points of each weight on its ring change with the sum of weights; some keys move"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::testing::{backend, hashed, pool};

    fn prepare(config: &config::Pool, previous: Option<&Arc<Pool>>) -> Prepared {
        Pool::prepare(&config.name, config, &Policies::default(), previous).expect("it is right")
    }

    #[test]
    fn prepare_changes_nothing_and_commit_keeps_the_arc() {
        let before = pool("app", &["a", "b"]);
        let (running, turns) = prepare(&before, None).commit();
        assert_eq!((turns.len(), running.members().len()), (0, 2));
        let prepared = prepare(&pool("app", &["a"]), Some(&running));
        assert!(Arc::ptr_eq(prepared.pool(), &running));
        assert_eq!(running.members().len(), 2, "nothing changed yet");
        assert!(Arc::ptr_eq(&prepared.commit().0, &running));
        let removed: Vec<bool> = running.members().iter().map(|m| m.removed.is_some()).collect();
        assert_eq!(removed, [false, true]);
    }

    #[test]
    fn a_section_with_problems_is_refused_and_nothing_is_lost() {
        let (running, _) = prepare(&pool("app", &["a"]), None).commit();
        let mut wrong = pool("app", &["b"]);
        wrong.balance.policy = "rond_robin".into();
        let problems =
            Pool::prepare(&wrong.name, &wrong, &Policies::default(), Some(&running)).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(&*running.members()[0].backend.name, "a");
    }

    #[test]
    fn crossing_the_size_of_a_table_is_said() {
        let with = |n: usize| {
            let mut config = pool("app", &[]);
            config.balance.policy = "consistent_hash".into();
            config.balance.hash = Some(hashed());
            config.backends = (0..n).map(|i| backend(&format!("b{i}"))).collect();
            config
        };
        let (running, _) = prepare(&with(655), None).commit();
        assert_eq!(prepare(&with(600), Some(&running)).notes(), [""; 0]);
        assert_eq!(
            prepare(&with(656), Some(&running)).notes(),
            ["pool.app: its maglev table goes from 65537 to 1000003 slots; most keys move"]
        );
    }
}
