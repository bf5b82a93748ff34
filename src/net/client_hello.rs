//! The first message of TLS, without I/O: which name a client asks for (RFC 8446 4.1.2, RFC 6066 3).
//!
//! Nothing is decided but the name: what else a hello says is between the client and the backend.
//! With ECH (RFC 9849) it is the outer name.

/// Bytes of a hello, those of its records counted too. One with key shares after quantum computers
/// has about 2 KiB, and one block of memory holds this much.
pub const MOST: usize = 16 << 10;

/// Content types (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
/// What a record may hold (RFC 8446 5.1).
const RECORD_MOST: usize = 1 << 14;
/// Bytes before a record's own.
const RECORD_HEAD: usize = 5;

/// The message type, and an extension.
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
/// The kind of name that is one of a host.
const HOST_NAME: u8 = 0;
/// Bytes of a host's name (RFC 1035 2.3.4).
const NAME_MOST: usize = 253;

/// Why there is no hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not begin as TLS does.
    NotTls,
    /// A record is longer than one may be.
    Overflow,
    /// More than [`MOST`] bytes.
    TooLarge,
    /// It does not parse.
    Garbled,
    /// It says an extension or a name twice, or a name that is none.
    Illegal,
}

impl Fault {
    /// The reason for log and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::TooLarge => "client_hello_too_large",
            Self::Overflow | Self::Garbled | Self::Illegal => "bad_client_hello",
        }
    }
    /// What TLS itself says of it (RFC 8446 6.2).
    pub fn alert(self) -> [u8; 7] {
        alert(match self {
            Self::NotTls => 10,
            Self::Overflow => 22,
            Self::TooLarge | Self::Garbled => 50,
            Self::Illegal => 47,
        })
    }
}

/// To a client that asks for a name nobody has here (RFC 6066 3).
pub fn unrecognized_name() -> [u8; 7] {
    alert(112)
}

/// A record with a fatal alert.
fn alert(description: u8) -> [u8; 7] {
    [ALERT, 3, 3, 0, 2, 2, description]
}

/// Reads a hello as it comes. Feed it all bytes so far; each is looked at once.
#[derive(Debug, Default)]
pub struct Reader {
    /// Bytes that were looked at.
    at: usize,
    /// What of the current record is to come.
    left: usize,
    /// The message, put together from its records.
    message: Vec<u8>,
}

/// A hello that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The name the client asks for, in lower case, without a dot at its end.
    pub name: Option<String>,
}

impl Reader {
    /// Looks at what came since; `bytes` are all since the connection began. `None`: more must come.
    /// What it says does not depend on how they came.
    ///
    /// # Errors
    ///
    /// [`Fault`], as soon as it is sure.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Hello>, Fault> {
        let bytes = &bytes[..bytes.len().min(MOST)];
        while self.at < bytes.len() {
            if self.left == 0 {
                let Some(left) = record(&bytes[self.at..])? else { break };
                self.left = left;
                self.at += RECORD_HEAD;
            }
            // Byte by byte up to its length, which is judged first.
            let wanted = wanted(&self.message)?;
            let part = wanted.min(self.left).min(bytes.len() - self.at);
            self.message.extend_from_slice(&bytes[self.at..self.at + part]);
            self.at += part;
            self.left -= part;
            if self::wanted(&self.message)? == 0 {
                return hello(&self.message[4..]).map(Some);
            }
        }
        if bytes.len() == MOST { Err(Fault::TooLarge) } else { Ok(None) }
    }
}

/// The length of a record that begins here, when its head is there.
fn record(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    // Minor versions go up to 4; the first one may be of a client that is older than its hello.
    let begins = |bytes: &[u8]| match *bytes {
        [HANDSHAKE] | [HANDSHAKE, 3] => true,
        [HANDSHAKE, 3, minor, ..] => minor <= 4,
        _ => false,
    };
    if !begins(bytes) {
        return Err(Fault::NotTls);
    }
    let &[_, _, _, high, low, ..] = bytes else { return Ok(None) };
    match usize::from(u16::from_be_bytes([high, low])) {
        // An empty part of a handshake is none (RFC 8446 5.1).
        0 => Err(Fault::Garbled),
        length if length > RECORD_MOST => Err(Fault::Overflow),
        length => Ok(Some(length)),
    }
}

/// How many bytes the message still wants: of its head first.
fn wanted(message: &[u8]) -> Result<usize, Fault> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Fault::Garbled);
    }
    let &[_, a, b, c, ..] = message else {
        return Ok(if message.is_empty() { 1 } else { 4 - message.len() });
    };
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    if 4 + length > MOST - RECORD_HEAD {
        return Err(Fault::TooLarge);
    }
    Ok(4 + length - message.len())
}

/// What is left of a message.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let (part, rest) = self.0.split_at_checked(n).ok_or(Fault::Garbled)?;
        self.0 = rest;
        Ok(part)
    }
    /// A number of N bytes.
    fn number<const N: usize>(&mut self) -> Result<usize, Fault> {
        Ok(self.take(N)?.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    }
    /// Bytes behind their length, which has N bytes itself.
    fn vector<const N: usize>(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.number::<N>()?;
        self.take(length)
    }
}

/// The body of a hello.
fn hello(body: &[u8]) -> Result<Hello, Fault> {
    let mut rest = Rest(body);
    rest.take(2 + 32)?; // version, random
    let session = rest.vector::<1>()?;
    let suites = rest.vector::<2>()?;
    let compressions = rest.vector::<1>()?;
    if session.len() > 32 || suites.is_empty() || suites.len() % 2 > 0 || compressions.is_empty() {
        return Err(Fault::Garbled);
    }
    if rest.0.is_empty() {
        // Before TLS 1.3 there may be no extensions at all.
        return Ok(Hello { name: None });
    }
    let mut extensions = Rest(rest.vector::<2>()?);
    if !rest.0.is_empty() {
        return Err(Fault::Garbled);
    }
    let (mut seen, mut found) = (Vec::new(), None);
    while !extensions.0.is_empty() {
        let kind = extensions.number::<2>()? as u16;
        let body = extensions.vector::<2>()?;
        seen.push(kind);
        if kind == SERVER_NAME {
            found = name(body)?;
        }
    }
    seen.sort_unstable();
    if seen.windows(2).any(|two| two[0] == two[1]) {
        return Err(Fault::Illegal);
    }
    Ok(Hello { name: found })
}

/// The host's name of the extension; one of a kind we do not know hides what follows.
fn name(body: &[u8]) -> Result<Option<String>, Fault> {
    let mut rest = Rest(body);
    let mut names = Rest(rest.vector::<2>()?);
    if !rest.0.is_empty() || names.0.is_empty() {
        return Err(Fault::Garbled);
    }
    let mut found = None;
    while !names.0.is_empty() {
        if names.number::<1>()? != usize::from(HOST_NAME) {
            break;
        }
        let name = host(names.vector::<2>()?).ok_or(Fault::Illegal)?;
        if found.replace(name).is_some() {
            return Err(Fault::Illegal);
        }
    }
    Ok(found)
}

/// A host's name in its one form; `None` for what no host is called.
pub fn host(bytes: &[u8]) -> Option<String> {
    let name = bytes.strip_suffix(b".").unwrap_or(bytes);
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    if name.is_empty() || name.len() > NAME_MOST || !name.iter().all(plain) {
        return None;
    }
    if name.starts_with(b".") || name.ends_with(b".") || name.windows(2).any(|two| two == b"..") {
        return None;
    }
    String::from_utf8(name.to_ascii_lowercase()).ok()
}

#[cfg(test)]
#[path = "client_hello_tests.rs"]
mod tests;
