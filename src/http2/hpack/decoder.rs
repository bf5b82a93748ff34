//! Blocks of fields to fields (RFC 7541 3.2, 6).
use super::fixed::{FIELDS, KNOWN};
use super::table::{Judged, MOST, Name, Table};
use super::{huffman, integer};

/// A block that cannot be decoded: the connection is over (RFC 9113 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// What it says is no block.
    Block,
    /// Whoever was told of its fields had enough.
    Stopped,
}

/// Whoever is told of fields has had enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop;

/// Decodes what one side of a connection says.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: Table::new(), name: Vec::new(), value: Vec::new() }
    }
}

/// Where a name is.
#[derive(Clone, Copy)]
enum Where<'a> {
    Fixed(usize),
    Dynamic(usize),
    Here(&'a [u8]),
    Decoded,
}

impl Decoder {
    /// Tells of each field of a whole block, in order, and what was found of it before.
    ///
    /// # Errors
    ///
    /// [`Wrong`]; nothing more can be decoded then.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        mut each: impl FnMut(&[u8], &[u8], &mut Judged) -> Result<(), Stop>,
    ) -> Result<(), Wrong> {
        let mut begun = false;
        while let Some(first) = block.first() {
            let (bits, kept) = match first {
                0x80.. => {
                    let (index, rest) = integer::read(block, 7).ok_or(Wrong::Block)?;
                    block = rest;
                    self.indexed(index, &mut each)?;
                    begun = true;
                    continue;
                }
                0x40.. => (6, true),
                0x20.. => {
                    let (most, rest) = integer::read(block, 5).ok_or(Wrong::Block)?;
                    // Before the first field alone (RFC 7541 4.2).
                    if begun || most > MOST {
                        return Err(Wrong::Block);
                    }
                    self.table.resize(most);
                    block = rest;
                    continue;
                }
                _ => (4, false),
            };
            begun = true;
            let name;
            (name, block) = self.name(block, bits)?;
            let (text, is_coded, rest) = string(block)?;
            block = rest;
            let value = if is_coded {
                self.value.clear();
                if !huffman::decode(text, &mut self.value) {
                    return Err(Wrong::Block);
                }
                &self.value[..]
            } else {
                text
            };
            let mut judged = Judged::default();
            let bytes = match name {
                Where::Fixed(at) => {
                    judged.name = KNOWN[at];
                    FIELDS[at].0.as_bytes()
                }
                Where::Dynamic(back) => {
                    judged.name = self.table.judged(back).ok_or(Wrong::Block)?.name;
                    self.table.get(back).ok_or(Wrong::Block)?.0
                }
                Where::Here(name) => name,
                Where::Decoded => &self.name,
            };
            each(bytes, value, &mut judged).map_err(|Stop| Wrong::Stopped)?;
            if kept {
                let name = match name {
                    Where::Fixed(at) => Name::Bytes(FIELDS[at].0.as_bytes()),
                    Where::Dynamic(back) => Name::Of(back),
                    Where::Here(name) => Name::Bytes(name),
                    Where::Decoded => Name::Bytes(&self.name),
                };
                self.table.insert(name, value, judged);
            }
        }
        Ok(())
    }

    #[inline]
    fn indexed(
        &mut self,
        index: usize,
        each: &mut impl FnMut(&[u8], &[u8], &mut Judged) -> Result<(), Stop>,
    ) -> Result<(), Wrong> {
        let told = match index {
            0 => return Err(Wrong::Block),
            1..=61 => {
                let (name, value) = FIELDS[index - 1];
                let mut judged = Judged { name: KNOWN[index - 1], value: true };
                each(name.as_bytes(), value.as_bytes(), &mut judged)
            }
            _ => {
                let back = index - 62;
                let mut judged = *self.table.judged(back).ok_or(Wrong::Block)?;
                let before = judged;
                let (name, value) = self.table.get(back).ok_or(Wrong::Block)?;
                let told = each(name, value, &mut judged);
                if judged != before
                    && let Some(entry) = self.table.judged(back)
                {
                    *entry = judged;
                }
                told
            }
        };
        told.map_err(|Stop| Wrong::Stopped)
    }

    #[inline]
    fn name<'b>(&mut self, block: &'b [u8], bits: u32) -> Result<(Where<'b>, &'b [u8]), Wrong> {
        let (index, rest) = integer::read(block, bits).ok_or(Wrong::Block)?;
        match index {
            0 => {
                let (text, is_coded, rest) = string(rest)?;
                if !is_coded {
                    return Ok((Where::Here(text), rest));
                }
                self.name.clear();
                let good = huffman::decode(text, &mut self.name);
                if good { Ok((Where::Decoded, rest)) } else { Err(Wrong::Block) }
            }
            1..=61 => Ok((Where::Fixed(index - 1), rest)),
            _ => Ok((Where::Dynamic(index - 62), rest)),
        }
    }
}

/// A string, whether it is in Huffman's code, and what is behind it.
#[inline]
fn string(block: &[u8]) -> Result<(&[u8], bool, &[u8]), Wrong> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let (len, rest) = integer::read(block, 7).ok_or(Wrong::Block)?;
    let (text, rest) = rest.split_at_checked(len).ok_or(Wrong::Block)?;
    Ok((text, is_coded, rest))
}
