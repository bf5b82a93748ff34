//! A stream in the hands of its task.
use super::shared::Mux;
use crate::http2::Code;
use crate::http2::conn::{Broken, Came};
use crate::http2::hpack::Encoder;
use crate::message::{Fields, Head};
use std::task::{Context, Poll};

/// The stream is over: the peer has reset it, or its connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

fn gone(sent: bool) -> Result<(), Gone> {
    if sent { Ok(()) } else { Err(Gone) }
}

/// A stream; whoever drops it before it is over resets it. All is for one task.
#[derive(Debug)]
pub struct Stream {
    mux: Mux,
    key: u32,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.mux.lock();
        let waker = state.release(self.key);
        state.settle();
        // What a waker drops must not meet the lock.
        drop(state);
        drop(waker);
    }
}

impl Stream {
    pub(super) fn new(mux: Mux, key: u32) -> Self {
        Self { mux, key }
    }

    /// The next head that comes.
    ///
    /// # Errors
    ///
    /// [`Broken`]
    pub fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        let mut state = self.mux.lock();
        if let Some(head) = state.core.take_head(self.key)? {
            return Poll::Ready(Ok(head));
        }
        state.listen(self.key, cx);
        Poll::Pending
    }

    /// Bytes of the body that came; `into` is empty and lends its memory.
    ///
    /// # Errors
    ///
    /// [`Broken`]
    pub fn poll_data(
        &self,
        cx: &mut Context<'_>,
        into: &mut Vec<u8>,
    ) -> Poll<Result<Came, Broken>> {
        let mut state = self.mux.lock();
        match state.core.take_data(self.key, into)? {
            Came::Nothing => {
                state.listen(self.key, cx);
                Poll::Pending
            }
            came => Poll::Ready(Ok(came)),
        }
    }

    /// Whether all that follows what was taken is there, and is nothing.
    pub fn is_last(&self) -> bool {
        self.mux.lock().core.is_last(self.key)
    }

    /// The trailers that came.
    pub fn take_trailers(&self) -> Option<Fields> {
        self.mux.lock().core.take_trailers(self.key)
    }

    /// So many bytes that were taken are gone; `open`: the peer may send so many again.
    pub fn used(&self, n: usize, open: usize) {
        let mut state = self.mux.lock();
        state.core.used(self.key, n);
        if open > 0 {
            state.core.open_window(self.key, open);
            state.settle();
        }
    }

    /// Passes an interim answer on. One that comes too late goes nowhere.
    pub fn interim(&self, head: impl FnOnce(&mut Encoder)) {
        let mut state = self.mux.lock();
        state.core.interim(self.key, head);
        state.settle();
    }

    /// Ready when a head, or trailers, may go to what waits to be sent.
    pub fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.mux.lock();
        let turn = state.core.turn(self.key);
        if !turn {
            state.listen(self.key, cx);
        }
        // Who is next may have to hear of it.
        state.tell();
        if turn { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Sends the head; `end`: nothing follows.
    ///
    /// # Errors
    ///
    /// [`Gone`]
    pub fn respond(&self, end: bool, head: impl FnOnce(&mut Encoder)) -> Result<(), Gone> {
        let mut state = self.mux.lock();
        let sent = state.core.head(self.key, end, head);
        state.settle();
        gone(sent)
    }

    /// Ready when so many bytes, or fewer, may be sent at once: as far as the peer's windows go, and
    /// what may wait to be sent.
    ///
    /// # Errors
    ///
    /// [`Gone`]
    pub fn poll_room(&self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Gone>> {
        let mut state = self.mux.lock();
        match state.core.room(self.key, wanted) {
            None => Poll::Ready(Err(Gone)),
            Some(0) => {
                state.listen(self.key, cx);
                state.settle();
                Poll::Pending
            }
            Some(room) => Poll::Ready(Ok(room)),
        }
    }

    /// Sends a part of the body for which there is room, or a short one that is to wait for it.
    ///
    /// # Errors
    ///
    /// [`Gone`]
    pub fn send(&self, data: &[u8], end: bool) -> Result<(), Gone> {
        let mut state = self.mux.lock();
        let sent = state.core.send(self.key, data, end);
        state.settle();
        gone(sent)
    }

    /// Sends those trailers that may go on, which end the stream.
    ///
    /// # Errors
    ///
    /// [`Gone`]
    pub fn trailers(&self, trailers: &Fields) -> Result<(), Gone> {
        let mut state = self.mux.lock();
        let sent = state.core.trailers(self.key, trailers);
        state.settle();
        gone(sent)
    }

    /// Ends the stream in a way that nobody takes for an end.
    pub fn reset(&self, code: Code) {
        let mut state = self.mux.lock();
        state.core.reset(self.key, code);
        state.settle();
    }

    /// Why it ended before its time.
    pub fn broken(&self) -> Option<Broken> {
        self.mux.lock().core.broken(self.key)
    }

    /// Ready when the stream was reset, or its connection is gone.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.mux.lock();
        if state.core.broken(self.key).is_some() {
            return Poll::Ready(());
        }
        state.listen(self.key, cx);
        Poll::Pending
    }
}
