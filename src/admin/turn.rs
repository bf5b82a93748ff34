//! Looks that take long, a plan, a ring, a scrape, a view of all backends and what is explained: one at a time at each address, on a thread
//! of their own, which stays while more are asked for: to make and end one for each would hold the memory
//! map of the process, which the data plane needs as well. The threads that keep words and read reloads
//! are never theirs, whatever they come to wait for.
use super::answer::Problem;
use crate::config::AdminLimits;
use crate::server::State;
use hyper::StatusCode;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// How much such a look gives way to the data plane where both want a core (setpriority(2)).
const NICE: i32 = 10;

/// A thread that nobody asks for so long ends, so that what it used is free.
const IDLE: Duration = Duration::from_secs(1);

type Work = Box<dyn FnOnce() + Send>;

/// The way to the thread, while there is one.
type Way = Arc<Mutex<Option<Sender<Work>>>>;

/// The turn of one kind of look.
#[derive(Debug)]
pub(super) struct Turn {
    what: &'static str,
    free: Arc<Semaphore>,
    way: Way,
    /// A thread that nobody asks for so long ends.
    idle: Duration,
}

impl Turn {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, free: Arc::new(Semaphore::new(1)), way: Way::default(), idle: IDLE }
    }

    /// Does it when nobody else does. Whoever leaves before it begins has it not done.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        state: &State,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let what = self.what;
        let limits = limits(state);
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
        let failed = |why: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why);
        let begun = self.hand(Box::new(move || {
            let _turn = turn;
            if !tell.is_closed() {
                let _ = tell.send(work());
            }
        }));
        begun.map_err(|error| failed(format!("begin a thread for a {what}: {error}")))?;
        told.await.map_err(|_| failed(format!("the {what} broke off: its fault is in the log")))
    }

    /// Gives work to the thread; begins one where there is none.
    fn hand(&self, work: Work) -> std::io::Result<()> {
        let mut way = self.way.lock();
        let sender = match &*way {
            Some(sender) => sender,
            None => {
                let ((sender, asked), back, idle) = (channel(), self.way.clone(), self.idle);
                let name = format!("evenkeel-{}", self.what);
                std::thread::Builder::new().name(name).spawn(move || serve(&asked, &back, idle))?;
                way.insert(sender)
            }
        };
        // It cannot be gone: it goes while it holds the way, and takes that with it.
        let _ = sender.send(work);
        Ok(())
    }
}

/// Those of now.
pub(super) fn limits(state: &State) -> AdminLimits {
    let plan = state.plan.load_full();
    plan.map_or_else(AdminLimits::default, |plan| plan.config.admin.limits.clone())
}

/// Does what is asked for, until nothing is for a while.
fn serve(asked: &Receiver<Work>, way: &Way, idle: Duration) {
    // Of this thread alone (pthreads(7)); where it may not be, all are as they were.
    let _ = rustix::process::setpriority_process(None, NICE);
    // What breaks is told by its turn, which nobody answers then.
    let quietly = |work: Work| drop(catch_unwind(AssertUnwindSafe(work)));
    loop {
        if let Ok(work) = asked.recv_timeout(idle) {
            quietly(work);
            continue;
        }
        let mut way = way.lock();
        match asked.try_recv() {
            Ok(work) => {
                drop(way);
                quietly(work);
            }
            Err(_) => return *way = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{ThreadId, current};

    #[test]
    fn one_thread_does_all_whatever_breaks() {
        let turn = Turn { idle: Duration::from_secs(3600), ..Turn::new("look") };
        let (tell, told) = channel();
        let ids: Vec<ThreadId> = (0..20)
            .map(|n| {
                let tell = tell.clone();
                let work = move || {
                    tell.send(current().id()).unwrap();
                    assert!(n % 5 != 0, "broken for a test");
                };
                turn.hand(Box::new(work)).unwrap();
                told.recv_timeout(Duration::from_secs(60)).expect("it is done")
            })
            .collect();
        assert!(ids.iter().all(|id| *id == ids[0] && *id != current().id()), "{ids:?}");
    }

    #[test]
    fn a_thread_that_nobody_asks_ends_and_another_one_takes_its_place() {
        let turn = Turn { idle: Duration::ZERO, ..Turn::new("look") };
        let ask = || {
            let (tell, told) = channel();
            turn.hand(Box::new(move || tell.send(current().id()).unwrap())).unwrap();
            told.recv_timeout(Duration::from_secs(60)).expect("it is done")
        };
        let first = ask();
        while turn.way.lock().is_some() {
            std::thread::yield_now();
        }
        assert_ne!(ask(), first);
    }
}
