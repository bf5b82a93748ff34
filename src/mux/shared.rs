//! What the task of a connection and those of its streams share.
use super::stream::Stream;
use crate::http1::HeadLimits;
use crate::http2::Code;
use crate::http2::Request;
use crate::http2::conn::{Core, Fault, Limits, Side};
use crate::http2::hpack::Encoder;
use crate::message::Method;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

/// A connection, shared by its own task and those of its streams.
#[derive(Clone, Debug)]
pub struct Mux(Arc<Mutex<State>>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    /// Of each stream's task.
    wakers: Vec<Option<Waker>>,
    /// Of the connection's task.
    task: Option<Waker>,
    /// It was woken, and did not run since.
    woken: bool,
    /// Bytes that came.
    pub(super) seen: u64,
}

impl State {
    /// Wakes whom there is news for: the streams, and the connection's task when there is something
    /// to be sent or nothing left to be done.
    pub(super) fn settle(&mut self) {
        self.tell();
        if !self.woken && (!self.core.out().data().is_empty() || self.core.is_over()) {
            self.woken = true;
            if let Some(task) = &self.task {
                task.wake_by_ref();
            }
        }
    }

    /// Wakes the streams that there is news for.
    pub(super) fn tell(&mut self) {
        while let Some(key) = self.core.news() {
            if let Some(Some(waker)) = self.wakers.get(key as usize) {
                waker.wake_by_ref();
            }
        }
    }

    /// The connection's task runs; whether it is another one than before.
    pub(super) fn runs(&mut self, cx: &Context<'_>) -> bool {
        self.woken = false;
        let other = !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker()));
        if other {
            self.task = Some(cx.waker().clone());
        }
        other
    }

    /// A stream's task wants to hear of it.
    #[inline]
    pub(super) fn listen(&mut self, key: u32, cx: &Context<'_>) {
        let key = key as usize;
        if self.wakers.len() <= key {
            self.wakers.resize(key + 1, None);
        }
        let waker = &mut self.wakers[key];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Nobody has a stream any more.
    pub(super) fn release(&mut self, key: u32) -> Option<Waker> {
        self.core.release(key);
        self.wakers.get_mut(key as usize).and_then(Option::take)
    }
}

impl Mux {
    /// A connection that begins.
    pub fn new(side: Side, limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(State {
            core: Core::new(side, limits, fastrand::u64(..), Instant::now()),
            wakers: Vec::new(),
            task: None,
            woken: false,
            seen: 0,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// The next request that came.
    pub fn asked(&self) -> Option<(Stream, Request)> {
        let mut state = self.lock();
        let (key, request) = state.core.asked()?;
        drop(state);
        Some((Stream::new(self.clone(), key), request))
    }

    /// Begins a request, and says how many bytes have come so far; `None` where none may be begun.
    /// `end`: nothing follows its head.
    pub fn open(
        &self,
        method: Method,
        limits: HeadLimits,
        end: bool,
        head: impl FnOnce(&mut Encoder),
    ) -> Option<(Stream, u64)> {
        let mut state = self.lock();
        let key = state.core.open(method, limits, end, head)?;
        state.settle();
        let seen = state.seen;
        drop(state);
        Some((Stream::new(self.clone(), key), seen))
    }

    /// Whether requests may be begun, and how many at once.
    pub fn takes(&self) -> Option<usize> {
        let state = self.lock();
        let most = if state.core.is_stuffed() { 0 } else { state.core.most_streams() };
        state.core.takes_requests().then_some(most)
    }

    /// Of a peer that went away before all requests that were begun: those that it served.
    pub fn served(&self) -> Option<usize> {
        self.lock().core.served()
    }

    /// Takes no more requests, or begins none: it ends with the last that is under way.
    pub fn leave(&self) {
        let mut state = self.lock();
        state.core.leave();
        state.settle();
    }

    /// Waits no longer to hear that the peer knows of it: see [`Core::depart`].
    pub fn depart(&self) {
        let mut state = self.lock();
        state.core.depart();
        state.settle();
    }

    /// Gives back what is kept for further streams; to be called now and then.
    pub fn rest(&self) {
        let mut state = self.lock();
        if state.core.rest() {
            state.wakers = Vec::new();
        }
    }

    /// Ends all that is under way.
    pub fn end(&self) {
        let mut state = self.lock();
        state.core.end();
        state.settle();
    }

    /// Asks whether the peer is there.
    pub fn ping(&self) {
        let mut state = self.lock();
        state.core.ping();
        state.settle();
    }

    /// Codes that the peer was told, of what it did wrong.
    pub fn told(&self, mut each: impl FnMut(Code)) {
        let mut state = self.lock();
        while let Some(code) = state.core.told() {
            each(code);
        }
    }

    /// Why it was ended by us.
    pub fn fault(&self) -> Option<Fault> {
        self.lock().core.fault()
    }

    /// Whether the peer has begun as it should.
    pub fn has_begun(&self) -> bool {
        self.lock().core.has_begun()
    }

    /// Whether the peer has said what it allows.
    pub fn is_agreed(&self) -> bool {
        self.lock().core.is_agreed()
    }

    /// Bytes that came so far.
    pub fn seen(&self) -> u64 {
        self.lock().seen
    }
}
