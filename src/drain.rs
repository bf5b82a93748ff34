//! Ending work in two steps: graceful (finish what is in flight), then cut.
//!
//! A [`Drain`] is one group of connections (those of a listener on one worker); groups nest in
//! what the server keeps. Every connection enters and holds a [`Watch`] for its life. The same
//! book knows who is idle since when, so that the oldest idle ones can be asked to leave.
//! The lock inside is taken by the connections of one worker, and by the control side when it
//! drains or evicts; never across an await.
use parking_lot::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
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

/// A group of connections that can be ended. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    phase: AtomicU8,
    members: AtomicUsize,
    book: Mutex<Book>,
    emptied: Notify,
}

/// No entry.
const NONE: u32 = u32::MAX;

/// Members by number, the idle ones in a list, oldest first.
#[derive(Debug)]
struct Book {
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    oldest: u32,
    youngest: u32,
    idle: usize,
}

#[derive(Debug)]
struct Entry {
    waker: Option<Waker>,
    before: u32,
    after: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Vacant,
    Busy,
    Idle,
    Told,
}

impl Default for Book {
    fn default() -> Self {
        Self { entries: Vec::new(), vacant: Vec::new(), oldest: NONE, youngest: NONE, idle: 0 }
    }
}

impl Book {
    fn enter(&mut self) -> u32 {
        let entry = Entry { waker: None, before: NONE, after: NONE, state: State::Busy };
        match self.vacant.pop() {
            Some(key) => {
                self.entries[key as usize] = entry;
                key
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        }
    }
    fn leave(&mut self, key: u32) {
        self.unlink(key);
        self.entries[key as usize].waker = None;
        self.entries[key as usize].state = State::Vacant;
        self.vacant.push(key);
    }
    fn link(&mut self, key: u32) {
        let before = self.youngest;
        let entry = &mut self.entries[key as usize];
        (entry.before, entry.after, entry.state) = (before, NONE, State::Idle);
        match before {
            NONE => self.oldest = key,
            before => self.entries[before as usize].after = key,
        }
        self.youngest = key;
        self.idle += 1;
    }
    fn unlink(&mut self, key: u32) {
        let entry = &mut self.entries[key as usize];
        if entry.state != State::Idle {
            return;
        }
        let (before, after) = (entry.before, entry.after);
        entry.state = State::Busy;
        match before {
            NONE => self.oldest = after,
            before => self.entries[before as usize].after = after,
        }
        match after {
            NONE => self.youngest = before,
            after => self.entries[after as usize].before = before,
        }
        self.idle -= 1;
    }
    fn wakers(&self) -> Vec<Waker> {
        self.entries.iter().filter_map(|e| e.waker.clone()).collect()
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
        let key = self.0.book.lock().enter();
        Watch { inner: self.0.clone(), key }
    }
    /// Asks every member to finish; idle ones leave at once.
    pub fn graceful(&self) {
        self.advance(Phase::Graceful);
    }
    /// Ends every member.
    pub fn cut(&self) {
        self.advance(Phase::Cut);
    }
    fn advance(&self, phase: Phase) {
        self.0.phase.fetch_max(phase as u8, Relaxed);
        // Woken outside the lock: a woken task may look into the book at once.
        let wakers = self.0.book.lock().wakers();
        wakers.into_iter().for_each(Waker::wake);
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
    /// Idle members now.
    pub fn idle(&self) -> usize {
        self.0.book.lock().idle
    }
    /// Asks up to `n` idle members to leave, oldest first; returns how many were asked.
    pub fn evict_idle(&self, n: usize) -> usize {
        let mut wakers = Vec::new();
        let mut asked = 0;
        {
            let mut book = self.0.book.lock();
            while asked < n && book.oldest != NONE {
                let key = book.oldest;
                book.unlink(key);
                let entry = &mut book.entries[key as usize];
                entry.state = State::Told;
                wakers.extend(entry.waker.clone());
                asked += 1;
            }
        }
        wakers.into_iter().for_each(Waker::wake);
        asked
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
        match self.phase.load(Relaxed) {
            0 => Phase::Run,
            1 => Phase::Graceful,
            _ => Phase::Cut,
        }
    }
}

/// A member of a group, for the life of its connection. Dropping it leaves the group.
#[derive(Debug)]
pub struct Watch {
    inner: Arc<Inner>,
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
    /// How far the group is: one relaxed load. `Cut` or `Graceful` wakes the member's task.
    pub fn phase(&self) -> Phase {
        self.inner.phase()
    }
    /// Keeps the task's waker for `graceful`, `cut` and evictions.
    pub fn register(&self, cx: &mut Context<'_>) {
        let waker = &mut self.inner.book.lock().entries[self.key as usize].waker;
        match waker {
            Some(old) if old.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }
    /// The connection is idle from now on.
    pub fn idle(&self) {
        let mut book = self.inner.book.lock();
        if book.entries[self.key as usize].state == State::Busy {
            book.link(self.key);
        }
    }
    /// The connection is busy from now on; `false` when it was asked to leave while idle.
    pub fn busy(&self) -> bool {
        let mut book = self.inner.book.lock();
        book.unlink(self.key);
        book.entries[self.key as usize].state != State::Told
    }
    /// Whether an idle member was asked to leave (evicted, or the group is past `Run`).
    pub fn is_told_to_leave(&self) -> bool {
        self.phase() != Phase::Run
            || self.inner.book.lock().entries[self.key as usize].state == State::Told
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
        for i in [2, 0, 3] {
            all[i].idle();
        }
        assert!(all[0].busy());
        all[0].idle();
        assert_eq!(drain.idle(), 3);
        assert_eq!(drain.evict_idle(2), 2);
        let told: Vec<bool> = all.iter().map(Watch::is_told_to_leave).collect();
        assert_eq!(told, [false, false, true, true]);
        assert!(!all[2].busy());
        assert_eq!(drain.evict_idle(9), 1);
        assert_eq!(drain.idle(), 0);
    }

    #[test]
    fn numbers_are_used_again_and_a_new_member_is_not_told() {
        let drain = Drain::new();
        let first = drain.enter();
        first.idle();
        drain.evict_idle(1);
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
        drain.graceful();
        assert!(!member.is_finished());
        drain.cut();
        drain.emptied().await;
        member.await.expect("no panic");
    }
}
