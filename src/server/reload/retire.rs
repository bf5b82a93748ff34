//! The end of addresses and listeners that no plan names any more.
use crate::server::door::{self, Door, Kind};
use crate::server::listener::Live;
use crate::server::state::State;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// It is looked so often whether the sessions of an address are over.
const QUIET: Duration = Duration::from_millis(100);

/// Remembers addresses for datagrams that somebody may want again before their sessions are over.
pub(in crate::server) fn leave(state: &State, doors: &[(door::Key, Arc<Door>)]) {
    for (key, door) in doors.iter().filter(|((_, kind, _), _)| *kind == Kind::Datagrams) {
        door.shut();
        state.leaving.lock().insert(key.clone(), door.clone());
    }
}

/// Closes addresses once nothing waits at them, then ends the connections of listeners that are
/// over.
pub(in crate::server) async fn retire(
    state: Arc<State>,
    doors: Vec<(door::Key, Arc<Door>)>,
    over: Vec<Arc<Live>>,
    grace: Duration,
) {
    let begun = Instant::now();
    state.retired.lock().extend(over.iter().cloned());
    // Sessions of datagrams are answered by the address they began at.
    let of_datagrams: Vec<_> =
        doors.iter().filter(|((_, kind, _), _)| *kind == Kind::Datagrams).cloned().collect();
    let close = |(_, door): (door::Key, Arc<Door>)| tokio::spawn(async move { door.close().await });
    let closing: Vec<_> = doors.into_iter().map(close).collect();
    for door in closing {
        let _ = door.await;
    }
    let drain = |live: Arc<Live>| tokio::spawn(async move { live.drain(grace).await });
    let draining: Vec<_> = over.iter().cloned().map(drain).collect();
    for live in draining {
        let _ = live.await;
    }
    // Where only the address went, its sessions have the time that those of a listener would have.
    let ended = async {
        while of_datagrams.iter().any(|(_, door)| door.sessions.get() > 0) {
            tokio::time::sleep(QUIET).await;
        }
    };
    let _ = tokio::time::timeout(grace.saturating_sub(begun.elapsed()), ended).await;
    let mut leaving = state.leaving.lock();
    for (key, door) in of_datagrams {
        // One that was wanted again meanwhile stays.
        if leaving.get(&key).is_some_and(|there| Arc::ptr_eq(there, &door)) {
            leaving.remove(&key);
        }
    }
    drop(leaving);
    state.retired.lock().retain(|live| !over.iter().any(|done| Arc::ptr_eq(done, live)));
}
