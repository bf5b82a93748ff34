//! What may still come for streams that we have reset (RFC 9113 5.1): it was on its way, and whoever
//! sent it has done nothing wrong, however many streams there were.
//!
//! Not which streams these are, but how much may come for all of them together: so much memory is
//! enough for any number, and work stays within what we have begun and taken back.
use super::streams::Recv;

/// Interim heads that may wait for whoever reads them, and so as many as may come late.
pub(super) const WAITING: usize = 32;

/// What may still come.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// Lists of fields.
    heads: u64,
    /// Bytes of bodies, and for each body its end.
    data: u64,
}

impl Late {
    /// A stream is reset whose peer was so far, and may send so many bytes until it hears of it.
    pub(super) fn reset(&mut self, recv: Recv, window: u64) {
        self.heads += match recv {
            // Interim ones, the final one, and trailers.
            Recv::Head => WAITING as u64 + 2,
            Recv::Body => 1,
            Recv::Ended => 0,
        };
        self.data += window + 1;
    }

    /// A head came for a stream that is gone; whether it may have been on its way.
    pub(super) fn head(&mut self) -> bool {
        take(&mut self.heads, 1)
    }

    /// A frame of a body came for such a stream.
    pub(super) fn data(&mut self, len: u32, ends: bool) -> bool {
        take(&mut self.data, u64::from(len) + u64::from(ends))
    }
}

fn take(from: &mut u64, n: u64) -> bool {
    let left = from.checked_sub(n).filter(|_| *from > 0);
    left.map(|left| *from = left).is_some()
}
