//! A try beside one that takes long, as `http::hedge` makes it. What may hold two places at once and is
//! given up for another one's answer is played with the rest.
use super::request::{After, Beaten, Beside, How, Stage};
use super::server::Job;
use super::world::{Event, World};
use crate::http::{SOME, hedge_delay, hedge_patience, wins_hedge};
use crate::metrics::Span;
use crate::pool::{Allowance, Ask, Lease, Outcome, Why};

impl World {
    /// A try of somebody who hedges began.
    pub(super) fn may_hedge(&mut self, job: Job) {
        let Some(hedge) = &self.scene.hedge else { return };
        let after = hedge_delay(hedge, &self.pool);
        if let Some(after) = after.filter(|_| self.requests[job.request].repeatable) {
            self.plan(after, Event::Hedge(job));
        }
    }

    /// It takes long: another one beside it, if there is somebody and the budget has one.
    pub(super) fn hedge(&mut self, job: Job) {
        let (now, it) = (self.now, &mut self.requests[job.request]);
        let Stage::Tried(own) = &it.stage else { return };
        let Some(hedge) = self.scene.hedge.filter(|_| it.attempt == job.attempt) else { return };
        let allowed =
            Allowance { share: hedge.budget.get(), floor: SOME, window: it.effective.retry.window };
        let avoid = [&it.tried[..], &[own.backend().id]].concat();
        let ask = Ask::new(now, it.seed).hash(it.hash).avoid(&avoid).why(Why::Hedge);
        if !self.pool.allows_hedge(allowed, now) {
            return;
        }
        let Some(mut lease) = self.pool.another(&ask) else { return };
        if !self.pool.take_hedge(allowed, now) {
            return lease.settle_at(Outcome::Stale, now);
        }
        it.tried = avoid;
        it.tried.push(lease.backend().id);
        self.laws.chosen(&self.pool, lease.backend());
        self.laws.taken(lease.backend());
        self.tally.hedges += 1;
        lease.listen();
        let server = lease.backend().id.0 as usize;
        let it = &mut self.requests[job.request];
        it.tries += 1;
        let attempt = it.tries;
        it.beside = Some(Beside { lease, attempt, sent: now });
        self.meet(server, Job { attempt, ..job });
    }

    /// The try beside, where this is it.
    fn take_beside(&mut self, job: Job) -> Option<Beside> {
        self.requests[job.request].beside.take_if(|beside| beside.attempt == job.attempt)
    }

    /// Whether an answer to a request may win a race.
    pub(super) fn wins(&self, request: usize, status: u16) -> bool {
        wins_hedge(status, &self.requests[request].effective.retry.on.statuses)
    }

    /// The try beside was answered: its request, too, by what may win.
    pub(super) fn answered_beside(&mut self, job: Job, status: u16) -> bool {
        let Some(beside) = self.take_beside(job) else { return false };
        let wins = self.wins(job.request, status);
        let it = &mut self.requests[job.request];
        if wins && let Stage::Tried(own) = std::mem::replace(&mut it.stage, Stage::Resting) {
            it.is_outrun = it.home.as_ref().is_some_and(|home| home.id == own.backend().id);
            self.give_up(own, self.requests[job.request].sent);
            self.stand_in(job.request, beside);
            self.answer(job, status);
        } else {
            self.laws.settled(beside.lease.backend().id);
            beside.lease.spoke_at(None, self.now);
            beside.lease.answered(status, Span::new(self.now, self.now));
        }
        true
    }

    /// The try beside broke: nothing comes of it.
    pub(super) fn broke_beside(&mut self, job: Job, how: How) -> bool {
        let Some(beside) = self.take_beside(job) else { return false };
        let id = beside.lease.backend().id;
        self.laws.settled(id);
        self.laws.failed(id);
        let outcome = self.outcome(beside.lease.backend(), how);
        beside.lease.settle_at(outcome, self.now);
        true
    }

    /// The try itself was answered, by no fault, or was over: the one beside it is cancelled.
    pub(super) fn cancel_beside(&mut self, request: usize, outrun: bool) {
        if let Some(beside) = self.requests[request].beside.take() {
            if outrun {
                self.give_up(beside.lease, beside.sent);
            } else {
                self.laws.settled(beside.lease.backend().id);
                beside.lease.settle_at(Outcome::Abandoned, self.now);
            }
        }
    }

    fn give_up(&mut self, lease: Lease, sent: std::time::Instant) {
        let vigil = lease.vigil();
        self.laws.settled(lease.backend().id);
        lease.settle_at(Outcome::Abandoned, self.now);
        vigil.into_iter().for_each(|vigil| vigil.outrun(sent, self.now));
    }

    /// The try itself came to nothing, and the one beside it is under way: what comes of that in time
    /// counts. Says whether there is one.
    pub(super) fn rescue(&mut self, job: Job, beaten: Beaten) -> bool {
        let Some(beside) = self.requests[job.request].beside.take() else { return false };
        let (now, allowed) = (self.now, self.allowed(job.request));
        let it = &self.requests[job.request];
        let again = it.course.clone().after(beaten.broke, &it.effective.retry, None, it.seed);
        let others = again.is_some_and(|again| !again.costs || self.pool.allows_try(allowed, now))
            && self.pool.is_open(&it.ask(now));
        let delay = self.scene.hedge.and_then(|hedge| hedge_delay(&hedge, &self.pool));
        let patience = hedge_patience(delay.unwrap_or_default(), &self.pool, others);
        if beaten.is_answer() || others {
            let late = Event::Late(Job { attempt: beside.attempt, ..job });
            self.plan_at(beside.sent + patience, late);
        }
        self.stand_in(job.request, beside);
        self.requests[job.request].beaten = Some(beaten);
        true
    }

    /// The one that is left takes too long, too: the next one, or what the try itself came to.
    pub(super) fn late(&mut self, job: Job) {
        let it = &mut self.requests[job.request];
        let sent = it.sent;
        let Some(Beaten { broke, id, end }) = it.beaten.take_if(|_| it.attempt == job.attempt)
        else {
            return;
        };
        let Some(lease) = self.lease(job) else { return };
        self.requests[job.request].later.push(lease.backend().id);
        self.give_up(lease, sent);
        let after = After { costs: broke.begun, paid: false, end, kept: None };
        self.again(job, broke, id, after, None);
    }

    fn stand_in(&mut self, request: usize, beside: Beside) {
        let it = &mut self.requests[request];
        (it.attempt, it.sent, it.long) = (beside.attempt, beside.sent, None);
        it.stage = Stage::Tried(beside.lease);
    }
}
