//! Eight bytes judged at once, as one word.

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
