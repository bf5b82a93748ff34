//! Blocks of memory lent to busy connections and given back when they are idle.
//!
//! A dropped chunk goes to the free list of the thread that drops it (the one `thread_local!` of
//! the house), so that lending one is a push and a pop. Bytes are counted when a block is really
//! allocated or freed, which is rare, so the process-wide count costs the request path nothing.
//! The count is the one `static` of the house: memory belongs to the process.

/// The two sizes of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 16 KiB: heads and small bodies.
    Head,
    /// 64 KiB: bulk.
    Body,
}

/// A growing byte buffer: `[consumed | data | spare]`.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// Borrows a block from this thread's free list, or allocates one.
    pub fn lend(size: Size) -> Self {
        let _ = size;
        todo!()
    }
    /// A buffer that holds nothing, not even memory. `spare()` is empty until `reserve`.
    pub const fn none() -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0 }
    }
    /// Whether it holds memory.
    pub fn is_lent(&self) -> bool {
        !self.bytes.is_empty()
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
    pub fn filled(&mut self, n: usize) {
        self.end += n;
        assert!(self.end <= self.bytes.len());
    }
    /// Takes `n` bytes from the front. An emptied buffer starts again at its beginning.
    pub fn consume(&mut self, n: usize) {
        let _ = n;
        todo!()
    }
    /// Makes room for at least `n` more bytes: moves the data to the front, and only then grows.
    pub fn reserve(&mut self, n: usize) {
        let _ = n;
        todo!()
    }
    /// Appends.
    pub fn extend(&mut self, bytes: &[u8]) {
        let _ = bytes;
        todo!()
    }
    /// Forgets all data, keeps the block.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

/// How full the process's buffer memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Below 80 %.
    None,
    /// From 80 %: reading stops until it sinks.
    Stop,
    /// From 95 %: new requests get 503.
    Refuse,
}

/// The process's account of buffered bytes.
#[derive(Debug)]
pub struct Memory {
    // allocated: AtomicUsize, limit: AtomicUsize
}

/// The process's account of buffered bytes.
pub fn memory() -> &'static Memory {
    todo!()
}

impl Memory {
    /// Bytes allocated for chunks and heads, those on free lists included.
    pub fn used(&self) -> usize {
        todo!()
    }
    /// Sets the limit, in bytes (`server.memory`).
    pub fn limit(&self, bytes: usize) {
        let _ = bytes;
        todo!()
    }
    /// How full it is. Two relaxed loads.
    pub fn pressure(&self) -> Pressure {
        todo!()
    }
}
