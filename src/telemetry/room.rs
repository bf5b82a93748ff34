//! Lines one after another, and one of them while it is written.

/// What comes from memory at once, in bytes.
const CACHED: usize = 64;
/// So much of it is fetched ahead: most lines are shorter.
const AHEAD: usize = 6;

/// Lines, in room that is kept when they are gone: to make it costs a page fault for each 4 KiB.
#[derive(Debug, Default)]
pub(super) struct Lines {
    room: Vec<u8>,
    used: usize,
}

impl Lines {
    /// Has one more written; it has `most` bytes at the most.
    #[inline]
    pub(super) fn add(&mut self, most: usize, write: impl FnOnce(&mut Line<'_>)) {
        if self.room.len() - self.used < most {
            self.grow(most);
        }
        let room = &mut self.room[self.used..];
        let before = room.len();
        let mut line = Line { rest: room };
        write(&mut line);
        let rest = line.rest;
        self.used += before - rest.len();
        // What the next line needs comes from memory, as much as a cache holds lies between the two: it
        // comes while others work, instead of when it is waited for.
        rest.chunks_mut(CACHED).take(AHEAD).for_each(|next| next[0] = 0);
    }

    #[cold]
    fn grow(&mut self, most: usize) {
        self.room.resize((self.used + most).max(self.room.len() * 2), 0);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.room[..self.used]
    }

    /// All go; of their room so much stays.
    pub(super) fn clear(&mut self, kept: usize) {
        self.used = 0;
        self.room.truncate(kept);
        self.room.shrink_to(kept);
    }
}

/// A line while it is written. What has no room is left out, so that nothing here asks for more, or
/// fails.
pub(super) struct Line<'a> {
    rest: &'a mut [u8],
}

impl Line<'_> {
    /// These bytes.
    #[inline(always)]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.take(bytes.len()) {
            room.copy_from_slice(bytes);
        }
    }

    /// The first `count` of these bytes. All are written, since that costs less; the next ones go over
    /// the others.
    #[inline(always)]
    pub(super) fn put_first<const N: usize>(&mut self, count: usize, bytes: [u8; N]) {
        if let Some(room) = self.rest.first_chunk_mut() {
            *room = bytes;
            self.take(count);
        }
    }

    /// These bytes, if `copy` says so when it has written them.
    #[inline(always)]
    pub(super) fn put_if(
        &mut self,
        bytes: &[u8],
        copy: impl FnOnce(&[u8], &mut [u8]) -> bool,
    ) -> bool {
        let fits = self.rest.get_mut(..bytes.len()).is_some_and(|room| copy(bytes, room));
        if fits {
            self.take(bytes.len());
        }
        fits
    }

    #[inline(always)]
    fn take(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.rest.len() {
            return None;
        }
        let (room, rest) = std::mem::take(&mut self.rest).split_at_mut(count);
        self.rest = rest;
        Some(room)
    }
}
