//! Frames (RFC 9113 4, 6) and the codes of errors (RFC 9113 7).
use crate::message::Chunk;
use std::fmt;

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;
/// The longest payload: what both sides begin with, and we never ask for more or send more.
pub(super) const PAYLOAD: usize = 16_384;
/// What a connection begins with (RFC 9113 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub(super) mod kind {
    pub(in crate::http2) const DATA: u8 = 0;
    pub(in crate::http2) const HEADERS: u8 = 1;
    pub(in crate::http2) const PRIORITY: u8 = 2;
    pub(in crate::http2) const RST_STREAM: u8 = 3;
    pub(in crate::http2) const SETTINGS: u8 = 4;
    pub(in crate::http2) const PING: u8 = 6;
    pub(in crate::http2) const GOAWAY: u8 = 7;
    pub(in crate::http2) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::http2) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(super) mod flag {
    /// Of DATA and HEADERS.
    pub(in crate::http2) const END_STREAM: u8 = 1;
    /// Of SETTINGS and PING.
    pub(in crate::http2) const ACK: u8 = 1;
    pub(in crate::http2) const END_HEADERS: u8 = 4;
    pub(in crate::http2) const PADDED: u8 = 8;
    /// Of HEADERS.
    pub(in crate::http2) const PRIORITY: u8 = 0x20;
}

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
}

impl Frame {
    /// Reads a header; `None` while it is not complete.
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<HEADER>()?;
        // The first bit of the stream means nothing.
        let stream = u32::from_be_bytes(stream) & STREAM;
        Some(Self { len: u32::from_be_bytes([0, a, b, c]), kind, flags, stream })
    }

    /// Writes a header.
    #[inline]
    pub fn write(self, out: &mut Chunk) {
        let [_, a, b, c] = self.len.to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        out.extend(&[a, b, c, self.kind, self.flags, d, e, f, g]);
    }

    /// Whether a flag is set.
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The bits of a stream's number, and of a window.
pub(super) const STREAM: u32 = (1 << 31) - 1;

/// Writes a frame whose payload is one number.
pub(super) fn write_number(kind: u8, stream: u32, number: u32, out: &mut Chunk) {
    Frame { len: 4, kind, flags: 0, stream }.write(out);
    out.extend(&number.to_be_bytes());
}

/// Why a stream or a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

#[allow(missing_docs, reason = "the RFC's names")]
impl Code {
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL: Self = Self(1);
    pub const INTERNAL: Self = Self(2);
    pub const FLOW_CONTROL: Self = Self(3);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE: Self = Self(6);
    pub const REFUSED: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION: Self = Self(9);
    pub const CALM: Self = Self(11);

    /// What a peer did wrong that is told so: the words of `evenkeel_http2_errors_total`.
    pub fn error(self) -> Option<&'static str> {
        match self {
            Self::PROTOCOL => Some("protocol_error"),
            Self::FLOW_CONTROL => Some("flow_control_error"),
            Self(4) => Some("settings_timeout"),
            Self::STREAM_CLOSED => Some("stream_closed"),
            Self::FRAME_SIZE => Some("frame_size_error"),
            Self::COMPRESSION => Some("compression_error"),
            _ => None,
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}
