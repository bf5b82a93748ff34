//! A request of HTTP/2 to a head that any backend can be sent.
use super::fields::{Bound, LINE, Listen, check};
use super::grpc::is_grpc;
use super::hpack::{Judged, Stop};
use crate::http1::{self, BodyLength, HeadLimits, Refusal, RequestVerdict, Rule};
use crate::message::{Fields, Head, Invalid, Known, Method, Version};

/// A request as it came.
#[derive(Debug)]
pub struct Request {
    /// Its head, as HTTP/1 would have it; what was refused may be incomplete.
    pub head: Head,
    /// What it says, or why it is refused.
    pub verdict: Result<RequestVerdict, Refusal>,
    /// Whether it asks for a WebSocket (RFC 8441 4).
    pub websocket: bool,
    /// Whether it is one of gRPC: known also of what is refused.
    pub is_call: bool,
    /// No body follows.
    pub ended: bool,
}

/// Reads the fields of a request, as strictly as one of HTTP/1 is read.
///
/// `:authority` becomes `Host`, crumbs of `cookie` are joined (RFC 9113 8.2.3), and who asks for a
/// WebSocket does so as by HTTP/1.1 (RFC 8441 5).
#[derive(Debug)]
pub struct Asking<'l> {
    limits: &'l HeadLimits,
    bound: Bound,
    head: Head,
    pseudo: Pseudo,
    /// Fields came, and no pseudo-header may follow.
    begun: bool,
    /// `host` came, too.
    hosted: bool,
    websocket: bool,
    is_call: bool,
    /// Bytes, as lines of HTTP/1, and fields.
    size: usize,
    count: usize,
    cookies: Vec<u8>,
    refused: Option<Rule>,
}

/// Pseudo-headers of requests (RFC 9113 8.3.1, RFC 8441 4).
const METHOD: usize = 0;
const SCHEME: usize = 1;
const AUTHORITY: usize = 2;
const PATH: usize = 3;
const PROTOCOL: usize = 4;

#[derive(Debug)]
struct Pseudo {
    /// The values, one behind the other.
    said: Vec<u8>,
    at: [Option<(u32, u32)>; 5],
}

impl Pseudo {
    fn get(&self, which: usize) -> Option<&[u8]> {
        self.at[which].map(|(from, to)| &self.said[from as usize..to as usize])
    }

    /// One more. One that came late, that nobody knows, or that was said before is none.
    fn add(&mut self, name: &[u8], value: &[u8], late: bool) -> Result<(), Rule> {
        let which = match name {
            b":method" => Some(METHOD),
            b":scheme" => Some(SCHEME),
            b":authority" => Some(AUTHORITY),
            b":path" => Some(PATH),
            b":protocol" => Some(PROTOCOL),
            _ => None,
        };
        let which = which.filter(|which| !late && self.at[*which].is_none());
        let from = self.said.len() as u32;
        self.at[which.ok_or(Rule::RequestLine)?] = Some((from, from + value.len() as u32));
        self.said.extend_from_slice(value);
        Ok(())
    }

    /// `:path`. Other forms than HTTP/1's origin form are `*` of OPTIONS alone (RFC 9113 8.3.1).
    fn path(&self, method: &[u8]) -> Result<&[u8], Rule> {
        let path = self.get(PATH).ok_or(Rule::Target)?;
        let is_star = path == b"*" && Method::of(method) == Method::Options;
        if path.first() == Some(&b'/') || is_star { Ok(path) } else { Err(Rule::Target) }
    }

    /// The target of a CONNECT: a host with its port, and nothing besides (RFC 9113 8.5).
    fn authority_form(&self) -> Result<&[u8], Rule> {
        let bare = self.get(SCHEME).is_none() && self.get(PATH).is_none();
        let authority = self.get(AUTHORITY).ok_or(Rule::HostMissing)?;
        let port = authority.iter().rposition(|b| *b == b':').map(|at| &authority[at + 1..]);
        let port = port.unwrap_or_default();
        let whole = bare && !port.is_empty() && port.iter().all(u8::is_ascii_digit);
        if whole { Ok(authority) } else { Err(Rule::Target) }
    }
}

impl Listen for Asking<'_> {
    #[inline]
    fn field(&mut self, name: &[u8], value: &[u8], judged: &mut Judged) -> Result<(), Stop> {
        self.bound.field(name, value)?;
        if self.refused.is_none()
            && let Err(rule) = self.read(name, value, judged)
        {
            self.refused = Some(rule);
        }
        if name == b"content-type" {
            self.is_call = is_grpc(value);
        }
        Ok(())
    }
}

impl<'l> Asking<'l> {
    /// Nothing was said yet; all its fields together may be so large before it ends the connection.
    pub fn new(limits: &'l HeadLimits, most: usize) -> Self {
        Self {
            limits,
            bound: Bound(most),
            head: Head::new(),
            pseudo: Pseudo { said: Vec::with_capacity(64), at: [None; 5] },
            begun: false,
            hosted: false,
            websocket: false,
            is_call: false,
            size: 0,
            count: 0,
            cookies: Vec::new(),
            refused: None,
        }
    }

    fn read(&mut self, name: &[u8], value: &[u8], judged: &mut Judged) -> Result<(), Rule> {
        if name.first() == Some(&b':') {
            return self.pseudo.add(name, value, self.begun);
        }
        if !self.begun {
            self.begin()?;
        }
        let known = check(name, value, judged)?;
        self.size += name.len() + value.len() + LINE;
        if self.size > self.limits.head {
            return Err(Rule::HeadTooLarge);
        }
        // All crumbs are one.
        self.count += usize::from(known != Known::Cookie as u8 || self.cookies.is_empty());
        if self.count > self.limits.fields {
            return Err(Rule::TooManyFields);
        }
        const HOST: u8 = Known::Host as u8;
        const COOKIE: u8 = Known::Cookie as u8;
        const KEY: u8 = Known::SecWebSocketKey as u8;
        match known {
            HOST => self.host(value)?,
            // Joined to the others it would leave a space behind them.
            COOKIE if value.is_empty() => {}
            COOKIE if self.cookies.is_empty() => self.cookies.extend_from_slice(value),
            COOKIE => self.cookies.extend([b"; ", value].concat()),
            KEY if self.websocket => {}
            _ => self.head.push_checked(name, known, value),
        }
        Ok(())
    }

    /// `Host` says what `:authority` said. Where both came they must agree (RFC 9113 8.3.1).
    fn host(&mut self, value: &[u8]) -> Result<(), Rule> {
        if std::mem::replace(&mut self.hosted, true) {
            return Err(Rule::HostRepeated);
        }
        match self.pseudo.get(AUTHORITY) {
            Some(said) if !said.eq_ignore_ascii_case(value) => return Err(Rule::HostDiffers),
            Some(_) => {}
            None => self.head.push_checked(b"host", Known::Host as u8, value),
        }
        Ok(())
    }

    /// All pseudo-headers are there.
    fn begin(&mut self) -> Result<(), Rule> {
        self.begun = true;
        let Self { pseudo, head, limits, .. } = self;
        let method = pseudo.get(METHOD).ok_or(Rule::RequestLine)?;
        let protocol = pseudo.get(PROTOCOL);
        let is_connect = method == b"CONNECT";
        if protocol.is_some() && !is_connect {
            return Err(Rule::RequestLine);
        }
        let plain = is_connect && protocol.is_none();
        let target = if plain { pseudo.authority_form()? } else { pseudo.path(method)? };
        if target.len() > limits.target {
            return Err(Rule::TargetTooLong);
        }
        self.size = method.len() + target.len();
        self.websocket = protocol == Some(b"websocket");
        let method = if self.websocket { b"GET" } else { method };
        let started = head.start_request(method, target, Version::Http2);
        started.map_err(|invalid| match invalid {
            Invalid::Name => Rule::RequestLine,
            _ => Rule::Target,
        })?;
        if protocol.is_some() && !self.websocket {
            return Err(Rule::Protocol);
        }
        let is_http = |scheme: &[u8]| {
            scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")
        };
        if !plain && !pseudo.get(SCHEME).is_some_and(is_http) {
            return Err(Rule::Scheme);
        }
        match pseudo.get(AUTHORITY) {
            // Whether it is one is looked at with all of the head.
            Some(said) if said.iter().all(|b| (0x21..=0x7e).contains(b)) => {
                self.size += "host".len() + said.len() + LINE;
                head.push_checked(b"host", Known::Host as u8, said);
            }
            Some(_) => return Err(Rule::HostInvalid),
            None => {}
        }
        if self.size > limits.head { Err(Rule::HeadTooLarge) } else { Ok(()) }
    }

    /// All was said. `ended`: no body follows. `seed` is for the key of a WebSocket's handshake.
    pub fn finish(mut self, ended: bool, seed: impl FnOnce() -> u64) -> Request {
        let verdict = self.judge(ended, seed).map_err(Refusal::from);
        let Self { head, websocket, is_call, .. } = self;
        Request { head, verdict, websocket, is_call, ended }
    }

    fn judge(&mut self, ended: bool, seed: impl FnOnce() -> u64) -> Result<RequestVerdict, Rule> {
        if let Some(rule) = self.refused {
            return Err(rule);
        }
        if !self.begun {
            self.begin()?;
        }
        if !self.cookies.is_empty() {
            self.head.push_checked(b"cookie", Known::Cookie as u8, &self.cookies);
        }
        if self.websocket {
            handshake(seed(), &mut self.head)?;
        }
        let mut verdict = http1::of_request(&self.head).map_err(|refusal| refusal.rule)?;
        verdict.body = body(verdict, self.websocket, ended)?;
        Ok(verdict)
    }
}

/// What the handshake of RFC 6455 has and that of RFC 8441 has not.
fn handshake(seed: u64, head: &mut Fields) -> Result<(), Rule> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // 16 bytes in base64: 21 whole digits, one of two bits, and the filling.
    let mut key = [b'='; 24];
    let mut random = fastrand::Rng::with_seed(seed);
    key[..21].fill_with(|| DIGITS[random.usize(..64)]);
    key[21] = DIGITS[random.usize(..4) << 4];
    let mut add = |name, value: &[u8]| head.append(name, value).map_err(|_| Rule::FieldValue);
    add("connection", b"Upgrade")?;
    add("upgrade", b"websocket")?;
    add("sec-websocket-key", &key)
}

/// A body whose length nobody said is known at its end; one that was said must fit (RFC 9113 8.1.1).
fn body(verdict: RequestVerdict, websocket: bool, ended: bool) -> Result<BodyLength, Rule> {
    match verdict.body {
        _ if websocket && !verdict.websocket => Err(Rule::LengthInvalid),
        BodyLength::None if websocket || ended => Ok(BodyLength::None),
        BodyLength::None => Ok(BodyLength::Chunked),
        BodyLength::Exact(1..) if ended => Err(Rule::LengthInvalid),
        said => Ok(said),
    }
}
