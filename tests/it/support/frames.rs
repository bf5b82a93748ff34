//! A raw HTTP/2 client: writes any frame, right or wrong, and reads frames without decoding their
//! fields.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
    /// The status a head begins with, of those that have a number of their own (RFC 7541 A), or
    /// three digits that are written out.
    pub(crate) fn status(&self) -> u16 {
        match self.payload[..] {
            [first @ 0x88..=0x8e, ..] => {
                [200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)]
            }
            // A literal with an indexed name, three digits of Huffman's or plain.
            [_, 3, a, b, c, ..] => [a, b, c].iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')),
            [_, len, ..] if len & 0x80 != 0 => {
                huffman(&self.payload[2..2 + usize::from(len & 0x7f)])
            }
            _ => panic!("no status in {self:?}"),
        }
    }
}

/// The digits of a status in Huffman's code (RFC 7541 B): `0`, `1`, `2` have five bits, `3` to `9` six.
fn huffman(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1)).collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let take = |n: usize| bits[at..at + n].iter().fold(0u16, |v, b| v << 1 | u16::from(*b));
        let five = take(5);
        let digit = if five <= 2 { (five, 5) } else { (take(6) - 0x19 + 3, 6) };
        number = number * 10 + digit.0;
        at += digit.1;
    }
    number
}

pub(crate) struct Frames {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Frames {
    /// Connects, says the preface and empty settings.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::with_settings(addr, &[])
    }
    /// The same with these settings.
    pub(crate) fn with_settings(addr: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut frames = Self { stream, seen: Vec::new() };
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        bytes.extend(frame(SETTINGS, 0, 0, &payload));
        frames.write(&bytes);
        frames
    }
    /// Another hand on a connection.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { stream, seen: Vec::new() }
    }
    /// Writes; a proxy that has closed already is no fault.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(&frame(kind, flags, stream, payload))
    }
    /// A GET with these fields besides what it needs; ends its stream.
    pub(crate) fn get(&mut self, stream: u32, path: &str, fields: &[(&str, &str)]) {
        let block = [usual("GET", path), block(fields)].concat();
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block);
    }
    /// A POST whose body is to follow.
    pub(crate) fn post(&mut self, stream: u32, path: &str, fields: &[(&str, &str)]) {
        let block = [usual("POST", path), block(fields)].concat();
        self.send(HEADERS, END_HEADERS, stream, &block);
    }
    /// The next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        while self.seen.len() < 9 || self.seen.len() < 9 + length(&self.seen) {
            let mut buf = [0; 65536];
            match self.stream.read(&mut buf) {
                Ok(0) => return None,
                Ok(n) => self.seen.extend_from_slice(&buf[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing in time"),
                Err(_) => return None,
            }
        }
        let rest = self.seen.split_off(9 + length(&self.seen));
        let bytes = std::mem::replace(&mut self.seen, rest);
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        let frame = Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].to_vec() };
        if frame.kind == SETTINGS && frame.flags & ACK == 0 {
            self.send(SETTINGS, ACK, 0, &[]);
        }
        Some(frame)
    }
    /// Reads on until a frame is what is wanted.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, is: impl Fn(&Frame) -> bool) -> Frame {
        let mut others = Vec::new();
        while let Some(frame) = self.next() {
            if is(&frame) {
                return frame;
            }
            others.push((frame.kind, frame.flags, frame.stream));
        }
        panic!("the connection ended without {what}; there were {others:?}")
    }
    /// The status and the body of a stream's answer.
    #[track_caller]
    pub(crate) fn answer(&mut self, stream: u32) -> (u16, String) {
        let head = self.until("a head", |f| f.kind == HEADERS && f.stream == stream);
        let (status, mut end, mut body) = (head.status(), head.flags & END_STREAM, Vec::new());
        while end == 0 {
            let frame = self.until("an end", |f| f.stream == stream);
            assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
            if frame.kind == DATA {
                body.extend(&frame.payload);
            }
            end = frame.flags & END_STREAM;
        }
        (status, String::from_utf8_lossy(&body).into_owned())
    }
    /// Reads to the end; the code of the last GOAWAY.
    pub(crate) fn goodbye(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

fn length(bytes: &[u8]) -> usize {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals that no table keeps (RFC 7541 6.2.2), without Huffman's code.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            let len = text.len();
            if len < 127 {
                bytes.push(len as u8);
            } else {
                bytes.push(127);
                let mut rest = len - 127;
                while rest >= 128 {
                    bytes.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                bytes.push(rest as u8);
            }
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// What every request has.
pub(crate) fn usual(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.test")])
}
