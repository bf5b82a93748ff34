//! Bytes to frames, and what each kind of frame does.
use super::core::{Core, Fault, GOODBYE, Partial, Reading, Side};
use super::core::{LISTS, WINDOW_MOST, list};
use super::streams::{Broken, Recv};
use crate::http2::frame::{Code, Frame, HEADER, PAYLOAD, PREFACE, STREAM, flag, kind};
use crate::http2::tally::{Kind, Tally};
use std::time::Instant;

/// What became of a frame.
enum Step {
    /// So many bytes of it were read.
    Took(usize),
    /// It is to be read whole, and is not all there.
    More,
}

type Read = Result<Step, Fault>;

impl Core {
    /// Reads what came, as far as it goes: the bytes that were read. The others are to come again
    /// with those that follow. `now` is asked when a peer makes much work.
    pub fn receive(&mut self, mut input: &[u8], now: impl Fn() -> Instant) -> usize {
        let whole = input.len();
        while self.fault.is_none() && !input.is_empty() {
            match self.step(input, &now) {
                Ok(Step::Took(n)) => input = &input[n..],
                Ok(Step::More) => return whole - input.len(),
                Err(fault) => self.fail(fault),
            }
        }
        whole
    }

    fn step(&mut self, input: &[u8], now: &impl Fn() -> Instant) -> Read {
        match self.reading {
            Reading::Frame => {
                let Some(frame) = Frame::read(input) else { return Ok(Step::More) };
                self.frame(frame, &input[HEADER..], now)
            }
            Reading::Data { .. } => self.data_bytes(input),
            Reading::Skip(left) => {
                let n = left.min(input.len());
                self.reading = if n == left { Reading::Frame } else { Reading::Skip(left - n) };
                Ok(Step::Took(n))
            }
            Reading::Preface(have) => {
                let n = input.len().min(PREFACE.len() - have);
                if input[..n] != PREFACE[have..have + n] {
                    return Err(Fault::new(Code::PROTOCOL, "preface"));
                }
                let whole = have + n == PREFACE.len();
                self.reading = if whole { Reading::Frame } else { Reading::Preface(have + n) };
                Ok(Step::Took(n))
            }
        }
    }

    fn frame(&mut self, frame: Frame, rest: &[u8], now: &impl Fn() -> Instant) -> Read {
        let len = frame.len as usize;
        if len > PAYLOAD {
            return Err(Fault::new(Code::FRAME_SIZE, "a frame above 16 KiB"));
        }
        if !self.peer.said && (frame.kind != kind::SETTINGS || frame.has(flag::ACK)) {
            return Err(Fault::new(Code::PROTOCOL, "no settings at the beginning"));
        }
        if let Some(partial) = self.partial
            && (frame.kind != kind::CONTINUATION || frame.stream != partial.stream)
        {
            return Err(Fault::new(Code::PROTOCOL, "a frame inside a list of fields"));
        }
        match frame.kind {
            kind::DATA => return self.data(frame, rest, now),
            kind::HEADERS..=kind::CONTINUATION => {}
            // What nobody knows is passed over (RFC 9113 4.1).
            _ => {
                self.account(frame, 0, now)?;
                self.reading = Reading::Skip(len);
                return Ok(Step::Took(HEADER));
            }
        }
        let Some(payload) = rest.get(..len) else { return Ok(Step::More) };
        self.account(frame, 0, now)?;
        match frame.kind {
            kind::HEADERS => self.headers(frame, payload)?,
            kind::CONTINUATION => self.continuation(frame, payload)?,
            kind::WINDOW_UPDATE => self.window_update(frame, payload)?,
            kind::RST_STREAM => self.reset_came(frame, payload)?,
            kind::SETTINGS => self.settings(frame, payload)?,
            kind::PING => self.ping_came(frame, payload)?,
            kind::GOAWAY => self.goaway_came(frame, payload)?,
            kind::PRIORITY if frame.stream == 0 => {
                return Err(Fault::new(Code::PROTOCOL, "a priority of no stream"));
            }
            // A stream that nobody has begun cannot be reset.
            kind::PRIORITY if len != 5 && self.is_idle(frame.stream) => {
                return Err(Fault::new(Code::FRAME_SIZE, "a priority of another size"));
            }
            // What it says means nothing any more (RFC 9113 5.3.2).
            kind::PRIORITY if len != 5 => {
                self.stream_error(frame.stream, Code::FRAME_SIZE, "a priority of another size")?;
            }
            kind::PRIORITY => {}
            _ => return Err(Fault::new(Code::PROTOCOL, "a push")),
        }
        if std::mem::take(&mut self.refused) {
            self.charge(Tally::refused, now)?;
        }
        Ok(Step::Took(HEADER + len))
    }

    /// What it costs us, and what it carries.
    #[inline]
    fn account(
        &mut self,
        frame: Frame,
        data: u32,
        now: &impl Fn() -> Instant,
    ) -> Result<(), Fault> {
        if frame.kind == kind::RST_STREAM && self.side == Side::Client {
            // As many as we have asked for.
            return Ok(());
        }
        let ends = frame.has(flag::END_STREAM);
        self.charge(|tally| tally.came(frame.kind, data, ends), now)
    }

    #[inline]
    fn charge(
        &mut self,
        cost: impl Fn(&mut Tally) -> Option<Kind>,
        now: &impl Fn() -> Instant,
    ) -> Result<(), Fault> {
        if cost(&mut self.tally).is_none() {
            return Ok(());
        }
        // Only who has nothing left is asked how long that took.
        let since = std::mem::replace(&mut self.since, now());
        self.tally.passed(self.since.saturating_duration_since(since));
        cost(&mut self.tally).map_or(Ok(()), |kind| Err(Fault::flood(kind)))
    }

    fn data(&mut self, frame: Frame, rest: &[u8], now: &impl Fn() -> Instant) -> Read {
        let id = frame.stream;
        let (mut left, mut padding, mut took) = (frame.len as usize, 0, HEADER);
        if frame.has(flag::PADDED) {
            let Some(said) = rest.first() else { return Ok(Step::More) };
            padding = usize::from(*said);
            if left <= padding {
                return Err(Fault::new(Code::PROTOCOL, "padding longer than its frame"));
            }
            (left, took) = (left - 1 - padding, HEADER + 1);
        }
        self.account(frame, left as u32, now)?;
        if id == 0 || self.is_idle(id) {
            return Err(Fault::new(Code::PROTOCOL, "data of no stream"));
        }
        self.window -= i64::from(frame.len);
        if self.window < 0 {
            return Err(Fault::new(Code::FLOW_CONTROL, "more data than the connection's window"));
        }
        let ends = frame.has(flag::END_STREAM);
        let Some(key) = self.data_for(id, frame, left as u64)? else {
            // Of what nobody takes the window is opened at once.
            self.owe(frame.len as usize);
            self.reading = Reading::Skip(left + padding);
            return Ok(Step::Took(took));
        };
        let lost = frame.len as usize - left;
        if lost > 0 {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.owed += lost;
            }
            self.owe(lost);
        }
        self.reading = Reading::Data { key, id, left, padding, ends };
        if left + padding == 0 {
            self.data_ended(Some(key), ends)?;
        }
        Ok(Step::Took(took))
    }

    /// The stream that so many bytes are for; `None` where nobody wants them.
    fn data_for(&mut self, id: u32, frame: Frame, data: u64) -> Result<Option<u32>, Fault> {
        let len = frame.len;
        let Some(key) = self.streams.key(id) else {
            if !self.late.data(len, frame.has(flag::END_STREAM)) {
                self.stream_error(id, Code::STREAM_CLOSED, "data behind the end")?;
            }
            return Ok(None);
        };
        // A peer may not know our window yet.
        let most = i64::from(self.limits.window);
        let slack = (super::core::WINDOW - most).max(0);
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        if stream.broken.is_some() {
            return Ok(None);
        }
        let wrong = match stream.recv {
            Recv::Head => Some((Code::PROTOCOL, "data before a head")),
            Recv::Ended => Some((Code::STREAM_CLOSED, "data behind the end")),
            Recv::Body => {
                stream.window -= i64::from(len);
                let full = stream.window + slack < 0;
                full.then_some((Code::FLOW_CONTROL, "more data than the stream's window"))
            }
        };
        if let Some((code, why)) = wrong {
            self.stream_fault(id, code, Broken::Fault(code, why))?;
            return Ok(None);
        }
        if let Some(left) = &mut stream.left {
            match left.checked_sub(data) {
                Some(rest) => *left = rest,
                None => {
                    self.stream_fault(id, Code::PROTOCOL, Broken::Length)?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(key))
    }

    fn data_bytes(&mut self, input: &[u8]) -> Read {
        let Reading::Data { key, id, left, padding, ends } = self.reading else {
            return Ok(Step::Took(0));
        };
        let n = left.min(input.len());
        let skipped = padding.min(input.len() - n);
        let stream = self.streams.get_mut(key);
        // It may be over since the frame began.
        let stream = stream.filter(|stream| stream.id == id && stream.broken.is_none());
        let lives = stream.is_some();
        match stream {
            Some(stream) if n > 0 => {
                stream.take(&input[..n]);
                self.tell(key);
            }
            Some(_) => {}
            None => self.owe(n),
        }
        let (left, padding) = (left - n, padding - skipped);
        self.reading = Reading::Data { key, id, left, padding, ends };
        if left + padding == 0 {
            self.data_ended(lives.then_some(key), ends)?;
        }
        Ok(Step::Took(n + skipped))
    }

    fn data_ended(&mut self, key: Option<u32>, ends: bool) -> Result<(), Fault> {
        self.reading = Reading::Frame;
        match key {
            Some(key) if ends => self.recv_ended(key),
            _ => Ok(()),
        }
    }

    /// The peer has ended its side of a stream.
    pub(super) fn recv_ended(&mut self, key: u32) -> Result<(), Fault> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.left.is_some_and(|left| left > 0) {
            let id = stream.id;
            return self.stream_fault(id, Code::PROTOCOL, Broken::Length);
        }
        stream.recv = Recv::Ended;
        self.tell(key);
        self.close(key);
        Ok(())
    }

    fn headers(&mut self, frame: Frame, mut payload: &[u8]) -> Result<(), Fault> {
        if frame.stream == 0 {
            return Err(Fault::new(Code::PROTOCOL, "a head of no stream"));
        }
        let mut padding = 0;
        if frame.has(flag::PADDED) {
            let first = payload.split_first();
            let (said, behind) = first.ok_or(Fault::new(Code::FRAME_SIZE, "a head is cut"))?;
            (padding, payload) = (usize::from(*said), behind);
        }
        if frame.has(flag::PRIORITY) {
            payload = payload.get(5..).ok_or(Fault::new(Code::FRAME_SIZE, "a head is cut"))?;
        }
        let len = payload.len().checked_sub(padding);
        let len = len.ok_or(Fault::new(Code::PROTOCOL, "padding longer than its frame"))?;
        let ends = frame.has(flag::END_STREAM);
        if frame.has(flag::END_HEADERS) {
            return self.list(frame.stream, ends, &payload[..len]);
        }
        self.block.clear();
        self.block.extend_from_slice(&payload[..len]);
        self.partial = Some(Partial { stream: frame.stream, ends, frames: 0 });
        Ok(())
    }

    fn continuation(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Fault> {
        let Some(partial) = &mut self.partial else {
            return Err(Fault::new(Code::PROTOCOL, "a continuation of nothing"));
        };
        partial.frames += 1;
        let (stream, ends, frames) = (partial.stream, partial.ends, partial.frames);
        let most = LISTS * list(&self.limits.head);
        // Whoever has little to say needs few of them.
        if frames > 16 + most / PAYLOAD {
            return Err(Fault::flood(Kind::Continuations));
        }
        if self.block.len() + payload.len() > most {
            return Err(Fault::flood(Kind::Other));
        }
        self.block.extend_from_slice(payload);
        if !frame.has(flag::END_HEADERS) {
            return Ok(());
        }
        self.partial = None;
        let block = std::mem::take(&mut self.block);
        self.list(stream, ends, &block)
    }

    fn window_update(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Fault> {
        let more = number(payload, "a window of another size")? & STREAM;
        if frame.stream == 0 {
            if more == 0 {
                return Err(Fault::new(Code::PROTOCOL, "a window of nothing"));
            }
            self.room += i64::from(more);
            if self.room > WINDOW_MOST {
                return Err(Fault::new(Code::FLOW_CONTROL, "too large a window"));
            }
            self.serve();
            return Ok(());
        }
        if self.is_idle(frame.stream) {
            return Err(Fault::new(Code::PROTOCOL, "a window of an idle stream"));
        }
        let Some(key) = self.streams.key(frame.stream) else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.broken.is_some() {
            return Ok(());
        }
        stream.room += i64::from(more);
        if more == 0 || stream.room > WINDOW_MOST {
            let code = if more == 0 { Code::PROTOCOL } else { Code::FLOW_CONTROL };
            let broken = Broken::Fault(code, "a window of a wrong size");
            return self.stream_fault(frame.stream, code, broken);
        }
        self.opened(key);
        Ok(())
    }

    fn reset_came(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Fault> {
        let code = Code(number(payload, "a reset of another size")?);
        if frame.stream == 0 || self.is_idle(frame.stream) {
            return Err(Fault::new(Code::PROTOCOL, "a reset of an idle stream"));
        }
        let Some(key) = self.streams.key(frame.stream) else { return Ok(()) };
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        if !stream.seen && stream.broken.is_none() && self.side == Side::Server {
            self.unseen += 1;
            if self.unseen > self.limits.resets {
                return Err(Fault::flood(Kind::Resets));
            }
        }
        self.break_off(key, Broken::Reset(code));
        Ok(())
    }

    fn settings(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Fault> {
        if frame.stream != 0 {
            return Err(Fault::new(Code::PROTOCOL, "settings of a stream"));
        }
        if frame.has(flag::ACK) {
            let empty = payload.is_empty();
            let wrong = Fault::new(Code::FRAME_SIZE, "an ack that says something");
            return if empty { Ok(()) } else { Err(wrong) };
        }
        let (all, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Fault::new(Code::FRAME_SIZE, "settings that are cut"));
        }
        self.peer.said = true;
        let mut window = None;
        for [a, b, value @ ..] in all {
            let (id, value) = (u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value));
            self.setting(id, value)?;
            window = if id == 4 { Some(value) } else { window };
        }
        // However often it is said: each stream is to be looked at.
        if let Some(size) = window {
            self.windows(i64::from(size))?;
        }
        Frame { len: 0, kind: kind::SETTINGS, flags: flag::ACK, stream: 0 }.write(&mut self.out);
        Ok(())
    }

    fn setting(&mut self, id: u16, value: u32) -> Result<(), Fault> {
        match id {
            1 => self.encoder.bound(value as usize),
            2 if value > 1 || (value == 1 && self.side == Side::Client) => {
                return Err(Fault::new(Code::PROTOCOL, "push neither on nor off"));
            }
            3 => self.peer.streams = value,
            4 if value > STREAM => {
                return Err(Fault::new(Code::FLOW_CONTROL, "a window above 2^31-1"));
            }
            5 if !(PAYLOAD as u32..1 << 24).contains(&value) => {
                return Err(Fault::new(Code::PROTOCOL, "frames of a wrong size"));
            }
            8 if value > 1 => return Err(Fault::new(Code::PROTOCOL, "neither on nor off")),
            _ => {}
        }
        Ok(())
    }

    /// The windows of all streams begin with another size, also of those that have begun
    /// (RFC 9113 6.9.2).
    fn windows(&mut self, size: i64) -> Result<(), Fault> {
        let more = size - self.peer.window;
        self.peer.window = size;
        for key in self.streams.keys() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.room += more;
            if stream.room > WINDOW_MOST {
                return Err(Fault::new(Code::FLOW_CONTROL, "too large a window"));
            }
            if more > 0 {
                self.opened(key);
            }
        }
        Ok(())
    }

    fn ping_came(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Fault> {
        if frame.stream != 0 {
            return Err(Fault::new(Code::PROTOCOL, "a ping of a stream"));
        }
        if payload.len() != 8 {
            return Err(Fault::new(Code::FRAME_SIZE, "a ping of another size"));
        }
        if !frame.has(flag::ACK) {
            self.pong(payload);
        } else if payload == GOODBYE {
            self.depart();
        }
        Ok(())
    }

    fn goaway_came(&mut self, frame: Frame, payload: &[u8]) -> Result<(), Fault> {
        if frame.stream != 0 {
            return Err(Fault::new(Code::PROTOCOL, "a goodbye of a stream"));
        }
        let Some((last, _)) = payload.split_first_chunk::<8>() else {
            return Err(Fault::new(Code::FRAME_SIZE, "a goodbye that is cut"));
        };
        let last = u32::from_be_bytes([last[0], last[1], last[2], last[3]]) & STREAM;
        self.away = Some(self.away.map_or(last, |before| before.min(last)));
        if self.side == Side::Client {
            for key in self.streams.keys() {
                if self.streams.get(key).is_some_and(|stream| stream.id > last) {
                    self.break_off(key, Broken::Away);
                }
            }
        }
        Ok(())
    }

    /// Ends a stream that is not among ours, or is.
    fn stream_error(&mut self, id: u32, code: Code, why: &'static str) -> Result<(), Fault> {
        self.stream_fault(id, code, Broken::Fault(code, why))
    }

    /// Whether nobody has begun this stream yet.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        // Even ones would be pushed, and nobody pushes.
        id.is_multiple_of(2) || id > self.last
    }
}

fn number(payload: &[u8], wrong: &'static str) -> Result<u32, Fault> {
    let four = payload.try_into().map_err(|_| Fault::new(Code::FRAME_SIZE, wrong))?;
    Ok(u32::from_be_bytes(four))
}
