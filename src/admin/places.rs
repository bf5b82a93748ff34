//! The places of an admin address, and who gives way where all are taken.
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// How long one connection may live: a caller that does not read must not hold a place for ever.
const LIFE: Duration = Duration::from_secs(120);
/// Where all places are taken and something is done for everybody, who gives way is looked for so often.
const LOOK: Duration = Duration::from_millis(50);
/// Who gives way has had so long to say something: the question of one that was just let in is on its way.
const GRACE: Duration = Duration::from_millis(100);

/// Of those who have no place yet so many wait who come from where most places are taken by.
const PATIENT: usize = 64;
/// And so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// From one line in the log to the next that says that places are taken.
const SAID: Duration = Duration::from_secs(60);

/// Whose connection it is: an address, of IPv6 the /64; `None` by a Unix socket.
pub(super) type From = Option<IpAddr>;

/// One connection, as those see it who answer on it.
#[derive(Debug)]
pub(super) struct Line {
    from: From,
    streams: AtomicUsize,
    /// Requests that are answered, but for those whose body is on its way.
    working: AtomicUsize,
    begun: Instant,
    /// Milliseconds from `begun` to the last byte of an answer: what a caller says earns it nothing before it
    /// is a whole request.
    heard: AtomicU64,
    /// Bytes of answers that went.
    sent: AtomicU64,
    cut: Notify,
    /// It does not end in order.
    broken: AtomicBool,
}

impl Line {
    pub(super) fn new(from: From) -> Self {
        let (streams, working, heard, sent, cut, broken) = Default::default();
        Self { from, streams, working, begun: Instant::now(), heard, sent, cut, broken }
    }
    fn hear(&self) {
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
    fn silent_since(&self) -> Option<Instant> {
        (!self.is_busy()).then(|| self.begun + Duration::from_millis(self.heard.load(Relaxed)))
    }
    /// Whether something is done for it.
    fn is_busy(&self) -> bool {
        self.streams.load(Relaxed) > 0 || self.working.load(Relaxed) > 0
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

/// The places of an address. Where all are taken, the connection that has been silent longest gives
/// way, of those that come from where most are taken by: who opens many and says nothing, or no whole request,
/// keeps nobody out. Nor does who opens many and asks all the time: whoever comes from where fewer places are
/// taken by gets one of theirs, however busy it is.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    patient: Semaphore,
    lines: Mutex<HashMap<u64, Arc<Line>>>,
    said: Mutex<Option<Instant>>,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        let (lines, said) = Default::default();
        Self { free: Arc::new(Semaphore::new(most)), patient: Semaphore::new(PATIENT), lines, said }
    }
    /// A place for the connection of this number; `full` hears that there is none yet. `None` where those
    /// it comes with have most of them, and too many wait, or none became free.
    pub(super) async fn take(
        self: &Arc<Self>,
        number: u64,
        from: From,
        full: impl FnOnce(),
    ) -> Option<Place> {
        let free = match self.free.clone().try_acquire_owned() {
            Ok(free) => free,
            Err(_) => {
                full();
                let Some(free) = self.wait(from).await else {
                    self.say(from, "most of them by one address, of which more are refused");
                    return None;
                };
                free
            }
        };
        let line = Arc::new(Line::new(from));
        self.lines.lock().insert(number, line.clone());
        Some(Place { places: self.clone(), number, line, _free: free })
    }
    async fn wait(&self, from: From) -> Option<OwnedSemaphorePermit> {
        while let Some(most) = self.taken_by_most(from) {
            let wait = self.cut_silent(Instant::now()).or_else(|| self.cut_of(most));
            let free = self.free.clone().acquire_owned();
            if let Ok(free) = timeout(wait.unwrap_or(LOOK), free).await {
                return free.ok();
            }
        }
        // Behind all others: who waits in line is given the next one that is free.
        let _patient = self.patient.try_acquire().ok()?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            sleep(self.cut_silent(Instant::now()).unwrap_or(LOOK)).await;
            if let Ok(free) = self.free.clone().try_acquire_owned() {
                return Some(free);
            }
        }
        None
    }
    /// Who has most places, where whoever comes from here would have fewer with one more.
    fn taken_by_most(&self, from: From) -> Option<From> {
        let counts = counts(&self.lines.lock());
        let own = counts.get(&from).copied().unwrap_or(0);
        let (most, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        (own + 1 < count).then_some(most)
    }
    /// Of those that come from where most places are taken by, ends the one that has been silent longest,
    /// where that is long enough; when to look again. `None` where nobody was.
    fn cut_silent(&self, now: Instant) -> Option<Duration> {
        let lines = self.lines.lock();
        let counts = counts(&lines);
        let most = counts.values().max();
        let theirs = lines.values().filter(|line| counts.get(&line.from) == most);
        let silent = theirs.filter_map(|line| Some((line.silent_since()?, line)));
        let (since, line) = silent.min_by_key(|(since, _)| *since)?;
        if now.saturating_duration_since(since) < GRACE {
            return None;
        }
        line.cut();
        Some(LOOK)
    }
    /// Ends one of those that have most: the oldest, but for those for whom something is done where there
    /// are others.
    fn cut_of(&self, most: From) -> Option<Duration> {
        let lines = self.lines.lock();
        let theirs = lines.values().filter(|line| line.from == most);
        theirs.min_by_key(|line| (line.is_busy(), line.begun))?.cut();
        self.say(most, "most of them by one address, and give way to others");
        Some(LOOK)
    }
    fn say(&self, from: From, what: &str) {
        let mut said = self.said.lock();
        let now = Instant::now();
        if said.is_none_or(|at| now.saturating_duration_since(at) >= SAID) {
            *said = Some(now);
            let from = from.map_or_else(|| "unix".into(), |ip| ip.to_string());
            tracing::warn!(%from, "admin: all connections are taken (admin.limits.connections), {what}");
        }
    }
}

/// Places by whose they are.
fn counts(lines: &HashMap<u64, Arc<Line>>) -> HashMap<From, usize> {
    let mut counts = HashMap::new();
    lines.values().for_each(|line| *counts.entry(line.from).or_default() += 1);
    counts
}

/// A place that is taken, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(super) line: Arc<Line>,
    _free: OwnedSemaphorePermit,
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

    async fn take(places: &Arc<Places>, number: u64, from: &str) -> Place {
        let place = places.take(number, from.parse().ok(), || {}).await;
        place.expect("a place")
    }

    fn is_cut(place: &Place) -> impl Future<Output = bool> + use<> {
        let line = place.line.clone();
        async move { timeout(Duration::ZERO, line.cut.notified()).await.is_ok() }
    }

    #[tokio::test]
    async fn nobody_gives_way_before_he_could_ask_and_nobody_while_he_is_answered() {
        let places = Arc::new(Places::new(2));
        let (one, two) = (take(&places, 1, "").await, take(&places, 2, "").await);
        let (begun, working) = (one.line.begun, one.line.working());
        assert_eq!(places.cut_silent(two.line.begun), None);
        assert!(!is_cut(&one).await && !is_cut(&two).await, "both were just let in");
        let later = begun.max(two.line.begun) + GRACE;
        assert_eq!(places.cut_silent(later), Some(LOOK));
        assert!(!is_cut(&one).await && is_cut(&two).await, "one is answered");
        drop(working);
        two.line.hear();
        assert_eq!(places.cut_silent(later + LOOK), Some(LOOK));
        assert!(is_cut(&one).await, "it has been silent longest");
    }

    #[tokio::test]
    async fn who_has_most_places_gives_way_to_others_however_busy_and_to_none_of_its_own() {
        let places = Arc::new(Places::new(4));
        let mut all = Vec::new();
        for (number, from) in (0..).zip(["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"]) {
            all.push(take(&places, number, from).await);
        }
        let mut busy: Vec<Working> = all.iter().map(|place| place.line.working()).collect();
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|from| from.parse::<IpAddr>().ok());
        assert_eq!(places.taken_by_most(None), Some(one));
        assert_eq!([places.taken_by_most(one), places.taken_by_most(two)], [None, Some(one)]);
        drop(busy.remove(1));
        // The one for which nothing is done gives way first.
        let waits = places.take(9, None, || {});
        let mut waits = std::pin::pin!(waits);
        assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
        assert!(is_cut(&all[1]).await && !is_cut(&all[0]).await);
        drop(all.remove(1));
        let _other = waits.await.expect("a place");
        assert_eq!(places.taken_by_most(None), None, "each has two at the most");
    }
}
