//! Writes of the API, one after the other: those that wait together are kept together, with one
//! sync of the disk, and each is answered after that.
use super::beats::{Ages, Beats, Missed};
use super::folder::Folder;
use super::kept::Kept;
use super::said::{Refused, Said, What, Write};
use super::state::State;
use crate::config::Name;
use crate::pool::{Change, Turn, Word};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

/// Writes that wait for those before them; more wait at their callers.
const WAITING: usize = 4096;
/// How often it is looked whether heartbeats came.
const LOOK: Duration = Duration::from_millis(200);

/// A write and who waits for it.
struct Order {
    write: Write,
    done: oneshot::Sender<Result<(), Refused>>,
}

/// What the API says, and the door to say more.
#[derive(Debug)]
pub struct Desk {
    pub(super) said: Mutex<Said>,
    pub(super) beats: Mutex<Beats>,
    orders: mpsc::Sender<Order>,
    /// Whoever has it may write; it is held by a hand-over while it is open who does.
    pub(super) pen: tokio::sync::Mutex<Pen>,
    /// Locked before the pen.
    pub(super) folder: tokio::sync::Mutex<Option<Folder>>,
    /// While a hand-over holds the pen, and once it is given away: heartbeats wait, too, and are not
    /// listened for.
    pub(super) held: AtomicBool,
}

/// What it takes to write.
#[derive(Debug)]
pub(super) struct Pen {
    pub(super) kept: Option<Kept>,
    /// The process that writes from here on.
    pub(super) given_to: Option<u32>,
}

/// The other side of the door.
pub(super) struct Orders(mpsc::Receiver<Order>);

impl Desk {
    /// Keeps what is said in this folder.
    pub(super) fn new(said: Said, folder: Option<&Path>) -> (Self, Orders) {
        let (orders, taken) = mpsc::channel(WAITING);
        let beats = Mutex::new(beats(&said));
        let kept = folder.map(Kept::new);
        let pen = tokio::sync::Mutex::new(Pen { kept, given_to: None });
        let said = Mutex::new(said);
        let (folder, held) = (folder.map(Folder::new).into(), AtomicBool::new(false));
        (Self { said, beats, orders, pen, folder, held }, Orders(taken))
    }

    /// Says what another process said until now, and listens for whom it listened for.
    pub(super) fn inherit(&self, said: Said, ages: Ages) {
        let mut beats = beats(&said);
        beats.recall(ages, Instant::now());
        (*self.said.lock(), *self.beats.lock()) = (said, beats);
    }

    /// Listens for heartbeats from here on.
    pub(super) fn listen(&self) {
        self.beats.lock().begin(Instant::now());
        self.held.store(false, Relaxed);
    }

    /// Waits while it is open which process hears.
    ///
    /// # Errors
    ///
    /// It is another one.
    pub async fn ours(&self) -> Result<(), Refused> {
        if !self.held.load(Relaxed) {
            return Ok(());
        }
        self.pen.lock().await.given_to.map_or(Ok(()), |pid| Err(Refused::HandedOver(pid)))
    }

    /// What is said.
    pub fn said(&self) -> Said {
        self.said.lock().clone()
    }

    /// Says something. When this returns `Ok` it is kept, and holds.
    ///
    /// # Errors
    ///
    /// [`Refused`]: nothing has changed.
    pub async fn write(&self, write: Write) -> Result<(), Refused> {
        let gone = || Refused::NotKept("the process ends".into());
        let (done, answer) = oneshot::channel();
        self.orders.send(Order { write, done }).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// After a restart everybody has time to beat.
fn beats(said: &Said) -> Beats {
    let mut beats = Beats::default();
    for (pool, words) in &said.0 {
        for (name, word) in words.iter().filter(|(_, word)| word.ttl.is_some()) {
            beats.follow((pool.clone(), name.clone()), word.ttl, Instant::now());
        }
    }
    beats
}

impl State {
    /// A heartbeat. `false` of a backend that is not registered, or not any more.
    pub fn beat(&self, pool: &Name, backend: &Name) -> bool {
        let key = (pool.clone(), backend.clone());
        match self.words.beats.lock().beat(&key, Instant::now()) {
            None => return false,
            Some(false) => return true,
            Some(true) => {}
        }
        self.lapse(pool, backend, false);
        true
    }

    /// Says what is on the disk: another process may have written since.
    pub(super) fn reread(&self, kept: &Kept) {
        let (mut said, notes) = match kept.load() {
            Ok(loaded) => loaded,
            Err(error) => return tracing::error!("what this process knows holds: {error}"),
        };
        notes.iter().for_each(|note| tracing::error!("{note}"));
        if !notes.is_empty() && said.is_empty() {
            return;
        }
        let mut now = self.words.said.lock();
        for (pool, words) in &now.0 {
            for name in words.iter().filter(|(_, word)| word.lapsed).map(|(name, _)| name) {
                let word = said.of(pool).get(name).cloned();
                if let Some(word) = word {
                    said.set(pool, name, Some(Word { lapsed: true, ..word }));
                }
            }
        }
        let changes = now.changes(&said);
        for (pool, words) in &changes {
            for (backend, word) in words {
                let key = (pool.clone(), backend.clone());
                let ttl = word.as_ref().and_then(|word| word.ttl);
                self.words.beats.lock().follow(key, ttl, Instant::now());
            }
        }
        *now = said;
        for (pool, words) in changes {
            self.follow(&pool, words);
        }
    }

    /// Marks a backend as one that stopped beating, or that beats again.
    fn lapse(&self, pool: &Name, backend: &Name, lapsed: bool) {
        let mut said = self.words.said.lock();
        let Some(word) = said.of(pool).get(backend).cloned() else { return };
        let word = Word { lapsed, ..word };
        said.set(pool, backend, Some(word.clone()));
        self.follow(pool, vec![(backend.clone(), Some(word))]);
        drop(said);
        self.tell_of(pool, backend, if lapsed { "silent" } else { "back" });
    }

    /// Gives words to the pool they are about, where it is there. The words are locked meanwhile.
    fn follow(&self, pool: &Name, words: Vec<(Name, Option<Word>)>) {
        let plan = self.plan.load_full();
        let Some(running) = plan.as_ref().and_then(|plan| plan.pools.get(pool)) else { return };
        let turns = running.apply(Change::Words(words), Instant::now());
        turns.iter().for_each(|turn: &Turn| turn.log(pool));
    }

    fn tell_of(&self, pool: &Name, backend: &Name, what: &str) {
        let data = json!({ "pool": &**pool, "backend": &**backend, "what": what });
        self.events.tell("registration", data, SystemTime::now());
    }
}

/// Takes writes until nobody can say more.
pub(super) async fn run(state: Weak<State>, mut orders: Orders) {
    let mut batch = Vec::new();
    while orders.0.recv_many(&mut batch, WAITING).await > 0 {
        let Some(state) = state.upgrade() else { return };
        let pen = state.words.pen.lock().await;
        match pen.given_to {
            None => take(&state, std::mem::take(&mut batch), pen.kept.as_ref()).await,
            Some(pid) => batch.drain(..).for_each(|order| {
                let _ = order.done.send(Err(Refused::HandedOver(pid)));
            }),
        }
    }
}

async fn take(state: &State, batch: Vec<Order>, kept: Option<&Kept>) {
    let plan = state.plan.load_full();
    let most = plan.as_ref().map_or(0, |plan| plan.config.admin.limits.words);
    let before = state.words.said();
    let mut said = before.clone();
    let mut done = Vec::with_capacity(batch.len());
    let mut changes: BTreeMap<Name, Vec<(Name, Option<Word>)>> = BTreeMap::new();
    for Order { write, done: to } in batch {
        let pool = plan.as_ref().and_then(|plan| plan.pools.get(&write.pool));
        // It came back while that waited for the pen: registered anew, or heard by the process before.
        let key = (write.pool.clone(), write.backend.clone());
        if matches!(write.what, What::Expire) && state.words.beats.lock().knows(&key) {
            let _ = to.send(Err(Refused::NoBackend(key.0, key.1)));
            continue;
        }
        match said.write(&write, pool, most) {
            Ok(word) => {
                changes.entry(write.pool.clone()).or_default().push((write.backend.clone(), word));
                done.push((write, to));
            }
            Err(refused) => drop(to.send(Err(refused))),
        }
    }
    if said != before
        && let Some(Err(error)) = store(kept, &said).await
    {
        tracing::error!("what the API said is not kept: {error}");
        for (_, to) in done {
            let _ = to.send(Err(Refused::NotKept(error.clone())));
        }
        return;
    }
    {
        let mut now = state.words.said.lock();
        // Heartbeats that came or did not come meanwhile are no words that are kept.
        for (pool, words) in &mut changes {
            for (backend, word) in words {
                let lapsed = now.of(pool).get(backend).is_some_and(|word| word.lapsed);
                if let Some(word) = word.as_mut().filter(|word| word.ttl.is_some()) {
                    word.lapsed = lapsed;
                }
                now.set(pool, backend, word.clone());
                let key = (pool.clone(), backend.clone());
                let ttl = word.as_ref().and_then(|word| word.ttl);
                state.words.beats.lock().follow(key, ttl, Instant::now());
            }
        }
        for (pool, words) in changes {
            state.follow(&pool, words);
        }
    }
    for (write, to) in done {
        let (pool, backend) = (&write.pool, &write.backend);
        tracing::info!(%pool, %backend, "the API says: {}", write.what);
        match write.what {
            What::Add(_) => state.tell_of(pool, backend, "added"),
            What::Remove => state.tell_of(pool, backend, "removed"),
            What::Change { .. } => state.tell_of(pool, backend, "changed"),
            What::Expire => {
                tracing::warn!(%pool, %backend, "no heartbeat for long: it is out");
                state.tell_of(pool, backend, "expired");
            }
        }
        let _ = to.send(Ok(()));
    }
}

async fn store(kept: Option<&Kept>, said: &Said) -> Option<Result<(), String>> {
    let (kept, said) = (kept?.clone(), said.clone());
    let stored = tokio::task::spawn_blocking(move || kept.store(&said)).await;
    Some(stored.map_err(|gone| gone.to_string()).and_then(|done| done.map_err(|e| e.to_string())))
}

/// Looks whether heartbeats come, until the state is gone.
pub(super) async fn listen(state: Weak<State>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(state) = state.upgrade() else { return };
        // From a hand-over on another process hears them.
        if state.words.held.load(Relaxed) {
            continue;
        }
        let missed = state.words.beats.lock().look(Instant::now());
        for one in missed {
            match one {
                Missed::Lapsed((pool, backend)) => {
                    tracing::warn!(%pool, %backend, "no heartbeat: it is down");
                    state.lapse(&pool, &backend, true);
                }
                Missed::Expired((pool, backend)) => expire(&state, pool, backend).await,
            }
        }
    }
}

async fn expire(state: &State, pool: Name, backend: Name) {
    let word = state.words.said().of(&pool).get(&backend).cloned();
    let Some(ttl) = word.and_then(|word| word.ttl) else { return };
    let write =
        Write { pool: pool.clone(), backend: backend.clone(), what: What::Expire, if_match: None };
    // Its pool is not there at the moment, or the disk is full: later.
    if let Err(Refused::NotKept(_) | Refused::NoPool(_)) = state.words.write(write).await {
        state.words.beats.lock().retry((pool, backend), ttl, Instant::now());
    }
}
