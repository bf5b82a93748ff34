//! Active health probes: a heartbeat for each backend. Knows no runtime: spawns on the one it runs on.
//!
//! Each backend has a task of its own, so that one that does not answer disturbs no other. A task
//! lives as long as its backend is in the pool, through every reload; settings are read at each beat.

mod check;
mod http;
mod tcp;

use crate::pool::{Backend, BackendId, Change, Member, Pool, Reason, State};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

/// Probes of one pool at the same time: ten thousand backends must not be dialled at once.
const AT_ONCE: usize = 256;
/// While nobody of a pool is up, each is probed so often.
const OUT: Duration = Duration::from_millis(100);
/// A backend that was not reached, in a pool without probes, is dialled again after this, then
/// twice as late each time.
const FIRST_TRY: Duration = Duration::from_secs(1);
const LAST_TRY: Duration = Duration::from_secs(10);

/// Ends its task when dropped.
struct Beat(AbortHandle);

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Probes every backend of a pool for as long as it is polled. Also brings back backends that are
/// down with reason `connect` where there is no `health`. Dropping it ends every probe.
pub async fn run(pool: Arc<Pool>) {
    let mut beats: HashMap<BackendId, Beat> = HashMap::new();
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut changes = pool.changes();
    loop {
        changes.mark_unchanged();
        let members = pool.members();
        beats.retain(|id, _| members.iter().any(|m| m.backend.id == *id && !m.removed));
        for member in members.into_iter().filter(|m| !m.removed) {
            beats.entry(member.backend.id).or_insert_with(|| {
                let task = beat(pool.clone(), member.backend, at_once.clone(), pool.changes());
                Beat(tokio::spawn(task).abort_handle())
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// When a backend is probed next, and how.
enum Plan {
    /// Nothing to ask until something changes.
    Wait,
    /// By the pool's `health`.
    Health(Duration),
    /// Only whether it can be reached again.
    Reach(Duration),
}

/// One backend's heartbeat.
async fn beat(
    pool: Arc<Pool>,
    backend: Arc<Backend>,
    at_once: Arc<Semaphore>,
    mut changes: watch::Receiver<u64>,
) {
    let mut last: Option<Instant> = None;
    let mut again = FIRST_TRY;
    loop {
        changes.mark_unchanged();
        let Some(me) = pool.members().into_iter().find(|m| m.backend.id == backend.id) else {
            return;
        };
        let every = match plan(&pool, &me, again) {
            Plan::Wait => {
                again = FIRST_TRY;
                let _ = changes.changed().await;
                continue;
            }
            Plan::Health(every) | Plan::Reach(every) => every,
        };
        // Under `health` the first one is sent at once; what only came to grief is left in peace first.
        let due = last.map_or_else(|| first(&pool, every), |at| at + every);
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            _ = changes.changed() => continue,
        }
        let Ok(_turn) = at_once.acquire().await else { return };
        last = Some(Instant::now());
        if !probe(&pool, &backend).await {
            again = (again * 2).min(LAST_TRY);
        }
    }
}

fn first(pool: &Pool, every: Duration) -> Instant {
    let now = Instant::now();
    if pool.config().health.is_some() { now } else { now + every }
}

fn plan(pool: &Pool, me: &Member, again: Duration) -> Plan {
    let config = pool.config();
    let out = pool.is_out();
    match (&config.health, me.state, me.reason) {
        _ if me.backend.dial().is_none() => Plan::Wait,
        (Some(_), ..) if out && me.state != State::Maintenance => Plan::Health(OUT),
        (Some(health), ..) => Plan::Health(jittered(health.interval)),
        (None, State::Down, Reason::Connect) => Plan::Reach(if out { OUT } else { again }),
        _ => Plan::Wait,
    }
}

/// Sends one probe and tells the pool. Says whether it was good.
async fn probe(pool: &Arc<Pool>, backend: &Arc<Backend>) -> bool {
    let config = pool.config();
    let begun = Instant::now();
    let verdict = check::run(&config, backend).await;
    pool.check_duration.observe(begun.elapsed());
    let cells = &backend.cells;
    if verdict.is_ok() {
        cells.checks_pass.inc()
    } else {
        cells.checks_fail.inc()
    }
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    cells.last_probe_ms.set(unix.as_millis() as i64);
    let good = verdict.is_ok();
    for turn in pool.apply(Change::Probed { id: backend.id, verdict }, Instant::now()) {
        tracing::info!(pool = %pool.name, backend = %turn.backend, from = turn.from.word(), to = turn.to.word(),
            reason = turn.reason.word(), detail = %turn.detail, "backend turned");
    }
    good
}

/// A tenth more or less, so that probes of many proxies spread.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}
