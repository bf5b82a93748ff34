//! What becomes of the keys of a consistent hash when a backend goes: found by asking the tables of
//! both sets for many keys, before anything is done.
use super::backend::Candidate;
use super::balance::{Ask, Balancer, Sizes};
use super::core::Pool;
use crate::config::Name;
use std::time::Instant;

/// Keys that are tried: a share is then right to a third of a percent.
const KEYS: usize = 100_000;

/// See [`Pool::ring`].
#[derive(Clone, Debug, PartialEq)]
pub struct Ring {
    /// How many keys were tried.
    pub keys: usize,
    /// How many of them another backend gets.
    pub moved: usize,
    /// Of those, how many did not belong to the one that goes: the price of the table.
    pub needless: usize,
    /// Each backend, with its keys before and after.
    pub shares: Vec<(Name, usize, usize)>,
}

impl Pool {
    /// What becomes of the keys when a backend goes, all others working. Takes as long as building
    /// two tables: not for a thread that others wait for.
    ///
    /// # Errors
    ///
    /// In words: its policy has no table, or nobody of it has this name.
    pub fn ring(&self, without: &str) -> Result<Ring, String> {
        let config = self.config();
        let policy = &config.balance.policy;
        if config.balance.hash.is_none() {
            return Err(format!("pool {:?} balances by {policy}, which has no ring", self.name));
        }
        let mut all: Vec<(Name, u32)> = self
            .members()
            .into_iter()
            .filter(|member| member.removed.is_none() && member.weight > 0)
            .map(|member| (member.backend.name.clone(), u32::from(member.weight)))
            .collect();
        // As a set is ordered.
        all.sort();
        if !all.iter().any(|(name, _)| **name == *without) {
            return Err(format!(
                "pool {:?} has no backend named {without:?} with a weight",
                self.name
            ));
        }
        let rest: Vec<_> = all.iter().filter(|(name, _)| **name != *without).cloned().collect();
        let (before, after) = (self.table(&all)?, self.table(&rest)?);
        let mut shares: Vec<_> = all.iter().map(|(name, _)| (name.clone(), 0, 0)).collect();
        let place = |name: &str| all.iter().position(|(other, _)| **other == *name);
        let places: Vec<Option<usize>> = rest.iter().map(|(name, _)| place(name)).collect();
        let gone = place(without);
        let (mut rng, now) = (fastrand::Rng::with_seed(1), Instant::now());
        let (mut moved, mut needless) = (0, 0);
        for _ in 0..KEYS {
            let key = rng.u64(..);
            let mut ask = Ask::new(now, 0);
            ask.hash = Some(key);
            let was = before.0.pick(&before.1, &ask);
            let is = after.0.pick(&after.1, &ask).and_then(|index| places[index]);
            was.into_iter().for_each(|index| shares[index].1 += 1);
            is.into_iter().for_each(|index| shares[index].2 += 1);
            moved += usize::from(was != is);
            needless += usize::from(was != is && was != gone);
        }
        Ok(Ring { keys: KEYS, moved, needless, shares })
    }

    fn table(&self, all: &[(Name, u32)]) -> Result<(Box<dyn Balancer>, Vec<Candidate>), String> {
        let one = |((name, weight), id): (&(Name, u32), u32)| Candidate::new(name, id, *weight);
        let candidates: Vec<Candidate> = all.iter().zip(0..).map(one).collect::<Result<_, _>>()?;
        let sizes = Sizes::of(all.iter().map(|(_, weight)| *weight));
        let made = self.make(&candidates, sizes).ok_or("its policy is unknown")?;
        Ok((made, candidates))
    }
}

#[cfg(test)]
mod tests {
    use crate::pool::testing::{backend, hashed, pool};
    use crate::pool::{Policies, Pool};

    #[test]
    fn the_keys_of_the_one_that_goes_move_and_few_others() {
        let mut config = pool("app", &[]);
        config.backends = ["c", "a", "b", "d"].map(backend).to_vec();
        let policies = Policies::default();
        let plain = Pool::prepare(&config.name, &config, &policies, None).unwrap().commit().0;
        assert!(plain.ring("a").unwrap_err().contains("which has no ring"));
        config.balance.policy = "consistent_hash".into();
        config.balance.hash = Some(hashed());
        let ring = Pool::prepare(&config.name, &config, &policies, None).unwrap().commit().0;
        assert!(ring.ring("x").unwrap_err().contains("no backend named \"x\""));
        let said = ring.ring("b").unwrap();
        let of = |name: &str| said.shares.iter().find(|(n, ..)| &**n == name).unwrap().clone();
        let (_, before, after) = of("b");
        assert!((24_000..26_000).contains(&before) && after == 0, "{said:?}");
        assert!((32_000..35_000).contains(&of("a").2), "{said:?}");
        assert_eq!(said.moved, before + said.needless);
        assert!(said.needless < 2_500, "{said:?}");
    }
}
