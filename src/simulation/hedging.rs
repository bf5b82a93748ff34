//! A try beside one that takes long, as `http::hedge` makes it. What may hold two places at once and is
//! given up for another one's answer is played with the rest.
use super::request::{Beside, How, Stage};
use super::server::Job;
use super::world::{Event, World};
use crate::config::HedgeAfter;
use crate::http::SOME;
use crate::metrics::Span;
use crate::pool::{Allowance, Ask, Lease, Outcome, Why};

/// From this status on an answer wins no race.
const FAULT: u16 = 500;

impl World {
    /// A try of somebody who hedges began.
    pub(super) fn may_hedge(&mut self, job: Job) {
        let Some(hedge) = &self.scene.hedge else { return };
        let after = match hedge.after {
            HedgeAfter::Time(time) => Some(time),
            HedgeAfter::Quantile(share) => {
                self.pool.first_byte_quantile(share).map(|time| time.max(hedge.min))
            }
        };
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
        let ask = Ask::new(now, it.seed).hash(Some(it.hash)).avoid(&avoid).why(Why::Hedge);
        if !self.pool.allows_hedge(allowed, now) {
            return;
        }
        let Some(mut lease) = self.pool.another(&ask) else { return };
        if !self.pool.take_hedge(allowed, now) {
            return lease.settle_at(Outcome::Stale, now);
        }
        it.tried = avoid;
        it.tried.push(lease.backend().id);
        self.laws.taken(&self.pool, lease.backend());
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

    /// The try beside was answered: its request, too, but by a fault.
    pub(super) fn answered_beside(&mut self, job: Job, status: u16) -> bool {
        let Some(beside) = self.take_beside(job) else { return false };
        let it = &mut self.requests[job.request];
        if status < FAULT
            && let Stage::Tried(own) = std::mem::replace(&mut it.stage, Stage::Resting)
        {
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

    /// The try itself came to nothing, and the one beside it is under way: that counts. Says whether
    /// there is one.
    pub(super) fn rescue(&mut self, request: usize) -> bool {
        let beside = self.requests[request].beside.take();
        beside.map(|beside| self.stand_in(request, beside)).is_some()
    }

    fn stand_in(&mut self, request: usize, beside: Beside) {
        let it = &mut self.requests[request];
        (it.attempt, it.long) = (beside.attempt, None);
        it.stage = Stage::Tried(beside.lease);
    }
}
