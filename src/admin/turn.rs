//! Looks that take long, a plan, a ring and what is explained: one at a time at each address, on a thread of its own.
//! The threads that keep words and read reloads are never theirs, whatever they come to wait for.
use super::answer::Problem;
use crate::config::AdminLimits;
use crate::server::State;
use hyper::StatusCode;
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// How much such a look gives way to the data plane where both want a core (setpriority(2)).
const NICE: i32 = 10;

/// The turn of one kind of look.
#[derive(Debug)]
pub(super) struct Turn {
    what: &'static str,
    free: Arc<Semaphore>,
}

impl Turn {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, free: Arc::new(Semaphore::new(1)) }
    }

    /// Does it when nobody else does. Whoever leaves before it begins has it not done.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        state: &State,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let what = self.what;
        let plan = state.plan.load_full();
        let limits =
            plan.map_or_else(AdminLimits::default, |plan| plan.config.admin.limits.clone());
        let waited = tokio::time::timeout(limits.time, self.free.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = waited else {
            state.admin.limit_hits.inc(what);
            let why = format!(
                "another {what} is made, one at a time: it did not end within {:?} \
                 (admin.limits.time); ask again",
                limits.time
            );
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).again_in(1));
        };
        let (tell, told) = oneshot::channel();
        let begun = std::thread::Builder::new().name(format!("evenkeel-{what}")).spawn(move || {
            let _turn = turn;
            // Of this thread alone (pthreads(7)); where it may not be, all are as they were.
            let _ = rustix::process::setpriority_process(None, NICE);
            if !tell.is_closed() {
                let _ = tell.send(work());
            }
        });
        let failed = |why: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why);
        begun.map_err(|error| failed(format!("begin a thread for a {what}: {error}")))?;
        told.await.map_err(|_| failed(format!("the {what} broke off: its fault is in the log")))
    }
}
