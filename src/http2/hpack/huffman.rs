//! Huffman's code of RFC 7541 B. It is canonical: the lengths say all of it.

/// Bits of each byte's code, and of the end's.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// So many bits are looked up at once: the codes of nearly all that heads are made of.
const FAST: u32 = 10;
const LONGEST: usize = 30;
/// What is no byte.
const END: u16 = 256;

struct Code {
    /// Of each symbol.
    codes: [u32; 257],
    /// Symbols, those with the shortest codes first.
    sorted: [u16; 257],
    /// By length: the first code, the number of codes, and where the first one's symbol is in `sorted`.
    by_length: [(u32, u32, u32); LONGEST + 1],
    /// By the first bits: length of the code and its symbol; 0 where the code is longer.
    fast: [u16; 1 << FAST],
}

static CODE: Code = {
    let mut code = Code {
        codes: [0; 257],
        sorted: [0; 257],
        by_length: [(0, 0, 0); LONGEST + 1],
        fast: [0; 1 << FAST],
    };
    let (mut next, mut at, mut len) = (0u32, 0, 1);
    while len <= LONGEST {
        next <<= 1;
        let (first, from) = (next, at);
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == len {
                code.codes[symbol] = next;
                code.sorted[at] = symbol as u16;
                let mut rest = 0;
                while len <= FAST as usize && rest < 1 << (FAST - len as u32) {
                    let all = (next << (FAST - len as u32)) + rest;
                    code.fast[all as usize] = (len as u16) << 8 | symbol as u16;
                    rest += 1;
                }
                next += 1;
                at += 1;
            }
            symbol += 1;
        }
        code.by_length[len] = (first, next - first, from as u32);
        len += 1;
    }
    code
};

/// Decodes behind what is in `out`; `false` for what is no code: the end inside, a filling that is
/// too long or not of ones.
pub(super) fn decode(mut bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.reserve(bytes.len() * 2);
    // The next bits, at the top, and how many they are.
    let (mut bits, mut have) = (0u64, 0u32);
    loop {
        if have <= 32 {
            if let Some((four, rest)) = bytes.split_first_chunk::<4>() {
                bits |= u64::from(u32::from_be_bytes(*four)) << (32 - have);
                (have, bytes) = (have + 32, rest);
            } else {
                for byte in bytes {
                    bits |= u64::from(*byte) << (56 - have);
                    have += 8;
                }
                bytes = &[];
            }
        }
        let fast = CODE.fast[(bits >> (64 - FAST)) as usize];
        let mut len = u32::from(fast >> 8);
        let mut symbol = fast & 0xff;
        if len == 0 {
            (len, symbol) = long((bits >> 32) as u32);
        }
        if len > have {
            // Less than a byte of ones fills the last one up.
            return have < 8 && bits >> (64 - 8) == u64::from(!(0xffu8 >> have));
        }
        if symbol == END {
            return false;
        }
        out.push(symbol as u8);
        bits <<= len;
        have -= len;
    }
}

/// A code that is not looked up.
#[cold]
fn long(bits: u32) -> (u32, u16) {
    for len in FAST + 1..=LONGEST as u32 {
        let (first, count, from) = CODE.by_length[len as usize];
        let behind = (bits >> (32 - len)).wrapping_sub(first);
        if behind < count {
            return (len, CODE.sorted[(from + behind) as usize]);
        }
    }
    (LONGEST as u32, END)
}

/// How long these bytes are in code.
pub(super) fn len(bytes: &[u8]) -> usize {
    let bits: usize = bytes.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Encodes behind what is in `out`.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0u64, 0u32);
    for byte in bytes {
        let len = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << len | u64::from(CODE.codes[usize::from(*byte)]);
        have += len;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | 0xff >> have);
    }
}
