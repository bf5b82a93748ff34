//! What tries do to members: ejections, their end, and windows of success rates.
use super::Members;
use crate::config::SuccessRate;
use crate::pool::backend::BackendId;
use crate::pool::change::{Reason, State, Turn};
use crate::pool::hot::Quiet;
use crate::pool::known::Known;
use crate::pool::outlier::{Tally, outliers};
use crate::pool::slow_start::{Ramp, next_step};
use std::collections::BTreeSet;
use std::time::Instant;

impl Members {
    /// Ejects somebody who gets work, unless too many are ejected or too few would be left; for
    /// silence however many are.
    pub(super) fn eject(
        &mut self,
        id: BackendId,
        reason: Reason,
        detail: String,
        now: Instant,
    ) -> Vec<Turn> {
        let Some(rules) = &self.config.outlier else { return Vec::new() };
        let is_up = self.by_id.get(&id).is_some_and(|place| self.list[*place].is_up());
        if !is_up || !self.count.may_eject(reason, rules.max_ejected) {
            return Vec::new();
        }
        let times = match (reason, rules.silence) {
            (Reason::Silence, Some(silence)) => (silence.hold, rules.eject_max),
            (Reason::Silence, None) => return Vec::new(),
            _ => (rules.eject, rules.eject_max),
        };
        let turns = self.one(id, detail, now, |known, _| {
            if known.backend.hot.quiet() == Quiet::Trial {
                // It has answered nobody since it came back.
                known.record.begin(now);
            }
            known.record.eject(reason, times, now);
            known.backend.mark_unusable();
            known.proven = false;
            let silent = reason == Reason::Silence;
            known.backend.set_quiet(if silent { Quiet::Silent } else { Quiet::No });
        });
        let until = self.by_id.get(&id).and_then(|place| self.list[*place].record.until());
        self.free = self.free.into_iter().chain(until).min();
        turns
    }

    /// Nobody would get work: who is out for its tries alone is let in again. Whatever they said, it
    /// is better than nobody. To be judged afterwards.
    pub(super) fn relent(&mut self, now: Instant) {
        for known in &mut self.list {
            if known.is_wanted() && known.judge().0 == State::Ejected {
                known.release(now);
            }
        }
    }

    fn back(&mut self, place: usize, detail: &str, now: Instant) -> Option<Turn> {
        let known = &mut self.list[place];
        let before = known.count();
        known.back(now);
        let turn = self.judge(place, detail, now);
        self.count.change(before, self.list[place].count());
        turn
    }

    /// When time alone changes something.
    pub(in crate::pool) fn due(&self) -> Option<Instant> {
        self.free.into_iter().chain(self.window).chain(self.step).min()
    }

    /// Ends what has lasted long enough; judges the rates of a window that is over.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Turn> {
        let mut turns = Vec::new();
        if self.free.is_some_and(|free| free <= now) {
            self.free = None;
            for place in 0..self.list.len() {
                let known = &self.list[place];
                if known.may_return(self.config.health.is_some(), now) {
                    turns.extend(self.back(place, "its time is over", now));
                } else {
                    // Where that is past already a probe is awaited.
                    let until = known.record.until().filter(|until| *until > now);
                    self.free = self.free.into_iter().chain(until).min();
                }
            }
        }
        if self.step.is_some_and(|step| step <= now) {
            turns.extend(self.climb(now));
        }
        let rules = self.config.outlier.as_ref().and_then(|outlier| outlier.success_rate);
        if let Some(rules) = rules {
            match self.window {
                Some(end) if now < end => {}
                Some(_) => {
                    turns.extend(self.rate(&rules, now));
                    self.begin_window(&rules, now);
                }
                None => self.begin_window(&rules, now),
            }
        }
        turns
    }

    fn begin_window(&mut self, rules: &SuccessRate, now: Instant) {
        self.window = Some(now + rules.window);
        for known in &mut self.list {
            known.mark = known.tallies();
        }
    }

    /// Somebody is about to get work: by and by where the pool is in service already and it is not
    /// there since the beginning. Who was but silent goes on as before.
    pub(super) fn ramp_at(&mut self, place: usize, now: Instant) {
        let known = &self.list[place];
        let silent = (known.state, known.reason) == (State::Ejected, Reason::Silence);
        let returns = !silent && (known.ever_up || !known.founder);
        let ramp = match (known.judge().0.works(), known.state.works()) {
            (false, _) => None,
            (true, false) if returns => self.begins(now),
            _ => known.ramp,
        };
        self.list[place].ramp = ramp;
    }

    /// The first share of one that comes to a pool in service.
    pub(super) fn begins(&mut self, now: Instant) -> Option<(Ramp, f64)> {
        let rules = self.config.slow_start.as_ref().filter(|_| self.count.up > 0)?;
        let ramp = Ramp::new(now);
        self.step = self.step.or_else(|| Some(next_step(rules, now)));
        ramp.share(rules, now).map(|share| (ramp, share))
    }

    /// Counts the shares of those who ramp; who has all of its weight is up.
    pub(super) fn climb(&mut self, now: Instant) -> Vec<Turn> {
        let (config, mut ramps, mut turns) = (self.config.clone(), false, Vec::new());
        for place in 0..self.list.len() {
            let Some((ramp, _)) = self.list[place].ramp else { continue };
            let share = config.slow_start.as_ref().and_then(|rules| ramp.share(rules, now));
            self.list[place].ramp = share.map(|share| (ramp, share));
            ramps |= share.is_some();
            turns.extend(self.judge(place, "it has its whole weight", now));
        }
        self.stale = true;
        let rules = config.slow_start.as_ref().filter(|_| ramps);
        self.step = rules.map(|rules| next_step(rules, now));
        turns
    }

    /// Ejects who answered too small a share, the worst first. Where clients come back they ask for other
    /// pages than those who do not, and are not everywhere as many: each are compared with their like, tier
    /// by tier, for a backup gets what others failed at.
    fn rate(&mut self, rules: &SuccessRate, now: Instant) -> Vec<Turn> {
        let tiers: BTreeSet<u8> = self.list.iter().map(|known| known.endpoint.tier).collect();
        let mut turns = Vec::new();
        for (like, whose) in ["its tries", "its tries without a cookie or key"].iter().enumerate() {
            for tier in &tiers {
                turns.extend(self.rate_tier(*tier, (like, whose), rules, now));
            }
        }
        turns
    }

    fn rate_tier(
        &mut self,
        tier: u8,
        (like, whose): (usize, &str),
        rules: &SuccessRate,
        now: Instant,
    ) -> Vec<Turn> {
        let up = self.rated(tier);
        let tally = |known: &Known| known.tallies()[like].since(known.mark[like]);
        let window: Vec<Tally> = up.iter().map(|i| tally(&self.list[*i])).collect();
        let mut turns = Vec::new();
        for (i, least) in outliers(&window, rules) {
            let known = &self.list[up[i]];
            if known.endpoint.tier == tier {
                let (rate, least) = (window[i].rate() * 100.0, least * 100.0);
                let detail = format!("{rate:.1} % of {whose} were answered, below {least:.1} %");
                let id = known.backend.id;
                turns.extend(self.eject(id, Reason::SuccessRate, detail, now));
            }
        }
        turns
    }

    /// Who is up of a tier; with the only one of the first, who is up at all.
    fn rated(&self, tier: u8) -> Vec<usize> {
        let up: Vec<usize> = (0..self.list.len()).filter(|i| self.list[*i].is_up()).collect();
        let of = |i: &usize| self.list[*i].endpoint.tier;
        let own: Vec<usize> = up.iter().copied().filter(|i| of(i) == tier).collect();
        if own.len() == 1 && up.iter().all(|i| of(i) >= tier) { up } else { own }
    }
}
