//! Where a scene is played: the queue of events, and what each of them does.
use super::dice::Dice;
use super::laws::{Laws, Tally};
use super::request::{After, Beaten, End, How, Request, Stage};
use super::scene::Scene;
use super::server::{Job, Met, Mood};
use crate::config::Effective;
use crate::http::{Broke, Cause, Told};
use crate::metrics::Span;
use crate::net::BEAT;
use crate::pool::{Backend, Change, Lease, Member, NoLease, Outcome, Policies, Pool};
use crate::probe::{Order, Pace, out_every};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

const MS: Duration = Duration::from_millis(1);
/// One way through the network.
const WAY: Duration = Duration::from_micros(100);

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Arrive,
    Turn(usize, Mood),
    /// A backend has done its work on a job, in this life of its.
    Done(usize, u32, Job),
    /// The answer of a try came.
    Answer(Job, u16),
    /// A try broke.
    Broke(Job, How),
    /// Who waits for a first byte looks whether it should.
    Look(Job),
    /// A try takes long.
    Hedge(Job),
    /// The try that was beside another one, of which nothing came, takes long, too.
    Late(Job),
    /// The rest before a further try is over.
    Again(Job),
    /// The client waits no longer, or `timeout.request` is over.
    Leave(usize, End),
    /// It waits no longer for somebody to be there, having asked first then.
    GiveUp(usize, Instant),
    /// The time in the queue is over.
    Queue(usize, Instant),
    Beat(usize, u32),
    Probed(usize, bool),
    /// As the pool's keeper does each second, whatever happens.
    Keep,
    Publish,
    Tick,
    Reload(usize),
    /// The pages of all backends are mixed in another way.
    Mix(usize),
}

/// An event and when it happens; of those of one moment the one that was planned first.
#[derive(Debug)]
struct Planned {
    at: Instant,
    number: u64,
    event: Event,
}

impl Ord for Planned {
    /// The next one is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}
impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Planned {}

/// The rhythm of a backend's probes.
struct Beat {
    pace: Pace,
    /// Counts the beats that were planned: only the last one counts.
    planned: u32,
    due: Option<Instant>,
    probing: bool,
}

pub(super) struct World {
    pub(super) scene: Scene,
    pub(super) start: Instant,
    pub(super) now: Instant,
    events: BinaryHeap<Planned>,
    planned: u64,
    pub(super) pool: Arc<Pool>,
    /// What holds for requests that come from now on.
    effective: Arc<Effective>,
    changes: watch::Receiver<u64>,
    will_publish: bool,
    due: Option<Instant>,
    beats: Vec<Beat>,
    backends: Vec<Arc<Backend>>,
    pub(super) requests: Vec<Request>,
    queued: Vec<usize>,
    pending: Vec<usize>,
    dice: Dice,
    pub(super) laws: Laws,
    /// Who answered each client last.
    homes: Vec<Option<Arc<Backend>>>,
    pub(super) tally: Tally,
    /// Each event is printed.
    told: bool,
}

impl World {
    pub(super) fn new(scene: Scene, told: bool) -> Self {
        fastrand::seed(scene.seed);
        let start = Instant::now();
        let (config, effective) = scene.config(&scene.section);
        if told {
            eprintln!("{}", scene.section);
            scene.servers.iter().enumerate().for_each(|(i, s)| eprintln!("b{i} {s:?}"));
        }
        let prepared = Pool::prepare(&config.name, &config, &Policies::default(), None);
        let prepared = prepared.expect("a scene is right");
        // What building a set really takes is not played.
        prepared.pool().play(start);
        let (pool, _) = prepared.commit_at(start);
        let members = pool.members();
        let health = pool.config();
        let order = |m: &Member| Order::of(&health, None, &m.backend, m.state, m.reason);
        let beats = members
            .iter()
            .map(|m| Beat {
                pace: Pace::new(order(m), start),
                planned: 0,
                due: None,
                probing: false,
            })
            .collect();
        let backends: Vec<_> = members.into_iter().map(|m| m.backend).collect();
        let mut world = Self {
            start,
            now: start,
            events: BinaryHeap::new(),
            planned: 0,
            changes: pool.changes(),
            pool,
            effective: Arc::new(effective),
            will_publish: false,
            due: None,
            beats,
            laws: Laws::new(&scene),
            homes: vec![None; scene.clients],
            tally: Tally::new(backends.len()),
            backends,
            requests: Vec::new(),
            queued: Vec::new(),
            pending: Vec::new(),
            dice: Dice::new(!scene.seed),
            told,
            scene,
        };
        for _ in 0..world.scene.crowd.max(1) {
            world.plan(Duration::ZERO, Event::Arrive);
        }
        world.plan(1000 * MS, Event::Keep);
        for (at, server, mood) in world.scene.turns.clone() {
            world.plan(at, Event::Turn(server, mood));
        }
        for (k, (at, _)) in world.scene.mixes.clone().into_iter().enumerate() {
            world.plan(at, Event::Mix(k));
        }
        for (k, (at, _)) in world.scene.reloads.clone().into_iter().enumerate() {
            world.plan(at, Event::Reload(k));
        }
        world.follow();
        world
    }

    pub(super) fn plan(&mut self, after: Duration, event: Event) {
        self.plan_at(self.now + after, event);
    }

    pub(super) fn plan_at(&mut self, at: Instant, event: Event) {
        self.events.push(Planned { at: at.max(self.now), number: self.planned, event });
        self.planned += 1;
    }

    /// Plays it to the end.
    pub(super) fn play(mut self) -> Tally {
        // What waits for ever for nothing would never end.
        let end = self.start + self.scene.time + Duration::from_secs(30);
        while let Some(Planned { at, event, .. }) = self.events.pop() {
            let over = self.now > self.start + self.scene.time;
            if over && self.requests.iter().all(Request::is_over) {
                break;
            }
            assert!(at < end, "somebody waits for ever");
            self.now = at;
            if self.told {
                let ms = |at: Instant| (at - self.start).as_secs_f64() * 1e3;
                match &event {
                    Event::GiveUp(request, of) => {
                        eprintln!("{:9.3} GiveUp({request}, {:.3})", ms(at), ms(*of));
                    }
                    Event::Queue(request, of) => {
                        eprintln!("{:9.3} Queue({request}, {:.3})", ms(at), ms(*of));
                    }
                    event => eprintln!("{:9.3} {event:?}", ms(at)),
                }
            }
            self.happen(event);
            let turned = self.settle_down();
            self.laws.look(&self.pool, &self.requests, &self.queued, &self.backends, at);
            if turned {
                self.laws.look_at_states(&self.pool);
            }
        }
        self.laws.end(&self.pool, &self.requests);
        let ejections = |at: usize| self.pool.ejections[at].get() as usize;
        (self.tally.ejections, self.tally.silences) = (ejections(0) + ejections(1), ejections(2));
        self.tally
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Turn(server, mood) => self.turn(server, mood),
            Event::Done(server, life, job) => self.done(server, life, job),
            Event::Answer(job, status) => self.answer(job, status),
            Event::Broke(job, how) => self.broke(job, how),
            Event::Look(job) => self.look(job),
            Event::Hedge(job) => self.hedge(job),
            Event::Late(job) => self.late(job),
            Event::Again(job) => {
                let request = &self.requests[job.request];
                if request.attempt == job.attempt && matches!(request.stage, Stage::Resting) {
                    self.another(job.request);
                }
            }
            Event::Leave(request, how) => {
                if !self.requests[request].is_over() {
                    self.end(request, how);
                }
            }
            Event::GiveUp(request, since) => {
                let it = &self.requests[request];
                if matches!(it.stage, Stage::Pending) && it.asked == since {
                    self.nobody(request, NoLease::Empty);
                }
            }
            Event::Queue(request, until) => {
                if let Stage::Queued(waiting) = &mut self.requests[request].stage
                    && waiting.until == until
                {
                    let answer = waiting.give_up();
                    self.turn_came(request, answer);
                }
            }
            Event::Beat(server, planned) => self.beat(server, planned),
            Event::Probed(server, good) => {
                self.beats[server].probing = false;
                self.beats[server].pace.ended(good);
                let verdict = good.then_some(()).ok_or_else(|| "ill".into());
                self.change(Change::Probed { id: self.backends[server].id, verdict });
                self.plan_beat(server);
            }
            Event::Keep => {
                self.plan(1000 * MS, Event::Keep);
                self.publish();
            }
            Event::Publish => {
                self.will_publish = false;
                self.publish();
            }
            Event::Tick => {
                self.due = None;
                self.change(Change::Tick);
            }
            Event::Mix(k) => {
                let mix = self.scene.mixes[k].1;
                self.scene.servers.iter_mut().for_each(|server| server.slow = mix);
            }
            Event::Reload(k) => {
                let section = self.scene.reloads[k].1.clone();
                let (config, effective) = self.scene.config(&section);
                let prepared =
                    Pool::prepare(&config.name, &config, &Policies::default(), Some(&self.pool));
                prepared.expect("a scene is right").commit_at(self.now);
                self.effective = Arc::new(effective);
                self.laws.reloaded(&config);
            }
        }
    }

    fn publish(&mut self) {
        if let Some(at) = self.pool.publish(self.now) {
            self.will_publish = true;
            self.plan_at(at, Event::Publish);
        }
        for request in std::mem::take(&mut self.pending) {
            if matches!(self.requests[request].stage, Stage::Pending) {
                self.ask(request);
            }
        }
    }

    fn change(&mut self, change: Change) {
        let turns = self.pool.apply(change, self.now);
        if self.told {
            turns.iter().for_each(|turn| eprintln!("          {turn:?}"));
        }
    }

    /// What follows of an event at once: whose turn came, what is to be published, who is to be probed.
    /// Says whether somebody may have turned.
    fn settle_down(&mut self) -> bool {
        let mut at = 0;
        while let Some(request) = self.queued.get(at).copied() {
            let heard = match &mut self.requests[request].stage {
                Stage::Queued(waiting) => waiting.heard(),
                _ => None,
            };
            match heard {
                Some(answer) => {
                    self.turn_came(request, answer);
                    at = 0;
                }
                None => at += 1,
            }
        }
        let turned = self.changes.has_changed().unwrap_or(false);
        if turned {
            self.changes.mark_unchanged();
            if !self.will_publish {
                self.will_publish = true;
                self.plan(MS / 10, Event::Publish);
            }
            self.follow();
            self.look_soon();
        }
        let due = self.pool.due();
        if due != self.due {
            self.due = due;
            due.into_iter().for_each(|at| self.plan_at(at, Event::Tick));
        }
        turned
    }

    /// Tells each heartbeat how to beat.
    fn follow(&mut self) {
        let config = self.pool.config();
        let out = self.pool.is_out().then(|| out_every(self.backends.len()));
        let mut orders = Vec::with_capacity(self.backends.len());
        self.pool.glance(|m| orders.push(Order::of(&config, out, m.backend, m.state, m.reason)));
        for (server, order) in orders.into_iter().enumerate() {
            self.beats[server].pace.take(order, self.now);
            self.plan_beat(server);
        }
    }

    fn plan_beat(&mut self, server: usize) {
        let beat = &mut self.beats[server];
        let due = beat.pace.due().filter(|_| !beat.probing);
        if due == beat.due {
            return;
        }
        (beat.due, beat.planned) = (due, beat.planned + 1);
        if let Some(due) = due {
            let event = Event::Beat(server, beat.planned);
            self.plan_at(due, event);
        }
    }

    fn beat(&mut self, server: usize, planned: u32) {
        let beat = &mut self.beats[server];
        if beat.planned != planned || beat.probing {
            return;
        }
        beat.pace.began(self.now, self.dice.share());
        (beat.probing, beat.due) = (true, None);
        let limit = self.pool.config().health.as_ref().map_or(1000 * MS, |h| h.timeout);
        let (good, after) = match self.scene.servers[server].probed() {
            Some((good, took)) if took < limit => (good, took),
            _ => (false, limit),
        };
        self.plan(after, Event::Probed(server, good));
    }

    fn arrive(&mut self) {
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
    fn turn_came(&mut self, request: usize, answer: Result<Lease, NoLease>) {
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

    fn nobody(&mut self, request: usize, none: NoLease) {
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

    /// Sends it: who waited was given the lease before what happened since.
    fn send(&mut self, request: usize, lease: Lease) {
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
    fn work(&mut self, server: usize) {
        while let Some(job) = self.scene.servers[server].begin() {
            let it = &self.scene.servers[server];
            let (life, work) = (it.life, it.work * it.times());
            let (share, times) = it.slow;
            let slow = share > 0.0 && self.dice.happens(share);
            let work = self.dice.around(if slow { work * times } else { work });
            self.plan(work, Event::Done(server, life, job));
        }
    }

    fn done(&mut self, server: usize, life: u32, job: Job) {
        let it = &mut self.scene.servers[server];
        if it.life == life && it.done(job) {
            self.plan(WAY, Event::Answer(job, 200));
            self.work(server);
        }
    }

    fn turn(&mut self, server: usize, mood: Mood) {
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
        let late = it.long.is_some_and(|long| long.told).then(|| self.now - it.sent);
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

    fn broke(&mut self, job: Job, how: How) {
        if !self.broke_beside(job, how) {
            self.broke_for(job, how, None);
        }
    }

    /// A client was answered by somebody.
    fn came_home(&mut self, request: usize, backend: &Arc<Backend>) {
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
                if waiting.give_up().is_ok() {
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
