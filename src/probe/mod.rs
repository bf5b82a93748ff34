//! Active health probes: a heartbeat for each backend. Knows no runtime: spawns on the one it runs on.

use crate::pool::Pool;
use std::sync::Arc;

/// Probes every backend of a pool for as long as the pool is wanted: reads the pool's settings and
/// members anew after each change, keeps each kept backend's phase, tells the pool with
/// `Change::Probed`. Also brings back backends that are down with reason `connect` (a connect
/// probe each second, backing off to 10 s, where there is no `health`). Ends when dropped.
pub async fn run(pool: Arc<Pool>) {
    let _ = pool;
    todo!()
}
