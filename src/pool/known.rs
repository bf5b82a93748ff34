//! One member of a pool: its endpoint, what probes and tries say of it, what an operator wants, and
//! the state that follows from all of these. Pure.
use super::backend::{Backend, BackendId, Endpoint, Leave};
use super::change::{Author, Glance, Member, Reason, State, Wish};
use super::health::Health;
use super::hot::Quiet;
use super::line::Counted;
use super::outlier::{Count, Record, Tally};
use super::slow_start::Ramp;
use crate::config::Addr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug)]
pub(super) struct Known {
    pub(super) endpoint: Endpoint,
    pub(super) backend: Arc<Backend>,
    /// The number of the first that had its name: what all of them counted is told together.
    pub(super) line: BackendId,
    pub(super) health: Health,
    /// What its tries say.
    pub(super) record: Record,
    /// Since it was ejected for silence, its last probe was good.
    pub(super) proven: bool,
    /// What became of its tries before the current window.
    pub(super) mark: [Tally; 2],
    pub(super) wish: Wish,
    /// It is a name without an address.
    pub(super) unresolved: bool,
    /// Its name was answered once, with addresses or without.
    pub(super) answered: bool,
    /// Its heartbeat did not come.
    pub(super) lapsed: bool,
    /// Nobody may go where it leads.
    pub(super) off_limits: bool,
    /// A try did not reach it, and probes have not brought it back since.
    pub(super) unreached: bool,
    /// It was named before anybody of its pool got work: its first turn is no return.
    pub(super) founder: bool,
    /// It has a share of its weight, and is on its way to all of it.
    pub(super) ramp: Option<(Ramp, f64)>,
    /// Since when nobody names it, and who sent it away.
    pub(super) removed: Option<(Instant, Author)>,
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
            line: backend.id,
            backend: Arc::new(backend),
            health: if probed { Health::Unknown } else { Health::UP },
            record: Record::default(),
            proven: false,
            mark: Default::default(),
            wish,
            answered: false,
            lapsed: false,
            off_limits: false,
            unreached: false,
            founder: true,
            ramp: None,
            removed: None,
            ever_up: false,
            state: State::Unknown,
            reason: Reason::NotProbed,
            since: now,
            leave: Leave::default(),
            last_probe: None,
        };
        (known.state, known.reason) = known.judge();
        known.ever_up = known.state.works();
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
            Wish::Up if self.lapsed => (State::Down, Reason::Heartbeat),
            Wish::Up if self.unresolved => (State::Down, Reason::Unresolved),
            Wish::Up if self.off_limits => (State::Down, Reason::OffLimits),
            Wish::Up if self.unreached => (State::Down, Reason::Connect),
            Wish::Up => match self.health {
                Health::Unknown => (State::Unknown, Reason::NotProbed),
                Health::Down { .. } => (State::Down, Reason::Probe),
                Health::Up { .. } => match self.record.held() {
                    Some(reason) => (State::Ejected, reason),
                    None if self.ramp.is_some() => (State::SlowStart, Reason::None),
                    None => (State::Up, Reason::None),
                },
            },
        }
    }

    /// A probe ended. `rules` are rise and fall, `None` where the pool has no `health`: then the
    /// probe was a mere connect, and a good one brings it back. Whom probes bring down because they
    /// never reached it, no try would reach either.
    pub(super) fn probed(&mut self, good: bool, refused: bool, rules: Option<(u32, u32)>) {
        (self.proven, self.off_limits) = (good, false);
        match rules {
            Some((rise, fall)) => {
                self.health = self.health.after(good, rise, fall);
                self.unreached |= refused && matches!(self.health, Health::Down { .. });
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
    /// Its weight in a set whose weights are multiplied by `scale`.
    pub(super) fn weight(&self, scale: u32) -> u32 {
        let whole = u32::from(self.endpoint.weight.get()) * scale;
        match self.ramp {
            Some((_, share)) => ((f64::from(whole) * share) as u32).max(1),
            None => whole,
        }
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
    /// What became of its tries so far, as rates see it: see [`Backend::judged`].
    pub(super) fn tallies(&self) -> [Tally; 2] {
        self.backend.judged()
    }
    /// Whether its ejection may end: one for silence not before a probe was good.
    pub(super) fn may_return(&self, probed: bool, now: Instant) -> bool {
        let over = self.record.until().is_some_and(|until| until <= now);
        let silent = self.record.held() == Some(Reason::Silence);
        over && (!silent || !probed || self.proven)
    }
    /// Lets it in again when its time is over: one that was silent by one try at a time.
    pub(super) fn back(&mut self, now: Instant) {
        let silent = self.record.held() == Some(Reason::Silence);
        self.release(now);
        if silent {
            self.backend.set_quiet(Quiet::Trial);
        }
    }
    /// A try that waited, or one on trial, heard of it.
    pub(super) fn heard(&mut self, now: Instant) {
        if self.record.held() == Some(Reason::Silence) {
            self.release(now);
        }
        if self.backend.hot.quiet() == Quiet::Trial {
            self.backend.set_quiet(Quiet::No);
            self.record.begin(now);
        }
    }
    /// Lets it in again after an ejection, with nothing held against it.
    pub(super) fn release(&mut self, now: Instant) {
        self.backend.set_quiet(Quiet::No);
        self.record.release(now);
        self.backend.hot.forgive();
        self.mark = self.tallies();
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
            removed: self.removed.map(|(_, by)| by),
        }
    }

    /// As shown.
    pub(super) fn show(&self, told: Counted, wall: impl Fn(Instant) -> SystemTime) -> Member {
        Member {
            backend: self.backend.clone(),
            weight: self.endpoint.weight.get(),
            tier: self.endpoint.tier,
            state: self.state,
            reason: self.reason,
            since: wall(self.since),
            last_probe: self.last_probe.as_ref().map(|(at, word)| (wall(*at), word.clone())),
            removed: self.removed.map(|(_, by)| by),
            line: self.line,
            told,
        }
    }
}
