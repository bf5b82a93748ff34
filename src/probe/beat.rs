//! One backend's heartbeat: waits until a probe is due, sends it, tells the pool what it saw.
use super::check::{self, Verdict};
use super::order::{Order, Pace};
use crate::pool::{Backend, Change, Miss, Pool};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::AbortHandle;

/// Probes of one pool that begin at the same time: ten thousand backends must not be dialled at
/// once.
const AT_ONCE: usize = 256;
/// A probe gives its place on after so long, answered or not: however many backends stand still,
/// 5,000 probes a second can begin.
const HOLD: Duration = Duration::from_millis(50);

/// What the heartbeats of a pool share.
pub(super) struct Shared {
    pub(super) pool: Arc<Pool>,
    places: Semaphore,
    /// Our own machine was short of something at the last probe: said once, not at each.
    short: AtomicBool,
}

impl Shared {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, places: Semaphore::new(AT_ONCE), short: AtomicBool::new(false) }
    }

    fn short(&self, error: &io::Error) {
        if !self.short.swap(true, Relaxed) {
            tracing::warn!(pool = %self.pool.name, %error, "no descriptor or port for probes: nothing is learnt of the backends");
        }
    }
}

/// A heartbeat; dropping it ends it.
pub(super) struct Beat {
    orders: watch::Sender<Order>,
    task: AbortHandle,
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Beat {
    pub(super) fn start(shared: &Arc<Shared>, backend: &Arc<Backend>, order: Order) -> Self {
        let (orders, told) = watch::channel(order);
        let task = tokio::spawn(beat(shared.clone(), backend.clone(), told));
        Self { orders, task: task.abort_handle() }
    }

    /// Wakes the heartbeat only if the order is another one.
    pub(super) fn tell(&self, order: Order) {
        self.orders.send_if_modified(|old| std::mem::replace(old, order) != order);
    }
}

async fn beat(shared: Arc<Shared>, backend: Arc<Backend>, mut orders: watch::Receiver<Order>) {
    let mut rng = fastrand::Rng::new();
    let mut pace = Pace::new(*orders.borrow_and_update(), Instant::now());
    loop {
        tokio::select! {
            biased;
            told = orders.changed() => match told {
                Ok(()) => pace.take(*orders.borrow_and_update(), Instant::now()),
                Err(_) => return,
            },
            () = until(pace.due()) => {
                let Ok(place) = shared.places.acquire().await else { return };
                pace.began(Instant::now(), rng.f64());
                // In a box of its own, so that a resting heartbeat is small.
                let verdict = Box::pin(ask(&shared.pool, &backend, place)).await;
                pace.ended(matches!(verdict, Verdict::Good));
                tell(&shared, &backend, verdict);
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn ask(pool: &Pool, backend: &Backend, place: SemaphorePermit<'_>) -> Verdict {
    let (config, reach) = (pool.config(), pool.reach());
    let begun = Instant::now();
    let asked = check::run(&config, &reach, backend);
    tokio::pin!(asked);
    let verdict = match tokio::time::timeout(HOLD, &mut asked).await {
        Ok(verdict) => verdict,
        Err(_) => {
            drop(place);
            asked.await
        }
    };
    let took = begun.elapsed();
    pool.check_duration.observe(took);
    backend.cells.last_probe_micros.set(i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
    verdict
}

fn tell(shared: &Shared, backend: &Backend, verdict: Verdict) {
    let (cells, id) = (&backend.cells, backend.id);
    let change = match verdict {
        Verdict::Good => {
            cells.checks_pass.inc();
            Change::Probed { id, verdict: Ok(()) }
        }
        Verdict::Bad(detail) => {
            cells.checks_fail.inc();
            Change::Probed { id, verdict: Err(detail.into()) }
        }
        Verdict::Refused(detail) => {
            cells.checks_fail.inc();
            Change::Probed { id, verdict: Err(Miss { detail, refused: true }) }
        }
        Verdict::OffLimits(why) => {
            cells.checks_fail.inc();
            Change::OffLimits { id, why: Some(why.into()) }
        }
        Verdict::Ours(error) => return shared.short(&error),
    };
    shared.short.store(false, Relaxed);
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    cells.last_probe_ms.set(unix.as_millis() as i64);
    for turn in shared.pool.apply(change, Instant::now()) {
        turn.log(&shared.pool.name);
    }
}
