//! Eight bytes judged, or written, at once, as one word.

/// A word of eight ones: times a byte it is that byte eight times.
pub(crate) const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
pub(crate) const HIGH: u64 = 0x80 * ONES;

/// Looks at bytes in words of eight, of which the last one overlaps; `false` where they are fewer.
#[inline]
pub(crate) fn all_words(bytes: &[u8], is: impl Fn(u64) -> bool) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else { return false };
    let words = bytes.as_chunks::<8>().0;
    words.iter().chain([last]).all(|word| is(u64::from_le_bytes(*word)))
}

/// Eight digits at once: a nibble to each byte, then `0` or `a - 10` is added to all.
#[inline]
pub(crate) fn hex(number: u32) -> [u8; 8] {
    let x = u64::from(number);
    let x = (x << 16 | x) & 0x0000_ffff_0000_ffff;
    let x = (x << 8 | x) & 0x00ff_00ff_00ff_00ff;
    let x = (x << 4 | x) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (x + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (x + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_what_the_standard_library_writes() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..1000 {
            let number = random.u32(..);
            assert_eq!(hex(number), format!("{number:08x}").as_bytes());
        }
    }
}
