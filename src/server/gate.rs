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

/// Descriptors kept back for everything but client connections and what they need: listeners,
/// probes, admin, logs, kept connections to backends.
const KEPT_BACK: u64 = 256;

/// Client connections that a descriptor limit carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    /// If each has a connection to a backend, as it does while it is busy: the default.
    pub(super) busy: usize,
    /// If none has: `server.max_connections` may ask for so many.
    pub(super) idle: usize,
}

impl Carried {
    pub(super) fn by(descriptors: u64) -> Self {
        let idle = descriptors.saturating_sub(KEPT_BACK.min(descriptors / 4));
        let idle = usize::try_from(idle).unwrap_or(usize::MAX);
        Self { busy: idle / 2, idle }
    }
    /// How many there may be, by what `server.max_connections` says.
    pub(super) fn most(self, said: Option<usize>) -> usize {
        said.map_or(self.busy, |said| said.min(self.idle))
    }
}

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
    pub(super) fn most(&self) -> usize {
        self.most.load(Relaxed)
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
    /// How many idle connections must give way, `None` while it is less than 90 % full. In one go
    /// room is made for a hundredth more, so that it need not be made for each newcomer.
    pub(super) fn surplus(&self) -> Option<usize> {
        let most = self.most.load(Relaxed);
        let over = self.open().checked_sub(most - most / 10)?;
        Some(over + 1 + most / 100)
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
    fn from_nine_in_ten_idle_ones_must_give_way() {
        for (most, open, surplus) in [
            (10, 8, None),
            (10, 9, Some(1)),
            (10, 10, Some(2)),
            (5, 4, None),
            (5, 5, Some(1)),
            (1000, 899, None),
            (1000, 900, Some(11)),
            (usize::MAX, 9, None),
        ] {
            let gate = Gate::new(most);
            let _held: Vec<Pass> = (0..open).map(|_| gate.enter().unwrap()).collect();
            assert_eq!(gate.surplus(), surplus, "{open} of {most}");
        }
    }

    #[test]
    fn a_connection_is_counted_with_the_one_to_its_backend() {
        let carried = |descriptors| {
            let carried = Carried::by(descriptors);
            (carried.most(None), carried.most(Some(10)), carried.most(Some(usize::MAX)))
        };
        assert_eq!(carried(20_256), (10_000, 10, 20_000));
        assert_eq!(carried(256), (96, 10, 192));
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
