//! What clients do in a scene: they come, wait for a place, and leave with what they got.
use super::request::{End, Request, Stage};
use super::world::{Event, MS, WAY, World};
use crate::metrics::Span;
use crate::pool::{Backend, Lease, NoLease, Outcome};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

impl World {
    pub(super) fn arrive(&mut self) {
        let gap = self.dice.gap(self.scene.rate);
        if self.scene.crowd == 0 && self.now + gap < self.start + self.scene.time {
            self.plan(gap, Event::Arrive);
        }
        let repeatable = self.dice.happens(self.scene.repeatable);
        let mut chance = (self.dice.number(), self.dice.number());
        let request = self.requests.len();
        let (from, share) = self.scene.broken;
        let began = self.now - self.start >= from;
        let broken = began && self.dice.happens(share);
        let alone = self.scene.alone;
        // Who says no shares draws none: the others' seeds stay what they are.
        let mut happens = |share: f64| began && share > 0.0 && self.dice.happens(share);
        let is_stranger = happens(self.scene.strangers);
        let slips = is_stranger || !broken && happens(self.scene.slips);
        match self.scene.keys {
            _ if alone && broken => chance.1 = 7,
            0 => {}
            n => chance.1 %= n,
        }
        let key = self.pool.wants_hash().then(|| xxh3_64(&chance.1.to_ne_bytes()));
        let it = Request::new(repeatable, &self.effective, self.now, (chance.0, key));
        let client = match self.homes.len() {
            0 => 0,
            _ if is_stranger => usize::MAX,
            _ if alone && broken => 0,
            n => self.dice.number() as usize % n,
        };
        let home = self.homes.get(client).cloned().flatten();
        self.requests.push(Request { broken: broken || slips, client, home, ..it });
        if let Some(patience) = self.scene.patience {
            let patience = self.dice.around(patience);
            self.plan(patience, Event::Leave(request, End::Left));
        }
        if let Some(limit) = self.effective.timeout.request.get() {
            self.plan(limit, Event::Leave(request, End::Own("timeout_request")));
        }
        self.ask(request);
    }

    /// Asks the pool for a backend.
    pub(super) fn ask(&mut self, request: usize) {
        let now = self.now;
        let it = &mut self.requests[request];
        let was_pending = matches!(it.stage, Stage::Pending);
        let limit = it.until;
        it.stage = Stage::Resting;
        match self.pool.stand(&it.ask(now)) {
            Ok(lease) => self.begin(request, lease),
            Err(NoLease::Full) => match self.pool.enter(&it.ask(now), now, limit) {
                Ok(waiting) => {
                    let until = waiting.until;
                    it.stage = Stage::Queued(waiting);
                    self.queued.push(request);
                    self.tally.queued += 1;
                    // Its worker may be busy when the timer rings.
                    let late = MS.mul_f64(self.dice.share() * 5.0);
                    self.plan_at(until + late, Event::Queue(request, until));
                }
                Err(none) => self.nobody(request, none),
            },
            Err(NoLease::Pending) => {
                if !was_pending {
                    it.asked = now;
                }
                it.stage = Stage::Pending;
                let limit = it.effective.timeout.connect.get().unwrap_or(2000 * MS);
                let since = it.asked;
                self.pending.push(request);
                if !was_pending {
                    self.plan(limit, Event::GiveUp(request, since));
                }
            }
            Err(none) => self.nobody(request, none),
        }
    }

    /// A place became free for one who waited, or will not.
    pub(super) fn turn_came(&mut self, request: usize, answer: Result<Lease, NoLease>) {
        self.queued.retain(|other| *other != request);
        let it = &mut self.requests[request];
        let before = std::mem::replace(&mut it.stage, Stage::Resting);
        let Stage::Queued(waiting) = before else { panic!("{request} was not in the queue") };
        self.laws.served(&waiting, answer.is_ok(), self.now);
        drop(waiting);
        match answer {
            Ok(lease) => self.send(request, lease),
            Err(none) => self.nobody(request, none),
        }
    }

    pub(super) fn nobody(&mut self, request: usize, none: NoLease) {
        let word = match none {
            NoLease::Full => "max_active",
            NoLease::Queue => "queue",
            NoLease::Empty | NoLease::Pending | NoLease::Avoided => "no_backend",
        };
        self.requests[request].full |= matches!(none, NoLease::Full | NoLease::Queue);
        match self.requests[request].after {
            Some(_) => self.no_more(request),
            None => self.end(request, End::Own(word)),
        }
    }

    /// Sends it to whom it was given just now.
    pub(super) fn begin(&mut self, request: usize, lease: Lease) {
        self.laws.chosen(&self.pool, lease.backend());
        self.send(request, lease);
    }

    /// A client was answered by somebody.
    pub(super) fn came_home(&mut self, request: usize, backend: &Arc<Backend>) {
        let it = &self.requests[request];
        // Where it only took longer than the one beside it, its client stays its client.
        let stays = |own: &Arc<Backend>| own.id == backend.id || it.is_outrun;
        if let Some(home) = self.homes.get_mut(it.client)
            && !it.home.as_ref().is_some_and(stays)
        {
            let moves = it.home.is_some().then(|| self.now - self.start);
            self.tally.moves.extend(moves);
            *home = Some(backend.clone());
        }
    }

    pub(super) fn end(&mut self, request: usize, end: End) {
        let now = self.now;
        let it = &mut self.requests[request];
        assert!(!it.is_over(), "{request} ends twice");
        self.cancel_beside(request, false);
        let it = &mut self.requests[request];
        let stage = std::mem::replace(&mut it.stage, Stage::Ended);
        match stage {
            Stage::Queued(mut waiting) => {
                self.queued.retain(|other| *other != request);
                if waiting.give_up(now).is_ok() {
                    self.laws.left_with_one(now);
                }
            }
            Stage::Tried(lease) => {
                self.laws.settled(lease.backend().id);
                lease.settle_at(Outcome::Abandoned, now);
            }
            _ => {}
        }
        if let Some((kept, status)) = it.after.take().and_then(|after| after.kept) {
            self.laws.settled(kept.backend().id);
            kept.answered(status, Span::new(now, now));
        }
        if self.told {
            eprintln!("          {request} {end:?} after {:?}", now - it.born);
        }
        let it = &self.requests[request];
        self.laws.ended(it, end, now);
        self.tally.ended(it, end, (self.start, now));
        if self.scene.crowd > 0 && now < self.start + self.scene.time {
            self.plan(2 * WAY, Event::Arrive);
        }
    }
}
