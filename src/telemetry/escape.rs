//! Text that somebody else gave, so that it is harmless in a line.
use super::room::Line;
use crate::config::Marks;
use crate::message::{HIGH, ONES, hex};
use std::borrow::Cow;

/// Whether a space may stand in a field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Kept,
    Escaped,
}

/// Whether all bytes of a word are visible ASCII that needs no escape. The few below the quote are not
/// told from it: they are looked at one by one.
#[inline(always)]
fn is_harmless(word: u64) -> bool {
    // The highest bit of a byte says so; one that is no ASCII reaches into the next one by its sums, but
    // then its own bit is missing.
    let beyond_quote = word.wrapping_add((0x80 - 0x23) * ONES);
    let no_backslash = (word ^ (u64::from(b'\\') * ONES)).wrapping_add(0x7f * ONES);
    let too_high = word | word.wrapping_add(ONES);
    beyond_quote & no_backslash & !too_high & HIGH == HIGH
}

/// Copies text to where it has room, eight bytes at a time, the last of them again where they are no
/// multiple. Says whether it was all harmless: else what is there means nothing.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8]) -> bool {
    let (mut rest, mut to_rest) = (from, &mut *to);
    while let (Some((word, more)), Some((to_word, to_more))) =
        (rest.split_first_chunk(), to_rest.split_first_chunk_mut())
    {
        *to_word = *word;
        if !is_harmless(u64::from_le_bytes(*word)) {
            return false;
        }
        (rest, to_rest) = (more, to_more);
    }
    if rest.is_empty() {
        return true;
    }
    if let (Some(last), Some(to_last)) = (from.last_chunk(), to.last_chunk_mut()) {
        *to_last = *last;
        return is_harmless(u64::from_le_bytes(*last));
    }
    let mut word = u64::from(b'a') * ONES;
    for (byte, to) in from.iter().zip(to) {
        *to = *byte;
        word = word << 8 | u64::from(*byte);
    }
    is_harmless(word)
}

/// Writes text so that it is harmless on a terminal and valid inside a JSON string: quotes and
/// backslashes are escaped, control characters and what turns the direction of writing become
/// `\u00xx`. Bytes that are no UTF-8 become `\u00xx`, too, one for each byte.
#[inline(always)]
pub(super) fn escape(bytes: &[u8], space: Space, line: &mut Line<'_>) {
    if !line.put_if(bytes, copy) {
        escaped(bytes, space, Marks::default(), line);
    }
}

/// As [`escape`] without a space, and without any of these marks.
pub(super) fn escape_marks(bytes: &[u8], marks: Marks, line: &mut Line<'_>) {
    match bytes.iter().any(|byte| marks.has(*byte)) {
        true => escaped(bytes, Space::Escaped, marks, line),
        false => escape(bytes, Space::Escaped, line),
    }
}

/// No byte becomes more than so many.
pub(super) const LONGEST: usize = 6;

#[cold]
fn escaped(bytes: &[u8], space: Space, marks: Marks, line: &mut Line<'_>) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                // Not even behind a backslash: who takes a line apart by it need not know of that.
                '"' if marks.has(b'"') => line.put(&code(u32::from(c))),
                '"' | '\\' => line.put(&[b'\\', c as u8]),
                ' ' if space == Space::Kept => line.put(b" "),
                c if c == ' ' || is_unseen(c) || (c.is_ascii() && marks.has(c as u8)) => {
                    line.put(&code(u32::from(c)))
                }
                c => line.put(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|b| line.put(&code(u32::from(*b))));
    }
}

/// `\u00xx`; no number is above 0xffff.
fn code(number: u32) -> [u8; 6] {
    let [.., a, b, c, d] = hex(number);
    [b'\\', b'u', a, b, c, d]
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
            true => out.extend_from_slice(&code(u32::from(c))),
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

/// What leaves no mark of its own on a screen, so that two names would look alike: what is not seen, what Unicode
/// lets a program ignore (`Default_Ignorable_Code_Point`), and blanks that are no plain space.
pub fn is_markless(c: char) -> bool {
    let ignored = matches!(
        c,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
    ) || matches!(c, '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}')
        || matches!(c, '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
    // Braille without a dot is one.
    let is_blank = c == '\u{2800}' || c.is_whitespace() && c != ' ';
    is_unseen(c) || ignored || is_blank
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What must be escaped is found wherever it stands, however long the text is.
    #[test]
    fn a_byte_that_does_harm_is_found_at_every_place() {
        for byte in 0..=u8::MAX {
            let harmless = (b'#'..=b'~').contains(&byte) && byte != b'\\';
            for len in 1..40 {
                for at in 0..len {
                    let mut text: Vec<u8> = (b'0'..).take(len).collect();
                    text[at] = byte;
                    let mut to = vec![0; len];
                    assert_eq!(copy(&text, &mut to), harmless, "{byte} at {at} of {len}");
                    assert!(!harmless || to == text, "{byte} at {at} of {len}");
                }
            }
        }
        assert!(copy(b"", &mut []));
    }

    #[test]
    fn what_leaves_no_mark_is_told_from_what_does() {
        for c in "\u{3164}\u{115f}\u{2800}\u{34f}\u{fe0f}\u{e0041}\u{a0}\u{3000}\u{200b}\t\u{202e}"
            .chars()
        {
            assert!(is_markless(c), "{c:?}");
        }
        assert!(!" aZ-_.ü中❤👍".contains(is_markless));
    }
}
