//! The wait for the head of an answer, while the request is written: its limits, and when a backend that
//! says nothing is left.
use super::{Exchange, Heard, Wire};
use crate::http2;
use crate::message::{Broken, Head};
use crate::net::{BEAT, Spliced, Timer};
use crate::pool::{Awaited, Lease};
use crate::upstream::error::Error;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Late {
    FirstByte,
    Idle,
    Request,
}

/// A first byte that is waited for longer than between two beats.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct Long {
    awaited: Awaited,
    /// When the backend is to be asked about next.
    at: Instant,
}

impl Exchange {
    /// The next head, with the request written meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error`]; follow with [`Exchange::fail`].
    pub fn head<'a>(
        &'a mut self,
        head: &'a mut Head,
        body: &'a mut dyn Spliced,
        timer: &'a mut Timer,
    ) -> impl Future<Output = Result<Heard, Error>> + 'a {
        let mut first = true;
        std::future::poll_fn(move |cx| self.poll_head(cx, head, body, timer, &mut first))
    }

    /// As `head`; `first` is true when it is polled for the first time.
    ///
    /// # Errors
    ///
    /// As `head`.
    #[inline(always)]
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
        body: &mut dyn Spliced,
        timer: &mut Timer,
        first: &mut bool,
    ) -> Poll<Result<Heard, Error>> {
        let polled = self.poll_heard(cx, head, body, timer, std::mem::take(first));
        if polled.is_ready() {
            timer.wait.end();
        }
        polled
    }

    #[inline(always)]
    fn poll_heard(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
        body: &mut dyn Spliced,
        timer: &mut Timer,
        first: bool,
    ) -> Poll<Result<Heard, Error>> {
        let sent = self.pump(cx, body)?;
        let (came, heard) = match &mut self.wire {
            Wire::Http1(wire) => wire.poll_head(cx, head),
            Wire::Http2(wire) => wire.poll_head(cx, head),
        };
        if came && self.first_byte.is_none() {
            self.first_byte_came();
        }
        if let Poll::Ready(heard) = heard {
            self.in_head = false;
            self.status = head.status();
            if self.call {
                self.meant = http2::meant(head);
            }
            return Poll::Ready(heard);
        }
        if !first {
            self.look(timer, body)?;
        }
        if wire!(&self.wire, it => it.is_sent()) && body.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Error::Body(Broken::Closed)));
        }
        let begins = came && !self.in_head;
        self.in_head |= came;
        if sent || begins || first {
            // The first look comes right after the beginning; one after an interim answer
            // does not.
            let fresh = first && self.first_byte.is_none();
            let now = if fresh { self.begun } else { Instant::now() };
            if sent && !first {
                (self.asked, self.long) = (now, None);
                self.lease.as_mut().into_iter().for_each(Lease::listen);
            }
            self.late = self.deadline(now);
            timer.start(now, self.late.map(|(at, _)| at));
            if first {
                let watched = self.lease().is_watched();
                timer.wait.begin(cx, &self.dialer.looks, watched);
                // Who went between its lease and this moment is news of before.
                if !self.lease().backend().is_usable() {
                    self.look(timer, body)?;
                }
            }
        }
        loop {
            ready!(timer.poll(cx));
            let now = Instant::now();
            if self.late.is_some_and(|(at, _)| at <= now) {
                return Poll::Ready(Err(self.too_late()));
            }
            timer.set(self.late.map(|(at, _)| at));
            self.look(timer, body)?;
        }
    }

    /// What one who waits is woken for: whether its backend is over, and, before a first byte,
    /// whether it is to be waited for any longer.
    #[cold]
    fn look(&mut self, timer: &mut Timer, body: &dyn Spliced) -> Result<(), Error> {
        if self.lease().is_over() {
            return Err(Error::Over);
        }
        if self.first_byte.is_some() {
            return Ok(());
        }
        self.leave(body, Instant::now())?;
        if !wire!(&self.wire, it => it.is_sent()) {
            return Ok(());
        }
        let Some(patience) = self.lease().patience() else { return Ok(()) };
        let now = Instant::now();
        let mut long = self.long.unwrap_or_else(|| Long {
            awaited: self.lease().awaited(),
            at: (self.asked + patience).max(now + BEAT),
        });
        if long.at <= now {
            self.lease().overdue(&mut long.awaited, now - self.asked, now);
            long.at = now + patience;
        }
        self.long = Some(long);
        timer.set(Some(self.late.map_or(long.at, |(late, _)| late.min(long.at))));
        self.leave(body, now)
    }

    /// Leaves a backend that gives no answer, where the request can be sent elsewhere: all of it that
    /// was sent is here. Silence may be a slow page: then it leaves only for a place that it has.
    fn leave(&mut self, body: &dyn Spliced, now: Instant) -> Result<(), Error> {
        if !self.moves || !self.has_whole(body) {
            return Ok(());
        }
        let backend = self.lease().backend();
        if backend.is_down() {
            return Err(Error::Down);
        }
        let waited = now.saturating_duration_since(self.asked);
        let told = self.long.is_some_and(|long| long.awaited.was_told());
        let leaves = backend.is_silent() || (told && self.lease().is_forlorn(waited));
        let (allowed, until) = self.allowed;
        if !leaves || until.is_some_and(|until| until <= now) {
            return Ok(());
        }
        self.next = self.lease().elsewhere(self.asks, allowed, waited, now);
        if self.next.is_some() { Err(Error::Silent) } else { Ok(()) }
    }

    /// What follows its first byte is waited for, its backend or its client: where nobody measured it,
    /// that byte came about now.
    pub fn stands(&mut self, now: Instant) {
        if self.first_byte == Some(Duration::ZERO) {
            self.first_byte = Some(now.saturating_duration_since(self.begun));
        }
    }

    fn first_byte_came(&mut self) {
        self.first_byte = Some(Duration::ZERO);
        if self.timed {
            let took = self.begun.elapsed();
            self.first_byte = Some(took);
            if let Some(lease) = &mut self.lease {
                lease.first_byte(took);
            }
        }
        let late =
            self.long.is_some_and(|long| long.awaited.was_told()).then(|| self.asked.elapsed());
        self.lease().spoke(late);
        if self.lease().is_further() {
            let (took, now) = (self.asked.elapsed(), Instant::now());
            self.lease.iter_mut().for_each(|lease| lease.compare(took, now));
        }
    }

    /// Sends what can be sent; says whether something was.
    #[inline(always)]
    fn pump(&mut self, cx: &mut Context<'_>, body: &mut dyn Spliced) -> Result<bool, Error> {
        wire!(&mut self.wire, it => it.pump(cx, body))
    }

    /// When this must go on, and what it is called if it does not.
    fn deadline(&self, now: Instant) -> Option<(Instant, Late)> {
        let (limit, late) = if wire!(&self.wire, it => it.waits()) {
            (self.pace.first_byte, Late::FirstByte)
        } else {
            (self.pace.idle, Late::Idle)
        };
        let own = limit.map(|limit| (now + limit, late));
        let all = self.pace.until.map(|until| (until, Late::Request));
        own.into_iter().chain(all).min_by_key(|(at, _)| *at)
    }

    fn too_late(&self) -> Error {
        let now = Instant::now();
        if self.pace.until.is_some_and(|until| until <= now) {
            return Error::Request;
        }
        match self.deadline(now) {
            Some((_, Late::FirstByte)) => Error::FirstByte,
            _ if wire!(&self.wire, it => it.waits_for_body()) => Error::Body(Broken::Idle),
            _ => Error::Idle,
        }
    }
}
