//! A dynamic table (RFC 7541 2.3.2): fields that were said, the newest first.
use std::collections::VecDeque;

/// The largest table of ours, and the largest that we use of a peer's (RFC 7541 4.2): what both
/// begin with.
pub const MOST: usize = 4096;

/// What an entry counts for besides its name and value (RFC 7541 4.1).
const ENTRY: usize = 32;

/// Entries, in one run of bytes: new ones behind it, old ones dropped in front of it.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    /// Bytes that were dropped in front of `bytes` so far.
    dropped: u64,
    /// The oldest first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
    /// Entries that ever were.
    count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u64,
    name: u32,
    value: u32,
    known: Judged,
}

/// What whoever is told of a field has found of it, and is told again with it: as the same bytes are
/// judged the same each time, those that are kept are judged once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The number of the name, which is good: that of a [`crate::message::Known`], or of none.
    pub name: Option<u8>,
    /// The value is good.
    pub value: bool,
}

impl Entry {
    fn size(self) -> usize {
        self.name as usize + self.value as usize + ENTRY
    }
}

/// A field's name that is to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name<'a> {
    /// Its bytes.
    Bytes(&'a [u8]),
    /// That of the entry so many before the newest.
    Of(usize),
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            dropped: 0,
            entries: VecDeque::new(),
            size: 0,
            most: MOST,
            count: 0,
        }
    }

    /// The entry so many before the newest.
    #[inline]
    pub(super) fn get(&self, back: usize) -> Option<(&[u8], &[u8])> {
        let at = self.entries.len().checked_sub(back + 1)?;
        let entry = self.entries.get(at)?;
        let (name, behind) =
            self.bytes[(entry.at - self.dropped) as usize..].split_at(entry.name as usize);
        Some((name, &behind[..entry.value as usize]))
    }

    /// What is known of the entry so many before the newest.
    #[inline]
    pub(super) fn judged(&mut self, back: usize) -> Option<&mut Judged> {
        let at = self.entries.len().checked_sub(back + 1)?;
        self.entries.get_mut(at).map(|entry| &mut entry.known)
    }

    /// How many entries there ever were: the number of the newest.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How far the entry of a number is behind the newest; `None` where it is gone.
    #[inline]
    pub(super) fn back(&self, number: u64) -> Option<usize> {
        let back = (self.count - number) as usize;
        (number > 0 && back < self.entries.len()).then_some(back)
    }

    /// Whether a field of this size may ever be in it.
    pub(super) fn fits(&self, name: usize, value: usize) -> bool {
        name + value + ENTRY <= self.most
    }

    /// Makes an entry. One that is larger than the table empties it (RFC 7541 4.4).
    pub(super) fn insert(&mut self, name: Name<'_>, value: &[u8], known: Judged) {
        let at = self.dropped + self.bytes.len() as u64;
        let name = match name {
            Name::Bytes(bytes) => {
                self.bytes.extend_from_slice(bytes);
                bytes.len()
            }
            Name::Of(back) => {
                let at = self.entries.len() - 1 - back;
                let Entry { at, name, .. } = self.entries[at];
                let from = (at - self.dropped) as usize;
                self.bytes.extend_from_within(from..from + name as usize);
                name as usize
            }
        };
        self.bytes.extend_from_slice(value);
        let entry = Entry { at, name: name as u32, value: value.len() as u32, known };
        self.count += 1;
        self.entries.push_back(entry);
        self.size += entry.size();
        self.shrink();
    }

    /// Another bound.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.shrink();
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    fn shrink(&mut self) {
        while self.size > self.most {
            let Some(old) = self.entries.pop_front() else { break };
            self.size -= old.size();
        }
        let end = self.dropped + self.bytes.len() as u64;
        let live = self.entries.front().map_or(end, |first| first.at);
        let dead = (live - self.dropped) as usize;
        // Now and then, so that each byte is moved once at the most.
        if dead >= MOST || self.entries.is_empty() {
            self.bytes.drain(..dead);
            self.dropped = live;
        }
    }
}
