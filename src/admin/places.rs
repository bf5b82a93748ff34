//! The places of an admin address, and who gives way where all are taken.
use super::line::Line;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};

/// Where all places are taken and something is done for everybody, who gives way is looked for so often.
const LOOK: Duration = Duration::from_millis(50);
/// Who gives way has had so long to say something: the question of one that was just let in is on its way.
const GRACE: Duration = Duration::from_millis(100);
/// Where others of its own address wait, a connection that asks all the time has had its turn after so long.
const TURN: Duration = Duration::from_secs(1);
/// From one line in the log to the next that says that places are taken.
const SAID: Duration = Duration::from_secs(60);
/// So many of those who come from where most places are taken by wait for one: half of the callers that are
/// let in to wait at all.
const PATIENT: usize = 64;

/// Whose connection it is: an address, of IPv6 the /64; `None` by a Unix socket.
pub(super) type From = Option<IpAddr>;

/// The places of an address. Where all are taken, the connection that has been silent longest gives
/// way, of those that come from where most are taken by: who opens many and says nothing, or no whole request,
/// keeps nobody out. Nor does who opens many and asks all the time: whoever comes from where fewer places are
/// taken by gets one of theirs, however busy it is, and those of one address have them in turns.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    patient: Semaphore,
    /// Who is the next of the patient, in the order in which they came.
    next: tokio::sync::Mutex<()>,
    lines: Mutex<HashMap<u64, Arc<Line>>>,
    said: Mutex<Option<Instant>>,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        let (lines, said, next) = Default::default();
        let free = Arc::new(Semaphore::new(most));
        Self { free, patient: Semaphore::new(PATIENT), next, lines, said }
    }
    /// A place for the connection of this number; `full` hears that there is none yet. `None` where those
    /// it comes with have most of them, and too many wait, or none became free in `time`.
    pub(super) async fn take(
        self: &Arc<Self>,
        number: u64,
        from: From,
        time: Duration,
        full: impl FnOnce(),
    ) -> Option<Place> {
        // Nobody overtakes who waits already.
        let is_first = self.patient.available_permits() == PATIENT;
        let free = match is_first.then(|| self.free()).flatten() {
            Some(free) => free,
            None => {
                full();
                let Some(free) = self.wait(from, time).await else {
                    let what = match self.is_shared_out() {
                        true => "each by another address, and more are refused",
                        false => "most of them by one address, of which more are refused",
                    };
                    self.say(from, what);
                    return None;
                };
                free
            }
        };
        let line = Arc::new(Line::new(from));
        self.lines.lock().insert(number, line.clone());
        Some(Place { places: self.clone(), number, line, _free: free })
    }
    fn free(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }
    async fn wait(&self, from: From, time: Duration) -> Option<OwnedSemaphorePermit> {
        let until = tokio::time::Instant::now() + time;
        while let Some(most) = self.taken_by_most(from) {
            if let Some(free) = self.look(|| self.cut_of(most)).await {
                return Some(free);
            }
        }
        let _patient = self.patient.try_acquire().ok()?;
        let _next = timeout_at(until, self.next.lock()).await.ok()?;
        while tokio::time::Instant::now() < until {
            if let Some(free) = self.look(|| self.end_turn_of(from, Instant::now())).await {
                return Some(free);
            }
        }
        None
    }
    /// A place that is free; else ends one that is silent, or does `otherwise`, and waits a little for it.
    async fn look(&self, otherwise: impl FnOnce()) -> Option<OwnedSemaphorePermit> {
        if let Some(free) = self.free() {
            return Some(free);
        }
        if !self.cut_silent(Instant::now()) {
            otherwise();
        }
        timeout(LOOK, self.free.clone().acquire_owned()).await.ok()?.ok()
    }
    /// Whether nobody has more than one.
    fn is_shared_out(&self) -> bool {
        let counts = counts(&self.lines.lock());
        counts.len() > 1 && counts.values().all(|count| *count == 1)
    }
    /// Who has most places, where whoever comes from here would have fewer with one more.
    fn taken_by_most(&self, from: From) -> Option<From> {
        let counts = counts(&self.lines.lock());
        let own = counts.get(&from).copied().unwrap_or(0);
        let (most, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        (own + 1 < count).then_some(most)
    }
    /// Of those that come from where most places are taken by, ends the one that has been silent longest,
    /// where that is long enough; whether one was.
    fn cut_silent(&self, now: Instant) -> bool {
        let lines = self.lines.lock();
        let silent = of_most(&lines).filter_map(|line| Some((line.silent_since()?, line)));
        let longest = silent.min_by_key(|(since, _)| *since);
        let long = longest.filter(|(since, _)| now.saturating_duration_since(*since) >= GRACE);
        long.inspect(|(_, line)| line.cut()).is_some()
    }
    /// Ends one of those that have most: the oldest, but for those for whom something is done where there
    /// are others.
    fn cut_of(&self, most: From) {
        let lines = self.lines.lock();
        let theirs = lines.values().filter(|line| line.from == most);
        if let Some(line) = theirs.min_by_key(|line| (line.is_busy(), line.begun)) {
            line.cut();
            self.say(most, "most of them by one address, and give way to others");
        }
    }
    /// Of those who come from here, or like them from where most are taken by, lets the oldest that had its
    /// turn end after what it is answered; who listens stays.
    fn end_turn_of(&self, from: From, now: Instant) {
        let lines = self.lines.lock();
        let had = |line: &&Arc<Line>| {
            !line.is_stream() && now.saturating_duration_since(line.begun) >= TURN
        };
        let mut had: Vec<_> = of_most(&lines).filter(had).collect();
        had.sort_by_key(|line| (line.from != from, line.begun));
        let _ = had.into_iter().find(|line| line.leave());
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

/// Those that come from where most places are taken by.
fn of_most(lines: &HashMap<u64, Arc<Line>>) -> impl Iterator<Item = &Arc<Line>> {
    let counts = counts(lines);
    let most = counts.values().copied().max();
    lines.values().filter(move |line| counts.get(&line.from).copied() == most)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::line::Working;

    async fn take(places: &Arc<Places>, number: u64, from: &str) -> Place {
        let place = places.take(number, from.parse().ok(), Duration::ZERO, || {}).await;
        place.expect("a place")
    }

    fn is_cut(place: &Place) -> impl Future<Output = bool> + use<> {
        let line = place.line.clone();
        async move { timeout(Duration::ZERO, line.over()).await.is_ok() }
    }

    async fn is_leaving(line: &Line) -> bool {
        timeout(Duration::ZERO, line.left()).await.is_ok()
    }

    #[tokio::test]
    async fn nobody_gives_way_before_he_could_ask_and_nobody_while_he_is_answered() {
        let places = Arc::new(Places::new(2));
        let (one, two) = (take(&places, 1, "").await, take(&places, 2, "").await);
        let (begun, working) = (one.line.begun, one.line.working());
        assert!(!places.cut_silent(two.line.begun));
        assert!(!is_cut(&one).await && !is_cut(&two).await, "both were just let in");
        let later = begun.max(two.line.begun) + GRACE;
        assert!(places.cut_silent(later));
        assert!(!is_cut(&one).await && is_cut(&two).await, "one is answered");
        drop(working);
        let since = one.line.silent_since();
        while two.line.silent_since() <= since {
            two.line.hear();
        }
        assert!(places.cut_silent(two.line.silent_since().unwrap() + GRACE));
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
        let waits = places.take(9, None, Duration::ZERO, || {});
        let mut waits = std::pin::pin!(waits);
        assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
        assert!(is_cut(&all[1]).await && !is_cut(&all[0]).await);
        drop(all.remove(1));
        let _other = waits.await.expect("a place");
        assert_eq!(places.taken_by_most(None), None, "each has two at the most");
    }

    #[tokio::test]
    async fn those_of_one_address_have_the_places_in_turns_and_who_listens_stays() {
        let places = Arc::new(Places::new(3));
        let mut all = Vec::new();
        for number in 1..=3 {
            all.push(take(&places, number, "10.0.0.1").await);
        }
        let busy: Vec<Working> = all.iter().map(|place| place.line.working()).collect();
        let _listens = all[0].line.streaming();
        let last = all.iter().map(|place| place.line.begun).max().unwrap();
        let [one, two] = [all[1].line.clone(), all[2].line.clone()];
        places.end_turn_of(one.from, one.begun);
        assert!(!is_leaving(&one).await && !is_leaving(&two).await, "it just began");
        places.end_turn_of(one.from, last + TURN);
        assert!(is_leaving(&one).await && !is_leaving(&two).await, "it is the oldest");
        places.end_turn_of(one.from, last + TURN);
        assert!(is_leaving(&two).await, "one after the other");
        // Who came first has the next that is free, and nobody overtakes it.
        let time = Duration::from_secs(60);
        let (mut first, mut second) = (
            Box::pin(places.take(8, one.from, time, || {})),
            Box::pin(places.take(9, one.from, time, || {})),
        );
        assert!(timeout(Duration::ZERO, &mut first).await.is_err());
        assert!(timeout(Duration::ZERO, &mut second).await.is_err());
        drop((busy, all.pop()));
        assert!(timeout(Duration::ZERO, &mut second).await.is_err(), "it came later");
        let place = first.await.expect("a place");
        drop(place);
        assert!(second.await.is_some());
    }
}
