//! The fields of a head, or of trailers: one run of bytes, an index of ranges into it, a bit per known name.
//!
//! Order, case and repetition are kept. `set` and `append` validate, so that fields can always be
//! written as strictly valid HTTP. Every field is kept as a whole line of the wire, so that a run of
//! untouched ones is written with one copy.
use super::chunk::{Chunk, keep_fields, lend_fields};
use super::known::Known;
use super::syntax::{is_token, is_value};
use std::ops::Range;

/// A name or value that may not stand in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Invalid {
    #[error("not a field name (RFC 9110 5.1)")]
    Name,
    #[error("not a field value (RFC 9110 5.5)")]
    Value,
    #[error("not a request target (RFC 9112 3.2)")]
    Target,
}

/// A field: ranges into the bytes, its known name, and whether it was removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    name_at: u32,
    value_at: u32,
    value_len: u32,
    name_len: u16,
    known: u8,
    flags: u8,
}

const _: () = assert!(Known::ALL.len() < Known::NONE as usize - 1);

/// Beside the bits of names: the lines are not one run of bytes, each as it is to be written, in order.
const TOUCHED: u64 = 1 << (Known::NONE - 1);

const GONE: u8 = 1;

/// The line on the wire is not exactly `name: value CRLF` and must be written anew.
const ODD: u8 = 2;

impl Field {
    fn is_live(&self) -> bool {
        self.flags & GONE == 0
    }
    fn line_end(&self) -> usize {
        self.value_at as usize + self.value_len as usize + 2
    }
    fn is(&self, known: Known) -> bool {
        self.known == known as u8 && self.is_live()
    }
}

/// Fields in order, as a head or a trailer section holds them.
///
/// Memory comes from and returns to the thread's free lists. Limit: 4 GiB of bytes.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    index: Vec<Field>,
    /// The names that are there, and those that were there when they came once more.
    known: u64,
    again: u64,
}

impl Drop for Fields {
    fn drop(&mut self) {
        if self.bytes.capacity() > 0 {
            keep_fields(std::mem::take(&mut self.bytes), std::mem::take(&mut self.index));
        }
    }
}

impl Fields {
    /// Holds nothing and no memory.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), index: Vec::new(), known: 0, again: 0 }
    }
    fn name_of(&self, field: &Field) -> &[u8] {
        &self.bytes[field.name_at as usize..field.name_at as usize + field.name_len as usize]
    }
    fn value_of(&self, field: &Field) -> &[u8] {
        &self.bytes[field.value_at as usize..(field.value_at + field.value_len) as usize]
    }
    fn live(&self) -> impl Iterator<Item = &Field> {
        self.index.iter().filter(|f| f.is_live())
    }
    /// Name and value of each live field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.live().map(|f| (self.name_of(f), self.value_of(f)))
    }
    /// Whether a name may begin with one of these lower case letters: looks at one byte of each.
    pub(crate) fn may_begin(&self, letters: &[u8]) -> bool {
        let first = |field: &Field| self.bytes[field.name_at as usize].to_ascii_lowercase();
        self.index.iter().any(|field| letters.contains(&first(field)))
    }
    /// The bytes that [`Self::lines`] speaks of.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// As `iter`: the name, which known one it is, and where the value stands in `bytes`.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], Option<Known>, Range<usize>)> {
        self.live().map(|f| {
            let value = f.value_at as usize..f.value_at as usize + f.value_len as usize;
            (self.name_of(f), Known::ALL.get(usize::from(f.known)).copied(), value)
        })
    }
    /// How many live fields.
    pub fn len(&self) -> usize {
        self.live().count()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live().next().is_none()
    }
    /// Whether a known name is there: one bit.
    pub fn has(&self, name: Known) -> bool {
        self.known & name.bit() != 0
    }
    /// The first value of a known name.
    pub fn get(&self, name: Known) -> Option<&[u8]> {
        self.all(name).next()
    }
    /// Every value of a known name, in order.
    pub fn all(&self, name: Known) -> impl Iterator<Item = &[u8]> {
        let index: &[Field] = if self.has(name) { &self.index } else { &[] };
        index.iter().filter(move |f| f.is(name)).map(|f| self.value_of(f))
    }
    /// The value of a known name, and whether it is there once: the first value if not.
    pub(crate) fn sole(&self, name: Known) -> Option<(&[u8], bool)> {
        let first = if self.has(name) { self.index.iter().find(|f| f.is(name)) } else { None };
        first.map(|field| (self.value_of(field), self.again & name.bit() == 0))
    }
    /// Adds a field whose value is a part of these bytes.
    pub(crate) fn push_part(&mut self, name: Known, value: Range<usize>) {
        self.mark(name as u8);
        let prefix = name.prefix();
        let name_at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(prefix.as_bytes());
        let (value_at, value_len) = (self.bytes.len() as u32, value.len() as u32);
        self.bytes.extend_from_within(value);
        self.bytes.extend_from_slice(b"\r\n");
        let (name_len, known) = (prefix.len() as u16 - 2, name as u8);
        self.index.push(Field { name_at, value_at, value_len, name_len, known, flags: 0 });
    }
    /// The first value of any name, compared case-insensitively.
    pub fn find(&self, name: &str) -> Option<&[u8]> {
        self.live()
            .find(|f| self.name_of(f).eq_ignore_ascii_case(name.as_bytes()))
            .map(|f| self.value_of(f))
    }
    /// Every value of any name.
    pub fn find_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.live()
            .filter(move |f| self.name_of(f).eq_ignore_ascii_case(name.as_bytes()))
            .map(|f| self.value_of(f))
    }
    /// Removes every field of a known name; nothing when its bit is not set.
    pub fn remove(&mut self, name: Known) {
        self.remove_set(name.bit());
    }
    /// Removes every field of a set of names ([`Known::bit`]); nothing when none of them is there.
    pub fn remove_set(&mut self, names: u64) {
        if self.known & names == 0 {
            return;
        }
        for field in &mut self.index {
            if names & (1 << field.known) != 0 {
                field.flags |= GONE;
            }
        }
        self.known = self.known & !names | TOUCHED;
        self.again &= !names;
    }
    /// Removes every field of any name, compared case-insensitively.
    pub fn remove_named(&mut self, name: &[u8]) {
        match Known::of(name) {
            Some(known) => self.remove(known),
            None => self.remove_where(|fields, field| {
                field.is_live() && fields.name_of(field).eq_ignore_ascii_case(name)
            }),
        }
    }
    fn remove_where(&mut self, is_meant: impl Fn(&Self, &Field) -> bool) {
        for i in 0..self.index.len() {
            if self.index[i].is_live() && is_meant(self, &self.index[i]) {
                self.index[i].flags |= GONE;
                self.known |= TOUCHED;
            }
        }
    }
    /// Adds a field at the end.
    ///
    /// # Errors
    ///
    /// [`Invalid`] when name or value may not stand in a message; nothing is changed.
    pub fn append(&mut self, name: &str, value: &[u8]) -> Result<(), Invalid> {
        check(name, value)?;
        let field = self.write_any(name, value);
        self.index.push(field);
        Ok(())
    }
    /// Replaces every field of that name by one: at the place of the first if there was one, else
    /// at the end.
    ///
    /// # Errors
    ///
    /// As [`Fields::append`].
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Invalid> {
        check(name, value)?;
        let place = self
            .index
            .iter()
            .position(|f| f.is_live() && self.name_of(f).eq_ignore_ascii_case(name.as_bytes()));
        self.remove_named(name.as_bytes());
        let field = self.write_any(name, value);
        match place {
            Some(place) => {
                self.index[place] = field;
                self.known |= TOUCHED;
            }
            None => self.index.push(field),
        }
        Ok(())
    }
    /// `append` of a known name with a value that is made of parts known to be valid, without
    /// looking at each byte. The parts are joined without a separator. Debug builds check.
    pub fn push(&mut self, name: Known, parts: &[&[u8]]) {
        debug_assert!(parts.iter().all(|p| p.iter().all(|b| *b >= 0x20 && *b != 0x7f)));
        self.mark(name as u8);
        let field = self.write_line(name.prefix(), parts, name as u8);
        self.index.push(field);
    }
    /// As `push`, of a whole line made before: `Name: value CRLF`.
    pub fn push_line(&mut self, name: Known, line: &[u8]) {
        debug_assert!(line.starts_with(name.prefix().as_bytes()) && line.ends_with(b"\r\n"));
        self.lend();
        self.mark(name as u8);
        let (name_at, name_len) = (self.bytes.len() as u32, name.name().len() as u16);
        let value_at = name_at + u32::from(name_len) + 2;
        let value_len = line.len() as u32 - u32::from(name_len) - 4;
        self.bytes.extend_from_slice(line);
        let known = name as u8;
        self.index.push(Field { name_at, value_at, value_len, name_len, known, flags: 0 });
    }
    /// `append` of a name and a value that were checked; `known` is the name's [`Known::number`].
    #[inline]
    pub(crate) fn push_checked(&mut self, name: &[u8], known: u8, value: &[u8]) {
        self.lend();
        self.mark(known);
        let name_at = self.bytes.len() as u32;
        self.bytes.reserve(name.len() + value.len() + 4);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        let value_at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        let (value_len, name_len) = (value.len() as u32, name.len() as u16);
        self.index.push(Field { name_at, value_at, value_len, name_len, known, flags: 0 });
    }
    fn write_any(&mut self, name: &str, value: &[u8]) -> Field {
        let known = self.note(name.as_bytes());
        self.lend();
        let name_at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name.as_bytes());
        let line = self.write_line(": ", &[value], known);
        Field { name_at, name_len: name.len() as u16, ..line }
    }
    /// Writes a line behind the bytes; `prefix` is its name and `: `.
    fn write_line(&mut self, prefix: &str, parts: &[&[u8]], known: u8) -> Field {
        self.lend();
        let name_at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(prefix.as_bytes());
        let value_at = self.bytes.len() as u32;
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        let value_len = self.bytes.len() as u32 - value_at;
        self.bytes.extend_from_slice(b"\r\n");
        let name_len = prefix.len() as u16 - 2;
        Field { name_at, value_at, value_len, name_len, known, flags: 0 }
    }
    fn note(&mut self, name: &[u8]) -> u8 {
        let known = Known::number(name);
        self.mark(known);
        known
    }
    #[inline]
    fn mark(&mut self, known: u8) {
        let bit = 1 << known;
        self.again |= self.known & bit;
        self.known |= bit;
    }
    #[inline]
    fn lend(&mut self) {
        if self.bytes.capacity() == 0 {
            (self.bytes, self.index) = lend_fields();
        }
    }
    /// Puts bytes that are no field behind those that are there; where they stand.
    pub(super) fn put(&mut self, bytes: &[u8]) -> (u32, u32) {
        self.lend();
        if !self.index.is_empty() {
            self.known |= TOUCHED;
        }
        let from = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        (from, self.bytes.len() as u32)
    }
    /// Forgets every field, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.index.clear();
        (self.known, self.again) = (0, 0);
    }
    /// Makes room for lines to be indexed.
    pub(crate) fn begin(&mut self) {
        self.clear();
        self.lend();
    }
    /// Takes a copy of the wire bytes that were indexed by [`Fields::index_line`], up to the end of the
    /// last line.
    pub(crate) fn keep(&mut self, wire: &[u8]) {
        self.bytes.extend_from_slice(wire);
    }
    /// Indexes a line of bytes that will be kept, whose name and value were checked. `usual`: it is
    /// `name: value CRLF` to the byte.
    #[inline]
    pub(crate) fn index_line(
        &mut self,
        (name_at, name_len, known): (usize, usize, u8),
        (value_at, value_len): (usize, usize),
        usual: bool,
    ) {
        self.mark(known);
        self.known |= if usual { 0 } else { TOUCHED };
        self.index.push(Field {
            name_at: name_at as u32,
            value_at: value_at as u32,
            value_len: value_len as u32,
            name_len: name_len as u16,
            known,
            flags: if usual { 0 } else { ODD },
        });
    }
    /// Writes every live field but those of `skip` (a set of [`Known::bit`]s) as lines.
    pub fn write_to(&self, skip: u64, out: &mut Chunk) {
        let Some(first) = self.index.first() else { return };
        let begin = first.name_at as usize;
        if self.known & (skip | TOUCHED) == 0 {
            return out.extend(&self.bytes[begin..]);
        }
        let mut run = begin..begin;
        for field in &self.index {
            let is_plain = field.flags == 0 && skip & (1 << field.known) == 0;
            if is_plain && run.end == field.name_at as usize {
                run.end = field.line_end();
                continue;
            }
            if is_plain {
                out.extend(&self.bytes[run]);
                run = field.name_at as usize..field.line_end();
            } else if field.is_live() && skip & (1 << field.known) == 0 {
                out.extend(&self.bytes[run]);
                run = 0..0;
                for part in [self.name_of(field), b": ", self.value_of(field), b"\r\n"] {
                    out.extend(part);
                }
            }
        }
        out.extend(&self.bytes[run]);
    }
}

fn check(name: &str, value: &[u8]) -> Result<(), Invalid> {
    if !is_token(name.as_bytes()) || name.len() > usize::from(u16::MAX) {
        return Err(Invalid::Name);
    }
    if is_value(value) { Ok(()) } else { Err(Invalid::Value) }
}
