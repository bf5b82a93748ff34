//! Answers: the head of one to a client of HTTP/2, and one that a backend gives by HTTP/2.
use super::fields::{Bound, CONNECTION, LINE, Listen, all, check};
use super::hpack::{Encoder, Judged, Stop};
use crate::http1::{BodyLength, HeadLimits, Refusal, Rule};
use crate::message::{Fields, Head, Known, Version};

const SKIPPED: u64 = CONNECTION | Known::ContentLength.bit() | Known::Te.bit();

/// Writes the head of an answer whose body is delimited like this by who sent it. Without a body its
/// own Content-Length stays (HEAD, 304), but never that of a 204 (RFC 9110 8.6).
pub fn response(status: u16, answer: &Head, body: BodyLength, out: &mut Encoder) {
    out.status(status);
    all(answer, SKIPPED, out);
    match body {
        BodyLength::Exact(n) => out.length(n),
        BodyLength::None if status != 204 => {
            // A number, as whoever judged the head has seen.
            let said = answer.get(Known::ContentLength).and_then(|n| std::str::from_utf8(n).ok());
            if let Some(n) = said.and_then(|n| n.parse().ok()) {
                out.length(n);
            }
        }
        _ => {}
    }
}

/// Writes the head of an interim answer.
pub fn interim(answer: &Head, out: &mut Encoder) {
    answer_of(answer.status(), answer, out);
}

/// Writes the head of an answer that is nothing but its fields.
pub fn answer_of(status: u16, fields: &Fields, out: &mut Encoder) {
    out.status(status);
    all(fields, SKIPPED, out);
}

/// Writes the head of a short answer of our own, with so many bytes of body.
pub fn short_answer(status: u16, fields: &Fields, length: usize, out: &mut Encoder) {
    answer_of(status, fields, out);
    if !matches!(status, 204 | 304) {
        out.length(length as u64);
    }
}

/// Reads the head of an answer, final or interim, within its limits.
#[derive(Debug)]
pub struct Answering<'l> {
    limits: &'l HeadLimits,
    bound: Bound,
    head: Head,
    begun: bool,
    size: usize,
    count: usize,
    refused: Option<Rule>,
}

impl<'l> Answering<'l> {
    /// Nothing was said yet; behind so many bytes of fields nothing more is listened to.
    pub fn new(limits: &'l HeadLimits, most: usize) -> Self {
        Self {
            limits,
            bound: Bound(most),
            head: Head::new(),
            begun: false,
            size: 0,
            count: 0,
            refused: None,
        }
    }

    fn read(&mut self, name: &[u8], value: &[u8], judged: &mut Judged) -> Result<(), Rule> {
        if !self.begun {
            // Three digits, and nothing before them (RFC 9113 8.3.2).
            let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = value else {
                return Err(Rule::StatusLine);
            };
            if name != b":status" {
                return Err(Rule::StatusLine);
            }
            let status = [a, b, c].iter().fold(0, |n, d| n * 10 + u16::from(**d - b'0'));
            self.head.start_response(status, Version::Http2);
            self.begun = true;
            return Ok(());
        }
        if name.first() == Some(&b':') {
            return Err(Rule::StatusLine);
        }
        let known = check(name, value, judged)?;
        // It is a word of requests alone.
        if known == Known::Te as u8 {
            return Err(Rule::ConnectionField);
        }
        (self.size, self.count) = (self.size + name.len() + value.len() + LINE, self.count + 1);
        if self.size > self.limits.head {
            return Err(Rule::HeadTooLarge);
        }
        if self.count > self.limits.fields {
            return Err(Rule::TooManyFields);
        }
        self.head.push_checked(name, known, value);
        Ok(())
    }

    /// All was said.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for what is malformed or above the limits.
    pub fn finish(self) -> Result<Head, Refusal> {
        match self.refused {
            Some(rule) => Err(rule.into()),
            None if !self.begun => Err(Rule::StatusLine.into()),
            None => Ok(self.head),
        }
    }
}

impl Listen for Answering<'_> {
    #[inline]
    fn field(&mut self, name: &[u8], value: &[u8], judged: &mut Judged) -> Result<(), Stop> {
        self.bound.field(name, value)?;
        if self.refused.is_none()
            && let Err(rule) = self.read(name, value, judged)
        {
            self.refused = Some(rule);
        }
        Ok(())
    }
}
