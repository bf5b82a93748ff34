//! The way of lines to their writer. Each thread that says some has a lane of its own, which the writer
//! empties now and then: nobody waits for another one's line, and a line is written where it lies.
use super::room::{Line, Lines};
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// More threads than these share lanes.
const LANES: usize = 16;
/// Bytes that may wait in a lane: at 300 a line half a second of the busiest worker. Beyond it lines are
/// dropped and counted: a slow disk never slows a request.
pub(super) const ROOM: usize = 4 << 20;

/// On cache lines of its own: every line of its thread moves it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(Mutex<Lines>);

/// All lanes, and what is shared with the writer besides.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: [Lane; LANES],
    /// Lines that are lost.
    pub(super) dropped: AtomicU64,
    /// The writer has had nothing to do for a while and is to be woken.
    pub(super) asleep: AtomicBool,
}

/// Counts threads. The one static of the room: it only keeps their lanes apart.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<usize> = Cell::new(THREADS.fetch_add(1, Relaxed) % LANES);
}

impl Lanes {
    /// Has a line of `most` bytes at the most written at the end of this thread's lane; drops it where
    /// that is full. It waits for the writer at the most, which holds a lane for as long as it takes to
    /// put another in its place.
    #[inline]
    pub(super) fn say(&self, most: usize, line: impl FnOnce(&mut Line<'_>)) {
        self.say_in(&self.lanes[MINE.get()], most, line);
    }

    /// The same with one lane for all: rare lines that stay in their order, whoever says them.
    pub(super) fn say_in_order(&self, line: &[u8]) {
        self.say_in(&self.lanes[0], line.len(), |lane| lane.put(line));
    }

    #[inline]
    fn say_in(&self, lane: &Lane, most: usize, line: impl FnOnce(&mut Line<'_>)) {
        let mut lane = lane.0.lock();
        if lane.bytes().len() < ROOM {
            lane.add(most, line);
        } else {
            drop(lane);
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Whether the writer is to be woken for what was said: it looks by itself while it is busy, since
    /// to wake it for each line would cost more than the line. The locks of the lanes order the two.
    pub(super) fn wakes(&self) -> bool {
        self.asleep.load(Relaxed) && self.asleep.swap(false, Relaxed)
    }

    /// Puts this in the place of the first lane from `next` on that holds something, and says where
    /// to look next. Lines of one lane are in their order.
    pub(super) fn swap(&self, next: usize, empty: &mut Lines) -> Option<usize> {
        (next..LANES).find_map(|at| {
            let mut lane = self.lanes[at].0.lock();
            if lane.bytes().is_empty() {
                return None;
            }
            std::mem::swap(&mut *lane, empty);
            Some(at + 1)
        })
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.0.lock().bytes().is_empty())
    }
}
