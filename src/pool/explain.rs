//! Whom a pool would choose, and among whom, with nothing counted and nothing moved by the question.
use super::backend::{Backend, BackendId};
use super::balance::Ask;
use super::change::{Member, Reason, State};
use super::core::Pool;
use super::lease::NoLease;
use super::snapshot::Snapshot;
use crate::config::Name;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Somebody who may, or may not, be chosen.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name.
    pub backend: Name,
    /// Its weight in the set, which grows while it starts slowly; the configured one where it is not
    /// in it.
    pub weight: u32,
    /// Its state.
    pub state: State,
    /// Why it has it.
    pub reason: Reason,
    /// Leases out.
    pub active: u32,
    /// The most it may have.
    pub most: Option<u32>,
    /// Whether it could be chosen now.
    pub open: bool,
    /// Whether others get its work for the moment, since nobody had a first byte of it for longer than is
    /// usual.
    pub doubt: bool,
}

/// See [`Pool::explain`].
#[derive(Clone, Debug)]
pub struct Explained {
    /// Everybody, in the order of the config.
    pub candidates: Vec<Standing>,
    /// Who would be chosen, and why: `sticky`, `panic`, `fallback` (its key says nothing), or
    /// `policy`.
    pub pick: Option<(Name, &'static str)>,
    /// Who would be without it.
    pub runner_up: Option<Name>,
    /// Why the answer is 503 where nobody is: a reason. `None` also where one would wait.
    pub refused: Option<&'static str>,
    /// Where one would wait, as nobody has room.
    pub queue: Option<Line>,
}

/// The queue of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Who waits already.
    pub waiting: usize,
    /// How many may.
    pub size: usize,
    /// For how long at the most.
    pub timeout: Duration,
}

impl Pool {
    fn queue_rules(&self) -> Option<Line> {
        let queue = self.config().queue.filter(|_| self.has_queue())?;
        Some(Line { waiting: 0, size: queue.size, timeout: queue.timeout })
    }

    /// What [`Pool::lease`] would do with this ask: by the same set, the same policy and the same
    /// cursors, none of which move.
    pub fn explain(&self, ask: &Ask<'_>) -> Explained {
        let snapshot = self.snapshot();
        let in_set = |id: BackendId| {
            let mut all = snapshot.tiers().flat_map(|set| &set.candidates);
            all.find(|c| c.backend.id == id)
        };
        let is_for = |id: BackendId| snapshot.tiers_for(ask).any(|set| set.has(id));
        let least = self.read.doubt.load(Relaxed);
        let rules = self.config().outlier.as_ref().and_then(|outlier| outlier.silence);
        let doubts = |backend: &Backend| least > 0 && backend.seems_in_doubt(least, rules, ask.now);
        let standing = |member: Member| Standing {
            backend: member.backend.name.clone(),
            weight: in_set(member.backend.id).map_or(u32::from(member.weight), |c| c.weight),
            state: member.state,
            reason: member.reason,
            active: member.backend.active(),
            most: member.backend.hot.limit(),
            open: is_for(member.backend.id) && member.backend.is_open(ask),
            doubt: doubts(&member.backend),
        };
        let chosen_of = |set: &Snapshot, ask: &Ask<'_>| {
            let picked = |ask: &Ask<'_>| {
                let index = set.balancer.peek(&set.candidates, ask)?;
                let candidate = set.candidates.get(index).filter(|c| c.is_open(ask))?;
                Some((index, candidate))
            };
            let (index, own) = picked(ask)?;
            let beside = (doubts(&own.backend) && set.others_bear(index))
                .then(|| {
                    let doubted = set.candidates.iter().filter(|c| doubts(&c.backend));
                    let doubted = doubted.map(|c| c.backend.id);
                    let avoid: Vec<_> = ask.avoid.iter().copied().chain(doubted).collect();
                    picked(&Ask { avoid: &avoid, ..*ask }).filter(|(_, it)| it.stands_in(ask))
                })
                .flatten();
            Some(beside.map_or(own, |(_, other)| other).backend.clone())
        };
        let chosen = |ask: &Ask<'_>| snapshot.tiers_for(ask).find_map(|set| chosen_of(set, ask));
        let preferred = ask.prefer.filter(|backend| backend.is_open(ask)).cloned();
        let why = match (&preferred, snapshot.panic) {
            (Some(_), _) => "sticky",
            (None, true) => "panic",
            (None, false) if ask.hash.is_none() && self.config().balance.hash.is_some() => {
                "fallback"
            }
            (None, false) => "policy",
        };
        let pick = preferred.or_else(|| chosen(ask));
        let without: Vec<BackendId> =
            ask.avoid.iter().copied().chain(pick.iter().map(|pick| pick.id)).collect();
        let next = Ask { avoid: &without, prefer: None, ..*ask };
        let full = |queue| Line { waiting: self.desk.waiting(), ..queue };
        let (refused, queue) = match snapshot.why_none(ask) {
            _ if pick.is_some() => (None, None),
            NoLease::Full => match self.queue_rules().map(full) {
                None => (Some("max_active"), None),
                Some(queue) => (self.desk.is_shut(queue.size).then_some("queue"), Some(queue)),
            },
            none => ((!self.may_change(none)).then_some("no_backend"), None),
        };
        Explained {
            refused,
            queue,
            candidates: self.members().into_iter().map(standing).collect(),
            runner_up: pick.as_ref().and_then(|_| chosen(&next)).map(|b| b.name.clone()),
            pick: pick.map(|backend| (backend.name.clone(), why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config;
    use crate::pool::testing::pool;
    use crate::pool::{Ask, Outcome, Policies, Pool};
    use std::time::{Duration, Instant};

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn who_is_in_doubt_is_said_and_passed_over_as_a_lease_would() {
        let mut config = pool("app", &["a", "b"]);
        let silence = config::Silence { wait: MS * 100, factor: 4.0, hold: MS * 1000 };
        let eject = Duration::from_secs(30);
        config.outlier = Some(config::Outlier {
            consecutive_failures: None,
            success_rate: None,
            silence: Some(silence),
            eject,
            eject_max: eject,
            max_ejected: config::Percent::new(0.5).unwrap(),
        });
        let prepared = Pool::prepare(&config.name, &config, &Policies::default(), None);
        let (pool, _) = prepared.unwrap().commit();
        let start = Instant::now();
        for n in 0..64 {
            let mut lease = pool.lease(&Ask::new(start, n)).unwrap();
            lease.first_byte(MS);
            lease.spoke(None);
            lease.settle(Outcome::Answered(200));
        }
        let waits = pool.lease(&Ask::new(start, 1)).unwrap();
        let name = &waits.backend().name;
        let explained = |after: Duration| pool.explain(&Ask::new(start + after, 1));
        let doubted = |after: Duration| {
            let all = explained(after).candidates.into_iter();
            all.filter(|one| one.doubt).map(|one| one.backend).collect::<Vec<_>>()
        };
        assert!(doubted(MS).is_empty());
        assert_eq!(doubted(60 * MS), std::slice::from_ref(name));
        let leased = || pool.lease(&Ask::new(start + 60 * MS, 1)).unwrap().backend().name.clone();
        // One is let through at first.
        (0..4).for_each(|_| drop(leased()));
        for _ in 0..4 {
            let (said, leased) = (explained(60 * MS).pick.unwrap().0, leased());
            assert!(said != *name && leased != *name, "{said} {leased}");
        }
        assert!(pool.passed_over.get() > 0);
    }
}
