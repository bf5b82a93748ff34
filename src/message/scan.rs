//! Searches of the short stretches heads are made of, sixteen bytes at a time. Where they are
//! longer than a few dozen bytes, `memchr` is faster.
use wide::u8x16;

/// Whether the first `len` bytes are letters and dashes, as most names are. `false` where that is not
/// known at a glance.
#[inline]
pub(crate) fn is_plain_name(bytes: &[u8], len: usize) -> bool {
    let all = |block: &[u8; 16]| {
        let block = u8x16::new(*block);
        let letter = (block | u8x16::splat(0x20)) - u8x16::splat(b'a');
        let is_letter = letter.min(u8x16::splat(b'z' - b'a')).simd_eq(letter);
        (is_letter | block.simd_eq(u8x16::splat(b'-'))).to_bitmask()
    };
    match (len, bytes.first_chunk::<16>()) {
        (1..16, Some(block)) => !all(block) & ((1 << len) - 1) == 0,
        (16..=32, Some(block)) => {
            let last = bytes[..len].last_chunk::<16>();
            all(block) == 0xffff && last.is_some_and(|last| all(last) == 0xffff)
        }
        _ => false,
    }
}

/// Whether these are letters, digits, dashes and dots, as nearly every name of a host is. `false`
/// where that is not known at a glance.
#[inline]
pub(crate) fn is_plain_host(bytes: &[u8]) -> bool {
    let all = |block: [u8; 16]| {
        let block = u8x16::new(block);
        let letter = (block | u8x16::splat(0x20)) - u8x16::splat(b'a');
        let other = block - u8x16::splat(b'-');
        let is_letter = letter.min(u8x16::splat(b'z' - b'a')).simd_eq(letter);
        // From the dash to the nine there is one that is neither.
        let is_other = other.min(u8x16::splat(b'9' - b'-')).simd_eq(other);
        let is_slash = block.simd_eq(u8x16::splat(b'/'));
        ((is_letter | is_other) & !is_slash).to_bitmask() == 0xffff
    };
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) if bytes.len() <= 16 => {
            let mut block = [0; 16];
            block[..8].copy_from_slice(first);
            block[8..].copy_from_slice(last);
            all(block)
        }
        _ => match (bytes.first_chunk::<16>(), bytes.last_chunk::<16>()) {
            (Some(first), Some(last)) if bytes.len() <= 32 => all(*first) && all(*last),
            _ => false,
        },
    }
}

/// Where a byte stands first.
#[inline]
pub(crate) fn byte_at(bytes: &[u8], wanted: u8) -> Option<usize> {
    let all = u8x16::splat(wanted);
    first(bytes, |block| block.simd_eq(all), |byte| byte == wanted)
}

/// Where the first byte at or after `at` is that may not stand in a field value: a control other
/// than the tab (RFC 9110 5.5). The end if there is none.
#[inline]
pub(crate) fn control_at(bytes: &[u8], mut at: usize) -> usize {
    let (below, del) = (u8x16::splat(0x1f), u8x16::splat(0x7f));
    let is_control = |block: u8x16| block.min(below).simd_eq(block) | block.simd_eq(del);
    while let Some(found) = first(&bytes[at..], is_control, |byte| byte < 0x20 || byte == 0x7f) {
        at += found;
        if bytes[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

#[inline]
fn first(
    bytes: &[u8],
    in_block: impl Fn(u8x16) -> u8x16,
    is: impl Fn(u8) -> bool,
) -> Option<usize> {
    let mut at = 0;
    while let Some(block) = bytes[at..].first_chunk::<16>() {
        let found = in_block(u8x16::new(*block)).to_bitmask();
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += 16;
    }
    bytes[at..].iter().position(|byte| is(*byte)).map(|found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_found_at_every_place() {
        for len in 0..50 {
            for at in 0..len {
                for b in 0..=255u8 {
                    let mut text = vec![if b == b'a' { b'b' } else { b'a' }; len];
                    text[at] = b;
                    assert_eq!(byte_at(&text, b), Some(at), "{b:#x} at {at} of {len}");
                    let ok = b == b'\t' || (b >= 0x20 && b != 0x7f);
                    assert_eq!(control_at(&text, 0), if ok { len } else { at }, "{b:#x} at {at}");
                }
            }
            assert_eq!(byte_at(&vec![b'a'; len], b'b'), None);
        }
    }

    #[test]
    fn a_plain_name_is_letters_and_dashes() {
        for len in 0..40 {
            for behind in [0, 1, 16] {
                let mut text = b"Sec-WebSocket-Extensions-and-even-longer-ones".to_vec();
                text.truncate(len);
                text.extend(vec![b':'; behind]);
                let known = (1..=32).contains(&len) && text.len() >= 16;
                assert_eq!(is_plain_name(&text, len), known, "{len}, {behind} behind");
                for at in 0..len {
                    for b in 0..=255u8 {
                        let before = std::mem::replace(&mut text[at], b);
                        let plain = b.is_ascii_alphabetic() || b == b'-';
                        assert_eq!(is_plain_name(&text, len), known && plain, "{b:#x} at {at}");
                        text[at] = before;
                    }
                }
            }
        }
    }

    #[test]
    fn a_plain_host_is_letters_digits_dashes_and_dots() {
        for len in 0..40 {
            let mut text = b"Very-long.example.internal.9-and-more.org".to_vec();
            text.truncate(len);
            let known = (8..=32).contains(&len);
            assert_eq!(is_plain_host(&text), known, "{len}");
            for at in 0..len {
                for b in 0..=255u8 {
                    let before = std::mem::replace(&mut text[at], b);
                    let plain = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
                    assert_eq!(is_plain_host(&text), known && plain, "{b:#x} at {at} of {len}");
                    text[at] = before;
                }
            }
        }
    }

    #[test]
    fn the_search_begins_where_it_is_told_and_finds_the_first() {
        let text = b"\x01\t\x02 and more than sixteen bytes\t\x7f\x00";
        assert_eq!((control_at(text, 0), control_at(text, 1)), (0, 2));
        let del = text.iter().position(|b| *b == 0x7f).unwrap();
        assert_eq!((control_at(text, 3), control_at(text, text.len())), (del, text.len()));
        assert_eq!(byte_at(b"a:b:c and more, much more: x", b':'), Some(1));
    }
}
