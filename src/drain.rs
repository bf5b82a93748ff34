//! Ending work in two steps: graceful (finish what is in flight), then cut.
//!
//! A [`Drain`] is one group of connections (those of a listener on one worker); groups nest in
//! what the server keeps. Every connection enters and holds a [`Watch`] for its life. Each knows
//! since when it is idle, so that the oldest idle ones can be asked to leave. Between two requests
//! a connection only writes a word of its own; the lock is taken where one comes or goes, and by
//! whoever drains or evicts.
use parking_lot::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal work.
    Run,
    /// Finish what is in flight, begin nothing.
    Graceful,
    /// End now.
    Cut,
}

/// Whether an address takes newcomers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// They come in.
    Open,
    /// Those that wait already come in, then it closes. Of datagrams: sessions go on, none begins.
    Closing,
    /// They wait, in the kernel's queue: for another process that has the same socket, or until it is
    /// open again. Sessions of datagrams are answered, and hear nothing.
    Paused,
}

/// A group of connections that can be ended. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    phase: AtomicU8,
    members: AtomicUsize,
    born: Instant,
    /// Milliseconds of its life after which what was asked to finish is ended.
    until: AtomicU64,
    book: Mutex<Book>,
    emptied: Notify,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(0),
            members: AtomicUsize::new(0),
            born: Instant::now(),
            until: AtomicU64::new(u64::MAX),
            book: Mutex::default(),
            emptied: Notify::new(),
        }
    }
}

/// Members by number.
#[derive(Debug, Default)]
struct Book {
    members: Vec<Option<Arc<Member>>>,
    vacant: Vec<u32>,
}

/// What a member and its group say to each other.
#[derive(Debug)]
struct Member {
    /// `BUSY`, `TOLD`, or else since when it is idle: milliseconds of the group's life, and 2. The
    /// member writes it, and whoever evicts may turn idle into told.
    since: AtomicU64,
    /// Whether `waker` is there.
    registered: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

const BUSY: u64 = 0;
const TOLD: u64 = 1;

impl Book {
    fn enter(&mut self, member: Arc<Member>) -> u32 {
        if let Some(key) = self.vacant.pop() {
            self.members[key as usize] = Some(member);
            return key;
        }
        self.members.push(Some(member));
        (self.members.len() - 1) as u32
    }
    fn leave(&mut self, key: u32) {
        self.members[key as usize] = None;
        self.vacant.push(key);
    }
    fn all(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().flatten()
    }
    /// Idle members, with since when.
    fn idle(&self) -> impl Iterator<Item = (u64, &Arc<Member>)> {
        let since = |member: &Arc<Member>| member.since.load(Acquire);
        self.all().map(move |member| (since(member), member)).filter(|(since, _)| *since > TOLD)
    }
}

impl Member {
    /// Asks it to leave if it is idle as it was seen; one that became busy meanwhile stays.
    fn tell(&self, seen: u64) -> bool {
        let told = self.since.compare_exchange(seen, TOLD, AcqRel, Relaxed).is_ok();
        if told {
            self.wake();
        }
        told
    }
    fn wake(&self) {
        // Woken outside the lock: a woken task may register at once.
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drain {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }
    /// Enters a connection.
    pub fn enter(&self) -> Watch {
        self.0.members.fetch_add(1, Relaxed);
        let member = Arc::new(Member {
            since: AtomicU64::new(BUSY),
            registered: AtomicBool::new(false),
            waker: Mutex::new(None),
        });
        let key = self.0.book.lock().enter(member.clone());
        Watch { inner: self.0.clone(), member, key }
    }
    /// Asks every member to finish; idle ones leave soon. After `grace` at the latest it will be
    /// cut, by whoever asks.
    pub fn graceful(&self, grace: Duration) {
        let until = self.0.born.elapsed().saturating_add(grace).as_millis();
        self.0.until.fetch_min(u64::try_from(until).unwrap_or(u64::MAX), Relaxed);
        self.advance(Phase::Graceful);
    }
    /// Ends every member.
    pub fn cut(&self) {
        self.advance(Phase::Cut);
    }
    fn advance(&self, phase: Phase) {
        self.0.phase.fetch_max(phase as u8, AcqRel);
        let members: Vec<_> = self.0.book.lock().all().cloned().collect();
        members.iter().for_each(|member| member.wake());
    }
    /// How far the group is.
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }
    /// Members now.
    pub fn len(&self) -> usize {
        self.0.members.load(Relaxed)
    }
    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Idle members now. Looks at every member.
    pub fn idle(&self) -> usize {
        self.0.book.lock().idle().count()
    }
    /// Asks up to `n` idle members of these groups to leave, those that are idle for longest over
    /// all of them; returns how many were asked. Looks at every member.
    pub fn evict_idle<'a>(groups: impl Iterator<Item = &'a Self>, n: usize) -> usize {
        let mut idle: Vec<(Instant, u64, Arc<Member>)> = Vec::new();
        for Self(group) in groups {
            let at = |since| group.born + Duration::from_millis(since - TOLD - 1);
            let book = group.book.lock();
            idle.extend(book.idle().map(|(since, member)| (at(since), since, member.clone())));
        }
        let n = n.min(idle.len());
        if n < idle.len() {
            idle.select_nth_unstable_by_key(n, |(at, ..)| *at);
        }
        idle[..n].iter().filter(|(_, seen, member)| member.tell(*seen)).count()
    }
    /// Waits until no member is left.
    pub async fn emptied(&self) {
        loop {
            let notified = self.0.emptied.notified();
            if self.is_empty() {
                return;
            }
            notified.await;
        }
    }
}

impl Inner {
    fn phase(&self) -> Phase {
        match self.phase.load(Acquire) {
            0 => Phase::Run,
            1 => Phase::Graceful,
            _ => Phase::Cut,
        }
    }
}

/// A member of a group, for the life of its connection: held by one task. Dropping it leaves the
/// group.
#[derive(Debug)]
pub struct Watch {
    inner: Arc<Inner>,
    member: Arc<Member>,
    key: u32,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.inner.book.lock().leave(self.key);
        if self.inner.members.fetch_sub(1, Relaxed) == 1 {
            self.inner.emptied.notify_waiters();
        }
    }
}

impl Watch {
    /// How far the group is: one load. `Cut` or `Graceful` wakes the member's task.
    pub fn phase(&self) -> Phase {
        self.inner.phase()
    }
    /// When the group will be cut, once it is past `Run`.
    pub fn until(&self) -> Option<Instant> {
        let until = Duration::from_millis(self.inner.until.load(Relaxed));
        if self.phase() == Phase::Run { None } else { self.inner.born.checked_add(until) }
    }
    /// Keeps the task's waker for `graceful`, `cut` and evictions. Once is enough, until another
    /// task holds it: see [`Self::change_task`].
    pub fn register(&self, cx: &mut Context<'_>) {
        if !self.member.registered.load(Relaxed) {
            *self.member.waker.lock() = Some(cx.waker().clone());
            self.member.registered.store(true, Relaxed);
        }
    }
    /// Another task will hold it next: lets go of the one before, which would be woken in its place
    /// and whose memory its waker keeps.
    pub fn change_task(&mut self) {
        self.member.registered.store(false, Relaxed);
        drop(self.member.waker.lock().take());
    }
    /// The connection is idle from now on.
    pub fn idle(&self, now: Instant) {
        let age = now.saturating_duration_since(self.inner.born).as_millis() as u64;
        self.member.since.store(age + TOLD + 1, Relaxed);
    }
    /// The connection is busy from now on; `false` when it was asked to leave while idle.
    pub fn busy(&self) -> bool {
        self.member.since.swap(BUSY, AcqRel) != TOLD
    }
    /// Whether an idle member was asked to leave (evicted, or the group is past `Run`).
    pub fn is_told_to_leave(&self) -> bool {
        self.phase() != Phase::Run || self.member.since.load(Acquire) == TOLD
    }
    /// A future that ends when the group is cut.
    pub async fn cut(&self) {
        self.reached(Phase::Cut).await;
    }
    /// A future that ends when the group is at least graceful.
    pub async fn graceful(&self) {
        self.reached(Phase::Graceful).await;
    }
    async fn reached(&self, phase: Phase) {
        poll_fn(|cx| {
            // Registered before it is asked, so that nothing in between is missed.
            self.register(cx);
            if self.phase() >= phase { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_idle_member_is_asked_first() {
        let drain = Drain::new();
        let all: Vec<Watch> = (0..4).map(|_| drain.enter()).collect();
        let at = |ms| Instant::now() + std::time::Duration::from_millis(ms);
        for (i, ms) in [(2, 0), (0, 100), (3, 200)] {
            all[i].idle(at(ms));
        }
        assert!(all[0].busy());
        all[0].idle(at(300));
        assert_eq!(drain.idle(), 3);
        assert_eq!(Drain::evict_idle([&drain].into_iter(), 2), 2);
        let told: Vec<bool> = all.iter().map(Watch::is_told_to_leave).collect();
        assert_eq!(told, [false, false, true, true]);
        assert!(!all[2].busy());
        assert_eq!(Drain::evict_idle([&drain].into_iter(), 9), 1);
        assert_eq!(drain.idle(), 0);
    }

    #[test]
    fn age_counts_over_all_groups() {
        let groups = [Drain::new(), Drain::new()];
        let all: Vec<Watch> = (0..6).map(|n| groups[n % 2].enter()).collect();
        for (n, ms) in [50, 10, 40, 20, 30, 60].into_iter().enumerate() {
            all[n].idle(Instant::now() + Duration::from_millis(ms));
        }
        assert_eq!(Drain::evict_idle(groups.iter(), 3), 3);
        let told: Vec<bool> = all.iter().map(Watch::is_told_to_leave).collect();
        assert_eq!(told, [false, true, false, true, true, false]);
    }

    #[test]
    fn numbers_are_used_again_and_a_new_member_is_not_told() {
        let drain = Drain::new();
        let first = drain.enter();
        first.idle(Instant::now());
        Drain::evict_idle([&drain].into_iter(), 1);
        drop(first);
        let second = drain.enter();
        assert!(!second.is_told_to_leave());
        assert_eq!(drain.len(), 1);
    }

    #[tokio::test]
    async fn cut_and_empty_are_heard_by_who_waits() {
        let drain = Drain::new();
        let watch = drain.enter();
        let member = tokio::spawn(async move { watch.cut().await });
        tokio::task::yield_now().await;
        drain.graceful(Duration::from_secs(5));
        assert!(!member.is_finished());
        drain.cut();
        drain.emptied().await;
        member.await.expect("no panic");
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl std::task::Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn the_task_that_holds_it_now_is_woken_and_nothing_is_kept_of_the_one_before() {
        let (drain, first, second) = (Drain::new(), Arc::<Task>::default(), Arc::<Task>::default());
        let mut watch = drain.enter();
        let register = |watch: &Watch, task: &Arc<Task>| {
            watch.register(&mut Context::from_waker(&task.clone().into()));
        };
        register(&watch, &first);
        assert_eq!(Arc::strong_count(&first), 2, "its waker is kept");
        watch.change_task();
        assert_eq!(Arc::strong_count(&first), 1);
        register(&watch, &second);
        drain.cut();
        assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (0, 1));
    }
}
