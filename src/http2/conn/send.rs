//! What goes: heads, bodies within the peer's windows, trailers, ends; and what is taken of what came.
use super::core::{Core, Leaving, Side};
use super::streams::{Broken, Recv, Sent, Stream};
use crate::http1::HeadLimits;
use crate::http2::fields;
use crate::http2::frame::{Code, Frame, PAYLOAD, STREAM, flag, kind, write_number};
use crate::http2::hpack::Encoder;
use crate::message::{Fields, Head, Method};

/// Whoever would have less room than that waits for more, unless it needs no more.
const LEAST: usize = 2 << 10;

/// What came of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Bytes.
    Data,
    /// All of it has come; there may be trailers.
    End,
    /// Nothing yet.
    Nothing,
}

impl Core {
    /// Begins a request, if one may be begun. `end`: nothing follows its head.
    pub fn open(
        &mut self,
        method: Method,
        limits: HeadLimits,
        end: bool,
        head: impl FnOnce(&mut Encoder),
    ) -> Option<u32> {
        if !self.takes_requests() || self.open >= self.most_streams() {
            return None;
        }
        let id = if self.last == 0 { 1 } else { self.last + 2 };
        self.last = id;
        let window = i64::from(self.limits.window);
        let room = self.peer.window;
        let key = self.streams.insert(id, |stream| {
            (stream.window, stream.room, stream.limits) = (window, room, limits);
            stream.bodyless = Self::is_bodyless(method);
        });
        self.open += 1;
        self.head(key, end, head);
        Some(key)
    }

    /// Sends a final head; `end`: nothing follows. `false` when the stream is over.
    pub fn head(&mut self, key: u32, end: bool, head: impl FnOnce(&mut Encoder)) -> bool {
        let Some(id) = self.sends(key, Sent::Head) else { return false };
        self.encoder.begin();
        head(&mut self.encoder);
        self.write_block(id, end);
        self.sent(key, if end { Sent::Ended } else { Sent::Body });
        true
    }

    /// Sends an interim head, if it is not too late, and the peer reads what is sent.
    pub fn interim(&mut self, key: u32, head: impl FnOnce(&mut Encoder)) {
        let Some(id) = self.sends(key, Sent::Head).filter(|_| !self.is_stuffed()) else { return };
        self.encoder.begin();
        head(&mut self.encoder);
        self.write_block(id, false);
    }

    /// The number of a stream that is so far.
    fn sends(&self, key: u32, far: Sent) -> Option<u32> {
        let stream = self.streams.get(key)?;
        (stream.broken.is_none() && stream.sent == far && !self.ended).then_some(stream.id)
    }

    fn sent(&mut self, key: u32, far: Sent) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.sent = far;
        }
        self.close(key);
    }

    fn write_block(&mut self, stream: u32, end: bool) {
        let Self { encoder, out, tally, .. } = self;
        let block = encoder.block();
        let mut kind = kind::HEADERS;
        let mut rest = block;
        loop {
            let (part, behind) = rest.split_at(rest.len().min(PAYLOAD));
            let last = if behind.is_empty() { flag::END_HEADERS } else { 0 };
            let ends = if end && kind == kind::HEADERS { flag::END_STREAM } else { 0 };
            Frame { len: part.len() as u32, kind, flags: last | ends, stream }.write(out);
            out.extend(part);
            (kind, rest) = (kind::CONTINUATION, behind);
            if rest.is_empty() {
                break;
            }
        }
        tally.went();
    }

    /// How many of so many bytes may be sent at once; 0 when none may: whoever asked hears when some
    /// may. `None` when the stream is over.
    pub fn room(&mut self, key: u32, wanted: usize) -> Option<usize> {
        self.sends(key, Sent::Body)?;
        let free = if self.turns.is_empty() { self.free() } else { 0 };
        let shared = usize::try_from(self.room).unwrap_or(0);
        let stream = self.streams.get_mut(key)?;
        let own = usize::try_from(stream.room).unwrap_or(0);
        let free = if free < wanted.min(LEAST) { 0 } else { free };
        let room = wanted.min(own).min(shared).min(free);
        if room > 0 {
            return Some(room);
        }
        if own == 0 {
            stream.waits = true;
            // Whoever is next may have what it was given.
            self.serve();
        } else if !std::mem::replace(&mut stream.queued, true) {
            self.queue.push_back(key);
        }
        Some(0)
    }

    /// Sends a part of a body for which there is room, or a short one that is to wait for it.
    /// `false` when the stream is over.
    pub fn send(&mut self, key: u32, data: &[u8], end: bool) -> bool {
        if self.sends(key, Sent::Body).is_none() {
            return false;
        }
        let shared = self.room;
        let Some(stream) = self.streams.get_mut(key) else { return false };
        if stream.rest.is_some()
            || (data.len() as i64 > stream.room.min(shared) && !data.is_empty())
        {
            stream.rest.get_or_insert_default().data.extend_from_slice(data);
            if end {
                stream.sent = Sent::Ended;
                self.flush(key);
            }
            return true;
        }
        self.write_data(key, data, end);
        if end {
            self.sent(key, Sent::Ended);
        }
        true
    }

    fn write_data(&mut self, key: u32, mut data: &[u8], end: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let id = stream.id;
        stream.room -= data.len() as i64;
        self.room -= data.len() as i64;
        loop {
            let (part, behind) = data.split_at(data.len().min(PAYLOAD));
            let flags = if end && behind.is_empty() { flag::END_STREAM } else { 0 };
            let frame = Frame { len: part.len() as u32, kind: kind::DATA, flags, stream: id };
            frame.write(&mut self.out);
            self.out.extend(part);
            self.tally.went();
            data = behind;
            if data.is_empty() {
                return;
            }
        }
    }

    /// Sends trailers, which end the stream. `false` when it is over.
    pub fn trailers(&mut self, key: u32, trailers: &Fields) -> bool {
        let Some(id) = self.sends(key, Sent::Body) else { return false };
        let Some(stream) = self.streams.get_mut(key) else { return false };
        if let Some(rest) = &mut stream.rest {
            let mut kept = Fields::new();
            for (name, value) in trailers.iter() {
                kept.push_checked(name, crate::message::Known::number(name), value);
            }
            rest.trailers = Some(kept);
            stream.sent = Sent::Ended;
            return true;
        }
        self.write_trailers(id, trailers);
        self.sent(key, Sent::Ended);
        true
    }

    fn write_trailers(&mut self, id: u32, trailers: &Fields) {
        self.encoder.begin();
        fields::trailers(trailers, &mut self.encoder);
        self.write_block(id, true);
    }

    /// Sends of what waits as much as may be sent.
    fn flush(&mut self, key: u32) {
        let shared = self.room;
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(rest) = &mut stream.rest else { return };
        let room = usize::try_from(stream.room.min(shared)).unwrap_or(0);
        let n = room.min(rest.data.len());
        let data: Vec<u8> = rest.data.drain(..n).collect();
        let whole = rest.data.is_empty();
        if !whole {
            if n > 0 {
                self.write_data(key, &data, false);
            }
            let Some(stream) = self.streams.get_mut(key) else { return };
            if stream.room <= 0 {
                stream.waits = true;
            } else if !std::mem::replace(&mut stream.queued, true) {
                self.queue.push_back(key);
            }
            return;
        }
        let (id, ends) = (stream.id, stream.sent == Sent::Ended);
        let trailers = stream.rest.take().and_then(|rest| rest.trailers);
        if trailers.is_none() || n > 0 {
            self.write_data(key, &data, ends && trailers.is_none());
        }
        if let Some(trailers) = trailers {
            self.write_trailers(id, &trailers);
        }
        self.close(key);
    }

    /// A stream's window was opened.
    pub(super) fn opened(&mut self, key: u32) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.room > 0 && std::mem::replace(&mut stream.waits, false) {
            if stream.rest.is_some() {
                return self.flush(key);
            }
            self.tell(key);
        }
    }

    /// Bytes that may be added to those that wait to be sent.
    fn free(&self) -> usize {
        self.out_most().saturating_sub(self.out.data().len())
    }

    /// Whether a head, or trailers, may be said: they need no window, but must find room among what
    /// waits to be sent. Whoever may not hears when it may.
    #[inline]
    pub fn turn(&mut self, key: u32) -> bool {
        (self.turns.is_empty() && self.free() > 0) || self.its_turn(key)
    }

    fn its_turn(&mut self, key: u32) -> bool {
        let free = self.free() > 0;
        // Of one that is over nothing will be said.
        let Some(stream) = self.streams.get_mut(key) else { return true };
        let over = stream.broken.is_some() || self.ended;
        let first = self.turns.front().is_none_or(|first| *first == key);
        if over || (free && first) {
            if std::mem::replace(&mut stream.asks, false) {
                self.serve();
            }
            return true;
        }
        if !std::mem::replace(&mut stream.asks, true) {
            self.turns.push_back(key);
        }
        false
    }

    /// There may be room, or somebody has left its place for it.
    pub(super) fn serve_waiting(&mut self) {
        if !self.queue.is_empty() || !self.turns.is_empty() {
            self.serve();
        }
    }

    /// There may be room: heads have it one by one, then those that stand in the queue, as many as it
    /// is for.
    pub(super) fn serve(&mut self) {
        while let Some(key) = self.turns.front().copied() {
            let asks = |stream: &Stream| stream.asks && stream.broken.is_none();
            if self.streams.get(key).is_some_and(asks) {
                if self.free() > 0 {
                    self.tell(key);
                }
                return;
            }
            self.turns.pop_front();
        }
        let mut left = self.room.min(self.free() as i64);
        while left > 0 {
            let Some(key) = self.queue.pop_front() else { return };
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if !std::mem::replace(&mut stream.queued, false) {
                continue;
            }
            left -= PAYLOAD as i64;
            if stream.rest.is_some() {
                self.flush(key);
            } else {
                self.tell(key);
            }
        }
    }

    /// Ends a stream in a way that nobody takes for an end.
    pub fn reset(&mut self, key: u32, code: Code) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let over = stream.sent == Sent::Ended && stream.recv == Recv::Ended;
        if stream.broken.is_some() || (over && stream.rest.is_none()) {
            return;
        }
        let id = stream.id;
        self.write_reset(id, code);
        self.break_off(key, Broken::Ended);
    }

    /// Both sides have ended: it is under way no longer.
    pub(super) fn close(&mut self, key: u32) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let sent = stream.sent == Sent::Ended && stream.rest.is_none();
        if sent && stream.recv == Recv::Ended && std::mem::replace(&mut stream.open, false) {
            self.open -= 1;
        }
        self.forget(key);
    }

    /// A stream that nobody has in hand goes when it is over.
    pub(super) fn forget(&mut self, key: u32) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.user || stream.rest.is_some() {
            return;
        }
        if stream.broken.is_none() && stream.recv != Recv::Ended {
            // It has its whole answer, and what it still sends is of no use; or nobody answers it.
            let served = self.side == Side::Server && stream.sent == Sent::Ended;
            let code = if served { Code::NO_ERROR } else { Code::CANCEL };
            return self.reset(key, code);
        }
        if stream.broken.is_none() && stream.sent != Sent::Ended {
            return self.reset(key, Code::CANCEL);
        }
        let due = std::mem::take(&mut stream.due);
        if std::mem::replace(&mut stream.open, false) {
            self.open -= 1;
        }
        self.streams.remove(key);
        self.owe(due);
    }

    /// Nobody has it in hand any more.
    pub fn release(&mut self, key: u32) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.user = false;
            // Its turn is another's.
            (stream.queued, stream.asks) = (false, false);
        }
        self.forget(key);
        self.serve_waiting();
    }

    /// The next head that came; `None` while there is none.
    ///
    /// # Errors
    ///
    /// [`Broken`]: none will come.
    pub fn take_head(&mut self, key: u32) -> Result<Option<Head>, Broken> {
        let Some(stream) = self.streams.get_mut(key) else { return Err(Broken::Ended) };
        if let Some(head) = stream.head.take() {
            stream.head = stream.more.pop_front();
            return Ok(Some(head));
        }
        stream.broken.map_or(Ok(None), Err)
    }

    /// Takes the bytes that came; `into` is empty and lends its memory. The last byte of a body whose
    /// length was said is taken when the peer has ended it: whoever has all of them takes it for whole.
    ///
    /// # Errors
    ///
    /// [`Broken`]: no more will come.
    pub fn take_data(&mut self, key: u32, into: &mut Vec<u8>) -> Result<Came, Broken> {
        let Some(stream) = self.streams.get_mut(key) else { return Err(Broken::Ended) };
        let held = usize::from(stream.left == Some(0) && stream.recv != Recv::Ended);
        if stream.data.len() > held {
            std::mem::swap(&mut stream.data, into);
            stream.data.extend_from_slice(&into[into.len() - held..]);
            into.truncate(into.len() - held);
            return Ok(Came::Data);
        }
        match (stream.recv, stream.broken) {
            (Recv::Ended, _) => Ok(Came::End),
            (_, Some(broken)) => Err(broken),
            _ => Ok(Came::Nothing),
        }
    }

    /// Whether all that follows has come and was taken, and there are no trailers.
    pub fn is_last(&self, key: u32) -> bool {
        let last = |stream: &Stream| {
            stream.recv == Recv::Ended && stream.data.is_empty() && stream.trailers.is_none()
        };
        self.streams.get(key).is_some_and(last)
    }

    /// The trailers that came.
    pub fn take_trailers(&mut self, key: u32) -> Option<Fields> {
        self.streams.get_mut(key)?.trailers.take()
    }

    /// Whether the stream ended before its time.
    pub fn broken(&self, key: u32) -> Option<Broken> {
        match self.streams.get(key) {
            Some(stream) => stream.broken,
            None => Some(Broken::Ended),
        }
    }

    /// So many bytes that were taken are gone.
    pub fn used(&mut self, key: u32, n: usize) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.give(n);
        }
    }

    /// The peer may send so many again, of those that were taken.
    pub fn open_window(&mut self, key: u32, n: usize) {
        let window = self.limits.window as usize;
        let Some(stream) = self.streams.get_mut(key) else { return };
        let n = n.min(stream.due);
        stream.due -= n;
        stream.owed += n;
        if stream.owed * 2 >= window && stream.recv == Recv::Body && stream.broken.is_none() {
            let more = std::mem::take(&mut stream.owed);
            stream.window += more as i64;
            write_number(kind::WINDOW_UPDATE, stream.id, more as u32, &mut self.out);
        }
        self.owe(n);
    }

    /// The connection's window is to be opened by so much, by and by.
    pub(super) fn owe(&mut self, n: usize) {
        self.owed += n;
        if self.owed * 2 >= self.limits.connection_window as usize && self.fault.is_none() {
            let more = std::mem::take(&mut self.owed);
            self.window += more as i64;
            write_number(kind::WINDOW_UPDATE, 0, more as u32 & STREAM, &mut self.out);
        }
    }

    /// Whether a goodbye was said that holds.
    pub fn is_leaving(&self) -> bool {
        self.leaving != Leaving::No
    }
}
