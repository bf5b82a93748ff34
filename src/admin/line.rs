//! One connection of the admin side, as those see it who answer on it.
use super::places::From;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::sleep;

/// See the module.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) from: From,
    streams: AtomicUsize,
    /// Requests that are answered, but for those whose body is on its way.
    working: AtomicUsize,
    pub(super) begun: Instant,
    /// Milliseconds from `begun` to the last byte of an answer: what a caller says earns it nothing before it
    /// is a whole request.
    heard: AtomicU64,
    /// Bytes of answers that went.
    sent: AtomicU64,
    cut: Notify,
    leave: Notify,
    is_leaving: AtomicBool,
    /// It does not end in order.
    broken: AtomicBool,
}

impl Line {
    pub(super) fn new(from: From) -> Self {
        let (streams, working, heard, sent, broken) = Default::default();
        let (cut, leave, is_leaving) = Default::default();
        let begun = Instant::now();
        Self { from, streams, working, begun, heard, sent, cut, leave, is_leaving, broken }
    }
    pub(super) fn hear(&self) {
        self.heard.store(self.begun.elapsed().as_millis() as u64, Relaxed);
    }
    /// So many bytes of an answer went.
    pub(super) fn send(&self, n: usize) {
        self.sent.fetch_add(n as u64, Relaxed);
        self.hear();
    }
    /// Bytes of answers that went so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
    /// Since when nothing of an answer went; `None` while something is done for it.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        (!self.is_busy()).then(|| self.begun + Duration::from_millis(self.heard.load(Relaxed)))
    }
    /// Whether something is done for it.
    pub(super) fn is_busy(&self) -> bool {
        self.is_stream() || self.working.load(Relaxed) > 0
    }
    /// Whether what it is answered does not end by itself.
    pub(super) fn is_stream(&self) -> bool {
        self.streams.load(Relaxed) > 0
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
    /// Ends the connection after the answer that is under way; `false` where that was said before.
    pub(super) fn leave(&self) -> bool {
        let is_first = !self.is_leaving.swap(true, Relaxed);
        if is_first {
            self.leave.notify_one();
        }
        is_first
    }
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Relaxed)
    }
    /// Waits until it is to leave.
    pub(super) async fn left(&self) {
        self.leave.notified().await;
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
        self.cut.notified().await;
        self.breaks();
    }
    /// Waits until it has lived so long, and nobody listens on it.
    pub(super) async fn lived(&self, life: Duration) {
        sleep(life).await;
        while self.is_stream() {
            sleep(life).await;
        }
    }
}

/// See [`Line::working`].
#[derive(Debug)]
pub(super) struct Working(Arc<Line>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.hear();
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

/// See [`Line::streaming`].
#[derive(Debug)]
pub(super) struct Streaming(Arc<Line>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}
