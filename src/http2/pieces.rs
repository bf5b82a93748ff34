//! Pieces of a body that came and wait for whoever takes them.
use bytes::{Bytes, BytesMut};
use h2::{Error, RecvStream};
use std::collections::VecDeque;
use std::task::{Context, Poll};

/// Smaller ones are copied together. The library counts what each waiting frame costs besides its
/// bytes, from 256 of them down, and ends a connection that has too many waiting; windows bound bytes
/// alone.
const SMALL: usize = 1024;

/// Pieces that wait. Nothing of them is given back to the sender's windows, which so bound them.
#[derive(Debug, Default)]
pub struct Pieces {
    whole: VecDeque<Bytes>,
    small: BytesMut,
    broken: Option<Error>,
}

impl Pieces {
    /// Whether nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.small.is_empty() && self.broken.is_none()
    }

    /// Takes all that came from the library. Whoever asks is woken when more comes.
    pub fn gather(&mut self, body: &mut RecvStream, cx: &mut Context<'_>) {
        while self.broken.is_none() {
            match body.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) => self.push(piece),
                Poll::Ready(Some(Err(error))) => self.broken = Some(error),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    /// The next piece, as [`RecvStream::poll_data`] has it; small ones that came together are one.
    pub fn poll_next(
        &mut self,
        body: &mut RecvStream,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        if self.is_empty() {
            self.gather(body, cx);
        }
        match self.pop() {
            Some(piece) => Poll::Ready(Some(piece)),
            None => body.poll_data(cx),
        }
    }

    fn push(&mut self, piece: Bytes) {
        if piece.len() < SMALL {
            self.small.extend_from_slice(&piece);
            return;
        }
        if !self.small.is_empty() {
            self.whole.push_back(self.small.split().freeze());
        }
        self.whole.push_back(piece);
    }

    fn pop(&mut self) -> Option<Result<Bytes, Error>> {
        if let Some(piece) = self.whole.pop_front() {
            return Some(Ok(piece));
        }
        if !self.small.is_empty() {
            // Not split: its memory goes with it.
            return Some(Ok(std::mem::take(&mut self.small).freeze()));
        }
        self.broken.take().map(Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ones_are_drawn_together_and_the_order_stays() {
        let mut pieces = Pieces::default();
        assert!(pieces.is_empty());
        let large = |byte| Bytes::from(vec![byte; SMALL]);
        for piece in ["a", "b", "", "c"] {
            pieces.push(Bytes::from_static(piece.as_bytes()));
        }
        pieces.push(large(b'd'));
        pieces.push(large(b'e'));
        pieces.push(Bytes::from_static(b"f"));
        pieces.push(Bytes::from_static(b"g"));
        pieces.broken = Some(h2::Reason::CANCEL.into());
        let mut all = Vec::new();
        let error = loop {
            match pieces.pop() {
                Some(Ok(piece)) => all.push(piece),
                Some(Err(error)) => break error,
                None => panic!("it broke"),
            }
        };
        let (d, e) = (large(b'd'), large(b'e'));
        assert_eq!(all, [Bytes::from_static(b"abc"), d, e, Bytes::from_static(b"fg")]);
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
        assert!(pieces.is_empty() && pieces.pop().is_none());
    }
}
