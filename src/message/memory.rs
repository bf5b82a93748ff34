//! The process's account of buffered bytes, and the queue of readers that wait while it is full.
//!
//! Three ceilings, so that what has begun can end: from the first one on bodies are read no further,
//! from the second one on answers wait and new requests are refused, which takes a little memory,
//! too, and at the limit itself nothing new is read at all.
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::task::{Context, Poll, Waker};

/// How full the process's buffer memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Below 80 %.
    None,
    /// From 80 %: bodies are not read until it sinks.
    Stop,
    /// From 95 %: new requests get 503, no answer is begun. From 100 %: nothing is read at all.
    Refuse,
}

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The head of a request.
    Request,
    /// The head of an answer.
    Answer,
    /// A body, or a tunnel's bytes.
    Body,
}

/// The process's account of buffered bytes.
#[derive(Debug)]
pub struct Memory {
    used: AtomicUsize,
    limit: AtomicUsize,
    /// How many wait.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

/// Who waits, in the order of coming: what needs the least room first.
#[derive(Debug)]
struct Queue {
    next: u64,
    waiting: BTreeMap<(Part, u64), Waker>,
}

static MEMORY: Memory = Memory::new();

/// The process's account of buffered bytes.
pub fn memory() -> &'static Memory {
    &MEMORY
}

/// For each waiter that is woken there must be room for so much.
const SHARE: usize = 16 << 10;

/// Up to where it is read.
fn ceiling(limit: usize, part: Part) -> usize {
    match part {
        Part::Request => limit,
        Part::Answer => limit / 100 * 95,
        Part::Body => limit / 100 * 80,
    }
}

impl Memory {
    const fn new() -> Self {
        Self {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            waiting: AtomicUsize::new(0),
            queue: Mutex::new(Queue { next: 1, waiting: BTreeMap::new() }),
        }
    }
    /// Bytes allocated for blocks, those on free lists included, and bytes held in pipes.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }
    /// How many there may be, in bytes.
    pub fn most(&self) -> usize {
        self.limit.load(Relaxed)
    }
    /// Sets the limit, in bytes (`server.memory`).
    pub fn limit(&self, bytes: usize) {
        self.limit.store(bytes.max(1), SeqCst);
        self.wake();
    }
    /// How full it is. Two relaxed loads.
    pub fn pressure(&self) -> Pressure {
        let (used, limit) = (self.used(), self.limit.load(Relaxed));
        if used < ceiling(limit, Part::Body) {
            Pressure::None
        } else if used < ceiling(limit, Part::Answer) {
            Pressure::Stop
        } else {
            Pressure::Refuse
        }
    }
    /// Whether what nobody needs at once may be kept, free blocks or copies to be sent again: never so
    /// much that it alone would be a pressure.
    pub fn may_keep(&self) -> bool {
        self.used() < self.limit.load(Relaxed) / 2
    }
    /// So many bytes more.
    pub fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, SeqCst);
    }
    /// So many bytes fewer: whoever waits for them is woken.
    pub fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.wake();
        }
    }
    /// Bytes that may still be taken to read this.
    fn room(&self, part: Part) -> usize {
        let limit = self.limit.load(SeqCst);
        ceiling(limit, part).saturating_sub(self.used.load(SeqCst))
    }
    /// Wakes as many as there is room for, one at least if there is any.
    fn wake(&self) {
        for part in [Part::Request, Part::Answer, Part::Body] {
            let room = self.room(part);
            let most = if room == 0 { 0 } else { room.div_ceil(SHARE) };
            let mut queue = self.queue.lock();
            let first: Vec<_> = queue
                .waiting
                .range((part, 0)..=(part, u64::MAX))
                .map(|(at, _)| *at)
                .take(most)
                .collect();
            let woken: Vec<_> = first.iter().filter_map(|at| queue.waiting.remove(at)).collect();
            self.waiting.store(queue.waiting.len(), SeqCst);
            drop(queue);
            woken.into_iter().for_each(Waker::wake);
        }
    }
    #[inline]
    fn poll_room(&self, cx: &mut Context<'_>, part: Part, place: &mut Place) -> Poll<()> {
        if self.room(part) > 0 {
            self.go_on(place);
            return Poll::Ready(());
        }
        self.queue_up(cx, part, place)
    }
    fn queue_up(&self, cx: &mut Context<'_>, part: Part, place: &mut Place) -> Poll<()> {
        let mut queue = self.queue.lock();
        let at = place.0.filter(|at| at.0 == part).unwrap_or_else(|| {
            queue.next += 1;
            (part, queue.next)
        });
        // What a waker drops must not meet the lock.
        let old = place.0.replace(at).and_then(|old| queue.waiting.remove(&old));
        queue.waiting.insert(at, cx.waker().clone());
        self.waiting.store(queue.waiting.len(), SeqCst);
        drop(queue);
        drop(old);
        // What was given back before we stood in the queue woke nobody.
        if self.room(part) > 0 {
            self.go_on(place);
            return Poll::Ready(());
        }
        Poll::Pending
    }
    /// There is room. Who waited for it may find nothing to read: then it is the next one's.
    fn go_on(&self, place: &mut Place) {
        if place.is_waiting() {
            self.leave(place);
            if self.waiting.load(SeqCst) > 0 {
                self.wake();
            }
        }
    }
    fn leave(&self, place: &mut Place) {
        if let Some(at) = place.0.take() {
            let mut queue = self.queue.lock();
            let left = queue.waiting.remove(&at);
            self.waiting.store(queue.waiting.len(), SeqCst);
            drop(queue);
            drop(left);
        }
    }
}

/// A reader's place in the queue; none unless it waits. Given up when dropped.
#[derive(Debug)]
pub struct Place(Option<(Part, u64)>);

impl Place {
    /// Waits for nothing.
    pub const fn none() -> Self {
        Self(None)
    }
    /// Whether it waits for memory.
    pub fn is_waiting(&self) -> bool {
        self.0.is_some()
    }
    /// Ready when there is memory to read this; else the task is woken when there may be some.
    #[inline]
    pub fn poll_room(&mut self, cx: &mut Context<'_>, part: Part) -> Poll<()> {
        MEMORY.poll_room(cx, part, self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_waiting() {
            MEMORY.leave(self);
        }
    }
}

/// A copy of these bytes for a library to hold: in the account until it lets go of the last of them.
pub fn counted(bytes: &[u8]) -> Bytes {
    MEMORY.take(bytes.len());
    Bytes::from_owner(Counted(bytes.into()))
}

struct Counted(Box<[u8]>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        MEMORY.give(self.0.len());
    }
}

/// One at a time: the tests that hold so much that they see it in the account of the whole process.
#[cfg(test)]
pub(crate) fn alone() -> parking_lot::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    struct Reader {
        woken: Arc<Count>,
        place: Place,
    }
    impl Reader {
        fn new() -> Self {
            Self { woken: Arc::default(), place: Place::none() }
        }
        fn waits(&mut self, memory: &Memory, part: Part) -> bool {
            let waker = Waker::from(self.woken.clone());
            memory.poll_room(&mut Context::from_waker(&waker), part, &mut self.place).is_pending()
        }
        fn woken(&self) -> usize {
            self.woken.0.load(SeqCst)
        }
    }

    fn memory(limit: usize, used: usize) -> Memory {
        let memory = Memory::new();
        memory.limit(limit);
        memory.take(used);
        memory
    }

    #[test]
    fn each_ceiling_stops_what_it_is_for() {
        let mut reader = Reader::new();
        for (used, pressure, waits) in [
            (0, Pressure::None, [false, false, false]),
            (799, Pressure::None, [false, false, false]),
            (800, Pressure::Stop, [false, false, true]),
            (950, Pressure::Refuse, [false, true, true]),
            (1000, Pressure::Refuse, [true, true, true]),
        ] {
            let memory = memory(1000, used);
            assert_eq!(memory.pressure(), pressure, "{used}");
            for (part, waits) in [Part::Request, Part::Answer, Part::Body].into_iter().zip(waits) {
                assert_eq!(reader.waits(&memory, part), waits, "{part:?} at {used}");
                memory.leave(&mut reader.place);
            }
        }
    }

    #[test]
    fn what_a_library_holds_is_counted_until_it_lets_go_of_the_last_byte() {
        let _alone = alone();
        // More than all other tests of this process hold together.
        let bytes = vec![1; 64 << 20];
        let mut held = counted(&bytes);
        let last = held.split_off(bytes.len() - 1);
        drop(held);
        assert!(memory_of_all() >= bytes.len() && last == bytes[..1]);
        drop(last);
        assert!(memory_of_all() < bytes.len());
    }

    fn memory_of_all() -> usize {
        super::memory().used()
    }

    #[test]
    fn any_limit_can_be_judged() {
        assert_eq!(memory(usize::MAX, 64 << 30).pressure(), Pressure::None);
        // A limit of nothing is taken for the smallest there is, and nothing divides by it.
        assert_eq!(memory(0, 0).pressure(), Pressure::Refuse);
    }

    #[test]
    fn as_many_are_woken_as_there_is_room_for_the_first_ones_first() {
        let memory = memory(100 * SHARE, 100 * SHARE);
        let mut readers: Vec<_> = (0..5).map(|_| Reader::new()).collect();
        for reader in &mut readers {
            // Asked again and again, it stands in the queue once.
            assert!(reader.waits(&memory, Part::Body) && reader.waits(&memory, Part::Body));
        }
        let mut head = Reader::new();
        assert!(head.waits(&memory, Part::Request));
        let woken = |readers: &[Reader]| readers.iter().map(Reader::woken).collect::<Vec<_>>();
        memory.give(1);
        assert_eq!((head.woken(), woken(&readers)), (1, vec![0; 5]));
        memory.leave(&mut readers[0].place);
        memory.give(22 * SHARE);
        assert_eq!(woken(&readers), [0, 1, 1, 1, 0]);
        assert!(!readers[1].waits(&memory, Part::Body));
        memory.limit(200 * SHARE);
        assert_eq!(woken(&readers), [0, 1, 1, 1, 1]);
        readers.iter_mut().for_each(|reader| memory.leave(&mut reader.place));
        assert_eq!(memory.waiting.load(SeqCst), 0);
    }
}
