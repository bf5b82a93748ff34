//! How many client connections there may be: the process's limit, each listener's, each client's.
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::Notify;

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
    fn enter(self: &Arc<Self>) -> Option<Pass> {
        let most = self.most.load(Relaxed);
        let one_more = |open: usize| (open < most).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Pass(self.clone()))
    }
    /// Whether it is so full that idle connections must give way: from 90 %.
    pub(super) fn is_tight(&self) -> bool {
        self.open() >= self.most.load(Relaxed) / 10 * 9
    }
    /// Waits for a place; `full` is called each time there is none.
    pub(super) async fn wait(self: &Arc<Self>, full: impl Fn()) -> Pass {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if let Some(pass) = self.enter() {
                return pass;
            }
            full();
            left.await;
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
