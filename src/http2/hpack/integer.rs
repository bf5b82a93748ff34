//! Whole numbers (RFC 7541 5.1).

/// Reads a number of which the first byte has `bits`; the number, and the bytes behind it. `None`
/// where it is cut off, or above 2^28: nothing here is so large.
#[inline]
pub(super) fn read(bytes: &[u8], bits: u32) -> Option<(usize, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let most = (1usize << bits) - 1;
    let mut number = usize::from(*first) & most;
    if number < most {
        return Some((number, rest));
    }
    for shift in [0, 7, 14, 21] {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number, rest));
        }
    }
    None
}

/// Writes a number; `first` has what stands before its bits.
#[inline]
pub(super) fn write(number: usize, bits: u32, first: u8, out: &mut Vec<u8>) {
    let most = (1usize << bits) - 1;
    if number < most {
        return out.push(first | number as u8);
    }
    write_long(number, most, first, out);
}

fn write_long(number: usize, most: usize, first: u8, out: &mut Vec<u8>) {
    out.push(first | most as u8);
    let mut left = number - most;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}
