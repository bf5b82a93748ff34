//! Where the records of TLS begin and end in what comes (RFC 8446 5.1), to know how much of one that
//! is not complete waits for the rest.

/// Bytes before a record's own: type, version, length.
const HEAD: usize = 5;

/// Bytes that came, cut into records.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Bytes of the last record, while it is not complete.
    came: usize,
    /// The length it announces, as far as that came.
    length: [u8; 2],
    /// Bytes of all records.
    all: usize,
}

impl Records {
    /// Bytes of a record that is not complete.
    pub(super) fn unfinished(&self) -> usize {
        self.came
    }

    /// Bytes of all records, complete or not.
    pub(super) fn all(&self) -> usize {
        self.all
    }

    /// Follows what came.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        self.all = self.all.wrapping_add(bytes.len());
        while let Some(first) = bytes.first() {
            let n = match self.came {
                at if at < HEAD => {
                    if let Some(slot) = at.checked_sub(3).and_then(|at| self.length.get_mut(at)) {
                        *slot = *first;
                    }
                    1
                }
                came => bytes.len().min(self.whole() - came),
            };
            self.came += n;
            bytes = &bytes[n..];
            if self.came >= HEAD && self.came == self.whole() {
                self.came = 0;
            }
        }
    }

    fn whole(&self) -> usize {
        HEAD + usize::from(u16::from_be_bytes(self.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_complete_is_known_however_it_comes() {
        let record = |n: u16| {
            let mut record = vec![23, 3, 3];
            record.extend(n.to_be_bytes());
            record.resize(HEAD + usize::from(n), 7);
            record
        };
        let all = [record(3), record(0), record(16_384), record(1)].concat();
        let ends = [8, 13, 13 + 5 + 16_384, 13 + 5 + 16_384 + 6];
        for step in [1, 2, 3, 7, 4096, all.len()] {
            let (mut records, mut at) = (Records::default(), 0);
            for piece in all.chunks(step) {
                records.pass(piece);
                at += piece.len();
                let begun = ends.iter().rev().find(|end| **end <= at).unwrap_or(&0);
                assert_eq!(records.unfinished(), at - begun, "{at} by {step}");
            }
        }
    }
}
