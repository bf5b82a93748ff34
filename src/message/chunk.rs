//! Blocks of memory lent to busy connections and given back when they are idle.
//!
//! A dropped block goes to the free list of the thread that drops it (the one `thread_local!` of
//! the house), so that lending one is a push and a pop. Bytes are counted when a block is really
//! allocated or freed, which is rare, so the process-wide count costs the request path nothing.
//! The count is the one `static` of the house: memory belongs to the process.
use super::head::Field;
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
/// Field stores a thread keeps; each is a few KiB at the most (see `FIELDS_BYTES`).
const FIELDS_KEPT: usize = 256;
/// A field store larger than this is not kept: one huge head must not stay for ever.
const FIELDS_BYTES: usize = 16 << 10;

#[derive(Default)]
struct Free {
    heads: Vec<Vec<u8>>,
    bodies: Vec<Vec<u8>>,
    fields: Vec<(Vec<u8>, Vec<Field>)>,
}

thread_local! {
    static FREE: RefCell<Free> = RefCell::default();
}

/// A growing byte buffer: `[consumed | data | spare]`.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    place: Place,
}

impl Chunk {
    /// Borrows a block from this thread's free list, or allocates one.
    pub fn lend(size: Size) -> Self {
        let kept = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            match size {
                Size::Head => free.heads.pop(),
                Size::Body => free.bodies.pop(),
            }
        });
        let bytes = kept.ok().flatten().unwrap_or_else(|| {
            let len = if size == Size::Head { HEAD } else { BODY };
            memory().take(len);
            vec![0; len]
        });
        Self { bytes, start: 0, end: 0, place: Place::none() }
    }
    /// A buffer that holds nothing, not even memory. `spare()` is empty until `reserve`.
    pub const fn none() -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, place: Place::none() }
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
    /// The same, writable.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
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
    #[cold]
    fn make_room(&mut self, n: usize) {
        if self.bytes.is_empty() && n <= HEAD {
            *self = Self::lend(Size::Head);
            return;
        }
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
            self.bytes.resize(len, 0);
        }
    }
    /// Appends.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }
    /// Gives the block back if nothing is in it.
    pub fn rest(&mut self) {
        if self.start == self.end && self.is_lent() {
            *self = Self::none();
        }
    }
    /// Forgets all data, keeps the block.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
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
}

/// Borrows a store for fields.
pub(super) fn lend_fields() -> (Vec<u8>, Vec<Field>) {
    FREE.try_with(|free| free.borrow_mut().fields.pop()).ok().flatten().unwrap_or_default()
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
                assert!(free.borrow().heads.is_empty() && free.borrow().bodies.is_empty())
            });
        })
        .join()
        .expect("no panic");
    }
}
