//! Where a scene is played: the queue of events, and what each of them does.
use super::dice::Dice;
use super::laws::{Laws, Tally};
use super::request::{End, How, Request, Stage};
use super::scene::Scene;
use super::server::{Job, Mood};
use crate::config::Effective;
use crate::pool::{Backend, Change, Member, NoLease, Policies, Pool};
use crate::probe::{Order, Pace, out_every};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub(super) const MS: Duration = Duration::from_millis(1);
/// One way through the network.
pub(super) const WAY: Duration = Duration::from_micros(100);

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
    pub(super) planned: u64,
    pub(super) pool: Arc<Pool>,
    /// What holds for requests that come from now on.
    pub(super) effective: Arc<Effective>,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) will_publish: bool,
    pub(super) due: Option<Instant>,
    beats: Vec<Beat>,
    pub(super) backends: Vec<Arc<Backend>>,
    pub(super) requests: Vec<Request>,
    pub(super) queued: Vec<usize>,
    pub(super) pending: Vec<usize>,
    pub(super) dice: Dice,
    pub(super) laws: Laws,
    /// Who answered each client last.
    pub(super) homes: Vec<Option<Arc<Backend>>>,
    pub(super) tally: Tally,
    /// Each event is printed.
    pub(super) told: bool,
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

    pub(super) fn happen(&mut self, event: Event) {
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
                    let answer = waiting.give_up(self.now);
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

    pub(super) fn publish(&mut self) {
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

    pub(super) fn change(&mut self, change: Change) {
        let turns = self.pool.apply(change, self.now);
        if self.told {
            turns.iter().for_each(|turn| eprintln!("          {turn:?}"));
        }
    }

    /// What follows of an event at once: whose turn came, what is to be published, who is to be probed.
    /// Says whether somebody may have turned.
    pub(super) fn settle_down(&mut self) -> bool {
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
    pub(super) fn follow(&mut self) {
        let config = self.pool.config();
        let out = self.pool.is_out().then(|| out_every(self.backends.len()));
        let mut orders = Vec::with_capacity(self.backends.len());
        self.pool.glance(|m| orders.push(Order::of(&config, out, m.backend, m.state, m.reason)));
        for (server, order) in orders.into_iter().enumerate() {
            self.beats[server].pace.take(order, self.now);
            self.plan_beat(server);
        }
    }

    pub(super) fn plan_beat(&mut self, server: usize) {
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

    pub(super) fn beat(&mut self, server: usize, planned: u32) {
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
}
