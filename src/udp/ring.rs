//! Whose socket has something: each session's waker notes its number and wakes the desk.
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};
use std::task::{Wake, Waker};

/// Numbers of sessions that want to be looked at.
#[derive(Debug, Default)]
pub(super) struct Hub(Mutex<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    ready: Vec<u32>,
    desk: Option<Waker>,
}

impl Hub {
    /// Keeps the desk's waker.
    pub(super) fn register(&self, desk: &Waker) {
        let mut wanted = self.0.lock();
        if !wanted.desk.as_ref().is_some_and(|kept| kept.will_wake(desk)) {
            wanted.desk = Some(desk.clone());
        }
    }

    /// Moves the numbers to the end of a list.
    pub(super) fn take(&self, into: &mut Vec<u32>) {
        into.append(&mut self.0.lock().ready);
    }
}

/// A session's bell.
#[derive(Debug)]
pub(super) struct Ring {
    hub: Arc<Hub>,
    session: u32,
    rung: AtomicBool,
}

impl Ring {
    pub(super) fn new(hub: &Arc<Hub>, session: u32) -> Arc<Self> {
        Arc::new(Self { hub: hub.clone(), session, rung: AtomicBool::new(false) })
    }

    /// The session is looked at from here on: what comes later rings anew.
    pub(super) fn answer(&self) {
        self.rung.store(false, Release);
    }

    /// Asks to be looked at.
    pub(super) fn ring(&self) {
        if self.rung.swap(true, AcqRel) {
            return;
        }
        let desk = {
            let mut wanted = self.hub.0.lock();
            wanted.ready.push(self.session);
            wanted.desk.clone()
        };
        if let Some(desk) = desk {
            desk.wake();
        }
    }
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_rings_twice_is_looked_at_once() {
        let hub = Arc::new(Hub::default());
        let (one, two) = (Ring::new(&hub, 1), Ring::new(&hub, 2));
        one.ring();
        two.ring();
        one.ring();
        let mut wanted = Vec::new();
        hub.take(&mut wanted);
        assert_eq!(wanted, [1, 2]);
        one.ring();
        hub.take(&mut wanted);
        assert_eq!(wanted, [1, 2], "it was not looked at yet");
        one.answer();
        one.ring();
        hub.take(&mut wanted);
        assert_eq!(wanted, [1, 2, 1]);
    }
}
