//! When a tunnel is to be ended that may not last: its listener or its backend is on its way out.
//! Each tunnel ends at a moment of its own, so that their clients do not all come back at once.
use crate::pool::Lease;
use crate::websocket::moment;
use std::time::Instant;
use tokio::time::sleep_until;

/// Ends at the moment chosen for this tunnel, with when it will be cut. `drained` ends when the proxy lets go of its listener,
/// with when what is left will be cut; `None`: it will not.
pub(super) async fn leaving(
    drained: impl Future<Output = Option<Instant>>,
    lease: &Lease,
) -> Instant {
    tokio::select! {
        biased;
        until = spread(drained) => until,
        until = left(lease) => until,
    }
}

async fn spread(drained: impl Future<Output = Option<Instant>>) -> Instant {
    let Some(until) = drained.await else { return std::future::pending().await };
    sleep_until(moment(Instant::now(), until, fastrand::f64()).into()).await;
    until
}

/// Ends when the backend leaves; one that comes back meanwhile keeps its tunnels.
async fn left(lease: &Lease) -> Instant {
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
            () = sleep_until(at.into()) => return until,
        }
    }
}
