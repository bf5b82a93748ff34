//! When a tunnel is to be ended that may not last: its listener or its backend is on its way out.
//! Each tunnel ends at a moment of its own, so that their clients do not all come back at once.
use crate::pool::Lease;
use crate::websocket::moment;
use std::time::Instant;
use tokio::time::sleep_until;

/// Ends at the moment chosen for this tunnel. `drained` ends when the proxy lets go of its listener,
/// with when what is left will be cut; `None`: it will not.
pub(super) async fn leaving(drained: impl Future<Output = Option<Instant>>, lease: &Lease) {
    tokio::select! {
        biased;
        () = spread(drained) => {}
        () = left(lease) => {}
    }
}

async fn spread(drained: impl Future<Output = Option<Instant>>) {
    match drained.await {
        Some(until) => sleep_until(moment(Instant::now(), until, fastrand::f64()).into()).await,
        None => std::future::pending().await,
    }
}

/// Ends when the backend leaves; one that comes back meanwhile keeps its tunnels.
async fn left(lease: &Lease) {
    let mut leave = lease.leave();
    loop {
        // Its sender lives in the backend, and the lease holds that: neither wait can fail.
        let Ok(until) = leave.wait_for(|leave| leave.until.is_some()).await.map(|l| l.until) else {
            return std::future::pending().await;
        };
        let Some(until) = until else { continue };
        let at = moment(Instant::now(), until, fastrand::f64());
        tokio::select! {
            biased;
            _ = leave.wait_for(|leave| leave.until != Some(until)) => {}
            () = sleep_until(at.into()) => return,
        }
    }
}
