//! The bytes of bodies that an HTTP/2 connection holds: they stand in the process's account of
//! buffered bytes from when they came until a backend has taken them.
use crate::message::memory;
use parking_lot::Mutex;

/// The bytes that one connection holds. What is left is given back with it.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Mutex<usize>,
    /// The connection's window: no more can be held. What came for a stream that is gone already
    /// is counted, and given back by the library without a word; this bounds the error.
    most: usize,
}

impl Held {
    pub(super) fn new(most: u32) -> Self {
        Self { bytes: Mutex::new(0), most: most as usize }
    }

    /// So many came.
    pub(super) fn take(&self, n: usize) {
        let mut bytes = self.bytes.lock();
        let more = n.min(self.most - *bytes);
        *bytes += more;
        memory().take(more);
    }

    /// So many are held no longer.
    pub(super) fn give(&self, n: usize) {
        let mut bytes = self.bytes.lock();
        let fewer = n.min(*bytes);
        *bytes -= fewer;
        drop(bytes);
        memory().give(fewer);
    }

    /// Nothing is held.
    pub(super) fn clear(&self) {
        self.give(self.most);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}
