//! What an HTTP message says: its start line, and its fields, in one run of bytes.
use super::fields::{Fields, Invalid};
use super::known::Known;
use super::syntax::{is_target, is_token, reason_phrase};
use std::ops::Range;

/// The version a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "names say it")]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

/// A request method; unknown ones keep their token in the head's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "names say it")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other,
}

impl Method {
    /// RFC 9110 9.2.2.
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace
        )
    }
}

impl Method {
    /// The method of a token; case counts (RFC 9110 9.1).
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Start {
    version: Version,
    method: Method,
    status: u16,
    token: (u32, u32),
    target: (u32, u32),
    /// The target as it came, once another was set.
    came: (u32, u32),
    /// How long the line is, if it may be written as it came; else 0.
    usual: u32,
}

const NO_START: Start = Start {
    version: Version::Http11,
    method: Method::Get,
    status: 0,
    token: (0, 0),
    target: (0, 0),
    came: (0, 0),
    usual: 0,
};

/// A request or response head: a start line and [`Fields`] (by `Deref`).
#[derive(Clone, Debug)]
pub struct Head {
    fields: Fields,
    start: Start,
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Deref for Head {
    type Target = Fields;
    fn deref(&self) -> &Fields {
        &self.fields
    }
}
impl std::ops::DerefMut for Head {
    fn deref_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }
}

impl Head {
    /// Holds nothing and no memory.
    pub const fn new() -> Self {
        Self { fields: Fields::new(), start: NO_START }
    }
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.start = NO_START;
    }
    /// Makes room for lines to be indexed.
    pub(crate) fn begin(&mut self) {
        self.start = NO_START;
        self.fields.begin();
    }
    fn slice(&self, (from, to): (u32, u32)) -> &[u8] {
        &self.fields.bytes()[from as usize..to as usize]
    }
    /// The version it came in.
    pub fn version(&self) -> Version {
        self.start.version
    }
    /// A request's method.
    pub fn method(&self) -> Method {
        self.start.method
    }
    /// A request's method as it came.
    pub fn method_token(&self) -> &[u8] {
        self.slice(self.start.token)
    }
    /// A request's target as it came, or as it was set.
    pub fn target(&self) -> &[u8] {
        self.slice(self.start.target)
    }
    /// The same as it came, whatever was set since.
    pub fn target_that_came(&self) -> &[u8] {
        let came = self.start.came;
        self.slice(if came == NO_START.came { self.start.target } else { came })
    }
    /// The authority of an absolute-form or authority-form target (RFC 9112 3.2.2, 3.2.3).
    #[inline]
    pub fn authority(&self) -> Option<&[u8]> {
        let target = self.target();
        // Nearly always.
        if target.first() == Some(&b'/') { None } else { self.authority_of(target) }
    }
    fn authority_of<'a>(&self, target: &'a [u8]) -> Option<&'a [u8]> {
        if self.start.method == Method::Connect {
            return Some(target);
        }
        let after = after_scheme(target)?;
        let end = after.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(after.len());
        Some(&after[..end])
    }
    /// What an absolute target says in the place of `Host` (RFC 9112 3.2.2), where that is the name.
    pub fn host_of_target(&self, name: &str) -> Option<&[u8]> {
        self.authority().filter(|_| name.eq_ignore_ascii_case("host"))
    }
    /// Adds a field with what the client called the host: of an absolute target, else `Host`.
    pub fn push_host(&mut self, name: Known) {
        let Some(host) = self.authority().or_else(|| self.get(Known::Host)) else { return };
        // Where the slice stands in the bytes it was cut from.
        let from = host.as_ptr() as usize - self.fields.bytes().as_ptr() as usize;
        let host = from..from + host.len();
        if !host.is_empty() {
            self.fields.push_part(name, host);
        }
    }
    /// Where the value of a known name stands in [`Fields::bytes`]: it stays there, whatever is set later.
    pub fn place(&self, name: Known) -> Option<Range<usize>> {
        let value = self.get(name)?;
        let from = value.as_ptr() as usize - self.fields.bytes().as_ptr() as usize;
        Some(from..from + value.len())
    }
    /// Path and query of the target in origin form; `*` for OPTIONS of the whole server.
    pub fn path_and_query(&self) -> &[u8] {
        let target = self.target();
        match after_scheme(target) {
            None => target,
            Some(after) => match after.iter().position(|b| matches!(b, b'/' | b'?')) {
                Some(at) => &after[at..],
                None if self.start.method == Method::Options => b"*",
                None => b"/",
            },
        }
    }
    /// The path of the target; empty when an absolute form goes from authority to query at once.
    pub fn path(&self) -> &[u8] {
        let all = self.path_and_query();
        &all[..memchr::memchr(b'?', all).unwrap_or(all.len())]
    }
    /// The query of the target, without `?`.
    pub fn query(&self) -> Option<&[u8]> {
        let all = self.path_and_query();
        memchr::memchr(b'?', all).map(|at| &all[at + 1..])
    }
    /// A response's status, 100 to 999.
    pub fn status(&self) -> u16 {
        self.start.status
    }
    /// A response's reason phrase.
    pub fn reason(&self) -> &[u8] {
        self.slice(self.start.target)
    }
    /// Replaces a request's target.
    ///
    /// # Errors
    ///
    /// [`Invalid::Target`] for an empty one or one with a control, a space, `#` or an 8-bit byte.
    pub fn set_target(&mut self, target: &[u8]) -> Result<(), Invalid> {
        if !is_target(target) {
            return Err(Invalid::Target);
        }
        if self.start.came == NO_START.came {
            self.start.came = self.start.target;
        }
        self.start.target = self.fields.put(target);
        self.start.usual = 0;
        Ok(())
    }
    /// Makes this a request head without fields.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a method that is no token or a target that is none.
    pub fn start_request(
        &mut self,
        method: &[u8],
        target: &[u8],
        version: Version,
    ) -> Result<(), Invalid> {
        if !is_token(method) {
            return Err(Invalid::Name);
        }
        if !is_target(target) {
            return Err(Invalid::Target);
        }
        self.clear();
        let token = self.fields.put(method);
        let target = self.fields.put(target);
        let method = Method::of(method);
        self.start = Start { version, method, token, target, ..NO_START };
        Ok(())
    }
    /// Makes this a response head without fields, with the status's usual reason phrase.
    pub fn start_response(&mut self, status: u16, version: Version) {
        self.clear();
        let target = self.fields.put(reason_phrase(status).as_bytes());
        self.start = Start { version, status, target, ..NO_START };
    }
    /// The start line with its CRLF as it came, if that is what HTTP/1.1 writes for this head.
    pub(crate) fn usual_line(&self) -> Option<&[u8]> {
        (self.start.usual > 0).then(|| self.slice((0, self.start.usual)))
    }
    /// The start line of a request, checked, of bytes that will be kept.
    pub(crate) fn index_request(
        &mut self,
        wire: &[u8],
        method: Range<usize>,
        target: Range<usize>,
        version: Version,
    ) {
        let token = (method.start as u32, method.end as u32);
        let method = Method::of(&wire[method]);
        let usual = version == Version::Http11 && wire[target.start] == b'/';
        let usual = if usual { target.end + " HTTP/1.1\r\n".len() } else { 0 } as u32;
        let target = (target.start as u32, target.end as u32);
        self.start = Start { version, method, token, target, usual, ..NO_START };
    }
    /// The start line of a response, checked, of bytes that will be kept.
    pub(crate) fn index_response(&mut self, status: u16, reason: Range<usize>, version: Version) {
        // Without a reason the space before it may be missing.
        let usual = version == Version::Http11 && !reason.is_empty();
        let usual = if usual { reason.end + 2 } else { 0 } as u32;
        let target = (reason.start as u32, reason.end as u32);
        self.start = Start { version, status, target, usual, ..NO_START };
    }
}

/// What follows `http://` or `https://`; `None` for another form.
fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    if target.first().is_none_or(|b| *b == b'/') {
        return None;
    }
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target.len() >= scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme)
        })
        .map(|scheme| &target[scheme.len()..])
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
