//! Bodies: an incremental decoder, and the few bytes around chunks on the way out.
use super::framing::BodyLength;
use super::parse::{HeadLimits, Parsed, trailers};
use super::refusal::{Refusal, Rule};
use crate::message::{Chunk, Fields, Known, is_claim};
use std::ops::Range;

/// One step of a decoder over the bytes at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Body bytes at this range of the input; everything before its end is used up.
    Data(Range<usize>),
    /// The body ended; so many bytes of the input are used up. Trailers are in `out`.
    End(usize),
    /// So many bytes are used up, and more are wanted.
    Need(usize),
}

/// A size line with its extensions, which are dropped, has at most so many bytes.
const SIZE_LINE: usize = 1024;
/// So many bytes around chunks are free; beyond them there may be [`FRAMING`] for each byte of data:
/// more than chunks of one byte need, but a sender of long extensions would make us work for
/// nothing.
const OVERHEAD: u64 = 64 << 10;
const FRAMING: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Exact(u64),
    UntilClose,
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailers(usize),
    Done,
}

/// Decodes one body.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    state: State,
    limits: HeadLimits,
    data: u64,
    overhead: u64,
}

impl Decoder {
    /// For a body delimited like this; trailers are bounded by `trailer_limits`.
    pub fn new(length: BodyLength, trailer_limits: HeadLimits) -> Self {
        let state = match length {
            BodyLength::None | BodyLength::Exact(0) => State::Done,
            BodyLength::Exact(n) => State::Exact(n),
            BodyLength::Chunked => State::Size,
            BodyLength::UntilClose => State::UntilClose,
        };
        Self { state, limits: trailer_limits, data: 0, overhead: 0 }
    }

    /// Bounds the bytes of its trailers.
    pub fn bound_trailers(&mut self, most: usize) {
        self.limits.head = most;
    }

    /// Takes one step. `eof`: no byte will follow `wire`.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for a bad chunk or trailer, or an end that came too early.
    pub fn decode(
        &mut self,
        wire: &[u8],
        eof: bool,
        out: &mut Option<Box<Fields>>,
    ) -> Result<Decoded, Refusal> {
        let mut used = 0;
        loop {
            let rest = &wire[used..];
            let took = match self.state {
                State::Done => return Ok(Decoded::End(used)),
                State::UntilClose if rest.is_empty() && eof => {
                    self.state = State::Done;
                    0
                }
                _ if rest.is_empty() && eof => return Err(Rule::Truncated.into()),
                _ if rest.is_empty() => return Ok(Decoded::Need(used)),
                State::UntilClose => return Ok(self.take(used, rest.len(), u64::MAX)),
                State::Exact(left) | State::Chunk(left) => {
                    return Ok(self.take(used, rest.len(), left));
                }
                State::Size => self.size(rest)?,
                State::ChunkEnd => self.chunk_end(rest)?,
                State::Trailers(_) if rest.starts_with(b"\r\n") => {
                    self.state = State::Done;
                    2
                }
                State::Trailers(resume) => {
                    match trailers(rest, resume, &self.limits, out.get_or_insert_default())? {
                        Parsed::Done(n) => {
                            self.state = State::Done;
                            n
                        }
                        Parsed::Partial(seen) => {
                            self.state = State::Trailers(seen);
                            usize::MAX
                        }
                    }
                }
            };
            if took == usize::MAX {
                return if eof { Err(Rule::Truncated.into()) } else { Ok(Decoded::Need(used)) };
            }
            used += took;
        }
    }

    fn take(&mut self, from: usize, there: usize, left: u64) -> Decoded {
        let n = left.min(there as u64);
        self.advance(n);
        Decoded::Data(from..from + n as usize)
    }

    /// A chunk-size line; `usize::MAX` when it is not complete.
    fn size(&mut self, rest: &[u8]) -> Result<usize, Refusal> {
        let window = &rest[..rest.len().min(SIZE_LINE)];
        let lf = memchr::memchr(b'\n', window);
        let line = &window[..lf.unwrap_or(window.len())];
        // What can be judged of an unfinished line is judged now, before its length and its end:
        // so a line is refused by the same rule however it is split.
        let whole = line.strip_suffix(b"\r");
        let size = chunk_size(whole.unwrap_or(line), lf.is_some() && whole.is_some())?;
        let Some(lf) = lf else {
            let too_long = rest.len() >= SIZE_LINE;
            return if too_long { Err(Rule::ChunkExtension.into()) } else { Ok(usize::MAX) };
        };
        if whole.is_none() {
            return Err(Rule::BareLf.into());
        }
        self.overhead += lf as u64 + 3;
        if self.overhead > OVERHEAD.saturating_add(self.data.saturating_mul(FRAMING)) {
            return Err(Rule::ChunkOverhead.into());
        }
        self.state = if size == 0 { State::Trailers(0) } else { State::Chunk(size) };
        Ok(lf + 1)
    }

    fn chunk_end(&mut self, rest: &[u8]) -> Result<usize, Refusal> {
        match rest {
            [b'\r', b'\n', ..] => {
                self.state = State::Size;
                Ok(2)
            }
            [b'\r'] => Ok(usize::MAX),
            _ => Err(Rule::ChunkEnd.into()),
        }
    }

    /// How many of the next wire bytes are body and nothing else, so that they may be spliced past
    /// the decoder: what is left of Content-Length or of the current chunk, or `u64::MAX`.
    pub fn opaque(&self) -> u64 {
        match self.state {
            State::Exact(left) | State::Chunk(left) => left,
            State::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// Says that `n <= opaque()` bytes were moved past the decoder.
    ///
    /// # Panics
    ///
    /// When `n` is more than that.
    pub fn advance(&mut self, n: u64) {
        assert!(n <= self.opaque());
        self.data = self.data.saturating_add(n);
        self.state = match self.state {
            State::Exact(left) if left == n => State::Done,
            State::Exact(left) => State::Exact(left - n),
            State::Chunk(left) if left == n => State::ChunkEnd,
            State::Chunk(left) => State::Chunk(left - n),
            other => other,
        };
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }
}

/// `1*HEXDIG [ chunk-ext ]` (RFC 9112 7.1), at most 16 digits. An unfinished line may still lack
/// its digits.
fn chunk_size(line: &[u8], complete: bool) -> Result<u64, Refusal> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits > 16 || (digits == 0 && (complete || !line.is_empty())) {
        return Err(Rule::ChunkSize.into());
    }
    let size = line[..digits].iter().fold(0u64, |n, b| n << 4 | u64::from(hex(*b)));
    if size > i64::MAX as u64 {
        return Err(Rule::ChunkSize.into());
    }
    match &line[digits..] {
        [] => Ok(size),
        // Extensions are dropped, but must be text. Space before `;` is a known smuggling vector.
        [b';', ext @ ..] if ext.iter().all(|b| (0x20..0x7f).contains(b) || *b == b'\t') => Ok(size),
        [b';', ..] => Err(Rule::ChunkExtension.into()),
        _ => Err(Rule::ChunkSize.into()),
    }
}

fn hex(b: u8) -> u8 {
    match b {
        b'0'..=b'9' => b - b'0',
        _ => (b | 0x20) - b'a' + 10,
    }
}

/// `<hex>\r\n` before the data of a chunk; `len` is not 0. The data is followed by `\r\n`.
pub fn chunk_size_line(len: usize, out: &mut Chunk) {
    let mut digits = [0; 18];
    let mut at = 16;
    digits[16..].copy_from_slice(b"\r\n");
    let mut n = len;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[n & 15];
        n >>= 4;
        if n == 0 {
            return out.extend(&digits[at..]);
        }
    }
}

/// Names that may not stand in a trailer section (RFC 9110 6.5.1): framing, routing, authentication.
const FORBIDDEN_TRAILERS: u64 = Known::ContentLength.bit()
    | Known::TransferEncoding.bit()
    | Known::Host.bit()
    | Known::Connection.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::Te.bit()
    | Known::Trailer.bit()
    | Known::Upgrade.bit()
    | Known::Expect.bit()
    | Known::Via.bit()
    | Known::XForwardedFor.bit()
    | Known::XForwardedProto.bit()
    | Known::XForwardedHost.bit()
    | Known::Forwarded.bit()
    | Known::XRealIp.bit()
    | Known::XRequestId.bit()
    | Known::Cookie.bit()
    | Known::SetCookie.bit()
    | Known::Authorization.bit()
    | Known::ProxyAuthorization.bit()
    | Known::ContentType.bit()
    | Known::ContentRange.bit()
    | Known::Range.bit()
    | Known::CacheControl.bit();

/// Whether a field may go on in a trailer section, whoever sent it: none that changes what the head
/// said, and none that says who a client is.
pub fn may_trail(name: &[u8], known: Option<Known>) -> bool {
    known.is_none_or(|known| FORBIDDEN_TRAILERS & known.bit() == 0) && !is_claim(name)
}

/// `0\r\n`, the trailers, `\r\n`. Those that [`may_trail`] forbids are left out.
pub fn last_chunk(trailers: Option<&Fields>, out: &mut Chunk) {
    out.extend(b"0\r\n");
    if let Some(trailers) = trailers {
        for (name, known, value) in trailers.lines() {
            if may_trail(name, known) {
                for part in [name, b": ", &trailers.bytes()[value], b"\r\n"] {
                    out.extend(part);
                }
            }
        }
    }
    out.extend(b"\r\n");
}
