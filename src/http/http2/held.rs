//! The bytes of bodies that an HTTP/2 connection holds: they stand in the process's account of
//! buffered bytes from when they came until a backend has taken them.
use crate::message::memory;
use parking_lot::Mutex;
use std::collections::HashMap;

/// The bytes that one connection holds, by the streams that are there to take them: what a stream has
/// left is given back with it. What comes for any other the library throws away.
#[derive(Debug)]
pub(super) struct Held {
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    streams: HashMap<u32, usize>,
    /// Of all streams.
    bytes: usize,
    /// The connection's window: more is a fault, which ends it.
    most: usize,
    /// The frame under way, of a stream that nobody knows yet: its bytes, but for padding.
    early: Option<(u32, usize)>,
}

impl Books {
    /// So many bytes more, and how many that were.
    fn add(&mut self, stream: u32, n: usize) -> usize {
        let more = n.min(self.most - self.bytes);
        let Some(bytes) = self.streams.get_mut(&stream) else { return 0 };
        *bytes += more;
        self.bytes += more;
        more
    }
}

impl Held {
    pub(super) fn new(most: u32) -> Self {
        let streams = HashMap::new();
        let most = most as usize;
        Self { books: Mutex::new(Books { streams, bytes: 0, most, early: None }) }
    }

    /// A stream begins, for which so many have come already.
    pub(super) fn begin(&self, stream: u32, came: usize) {
        let mut books = self.books.lock();
        books.streams.insert(stream, 0);
        let early = books.early.take_if(|early| early.0 == stream).map_or(0, |early| early.1);
        memory().take(books.add(stream, came + early));
    }

    /// A frame with so many began to come for a stream.
    pub(super) fn take(&self, stream: u32, n: usize) {
        let mut books = self.books.lock();
        if !books.streams.contains_key(&stream) {
            books.early = Some((stream, n));
            return;
        }
        memory().take(books.add(stream, n));
    }

    /// No frame is under way.
    pub(super) fn whole(&self) {
        self.books.lock().early = None;
    }

    /// A backend has taken so many of a stream.
    pub(super) fn give(&self, stream: u32, n: usize) {
        let mut books = self.books.lock();
        let Some(bytes) = books.streams.get_mut(&stream) else { return };
        let fewer = n.min(*bytes);
        *bytes -= fewer;
        books.bytes -= fewer;
        drop(books);
        memory().give(fewer);
    }

    /// A stream is over: whatever was left of it is held no longer.
    pub(super) fn end(&self, stream: u32) {
        let mut books = self.books.lock();
        let left = books.streams.remove(&stream).unwrap_or(0);
        books.bytes -= left;
        drop(books);
        memory().give(left);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        memory().give(self.books.get_mut().bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(held: &Held) -> usize {
        held.books.lock().bytes
    }

    #[test]
    fn each_stream_has_its_own_and_what_is_left_goes_with_it() {
        let held = Held::new(1000);
        held.begin(1, 10);
        held.begin(3, 0);
        held.take(1, 90);
        held.take(3, 200);
        assert_eq!(bytes(&held), 300);
        held.give(1, 40);
        held.give(3, 500);
        assert_eq!(bytes(&held), 60, "no more than it has");
        held.end(1);
        held.end(1);
        assert_eq!(bytes(&held), 0);
    }

    #[test]
    fn what_nobody_is_there_to_take_is_not_held() {
        let held = Held::new(1000);
        held.take(1, 100);
        held.give(1, 100);
        held.begin(3, 0);
        held.end(3);
        held.take(3, 100);
        assert_eq!(bytes(&held), 0);
    }

    #[test]
    fn a_frame_whose_end_comes_after_its_stream_began_is_held() {
        let held = Held::new(1000);
        held.take(1, 100);
        held.begin(1, 7);
        assert_eq!(bytes(&held), 107);
        // One that came whole is among those that came.
        held.take(3, 100);
        held.whole();
        held.begin(3, 100);
        assert_eq!(bytes(&held), 207);
        held.take(5, 100);
        held.begin(7, 1);
        assert_eq!(bytes(&held), 208);
    }

    #[test]
    fn no_more_than_the_window_is_held() {
        let held = Held::new(1000);
        held.begin(1, 0);
        held.begin(3, 0);
        held.take(1, 900);
        held.take(3, 900);
        assert_eq!(bytes(&held), 1000);
        held.end(1);
        held.take(3, 900);
        assert_eq!(bytes(&held), 1000);
    }
}
