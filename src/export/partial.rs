//! What a collector says of a batch that it took: `ExportTraceServiceResponse` (OTLP 1.x, "Partial
//! Success"): how many spans it refused all the same, and why.

/// Characters of its words that are told.
const TOLD: usize = 200;

/// A batch of which a part was not taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Partial {
    /// `rejected_spans`
    pub(super) rejected: u64,
    /// `error_message`
    pub(super) why: String,
}

/// A message, field by field (protobuf encoding).
struct Fields<'a>(&'a [u8]);

/// What a field says.
enum Said<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a kind that no field has which we know.
    Other,
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(first)
    }

    fn next(&mut self) -> Option<(u64, Said<'a>)> {
        let key = self.varint()?;
        let said = match key & 7 {
            0 => Said::Number(self.varint()?),
            1 => self.bytes(8).map(|_| Said::Other)?,
            2 => {
                let count = usize::try_from(self.varint()?).ok()?;
                Said::Bytes(self.bytes(count)?)
            }
            5 => self.bytes(4).map(|_| Said::Other)?,
            _ => return None,
        };
        Some((key >> 3, said))
    }
}

impl Partial {
    /// Reads an answer; what cannot be understood says nothing.
    pub(super) fn of(answer: &[u8]) -> Self {
        let mut partial = Self::default();
        let mut outer = Fields(answer);
        while let Some((field, said)) = outer.next() {
            let (1, Said::Bytes(inner)) = (field, said) else { continue };
            let mut inner = Fields(inner);
            while let Some((field, said)) = inner.next() {
                match (field, said) {
                    // An int64; less than none is none.
                    (1, Said::Number(n)) => {
                        partial.rejected = u64::try_from(n.cast_signed()).unwrap_or(0);
                    }
                    (2, Said::Bytes(why)) => {
                        partial.why = String::from_utf8_lossy(why).chars().take(TOLD).collect();
                    }
                    _ => {}
                }
            }
        }
        partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_nonsense_says_nothing() {
        let of = |bytes: &[u8]| {
            let Partial { rejected, why } = Partial::of(bytes);
            (rejected, why)
        };
        assert_eq!(of(b""), (0, String::new()));
        assert_eq!(of(b"\x0a\x06\x08\x07\x12\x02no"), (7, "no".into()));
        assert_eq!(of(b"\x0a\x03\x08\xac\x02"), (300, String::new()));
        // Fields that are not known, of every kind, before and within.
        assert_eq!(of(b"\x11abcdefgh\x1dabcd\x0a\x04\x18\x01\x08\x02").0, 2);
        let below = b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        for none in [&b"{}"[..], b"\x0a\xff", b"\x0a\x02\x08", &[0xff; 40], below] {
            assert_eq!(of(none).0, 0, "{none:?}");
        }
    }
}
