//! Whom a pool would choose, and among whom, with nothing counted and nothing moved by the question.
use super::backend::BackendId;
use super::balance::Ask;
use super::change::{Member, Reason, State};
use super::core::Pool;
use super::lease::NoLease;
use crate::config::Name;
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
        let in_set = |id: BackendId| snapshot.candidates.iter().find(|c| c.backend.id == id);
        let standing = |member: Member| Standing {
            backend: member.backend.name.clone(),
            weight: in_set(member.backend.id).map_or(u32::from(member.weight), |c| c.weight),
            state: member.state,
            reason: member.reason,
            active: member.backend.active(),
            most: member.backend.hot.limit(),
            open: in_set(member.backend.id).is_some_and(|candidate| candidate.is_open(ask)),
        };
        let chosen = |ask: &Ask<'_>| {
            let index = snapshot.balancer.peek(&snapshot.candidates, ask)?;
            let candidate = snapshot.candidates.get(index).filter(|c| c.is_open(ask))?;
            Some(candidate.backend.clone())
        };
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
        let (refused, queue) = match snapshot.why_nobody(ask) {
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
