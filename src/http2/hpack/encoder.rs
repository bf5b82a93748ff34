//! Fields to blocks (RFC 7541 6). What was said before is said by its number; what is said once is
//! written out and not kept, so that it pushes out nothing that is said again.
use super::fixed::{OF_KNOWN, lower, number, of_name};
use super::table::{Judged, MOST, Name, Table};
use super::{huffman, integer};
use crate::message::Known;

/// Whether a field may be kept in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// When it is said again.
    Again,
    /// Its value is another one each time.
    Never,
    /// A secret: nobody on the way may keep it either (RFC 7541 7.1.3).
    Secret,
}

/// Of so many fields it is remembered that they were said.
const SEEN: usize = 128;

/// A field that was said.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    hash: u32,
    /// Its name.
    tag: Tag,
    /// The number of its entry in the table; 0 where it has none.
    number: u64,
}

/// Tells names apart without a look at them; 0 is any other.
type Tag = u8;

/// One that is known has its own number, one above.
fn tag(known: Known) -> Tag {
    known as Tag + 1
}

/// Those of the fixed table have theirs, so much above; so have pseudo-headers.
const FIXED: Tag = 0x80;

/// Encodes what one side of a connection says.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    seen: Box<[Seen; SEEN]>,
    /// The smallest bound that the table had since the last block, where it was changed.
    shrunk: Option<usize>,
    /// In lower case.
    name: Vec<u8>,
    block: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: Table::new(),
            seen: Box::new([Seen::default(); SEEN]),
            shrunk: None,
            name: Vec::new(),
            block: Vec::new(),
        }
    }
}

impl Encoder {
    /// The peer's table is to be so large at the most (SETTINGS_HEADER_TABLE_SIZE).
    pub fn bound(&mut self, most: usize) {
        let most = most.min(MOST);
        if most != self.table.most() {
            self.shrunk = Some(self.shrunk.map_or(most, |least| least.min(most)));
            self.table.resize(most);
        }
    }

    /// Begins a block.
    pub fn begin(&mut self) {
        self.block.clear();
        if let Some(least) = self.shrunk.take() {
            if least < self.table.most() {
                integer::write(least, 5, 0x20, &mut self.block);
            }
            integer::write(self.table.most(), 5, 0x20, &mut self.block);
        }
    }

    /// The block so far.
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    /// `:status`
    pub fn status(&mut self, status: u16) {
        match [200, 204, 206, 304, 400, 404, 500].iter().position(|known| *known == status) {
            Some(at) => self.block.push(0x80 | (number::STATUS + at as u8)),
            None => {
                let digits = [status / 100, status / 10 % 10, status % 10].map(|n| b'0' + n as u8);
                self.literal(number::STATUS, b"", &digits, Keep::Never);
            }
        }
    }

    /// `:method`
    pub fn method(&mut self, method: &[u8]) {
        match method {
            b"GET" => self.block.push(0x80 | number::METHOD),
            b"POST" => self.block.push(0x80 | (number::METHOD + 1)),
            other => self.literal(number::METHOD, b"", other, Keep::Never),
        }
    }

    /// `:scheme`
    pub fn scheme(&mut self, is_tls: bool) {
        self.block.push(0x80 | (number::SCHEME + u8::from(is_tls)));
    }

    /// `:authority`
    pub fn authority(&mut self, authority: &[u8]) {
        self.say(FIXED | number::AUTHORITY, number::AUTHORITY, b":authority", authority);
    }

    /// `:path`
    pub fn path(&mut self, path: &[u8]) {
        match path {
            b"/" => self.block.push(0x80 | number::PATH),
            // Calls of gRPC have few.
            _ => self.say(FIXED | number::PATH, number::PATH, b":path", path),
        }
    }

    /// A field, whatever the case of its name.
    #[inline]
    pub fn field(&mut self, name: &[u8], known: Option<Known>, value: &[u8], keep: Keep) {
        if let Some(known) = known {
            let number = OF_KNOWN[known as usize];
            return match keep {
                Keep::Again => self.say(tag(known), number, lower(known), value),
                keep => self.literal(number, lower(known), value, keep),
            };
        }
        let mut lower = std::mem::take(&mut self.name);
        lower.clear();
        lower.extend_from_slice(name);
        lower.make_ascii_lowercase();
        let number = of_name(&lower);
        let tag = if number > 0 { FIXED | number } else { 0 };
        match keep {
            Keep::Again => self.say(tag, number, &lower, value),
            keep => self.literal(number, &lower, value, keep),
        }
        self.name = lower;
    }

    /// `content-length`
    pub fn length(&mut self, length: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut left = length;
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.literal(number::CONTENT_LENGTH, b"", &digits[at..], Keep::Never);
    }

    /// By its number where it is kept; it is kept when it is said again.
    #[inline]
    fn say(&mut self, tag: Tag, number: u8, name: &[u8], value: &[u8]) {
        let hash = hash(tag, name, value);
        let seen = self.seen[hash as usize % SEEN];
        if seen.hash == hash
            && seen.tag == tag
            && let Some(back) = self.table.back(seen.number)
            && let Some((kept, said)) = self.table.get(back)
            && said == value
            && (tag > 0 || kept == name)
        {
            return integer::write(62 + back, 7, 0x80, &mut self.block);
        }
        self.learn((hash, tag), number, name, value);
    }

    /// What is not kept yet, or cannot be.
    fn learn(&mut self, (hash, tag): (u32, Tag), number: u8, name: &[u8], value: &[u8]) {
        let seen = self.seen[hash as usize % SEEN];
        // Another one has its place for as long as it is kept.
        let taken = self.table.back(seen.number).is_some();
        if taken || !self.table.fits(name.len(), value.len()) {
            return self.literal(number, name, value, Keep::Never);
        }
        let mut here = Seen { hash, tag, number: 0 };
        if seen.hash == hash && seen.tag == tag {
            self.literal(number, name, value, Keep::Again);
            self.table.insert(Name::Bytes(name), value, Judged::default());
            here.number = self.table.count();
        } else {
            self.literal(number, name, value, Keep::Never);
        }
        self.seen[hash as usize % SEEN] = here;
    }

    fn literal(&mut self, number: u8, name: &[u8], value: &[u8], keep: Keep) {
        let (bits, first) = match keep {
            Keep::Again => (6, 0x40),
            Keep::Never => (4, 0),
            Keep::Secret => (4, 0x10),
        };
        integer::write(usize::from(number), bits, first, &mut self.block);
        if number == 0 {
            self.string(name, keep);
        }
        self.string(value, keep);
    }

    /// Coded where that is shorter, of what is kept: to code what is said but once costs more than
    /// it saves.
    fn string(&mut self, text: &[u8], keep: Keep) {
        let coded = if keep == Keep::Again { huffman::len(text) } else { usize::MAX };
        if coded < text.len() {
            integer::write(coded, 7, 0x80, &mut self.block);
            huffman::encode(text, &mut self.block);
        } else {
            integer::write(text.len(), 7, 0, &mut self.block);
            self.block.extend_from_slice(text);
        }
    }
}

/// Tells fields apart; those of one hash cost each other their place and no more.
#[inline]
fn hash(tag: Tag, name: &[u8], value: &[u8]) -> u32 {
    let begun = fold(u64::from(tag) << 32 | value.len() as u64, 0);
    let begun = if tag == 0 { fold_all(begun, name) } else { begun };
    let hash = fold_all(begun, value);
    (hash >> 24) as u32 | 1
}

#[inline]
fn fold(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 32
}

/// The last word overlaps the one before it.
#[inline]
fn fold_all(mut hash: u64, bytes: &[u8]) -> u64 {
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().fold(hash, |hash, byte| fold(hash, u64::from(*byte)));
    };
    let (eights, _) = bytes.as_chunks::<8>();
    for eight in eights {
        hash = fold(hash, u64::from_le_bytes(*eight));
    }
    fold(hash, u64::from_le_bytes(*last))
}
