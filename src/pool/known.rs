//! One member of a pool: its endpoint, what probes and tries say of it, what an operator wants, and
//! the state that follows from all of these. Pure.
use super::backend::{Backend, Endpoint, Leave};
use super::change::{Glance, Member, Reason, State, Wish};
use super::health::Health;
use super::outlier::{Count, Record, Tally};
use crate::config::Addr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug)]
pub(super) struct Known {
    pub(super) endpoint: Endpoint,
    pub(super) backend: Arc<Backend>,
    pub(super) health: Health,
    /// What its tries say.
    pub(super) record: Record,
    /// What became of its tries before the current window.
    pub(super) mark: Tally,
    pub(super) wish: Wish,
    /// It is a name without an address.
    pub(super) unresolved: bool,
    /// Its name was answered once, with addresses or without.
    pub(super) answered: bool,
    /// A try did not reach it, and probes have not brought it back since.
    pub(super) unreached: bool,
    /// Since when nobody names it.
    pub(super) removed: Option<Instant>,
    /// It was up at some time.
    pub(super) ever_up: bool,
    pub(super) state: State,
    pub(super) reason: Reason,
    pub(super) since: Instant,
    /// What becomes of its work.
    pub(super) leave: Leave,
    pub(super) last_probe: Option<(Instant, String)>,
}

impl Known {
    /// A backend that was just named. Its first state is no turn.
    pub(super) fn new(
        endpoint: Endpoint,
        backend: Backend,
        wish: Wish,
        probed: bool,
        now: Instant,
    ) -> Self {
        let mut known = Self {
            unresolved: matches!(endpoint.addr, Addr::Host(..)),
            endpoint,
            backend: Arc::new(backend),
            health: if probed { Health::Unknown } else { Health::UP },
            record: Record::default(),
            mark: Tally::default(),
            wish,
            answered: false,
            unreached: false,
            removed: None,
            ever_up: false,
            state: State::Unknown,
            reason: Reason::NotProbed,
            since: now,
            leave: Leave::default(),
            last_probe: None,
        };
        (known.state, known.reason) = known.judge();
        known.ever_up = known.state == State::Up;
        known.backend.hot.set_usable(known.ever_up);
        known.tell();
        known
    }

    /// Says to readers without the lock whether it is worth waiting for.
    pub(super) fn tell(&self) {
        let stays = self.removed.is_none() && self.wish == Wish::Up;
        self.backend.set_awaited(stays && self.is_unheard());
    }

    /// The state that follows from all that is known.
    pub(super) fn judge(&self) -> (State, Reason) {
        match self.wish {
            _ if self.removed.is_some() => (State::Drain, Reason::Removed),
            Wish::Maintenance => (State::Maintenance, Reason::Operator),
            Wish::Drain => (State::Drain, Reason::Operator),
            Wish::Up if self.unresolved => (State::Down, Reason::Unresolved),
            Wish::Up if self.unreached => (State::Down, Reason::Connect),
            Wish::Up => match self.health {
                Health::Unknown => (State::Unknown, Reason::NotProbed),
                Health::Down { .. } => (State::Down, Reason::Probe),
                Health::Up { .. } => match self.record.held() {
                    Some(reason) => (State::Ejected, reason),
                    None => (State::Up, Reason::None),
                },
            },
        }
    }

    /// A probe ended. `rules` are rise and fall, `None` where the pool has no `health`: then the
    /// probe was a mere connect, and a good one brings it back.
    pub(super) fn probed(&mut self, good: bool, rules: Option<(u32, u32)>) {
        match rules {
            Some((rise, fall)) => {
                self.health = self.health.after(good, rise, fall);
                self.unreached &= !matches!(self.health, Health::Up { .. });
            }
            None => self.unreached &= !good,
        }
    }

    /// A try did not reach it. Where there are probes it must rise again.
    pub(super) fn refused(&mut self, probed: bool) {
        self.unreached = true;
        if probed {
            self.health = Health::Down { good: 0 };
        }
    }

    /// Ends its leases when it leaves for longer than `pool.drain`.
    pub(super) fn end(&mut self, drain: Option<Duration>, now: Instant) {
        let drain = drain.filter(|_| self.state.is_leaving());
        let until = drain.and_then(|drain| self.since.checked_add(drain));
        let leave = Leave { until, over: until.is_some_and(|until| now >= until) };
        if leave != std::mem::replace(&mut self.leave, leave) {
            self.backend.set_leave(leave);
        }
    }

    /// Whether it belongs to the set and may get new work when its state allows it.
    pub(super) fn is_wanted(&self) -> bool {
        self.removed.is_none() && self.wish == Wish::Up && self.endpoint.weight.get() > 0
    }
    /// Whether it gets new work.
    pub(super) fn is_up(&self) -> bool {
        self.is_wanted() && self.state.works()
    }
    /// Whether it gets new work in a panic: only probes, or tries that did reach it, speak against it.
    pub(super) fn is_last_resort(&self) -> bool {
        let probes = matches!(self.reason, Reason::Probe | Reason::NotProbed);
        self.is_wanted() && (probes || self.state == State::Ejected)
    }
    /// What it adds to the count of its pool.
    pub(super) fn count(&self) -> Count {
        let wanted = self.is_wanted();
        Count {
            up: usize::from(self.is_up()),
            held: usize::from(wanted && self.record.held().is_some()),
            wanted: usize::from(wanted),
        }
    }
    /// What became of its tries so far.
    pub(super) fn tally(&self) -> Tally {
        let cells = &self.backend.cells;
        let answered: u64 = cells.by_class[1..5].iter().map(|class| class.get()).sum();
        Tally { good: answered + cells.closed.get(), bad: self.backend.hot.faults() }
    }
    /// Lets it in again after an ejection, with nothing held against it.
    pub(super) fn release(&mut self, now: Instant) {
        self.record.release(now);
        self.backend.hot.forgive();
        self.mark = self.tally();
    }
    fn is_unheard(&self) -> bool {
        if self.unresolved { !self.answered } else { self.state == State::Unknown }
    }
    /// Whether the first word on it is still to come.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_wanted() && self.is_unheard()
    }

    /// At a glance.
    pub(super) fn glance(&self) -> Glance<'_> {
        Glance {
            backend: &self.backend,
            state: self.state,
            reason: self.reason,
            removed: self.removed.is_some(),
        }
    }

    /// As shown.
    pub(super) fn show(&self, wall: impl Fn(Instant) -> SystemTime) -> Member {
        Member {
            backend: self.backend.clone(),
            weight: self.endpoint.weight.get(),
            tier: self.endpoint.tier,
            state: self.state,
            reason: self.reason,
            since: wall(self.since),
            last_probe: self.last_probe.as_ref().map(|(at, word)| (wall(*at), word.clone())),
            removed: self.removed.is_some(),
        }
    }
}
