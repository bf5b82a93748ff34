//! What the frames of a connection cost, so that a client that only makes work is sent away.
//!
//! The library bounds what a flood may hold in memory; this bounds how much work it may ask for
//! without ever carrying anything (RFC 9113 10.5). No clock: whoever reads says how much time went by.
use std::time::Duration;

/// A frame's header (RFC 9113 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of payload.
    pub len: u32,
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// Bytes of the payload that are padding, with the one that says how many (RFC 9113 6.1), of DATA.
    pub padding: u32,
    /// Why a stream or the connection ends (RFC 9113 7), of RST_STREAM and GOAWAY.
    pub code: u32,
}

impl Frame {
    /// Whether it is a part of a body.
    pub fn is_data(self) -> bool {
        self.kind == DATA
    }

    /// Bytes of its payload that are no padding.
    pub fn data(self) -> u32 {
        self.len.saturating_sub(self.padding)
    }

    /// Whether it ends the connection.
    pub fn is_goodbye(self) -> bool {
        self.kind == GOAWAY
    }

    /// What the peer did wrong, where this frame tells it so (RFC 9113 7): the words of
    /// `evenkeel_http2_errors_total`.
    pub fn error(self) -> Option<&'static str> {
        if !matches!(self.kind, RST_STREAM | GOAWAY) {
            return None;
        }
        match self.code {
            1 => Some("protocol_error"),
            3 => Some("flow_control_error"),
            4 => Some("settings_timeout"),
            5 => Some("stream_closed"),
            6 => Some("frame_size_error"),
            9 => Some("compression_error"),
            _ => None,
        }
    }

    /// Whether it tells the peer that a request was never looked at.
    pub fn is_refusal(self) -> bool {
        self.kind == RST_STREAM && self.code == REFUSED
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const HEADER: usize = 9;
/// The most of a payload that is looked at: the stream and the code of a GOAWAY.
const LOOK: usize = 8;
/// REFUSED_STREAM
const REFUSED: u32 = 7;
/// END_STREAM, and ACK of a SETTINGS or PING.
const FIRST_FLAG: u8 = 1;
const PADDED: u8 = 8;

/// Finds the frames in bytes that go by.
#[derive(Debug)]
pub struct Walker {
    header: [u8; HEADER + LOOK],
    have: usize,
    skip: usize,
}

impl Walker {
    /// The first frame begins after so many bytes.
    pub fn after(skip: usize) -> Self {
        Self { header: [0; HEADER + LOOK], have: 0, skip }
    }

    /// Tells of every frame whose header ends in these bytes, of those that end something with
    /// their code, of DATA with its padding.
    pub fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (self.wanted() - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            // A whole header may want more of the payload.
            let wanted = self.wanted();
            if self.have < wanted {
                continue;
            }
            self.have = 0;
            let [a, b, c, kind, flags, s, t, u, v, look @ ..] = self.header;
            let [d, e, f, g, h, i, j, k] = look;
            let len = u32::from_be_bytes([0, a, b, c]);
            self.skip = len as usize - (wanted - HEADER);
            let code = match (kind, wanted - HEADER) {
                (RST_STREAM, 4) => u32::from_be_bytes([d, e, f, g]),
                (GOAWAY, 8) => u32::from_be_bytes([h, i, j, k]),
                _ => 0,
            };
            let padding = match (kind, wanted - HEADER) {
                (DATA, 1) => 1 + u32::from(d),
                _ => 0,
            };
            // Its first bit means nothing (RFC 9113 4.1).
            let stream = u32::from_be_bytes([s & 0x7f, t, u, v]);
            each(Frame { len, kind, flags, stream, padding, code });
        }
    }

    /// Whether a frame that was told of has not come to its end.
    pub fn is_inside(&self) -> bool {
        self.skip > 0
    }

    /// How much of the frame under way is to be seen.
    fn wanted(&self) -> usize {
        let [a, b, c, kind, flags, ..] = self.header;
        let look = match kind {
            DATA if flags & PADDED != 0 => 1,
            RST_STREAM => 4,
            GOAWAY => LOOK,
            _ => 0,
        };
        let whole = self.have >= HEADER && u32::from_be_bytes([0, a, b, c]) as usize >= look;
        HEADER + if whole { look } else { 0 }
    }
}

/// What a flood is made of: the words of `evenkeel_http2_floods_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client's RST_STREAM.
    Resets,
    /// CONTINUATION.
    Continuations,
    /// DATA that carries nothing.
    DataFrames,
    /// SETTINGS, PING, PRIORITY, WINDOW_UPDATE, what nobody knows.
    Other,
}

impl Kind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Continuations => "continuations",
            Self::DataFrames => "data_frames",
            Self::Other => "other",
        }
    }
}

/// The account of a connection.
#[derive(Debug)]
pub struct Tally {
    credit: u32,
    /// Bytes of bodies that came and earned nothing yet.
    carried: u32,
}

/// So many frames that carry nothing are nobody's harm: a tenth of a second of one core.
const MOST: u32 = 10_000;
/// A reset costs as much as a request that is begun for nothing.
const RESET: u32 = 20;
/// For each frame that we send: a client may answer it with updates of its windows and a PING.
const SENT: u32 = 10;
/// So many bytes of bodies that come pay for one frame that carries nothing. Bytes and not frames:
/// else one byte between two PINGs would pay for both, and ten of them for a reset. Clients hardly
/// need it: what they send besides a body (windows, PINGs that measure) answers what they were sent,
/// which is paid for by [`SENT`]. So small messages pay for little, and cost nothing either.
const CARRIED: u32 = 4 << 10;
/// For each second: a client that only keeps its connection alive may do so for ever.
const SECOND: u32 = 100;

impl Default for Tally {
    fn default() -> Self {
        Self { credit: MOST, carried: 0 }
    }
}

impl Tally {
    /// A frame came; the kind of flood it belongs to, where it was one too many.
    pub fn came(&mut self, frame: Frame) -> Option<Kind> {
        let empty = frame.data() == 0 && frame.flags & FIRST_FLAG == 0;
        let (cost, kind) = match frame.kind {
            DATA if empty => (1, Kind::DataFrames),
            DATA => {
                let carried = self.carried.saturating_add(frame.data());
                self.carried = carried % CARRIED;
                self.gain(carried / CARRIED);
                return None;
            }
            // What is behind it is bounded as a request is.
            HEADERS => return None,
            RST_STREAM => (RESET, Kind::Resets),
            CONTINUATION => (1, Kind::Continuations),
            _ => (1, Kind::Other),
        };
        match self.credit.checked_sub(cost) {
            Some(left) => {
                self.credit = left;
                None
            }
            None => Some(kind),
        }
    }

    /// A frame went out.
    pub fn went(&mut self, frame: Frame) {
        if matches!(frame.kind, DATA | HEADERS) {
            self.gain(SENT);
        }
    }

    /// So much time went by.
    pub fn passed(&mut self, time: Duration) {
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        self.gain(seconds.saturating_mul(SECOND));
    }

    fn gain(&mut self, n: u32) {
        self.credit = self.credit.saturating_add(n).min(MOST);
    }
}
