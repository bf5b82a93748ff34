//! Lists of fields that came: requests, answers, trailers.
use super::core::{Core, Fault, LISTS, Leaving, Side, list};
use super::late::WAITING;
use super::streams::{Broken, Recv};
use crate::http1::{BodyLength, Rule};
use crate::http2::fields::{Bound, Listen, Trailing};
use crate::http2::frame::Code;
use crate::http2::hpack::{Stop, Wrong};
use crate::http2::request::Asking;
use crate::http2::response::Answering;
use crate::http2::tally::Kind;
use crate::message::{Known, Method};

impl Core {
    /// A whole list came.
    pub(super) fn list(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Fault> {
        if self.side == Side::Server && id > self.last && !id.is_multiple_of(2) {
            return self.request(id, ends, block);
        }
        if self.is_idle(id) {
            return Err(Fault::new(Code::PROTOCOL, "a head of no stream of ours"));
        }
        let Some(key) = self.streams.key(id) else {
            // Behind the end of its stream; it may have been on its way when we reset that.
            self.skip(block)?;
            let unserved = matches!(self.leaving, Leaving::Last(last) if id > last);
            let late = unserved || self.late.head();
            let wrong = Fault::new(Code::STREAM_CLOSED, "a head behind the end");
            return if late { Ok(()) } else { Err(wrong) };
        };
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        if stream.broken.is_some() {
            return self.skip(block);
        }
        match stream.recv {
            Recv::Head => self.answer(key, ends, block),
            Recv::Body => self.trailing(key, ends, block),
            Recv::Ended => {
                self.skip(block)?;
                let broken = Broken::Fault(Code::STREAM_CLOSED, "a head behind the end");
                self.stream_fault(id, Code::STREAM_CLOSED, broken)
            }
        }
    }

    /// All fields of a list together, before it ends the connection.
    fn most(&self) -> usize {
        LISTS * list(&self.limits.head)
    }

    /// Says whether it is more than can be kept. Where we ask, that costs one answer alone: the rest
    /// is decoded for the table that all share.
    fn decode(&mut self, block: &[u8], into: &mut impl Listen) -> Result<bool, Fault> {
        let (asks, mut over) = (self.side == Side::Client, false);
        let decoded = self.decoder.decode(block, |name, value, judged| {
            if !over {
                over = into.field(name, value, judged).is_err();
            }
            if over && !asks { Err(Stop) } else { Ok(()) }
        });
        decoded.map(|()| over).map_err(|wrong| match wrong {
            Wrong::Block => Fault::new(Code::COMPRESSION, "fields that cannot be decoded"),
            Wrong::Stopped => Fault::flood(Kind::Other),
        })
    }

    /// What nobody wants changes the table all the same.
    fn skip(&mut self, block: &[u8]) -> Result<(), Fault> {
        let mut bound = Bound(self.most());
        self.decode(block, &mut bound).map(drop)
    }

    fn request(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Fault> {
        self.last = id;
        if matches!(self.leaving, Leaving::Last(_)) {
            return self.skip(block);
        }
        if self.open >= self.limits.streams as usize {
            self.skip(block)?;
            self.write_reset(id, Code::REFUSED);
            self.refused = true;
            return Ok(());
        }
        let limits = self.limits.head;
        let mut asking = Asking::new(&limits, self.most());
        self.decode(block, &mut asking)?;
        let request = asking.finish(ends, || self.random.u64(..));
        let recv = if ends { Recv::Ended } else { Recv::Body };
        let window = i64::from(self.limits.window);
        let left = match request.verdict.as_ref().map(|verdict| verdict.body) {
            Ok(BodyLength::Exact(n)) => Some(n),
            _ => None,
        };
        let room = self.peer.window;
        let key = self.streams.insert(id, |stream| {
            (stream.recv, stream.limits, stream.left) = (recv, limits, left);
            (stream.window, stream.room) = (window, room);
        });
        self.open += 1;
        self.asked.push_back((key, request));
        Ok(())
    }

    fn answer(&mut self, key: u32, ends: bool, block: &[u8]) -> Result<(), Fault> {
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        let (id, limits) = (stream.id, stream.limits);
        let mut answering = Answering::new(&limits, self.most());
        let over = self.decode(block, &mut answering)?;
        let finished = if over { Err(Rule::HeadTooLarge.into()) } else { answering.finish() };
        let head = match finished {
            Ok(head) => head,
            Err(refusal) => {
                return self.stream_fault(id, Code::PROTOCOL, Broken::Refused(refusal));
            }
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let interim = head.status() < 200;
        if (interim && ends) || stream.more.len() >= WAITING {
            let broken = Broken::Fault(Code::PROTOCOL, "an interim answer that ends, or too many");
            return self.stream_fault(id, Code::PROTOCOL, broken);
        }
        if !interim {
            stream.recv = Recv::Body;
            if !stream.bodyless && !matches!(head.status(), 204 | 304) {
                let said = head.get(Known::ContentLength).filter(|n| n.len() < 20);
                let said = said.and_then(|n| std::str::from_utf8(n).ok());
                stream.left = said.and_then(|n| n.parse().ok());
            }
        }
        match &stream.head {
            None => stream.head = Some(head),
            Some(_) => stream.more.push_back(head),
        }
        self.tell(key);
        if ends { self.recv_ended(key) } else { Ok(()) }
    }

    fn trailing(&mut self, key: u32, ends: bool, block: &[u8]) -> Result<(), Fault> {
        let mut trailing = Trailing::new(Bound(self.most()));
        let over = self.decode(block, &mut trailing)?;
        if over {
            trailing.refused = Some(Rule::TrailersTooLarge.into());
        }
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let id = stream.id;
        if !ends {
            let broken = Broken::Fault(Code::PROTOCOL, "trailers that end nothing");
            return self.stream_fault(id, Code::PROTOCOL, broken);
        }
        if let Some(refusal) = trailing.refused {
            return self.stream_fault(id, Code::PROTOCOL, Broken::Refused(refusal));
        }
        stream.trailers = Some(std::mem::take(&mut trailing.fields));
        self.recv_ended(key)
    }

    /// Whether a head asks for an answer without a body.
    pub(super) fn is_bodyless(method: Method) -> bool {
        method == Method::Head
    }
}
