//! The streams of a connection (RFC 9113 5.1): what came on each and waits, and how far it has gone.
use crate::http1::{HeadLimits, Refusal};
use crate::http2::frame::Code;
use crate::message::{Fields, Head, memory};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};

/// Why nothing more comes on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The peer has reset it.
    Reset(Code),
    /// The peer has said goodbye (GOAWAY), and never looked at it.
    Away,
    /// We have reset it, or ended the connection, for what the peer did wrong.
    Fault(Code, &'static str),
    /// Its body is not as long as its head said.
    Length,
    /// Its head, or its trailers, are no HTTP.
    Refused(Refusal),
    /// The connection ended.
    Ended,
}

/// How far what comes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recv {
    /// No final head yet.
    Head,
    /// The head came.
    Body,
    /// All came.
    Ended,
}

/// How far what goes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// No final head yet.
    Head,
    /// The head went.
    Body,
    /// All went, or waits in `rest`.
    Ended,
}

/// The end of what goes, which waits for the peer's windows.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) data: Vec<u8>,
    pub(super) trailers: Option<Fields>,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// The head that came and was not taken, and what came behind it.
    pub(super) head: Option<Head>,
    pub(super) more: VecDeque<Head>,
    /// The bytes of its body that came and were not taken.
    pub(super) data: Vec<u8>,
    pub(super) trailers: Option<Fields>,
    pub(super) recv: Recv,
    pub(super) broken: Option<Broken>,
    /// Bytes of the body to come, where the head said how many.
    pub(super) left: Option<u64>,
    /// The answer has no body, whatever its head says.
    pub(super) bodyless: bool,
    pub(super) limits: HeadLimits,
    /// What the peer may send.
    pub(super) window: i64,
    /// Bytes that came, for which the windows were not opened again.
    pub(super) due: usize,
    /// Bytes for which its window is to be opened, by and by.
    pub(super) owed: usize,
    /// Bytes that stand in the process's account of memory for it.
    pub(super) held: usize,
    pub(super) sent: Sent,
    /// What we may send.
    pub(super) room: i64,
    pub(super) rest: Option<Box<Rest>>,
    /// It counts among those that are under way.
    pub(super) open: bool,
    /// Somebody has it in hand.
    pub(super) user: bool,
    /// Whoever has it was told of it.
    pub(super) seen: bool,
    /// It stands among those that have news.
    pub(super) news: bool,
    /// It waits for its own window to open.
    pub(super) waits: bool,
    /// It stands in the queue for the connection's room.
    pub(super) queued: bool,
    /// It stands among those that wait to say a head.
    pub(super) asks: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            id: 0,
            head: None,
            more: VecDeque::new(),
            data: Vec::new(),
            trailers: None,
            recv: Recv::Head,
            broken: None,
            left: None,
            bodyless: false,
            limits: HeadLimits { head: 0, fields: 0, target: 0 },
            window: 0,
            due: 0,
            owed: 0,
            held: 0,
            sent: Sent::Head,
            room: 0,
            rest: None,
            open: true,
            user: true,
            seen: false,
            news: false,
            waits: false,
            queued: false,
            asks: false,
        }
    }
}

impl Stream {
    /// Forgets what was, but for memory that the next one may have.
    fn clear(&mut self) {
        self.give(self.held);
        let data = std::mem::take(&mut self.data);
        *self = Self::default();
        if data.capacity() <= DATA {
            self.data = data;
            self.data.clear();
        }
    }

    /// Bytes came.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.due += bytes.len();
        self.held += bytes.len();
        memory().take(bytes.len());
    }

    /// So many of them are held no longer.
    pub(super) fn give(&mut self, n: usize) {
        let n = n.min(self.held);
        self.held -= n;
        memory().give(n);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.held > 0 {
            memory().give(self.held);
        }
    }
}

/// A connection's streams: each has a number of its own, which whoever has it in hand knows.
#[derive(Debug)]
pub(super) struct Streams {
    all: Vec<Option<Box<Stream>>>,
    vacant: Vec<u32>,
    /// Those that are over: their memory is for the next ones.
    #[allow(clippy::vec_box, reason = "they come from `all` and go there")]
    spare: Vec<Box<Stream>>,
    by_id: HashMap<u32, u32, Seed>,
}

/// A larger buffer is not kept for the next stream.
const DATA: usize = 1 << 10;

impl Streams {
    pub(super) fn new(seed: u64) -> Self {
        let by_id = HashMap::with_hasher(Seed(seed | 1));
        Self { all: Vec::new(), vacant: Vec::new(), spare: Vec::new(), by_id }
    }

    /// A stream of this number that begins.
    pub(super) fn insert(&mut self, id: u32, begin: impl FnOnce(&mut Stream)) -> u32 {
        let mut stream = self.spare.pop().unwrap_or_default();
        stream.id = id;
        begin(&mut stream);
        let stream = Some(stream);
        let key = match self.vacant.pop() {
            Some(key) => {
                self.all[key as usize] = stream;
                key
            }
            None => {
                self.all.push(stream);
                self.all.len() as u32 - 1
            }
        };
        self.by_id.insert(id, key);
        key
    }

    #[inline]
    pub(super) fn key(&self, id: u32) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    #[inline]
    pub(super) fn get(&self, key: u32) -> Option<&Stream> {
        self.all.get(key as usize)?.as_deref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut Stream> {
        self.all.get_mut(key as usize)?.as_deref_mut()
    }

    pub(super) fn remove(&mut self, key: u32) {
        let Some(mut stream) = self.all[key as usize].take() else { return };
        self.by_id.remove(&stream.id);
        self.vacant.push(key);
        stream.clear();
        self.spare.push(stream);
    }

    /// The memory of those that were is given back; says whether there are none.
    pub(super) fn rest(&mut self) -> bool {
        self.spare = Vec::new();
        if self.by_id.is_empty() {
            (self.all, self.vacant) = (Vec::new(), Vec::new());
            self.by_id.shrink_to_fit();
        }
        self.by_id.is_empty()
    }

    pub(super) fn keys(&self) -> Vec<u32> {
        self.by_id.values().copied().collect()
    }
}

/// Numbers of streams are the peer's to choose: where they fall is not.
#[derive(Clone, Copy, Debug)]
struct Seed(u64);

impl BuildHasher for Seed {
    type Hasher = Folded;
    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }
    fn write_u32(&mut self, n: u32) {
        let product = u128::from(self.0 ^ u64::from(n)) * 0x9e37_79b9_7f4a_7c15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}
