//! The places of an admin address, and who gives way where all are taken.
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How long one connection may live: a caller that does not read must not hold a place for ever.
const LIFE: Duration = Duration::from_secs(120);
/// Where all places are taken and something is done for everybody, who gives way is looked for so often.
const LOOK: Duration = Duration::from_millis(50);
/// Who gives way has had so long to say something: the question of one that was just let in is on its way.
const GRACE: Duration = Duration::from_millis(100);

/// One connection, as those see it who answer on it.
#[derive(Debug)]
pub(super) struct Line {
    streams: AtomicUsize,
    /// Requests that are answered, but for those whose body is on its way.
    working: AtomicUsize,
    begun: Instant,
    /// Milliseconds from `begun` to the last byte either way.
    heard: AtomicU64,
    cut: Notify,
    /// It does not end in order.
    broken: AtomicBool,
}

impl Line {
    pub(super) fn new() -> Self {
        let (streams, working, heard, cut, broken) = Default::default();
        Self { streams, working, begun: Instant::now(), heard, cut, broken }
    }
    pub(super) fn hear(&self) {
        self.heard.store(self.begun.elapsed().as_millis() as u64, Relaxed);
    }
    /// Since when nothing came or went; `None` while something is done for it.
    fn silent_since(&self) -> Option<Instant> {
        let is_free = self.streams.load(Relaxed) == 0 && self.working.load(Relaxed) == 0;
        is_free.then(|| self.begun + Duration::from_millis(self.heard.load(Relaxed)))
    }
    /// Its request is whole and is answered, until what is returned is dropped.
    pub(super) fn working(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Relaxed);
        Working(self.clone())
    }
    /// The rest of its request is waited for, until what is returned is dropped.
    pub(super) fn waiting(self: &Arc<Self>) -> Waiting {
        self.working.fetch_sub(1, Relaxed);
        Waiting(self.clone())
    }
    /// An answer that does not end by itself is on its way, until what is returned is dropped.
    pub(super) fn streaming(self: &Arc<Self>) -> Streaming {
        self.streams.fetch_add(1, Relaxed);
        Streaming(self.clone())
    }
    /// Ends the connection at once.
    pub(super) fn cut(&self) {
        self.cut.notify_one();
    }
    /// Ends otherwise than in order.
    pub(super) fn breaks(&self) {
        self.broken.store(true, Relaxed);
    }
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }
    /// Waits until it is to end, and not in order.
    pub(super) async fn over(&self) {
        loop {
            tokio::select! {
                () = self.cut.notified() => break,
                () = tokio::time::sleep(LIFE) => {
                    if self.streams.load(Relaxed) == 0 {
                        break;
                    }
                }
            }
        }
        self.breaks();
    }
}

/// See [`Line::working`].
#[derive(Debug)]
pub(super) struct Working(Arc<Line>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Relaxed);
    }
}

/// See [`Line::waiting`].
#[derive(Debug)]
pub(super) struct Waiting(Arc<Line>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.working.fetch_add(1, Relaxed);
    }
}

/// The places of an address. Where all are taken, the connection that has been silent longest gives
/// way: who opens many and says nothing keeps nobody out.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    lines: Mutex<HashMap<u64, Arc<Line>>>,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), lines: Mutex::default() }
    }
    /// A place for the connection of this number; `full` hears that there is none yet.
    pub(super) async fn take(self: &Arc<Self>, number: u64, full: impl FnOnce()) -> Place {
        let free = match self.free.clone().try_acquire_owned() {
            Ok(free) => Some(free),
            Err(_) => {
                full();
                loop {
                    let wait = self.cut_one(Instant::now());
                    let free = tokio::time::timeout(wait, self.free.clone().acquire_owned());
                    if let Ok(free) = free.await {
                        break free.ok();
                    }
                }
            }
        };
        let line = Arc::new(Line::new());
        self.lines.lock().insert(number, line.clone());
        Place { places: self.clone(), number, line, _free: free }
    }
    /// Ends the one that has been silent longest, where that is long enough; when to look again.
    fn cut_one(&self, now: Instant) -> Duration {
        let lines = self.lines.lock();
        let silent = lines.values().filter_map(|line| Some((line.silent_since()?, line)));
        let Some((since, line)) = silent.min_by_key(|(since, _)| *since) else { return LOOK };
        let left = GRACE.saturating_sub(now.saturating_duration_since(since));
        if !left.is_zero() {
            return left.min(LOOK);
        }
        line.cut();
        LOOK
    }
}

/// A place that is taken, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(super) line: Arc<Line>,
    _free: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lines.lock().remove(&self.number);
    }
}

/// See [`Line::streaming`].
#[derive(Debug)]
pub(super) struct Streaming(Arc<Line>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_gives_way_before_he_could_ask_and_nobody_while_he_is_answered() {
        let places = Arc::new(Places::new(2));
        let (one, two) = (places.take(1, || {}).await, places.take(2, || {}).await);
        let is_cut = |place: &Place| {
            let line = place.line.clone();
            async move { tokio::time::timeout(Duration::ZERO, line.cut.notified()).await.is_ok() }
        };
        let (begun, working) = (one.line.begun, one.line.working());
        assert!(places.cut_one(two.line.begun) > Duration::ZERO);
        assert!(!is_cut(&one).await && !is_cut(&two).await, "both were just let in");
        let later = begun.max(two.line.begun) + GRACE;
        assert_eq!(places.cut_one(later), LOOK);
        assert!(!is_cut(&one).await && is_cut(&two).await, "one is answered");
        drop(working);
        two.line.hear();
        assert_eq!(places.cut_one(later + LOOK), LOOK);
        assert!(is_cut(&one).await, "it has been silent longest");
    }
}
