//! What becomes of a try in a scene: on its way, at its backend, and as its answer.
use super::request::{After, Beaten, End, How, Stage};
use super::server::{Job, Met, Mood};
use super::world::{Event, MS, WAY, World};
use crate::http::{Broke, Cause, Told};
use crate::metrics::Span;
use crate::net::BEAT;
use crate::pool::{Backend, Change, Lease, Outcome};
use std::sync::Arc;

impl World {
    /// Sends it: who waited was given the lease before what happened since.
    pub(super) fn send(&mut self, request: usize, lease: Lease) {
        let server = lease.backend().id.0 as usize;
        self.laws.taken(lease.backend());
        let (now, allowed) = (self.now, self.allowed(request));
        let it = &mut self.requests[request];
        if let Some(after) = &it.after {
            if after.costs && !after.paid && !self.pool.take_try(allowed, now) {
                it.spent = true;
                self.laws.settled(lease.backend().id);
                lease.settle_at(Outcome::Stale, now);
                return self.no_more(request);
            }
            self.laws.tried(after.costs, &it.effective.retry, now);
        } else {
            let is_home = it.home.as_ref().is_some_and(|home| home.id == lease.backend().id);
            self.laws.asked(&self.pool, (!is_home).then_some(lease.backend().id), now);
        }
        if let Some((kept, status)) = it.after.take().and_then(|after| after.kept) {
            self.laws.settled(kept.backend().id);
            kept.answered(status, Span::new(now, now));
        }
        assert!(!it.is_over(), "{request} was served after its end");
        it.tries += 1;
        it.attempt = it.tries;
        assert!(it.repeatable || !it.begun, "{request} was begun, and is sent again");
        (it.sent, it.long) = (self.now, None);
        let mut lease = lease;
        lease.listen();
        it.stage = Stage::Tried(lease);
        self.tally.took(server, self.now - self.start);
        let job = Job { request, attempt: it.attempt };
        self.meet(server, job);
        self.may_hedge(job);
    }

    /// A try comes to a backend.
    pub(super) fn meet(&mut self, server: usize, job: Job) {
        let it = &self.requests[job.request];
        let timeout = &it.effective.timeout;
        let (connect, first) = (timeout.connect.get(), timeout.first_byte.get());
        let often = match self.scene.servers[server].mood {
            Mood::FailsOften(of) => self.dice.happens(f64::from(of) / 100.0),
            _ => false,
        };
        match self.scene.servers[server].meet(job, it.broken || often) {
            Met::Taken => {
                self.plan(BEAT * 3 / 2, Event::Look(job));
                if let Some(limit) = first {
                    self.plan(limit, Event::Broke(job, How::FirstByte));
                }
                self.work(server);
            }
            Met::Refused => self.plan(2 * WAY, Event::Broke(job, How::Refused)),
            Met::Hangs => {
                self.plan(connect.unwrap_or(1000 * MS), Event::Broke(job, How::ConnectTimeout));
            }
            Met::Reset => self.plan(3 * WAY, Event::Broke(job, How::Reset)),
            Met::Answered(status) => self.plan(4 * WAY, Event::Answer(job, status)),
        }
    }

    /// A backend begins what it can.
    pub(super) fn work(&mut self, server: usize) {
        while let Some(job) = self.scene.servers[server].begin() {
            let it = &self.scene.servers[server];
            let (life, work) = (it.life, it.work * it.times());
            let (share, times) = it.slow;
            let slow = share > 0.0 && self.dice.happens(share);
            let work = self.dice.around(if slow { work * times } else { work });
            self.plan(work, Event::Done(server, life, job));
        }
    }

    pub(super) fn done(&mut self, server: usize, life: u32, job: Job) {
        let it = &mut self.scene.servers[server];
        if it.life == life && it.done(job) {
            self.plan(WAY, Event::Answer(job, 200));
            self.work(server);
        }
    }

    pub(super) fn turn(&mut self, server: usize, mood: Mood) {
        let (answered, lost) = self.scene.servers[server].turn(mood);
        for job in answered {
            self.plan(WAY, Event::Answer(job, 200));
        }
        for job in lost {
            self.plan(WAY, Event::Broke(job, How::Reset));
        }
        self.work(server);
    }

    /// The lease of a try, if it goes on.
    pub(super) fn lease(&mut self, job: Job) -> Option<Lease> {
        let it = &mut self.requests[job.request];
        if it.attempt != job.attempt || !matches!(it.stage, Stage::Tried(_)) {
            return None;
        }
        match std::mem::replace(&mut it.stage, Stage::Resting) {
            Stage::Tried(lease) => Some(lease),
            _ => None,
        }
    }

    pub(super) fn answer(&mut self, job: Job, status: u16) {
        if self.answered_beside(job, status) {
            return;
        }
        let Some(mut lease) = self.lease(job) else { return };
        let server = lease.backend().id.0 as usize;
        let it = &self.requests[job.request];
        lease.first_byte(self.now - it.sent);
        let late = it.long.is_some_and(|long| long.awaited.was_told()).then(|| self.now - it.sent);
        lease.spoke_at(late, self.now);
        lease.compare(self.now - it.sent, self.now);
        self.tally.answered(server, status);
        if self.scene.hedge.is_some() {
            self.pool.learn_first_byte(self.now - it.sent);
        }
        let id = lease.backend().id;
        let cause = Cause::Status(status);
        let repeatable = self.requests[job.request].repeatable;
        let broke = Broke { cause, begun: true, repeatable, asked: Told::Nothing };
        let end = End::Answered(status);
        if !self.wins(job.request, status) && self.rescue(job, Beaten { broke, id, end }) {
            self.laws.settled(id);
            return lease.answered(status, Span::new(self.now, self.now));
        }
        self.cancel_beside(job.request, true);
        self.came_home(job.request, lease.backend());
        if !self.requests[job.request].effective.retry.on.statuses.has(status) {
            self.laws.settled(lease.backend().id);
            lease.answered(status, Span::new(self.now, self.now));
            return self.end(job.request, end);
        }
        let it = &mut self.requests[job.request];
        it.begun = true;
        let after = After { costs: true, paid: false, end, kept: Some((lease, status)) };
        self.again(job, broke, id, after, None);
    }

    pub(super) fn broke(&mut self, job: Job, how: How) {
        if !self.broke_beside(job, how) {
            self.broke_for(job, how, None);
        }
    }

    /// What a try that broke means, and what is said of its backend at once.
    pub(super) fn outcome(&mut self, backend: &Arc<Backend>, how: How) -> Outcome {
        match how {
            How::Refused | How::ConnectTimeout => {
                backend.mark_unusable();
                let detail = format!("{how:?}");
                self.change(Change::Unreached { id: backend.id, detail });
                Outcome::NotReached
            }
            How::Reset | How::Left | How::FirstByte => Outcome::Failed,
        }
    }

    /// As `broke`; where it goes on is taken and paid for.
    pub(super) fn broke_for(&mut self, job: Job, how: How, next: Option<Lease>) {
        let Some(lease) = self.lease(job) else { return };
        let id = lease.backend().id;
        if how == How::FirstByte {
            lease.in_vain(self.now - self.requests[job.request].sent, self.now);
        }
        let outcome = self.outcome(lease.backend(), how);
        let cause = match how {
            How::Refused | How::ConnectTimeout => Cause::Connect,
            How::Reset | How::Left => Cause::Reset,
            How::FirstByte => Cause::Timeout,
        };
        self.laws.settled(id);
        self.laws.failed(id);
        lease.settle_at(outcome, self.now);
        let begun = outcome == Outcome::Failed;
        let it = &mut self.requests[job.request];
        it.begun |= begun;
        let repeatable = !begun || it.repeatable;
        let broke = Broke { cause, begun, repeatable, asked: Told::Nothing };
        let end = End::Broken(how);
        if self.rescue(job, Beaten { broke, id, end }) {
            return next.into_iter().for_each(|next| next.settle_at(Outcome::Stale, self.now));
        }
        let paid = next.is_some();
        self.again(job, broke, id, After { costs: begun, paid, end, kept: None }, next);
    }
}
