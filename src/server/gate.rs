//! How many client connections there may be: the process's limit, each listener's, each client's.
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;

/// While a newcomer waits for a place, idle connections are looked for so often: one that becomes
/// idle later gives way too.
const AGAIN: Duration = Duration::from_millis(50);

/// A bounded count of connections.
#[derive(Debug)]
pub(super) struct Gate {
    most: AtomicUsize,
    open: AtomicUsize,
    left: Notify,
}

impl Gate {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: AtomicUsize::new(most),
            open: AtomicUsize::new(0),
            left: Notify::new(),
        })
    }
    pub(super) fn set_most(&self, most: usize) {
        self.most.store(most, Relaxed);
        self.left.notify_waiters();
    }
    pub(super) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
    /// One more, unless it is full.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Pass> {
        let most = self.most.load(Relaxed);
        let one_more = |open: usize| (open < most).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Pass(self.clone()))
    }
    /// Whether it is so full that idle connections must give way: from 90 %.
    pub(super) fn is_tight(&self) -> bool {
        let most = self.most.load(Relaxed);
        self.open() >= most - most / 10
    }
    /// Waits for a place; `make_room` is called again and again while there is none.
    pub(super) async fn wait(self: &Arc<Self>, make_room: impl Fn()) -> Pass {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if let Some(pass) = self.enter() {
                return pass;
            }
            make_room();
            let _ = tokio::time::timeout(AGAIN, left).await;
        }
    }
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.left.notify_one();
    }
}

/// Connections of each client address, while `limits.per_client` is set.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<HashMap<IpAddr, u32>>);

impl Clients {
    /// One more of this client, unless it has so many.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr, most: u32) -> Option<ClientPass> {
        let mut all = self.0.lock();
        let count = all.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(ClientPass(self.clone(), client))
    }
}

/// A client's place, given back when dropped.
#[derive(Debug)]
pub(super) struct ClientPass(Arc<Clients>, IpAddr);

impl Drop for ClientPass {
    fn drop(&mut self) {
        let mut all = self.0.0.lock();
        if let Some(count) = all.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn it_is_tight_from_nine_in_ten_and_never_for_one_of_five() {
        for (most, open, tight) in
            [(10, 8, false), (10, 9, true), (5, 1, false), (5, 5, true), (usize::MAX, 9, false)]
        {
            let gate = Gate::new(most);
            let _held: Vec<Pass> = (0..open).map(|_| gate.enter().unwrap()).collect();
            assert_eq!(gate.is_tight(), tight, "{open} of {most}");
        }
    }

    #[tokio::test]
    async fn a_newcomer_waits_until_one_leaves() {
        let gate = Gate::new(1);
        let first = gate.enter();
        assert!(gate.enter().is_none());
        let waits = tokio::spawn({
            let gate = gate.clone();
            async move { gate.wait(|| ()).await }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(first);
        let second = waits.await.unwrap();
        assert_eq!(gate.open(), 1);
        drop(second);
        assert_eq!(gate.open(), 0);
    }

    #[tokio::test]
    async fn one_that_becomes_idle_later_is_asked_too() {
        let gate = Gate::new(1);
        let held = Mutex::new(gate.enter());
        let asked = AtomicUsize::new(0);
        gate.wait(|| {
            // Nobody is idle at the first look.
            if asked.fetch_add(1, Relaxed) == 1 {
                held.lock().take();
            }
        })
        .await;
        assert_eq!(asked.load(Relaxed), 2);
    }

    #[test]
    fn a_client_has_its_own_count_and_leaves_no_trace() {
        let clients = Arc::new(Clients::default());
        let (a, b) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from([127, 0, 0, 2]));
        let first = clients.enter(a, 1);
        assert!(first.is_some() && clients.enter(a, 1).is_none());
        assert!(clients.enter(b, 1).is_some());
        drop(first);
        assert!(clients.0.lock().is_empty());
    }
}
