//! How long a new connection is waited for where somebody else can be asked: as long as for a first
//! byte. What swallows packets, or accepts nobody, is silent before it has heard of a request.
use super::error::Error;
use crate::pool::Lease;
use std::pin::pin;
use std::time::Instant;
use tokio::time::timeout;

/// Waits for a connection of a lease. One that takes longer than an answer of its backend may is held
/// against it as a wait in vain; `leaves`: it is then given up for somebody else, if there is one.
///
/// # Errors
///
/// Those of `dial`; [`Error::Silent`] when it was given up.
pub(super) async fn patient<T>(
    lease: &Lease,
    leaves: bool,
    dial: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(patience) = lease.patience() else { return dial.await };
    let begun = Instant::now();
    let mut dial = pin!(dial);
    // Others must have answered in the second half too: else all stand still.
    if let Ok(dialled) = timeout(patience / 2, &mut dial).await {
        return dialled;
    }
    let mut awaited = lease.awaited();
    if let Ok(dialled) = timeout(patience / 2, &mut dial).await {
        return dialled;
    }
    let now = Instant::now();
    lease.overdue(&mut awaited, now.saturating_duration_since(begun), now);
    if leaves && lease.has_other(now) {
        return Err(Error::Silent);
    }
    dial.await
}
