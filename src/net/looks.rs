//! Those of a worker who wait for long: woken together when there is something to look at.
//!
//! A timer for each of them would wake a task for nothing many times a second. Here a wait that ends
//! at once costs two stores, and whoever waits is listed with the task's waker; a beat each
//! [`BEAT`] looks through the list, and only while it is not empty.
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::sync::Notify;

/// From one beat to the next: what there is to look at is seen within this, and a wait is known to
/// last within two of them.
pub const BEAT: Duration = Duration::from_millis(40);

/// Somebody waits.
const WAITS: u32 = 1;
/// And wants to be woken once when that lasts.
const CURIOUS: u32 = 2;
/// From one wait of somebody to the next.
const NEXT: u32 = 4;

/// Everybody of one worker who waits.
#[derive(Debug, Default)]
pub struct Looks {
    list: Mutex<Vec<Listed>>,
    begun: Notify,
}

#[derive(Debug)]
struct Listed {
    cell: Arc<Cell>,
    waker: Waker,
    /// What the last beat saw.
    seen: u32,
    woken: bool,
}

#[derive(Debug, Default)]
struct Cell {
    /// Counts the waits in steps of [`NEXT`]; the lowest bits say what is now.
    turn: AtomicU32,
    /// It is in the list, and stays there until a beat finds it not waiting.
    listed: AtomicBool,
}

/// One who waits again and again, always in the same task.
#[derive(Debug, Default)]
pub struct Wait(Option<Arc<Cell>>);

impl Wait {
    /// It waits for nothing.
    pub const fn new() -> Self {
        Self(None)
    }

    /// It waits from here on. `curious`: woken once when that lasts, whatever happens.
    #[inline]
    pub fn begin(&mut self, cx: &Context<'_>, looks: &Looks, curious: bool) {
        let cell = self.0.get_or_insert_with(Arc::default);
        let turn = (cell.turn.load(Relaxed) & !(NEXT - 1)).wrapping_add(NEXT);
        // In one order with the look at `listed`, against a beat that takes it off the list.
        cell.turn.store(turn | WAITS | if curious { CURIOUS } else { 0 }, SeqCst);
        if !cell.listed.load(SeqCst) {
            looks.list(cell, cx);
        }
    }

    /// It waits no longer.
    #[inline]
    pub fn end(&self) {
        if let Some(cell) = &self.0 {
            cell.turn.store(cell.turn.load(Relaxed) & !(NEXT - 1), Relaxed);
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.end();
    }
}

impl Looks {
    #[cold]
    fn list(&self, cell: &Arc<Cell>, cx: &Context<'_>) {
        if cell.listed.swap(true, SeqCst) {
            return;
        }
        let waker = cx.waker().clone();
        let mut list = self.list.lock();
        list.push(Listed { cell: cell.clone(), waker, seen: 0, woken: false });
        if list.len() == 1 {
            self.begun.notify_one();
        }
    }

    /// Ends when somebody is listed.
    pub async fn begun(&self) {
        while self.list.lock().is_empty() {
            self.begun.notified().await;
        }
    }

    /// One beat: with `news` wakes everybody who waits, else those who are curious and have waited
    /// since the last beat. Says whether somebody is left.
    pub fn beat(&self, news: bool) -> bool {
        let mut list = self.list.lock();
        list.retain_mut(|listed| listed.beat(news));
        !list.is_empty()
    }
}

impl Listed {
    /// Says whether it stays listed.
    fn beat(&mut self, news: bool) -> bool {
        let turn = self.cell.turn.load(SeqCst);
        if turn & WAITS == 0 {
            self.cell.listed.store(false, SeqCst);
            // It may have begun anew in between: then it stays, unless it has listed itself.
            let waits = self.cell.turn.load(SeqCst) & WAITS != 0;
            return waits && !self.cell.listed.swap(true, SeqCst);
        }
        let lasts = std::mem::replace(&mut self.seen, turn) == turn;
        let due = lasts && !self.woken && turn & CURIOUS != 0;
        self.woken = lasts;
        if news || due {
            self.waker.wake_by_ref();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn only_waits_that_last_are_woken_and_only_once_without_news() {
        let (looks, woken) = (Looks::default(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let (cx, mut wait) = (Context::from_waker(&waker), Wait::default());
        let times = || woken.0.load(SeqCst);
        // One that ends between two beats is seen by none.
        for _ in 0..10 {
            wait.begin(&cx, &looks, true);
            wait.end();
        }
        assert_eq!(looks.list.lock().len(), 1);
        assert!(!looks.beat(false), "nobody waits");
        wait.begin(&cx, &looks, true);
        assert_eq!([looks.beat(false), looks.beat(false), looks.beat(false)], [true; 3]);
        assert_eq!(times(), 1);
        looks.beat(true);
        assert_eq!(times(), 2, "there are news");
        // Another wait of the same is new to the next beat.
        wait.end();
        wait.begin(&cx, &looks, true);
        looks.beat(false);
        assert_eq!(times(), 2);
        looks.beat(false);
        assert_eq!(times(), 3);
        // Who is not curious hears of news alone.
        wait.begin(&cx, &looks, false);
        (0..5).for_each(|_| assert!(looks.beat(false)));
        assert_eq!(times(), 3);
        drop(wait);
        assert!(!looks.beat(true), "nobody is left");
        assert_eq!(times(), 3);
    }
}
