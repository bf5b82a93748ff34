//! Blocks of memory lent to busy connections and given back when they are idle.
//!
//! A dropped block goes to the free list of the thread that drops it (the one `thread_local!` of
//! the house), so that lending one is a push and a pop. Bytes are counted when a block is really
//! allocated or freed, which is rare, so the process-wide count costs the request path nothing.
//! The count is the one `static` of the house: memory belongs to the process.
use super::fields::Field;
use super::memory::{Part, Place, memory};
use std::cell::RefCell;
use std::task::{Context, Poll};

/// The two sizes of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 16 KiB: heads and small bodies.
    Head,
    /// 64 KiB: bulk.
    Body,
}

const HEAD: usize = 16 << 10;
const BODY: usize = 64 << 10;
/// Blocks a thread keeps for its next connections: 4 MiB of small ones, 2 MiB of large ones.
const HEADS_KEPT: usize = 256;
const BODIES_KEPT: usize = 32;
/// Field stores a thread keeps: two or three for each stream of HTTP/2 under way, which are hundreds.
const FIELDS_KEPT: usize = 1024;
/// A field store larger than this is not kept: all of them are 8 MiB at the most, and one huge head
/// must not stay for ever.
const FIELDS_BYTES: usize = 4 << 10;
/// A new field store: as large as most heads, so that it does not grow step by step.
const FIELDS_NEW: (usize, usize) = (512, 16);

/// All of it is initialised.
type Block = Box<[u8]>;

struct Free {
    heads: List<Block>,
    bodies: List<Block>,
    fields: List<(Vec<u8>, Vec<Field>)>,
}

/// Free blocks, and how few of them there were since the last [`trim`]: so many were not needed.
struct List<T> {
    blocks: Vec<T>,
    fewest: usize,
}

impl<T> List<T> {
    const fn new() -> Self {
        Self { blocks: Vec::new(), fewest: 0 }
    }
    fn pop(&mut self) -> Option<T> {
        let block = self.blocks.pop();
        self.fewest = self.fewest.min(self.blocks.len());
        block
    }
    fn push(&mut self, block: T) {
        self.blocks.push(block);
    }
    fn len(&self) -> usize {
        self.blocks.len()
    }
    /// Takes out what was not needed.
    fn trim(&mut self) -> Vec<T> {
        let spare = self.blocks.drain(..self.fewest.min(self.blocks.len())).collect();
        self.fewest = self.blocks.len();
        self.blocks.shrink_to_fit();
        spare
    }
}

impl Drop for Free {
    /// A thread that ends gives its blocks back to the system.
    fn drop(&mut self) {
        memory().give(self.heads.len() * HEAD + self.bodies.len() * BODY);
    }
}

thread_local! {
    static FREE: RefCell<Free> = const {
        RefCell::new(Free { heads: List::new(), bodies: List::new(), fields: List::new() })
    };
}

/// Gives back to the allocator what this thread's free lists did not need since the last time. To
/// be called now and then by each thread that carries connections.
pub fn trim() {
    let freed = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        drop(free.fields.trim());
        let spare = free.heads.trim().into_iter().chain(free.bodies.trim());
        spare.map(|block| block.len()).sum()
    });
    // Outside: this may wake readers.
    memory().give(freed.unwrap_or(0));
}

/// A growing byte buffer: `[consumed | data | spare]`.
#[derive(Debug)]
pub struct Chunk {
    bytes: Block,
    start: usize,
    end: usize,
    place: Place,
}

impl Chunk {
    /// Borrows a block from this thread's free list, or allocates one.
    pub fn lend(size: Size) -> Self {
        Self { bytes: block(size), start: 0, end: 0, place: Place::none() }
    }
    /// A buffer that holds nothing, not even memory. `spare()` is empty until `reserve`.
    pub fn none() -> Self {
        Self { bytes: Block::default(), start: 0, end: 0, place: Place::none() }
    }
    /// Whether it holds memory.
    pub fn is_lent(&self) -> bool {
        !self.bytes.is_empty()
    }
    /// Ready when there is memory to read this part of a message; else the task is woken when
    /// there may be some.
    pub fn poll_room(&mut self, cx: &mut Context<'_>, part: Part) -> Poll<()> {
        self.place.poll_room(cx, part)
    }
    /// Whether its owner waits for memory and not for a peer.
    pub fn is_waiting(&self) -> bool {
        self.place.is_waiting()
    }
    /// The bytes filled and not consumed.
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
    /// Where the next bytes are read to.
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }
    /// Says that `n` bytes of `spare` were filled.
    ///
    /// # Panics
    ///
    /// When `spare` was shorter.
    pub fn filled(&mut self, n: usize) {
        self.end += n;
        assert!(self.end <= self.bytes.len());
    }
    /// Takes `n` bytes from the front. An emptied buffer starts again at its beginning.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        assert!(self.start <= self.end);
        if self.start == self.end {
            self.clear();
        }
    }
    /// Makes room for at least `n` more bytes: moves the data to the front, and only then grows.
    #[inline]
    pub fn reserve(&mut self, n: usize) {
        if self.bytes.len() - self.end < n {
            self.make_room(n);
        }
    }
    fn make_room(&mut self, n: usize) {
        if self.bytes.is_empty() && n <= HEAD {
            self.bytes = block(Size::Head);
            return;
        }
        self.grow(n);
    }
    #[cold]
    fn grow(&mut self, n: usize) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let wanted = self.end + n;
        if wanted > self.bytes.len() {
            let len = if self.bytes.is_empty() && wanted <= HEAD {
                HEAD
            } else {
                wanted.next_power_of_two()
            };
            memory().take(len - self.bytes.len());
            let mut bytes = std::mem::take(&mut self.bytes).into_vec();
            bytes.resize(len, 0);
            self.bytes = bytes.into_boxed_slice();
        }
    }
    /// Appends.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }
    /// Keeps the first `n` bytes of the data.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub fn truncate(&mut self, n: usize) {
        assert!(n <= self.end - self.start);
        self.end = self.start + n;
    }
    /// Gives the block back if nothing is in it.
    pub fn rest(&mut self) {
        if self.start == self.end {
            self.release();
        }
    }
    /// Forgets all data and gives the block back.
    #[inline]
    pub fn give_up(&mut self) {
        self.release();
        self.place = Place::none();
    }
    #[inline]
    fn release(&mut self) {
        if self.is_lent() {
            self.clear();
            give_back(std::mem::take(&mut self.bytes));
        }
    }
    /// Forgets all data, keeps the block.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

impl Drop for Chunk {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}

/// From this thread's free list, or from the allocator.
fn block(size: Size) -> Block {
    let kept = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        match size {
            Size::Head => free.heads.pop(),
            Size::Body => free.bodies.pop(),
        }
    });
    kept.ok().flatten().unwrap_or_else(|| allocate(size))
}

#[cold]
fn allocate(size: Size) -> Block {
    let len = if size == Size::Head { HEAD } else { BODY };
    memory().take(len);
    vec![0; len].into_boxed_slice()
}

/// To this thread's free list, or to the allocator.
#[inline(never)]
fn give_back(bytes: Block) {
    let len = bytes.len();
    let kept = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        match len {
            _ if !memory().may_keep() => return false,
            HEAD if free.heads.len() < HEADS_KEPT => free.heads.push(bytes),
            BODY if free.bodies.len() < BODIES_KEPT => free.bodies.push(bytes),
            _ => return false,
        }
        true
    });
    if !kept.unwrap_or(false) {
        memory().give(len);
    }
}

/// Borrows a store for fields.
pub(super) fn lend_fields() -> (Vec<u8>, Vec<Field>) {
    let kept = FREE.try_with(|free| free.borrow_mut().fields.pop()).ok().flatten();
    let (bytes, index) = FIELDS_NEW;
    kept.unwrap_or_else(|| (Vec::with_capacity(bytes), Vec::with_capacity(index)))
}

/// Gives a store for fields back.
pub(super) fn keep_fields(mut bytes: Vec<u8>, mut index: Vec<Field>) {
    if bytes.capacity() == 0
        || bytes.capacity() > FIELDS_BYTES
        || index.capacity() > FIELDS_BYTES / 16
    {
        return;
    }
    bytes.clear();
    index.clear();
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.fields.len() < FIELDS_KEPT {
            free.fields.push((bytes, index));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_moves_to_the_front_before_a_block_grows() {
        let mut chunk = Chunk::lend(Size::Head);
        chunk.extend(&[1; HEAD]);
        chunk.consume(HEAD - 3);
        chunk.extend(&[2; 5]);
        assert_eq!(chunk.data(), [1, 1, 1, 2, 2, 2, 2, 2]);
        assert_eq!(chunk.bytes.len(), HEAD);
        chunk.extend(&[3; HEAD]);
        assert_eq!(chunk.bytes.len(), 2 * HEAD);
    }

    #[test]
    fn what_was_not_needed_since_the_last_trim_is_freed() {
        std::thread::spawn(|| {
            let lent: Vec<Chunk> = (0..10).map(|_| Chunk::lend(Size::Head)).collect();
            drop(lent);
            let kept = || FREE.with(|free| free.borrow().heads.len());
            trim();
            assert_eq!(kept(), 10, "they were all in use until now");
            drop((0..3).map(|_| Chunk::lend(Size::Head)).collect::<Vec<_>>());
            trim();
            assert_eq!(kept(), 3, "seven were not needed");
            trim();
            assert_eq!(kept(), 0);
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn a_dropped_block_is_lent_again_and_a_grown_one_is_not() {
        std::thread::spawn(|| {
            let mut chunk = Chunk::lend(Size::Body);
            chunk.extend(b"x");
            let at = chunk.bytes.as_ptr();
            drop(chunk);
            let again = Chunk::lend(Size::Body);
            assert_eq!(again.bytes.as_ptr(), at);
            assert!(again.data().is_empty());
            let mut grown = Chunk::lend(Size::Head);
            grown.reserve(BODY + 1);
            drop(grown);
            FREE.with(|free| {
                assert!(free.borrow().heads.len() == 0 && free.borrow().bodies.len() == 0)
            });
        })
        .join()
        .expect("no panic");
    }

    /// Far more than all other tests of this process hold together.
    const MUCH: usize = 128 << 20;

    #[test]
    fn memory_is_counted_while_it_is_held_and_no_longer() {
        let _alone = crate::message::memory::alone();
        let before = memory().used();
        let mut grown = Chunk::lend(Size::Body);
        grown.reserve(2 * MUCH);
        assert!(memory().used() >= before + MUCH);
        drop(grown);
        assert!(memory().used() < before + MUCH);
        // A thread keeps a few blocks for its next connections, the rest goes at once.
        std::thread::spawn(move || {
            let all: Vec<Chunk> = (0..4 * MUCH / BODY)
                .map(|_| Chunk::lend(Size::Body))
                .chain((0..2 * HEADS_KEPT).map(|_| Chunk::lend(Size::Head)))
                .collect();
            assert!(memory().used() >= before + 3 * MUCH);
            drop(all);
            assert!(memory().used() < before + MUCH);
            FREE.with_borrow(|free| {
                assert_eq!((free.heads.len(), free.bodies.len()), (HEADS_KEPT, BODIES_KEPT));
            });
        })
        .join()
        .expect("no panic");
        // Many threads that end: what each kept would add up, were it still counted.
        let kept = HEADS_KEPT * HEAD + BODIES_KEPT * BODY;
        for _ in 0..=2 * MUCH / kept {
            let fill = || {
                let heads: Vec<_> = (0..HEADS_KEPT).map(|_| Chunk::lend(Size::Head)).collect();
                let bodies: Vec<_> = (0..BODIES_KEPT).map(|_| Chunk::lend(Size::Body)).collect();
                drop((heads, bodies));
            };
            std::thread::spawn(fill).join().expect("no panic");
        }
        assert!(memory().used() < before + MUCH);
    }

    #[test]
    fn few_field_stores_are_kept_and_no_huge_one() {
        std::thread::spawn(|| {
            let kept = || FREE.with_borrow(|free| free.fields.len());
            keep_fields(Vec::new(), Vec::new());
            keep_fields(Vec::with_capacity(FIELDS_BYTES + 1), Vec::new());
            keep_fields(vec![0], Vec::with_capacity(FIELDS_BYTES / 16 + 1));
            assert_eq!(kept(), 0);
            for _ in 0..2 * FIELDS_KEPT {
                keep_fields(vec![1, 2, 3], Vec::new());
            }
            assert_eq!(kept(), FIELDS_KEPT);
            let (bytes, index) = lend_fields();
            assert!(bytes.is_empty() && bytes.capacity() >= 3 && index.is_empty());
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn a_buffer_holds_what_was_put_in_whatever_is_taken_out() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut chunk, mut held) = (Chunk::none(), std::collections::VecDeque::new());
        for _ in 0..2000 {
            if random.bool() {
                let more: Vec<u8> = (0..random.usize(..5000)).map(|_| random.u8(..)).collect();
                if random.bool() {
                    chunk.extend(&more);
                } else {
                    chunk.reserve(more.len());
                    chunk.spare()[..more.len()].copy_from_slice(&more);
                    chunk.filled(more.len());
                }
                held.extend(more);
            } else {
                let n = random.usize(..=held.len());
                chunk.consume(n);
                held.drain(..n);
            }
            assert!(chunk.data() == held.make_contiguous());
        }
    }

    #[test]
    #[should_panic(expected = "self.start <= self.end")]
    fn more_than_there_is_cannot_be_taken() {
        let mut chunk = Chunk::lend(Size::Head);
        chunk.extend(b"abc");
        chunk.consume(4);
    }
}
