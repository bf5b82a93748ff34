//! Text that somebody else gave, so that it is harmless in a line.
use crate::message::{HIGH, ONES};
use std::borrow::Cow;

/// Whether a space may stand in a field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Kept,
    Escaped,
}

/// Whether all are visible ASCII that needs no escape. Eight are judged at a time, the last of them
/// again where they are no multiple.
fn is_harmless(bytes: &[u8]) -> bool {
    // The highest bit of each byte that is harmless. A byte that has it reaches into the next one by
    // its sums, but then its own bit is missing.
    let judge = |word: u64| {
        let seen = word.wrapping_add((0x80 - 0x21) * ONES) & !word.wrapping_add(ONES);
        let other_than = |byte: u8| (word ^ (u64::from(byte) * ONES)).wrapping_add(0x7f * ONES);
        !word & seen & other_than(b'"') & other_than(b'\\')
    };
    let harmless = match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(last), _) => {
            let words = bytes.as_chunks::<8>().0;
            let all = words.iter().fold(HIGH, |all, word| all & judge(u64::from_le_bytes(*word)));
            all & judge(u64::from_le_bytes(*last))
        }
        (None, Some(first)) => {
            let last = bytes.last_chunk::<4>().unwrap_or(first);
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            judge(u64::from(first) | u64::from(last) << 32)
        }
        // No byte that is missing does harm.
        (None, None) => bytes.iter().fold(HIGH, |all, byte| all & judge(u64::from(*byte) * ONES)),
    };
    harmless & HIGH == HIGH
}

/// Writes text so that it is harmless on a terminal and valid inside a JSON string: quotes and
/// backslashes are escaped, control characters and what turns the direction of writing become
/// `\u00xx`. Bytes that are no UTF-8 become `\u00xx`, too, one for each byte.
pub(super) fn escape(bytes: &[u8], space: Space, out: &mut Vec<u8>) {
    // Nearly always none is.
    if is_harmless(bytes) {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend([b'\\', c as u8]),
                ' ' if space == Space::Kept => out.push(b' '),
                c if c == ' ' || is_unseen(c) => code(u32::from(c), out),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|b| code(u32::from(*b), out));
    }
}

/// `\u00xx`; no number is above 0xffff.
fn code(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(b"0123456789abcdef"[(number >> shift & 15) as usize]);
    }
}

/// Text without what is not seen or turns the direction of writing: `\u202e` in its place, which in JSON
/// means the same. What our own log, the events and the API say goes through here; line ends and
/// colours of our own stay where `is_kept` says so.
pub(crate) fn seen(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let odd = |c: char| is_unseen(c) && !is_kept(c);
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    for c in text.chars() {
        match odd(c) {
            true => code(u32::from(c), &mut out),
            false => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    String::from_utf8(out).unwrap_or_default().into()
}

/// Bytes as text: as they are where they are UTF-8, else each as the character of its number.
pub(super) fn readable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
    }
    out
}

/// Control characters, line ends of Unicode, marks of direction and what has no width; none is above
/// U+FFFF.
pub fn is_unseen(c: char) -> bool {
    let format =
        matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
    c.is_control()
        || format
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What must be escaped is found wherever it stands, however long the text is.
    #[test]
    fn a_byte_that_does_harm_is_found_at_every_place() {
        for byte in 0..=u8::MAX {
            let harmless = byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
            for len in 1..40 {
                for at in 0..len {
                    let mut text = vec![b'~'; len];
                    text[at] = byte;
                    assert_eq!(is_harmless(&text), harmless, "{byte} at {at} of {len}");
                }
            }
        }
        assert!(is_harmless(b""));
    }
}
