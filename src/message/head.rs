//! What an HTTP message says: one run of bytes, an index of ranges into it, a bit per known name.
//!
//! Order, case and repetition of fields are kept. `set` and `append` validate, so a head can
//! always be written as strictly valid HTTP.

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
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

macro_rules! known {
    ($($variant:ident $text:literal),* $(,)?) => {
        /// Field names the proxy itself looks at: a bit each in [`Fields`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "names say it")]
        pub enum Known { $($variant),* }
        impl Known {
            /// All of them.
            pub const ALL: &'static [Known] = &[$(Known::$variant),*];
            /// The name as this proxy writes it.
            pub const fn name(self) -> &'static str {
                match self { $(Known::$variant => $text),* }
            }
        }
    };
}
known! {
    Host "Host", Connection "Connection", ContentLength "Content-Length",
    TransferEncoding "Transfer-Encoding", Te "TE", Trailer "Trailer", Upgrade "Upgrade",
    KeepAlive "Keep-Alive", ProxyConnection "Proxy-Connection", Expect "Expect", Via "Via",
    XForwardedFor "X-Forwarded-For", XForwardedProto "X-Forwarded-Proto",
    XForwardedHost "X-Forwarded-Host", Forwarded "Forwarded", XRealIp "X-Real-IP",
    XRequestId "X-Request-Id", Cookie "Cookie", SetCookie "Set-Cookie",
    Authorization "Authorization", ProxyAuthorization "Proxy-Authorization", Date "Date",
    Server "Server", ContentType "Content-Type", Location "Location",
    SecWebSocketKey "Sec-WebSocket-Key", RetryAfter "Retry-After", Allow "Allow",
    CacheControl "Cache-Control", Range "Range", ContentRange "Content-Range",
}

impl Known {
    /// Finds a name, case-insensitively.
    pub fn of(name: &[u8]) -> Option<Self> {
        let _ = name;
        todo!()
    }
}

/// A name or value that may not stand in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Invalid {
    #[error("not a field name (RFC 9110 5.1)")]
    Name,
    #[error("not a field value (RFC 9110 5.5)")]
    Value,
    #[error("not a request target (RFC 9112 3.2)")]
    Target,
}

/// Fields in order, as a head or a trailer section holds them.
///
/// Memory comes from and returns to the thread's free lists. Limit: 4 GiB of bytes.
#[derive(Debug, Default)]
pub struct Fields {
    // bytes: Vec<u8>, index: Vec<Field>, known: u64
}

impl Fields {
    /// Holds nothing and no memory.
    pub const fn new() -> Self {
        Self {}
    }
    /// Name and value of each live field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::empty()
    }
    /// How many live fields.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether a known name is there: one bit.
    pub fn has(&self, name: Known) -> bool {
        let _ = name;
        todo!()
    }
    /// The first value of a known name.
    pub fn get(&self, name: Known) -> Option<&[u8]> {
        let _ = name;
        todo!()
    }
    /// Every value of a known name, in order.
    pub fn all(&self, name: Known) -> impl Iterator<Item = &[u8]> {
        let _ = name;
        std::iter::empty()
    }
    /// The first value of any name, compared case-insensitively.
    pub fn find(&self, name: &str) -> Option<&[u8]> {
        let _ = name;
        todo!()
    }
    /// Every value of any name.
    pub fn find_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let _ = name;
        std::iter::empty()
    }
    /// Removes every field of a known name; nothing when its bit is not set.
    pub fn remove(&mut self, name: Known) {
        let _ = name;
        todo!()
    }
    /// Removes every field of any name, compared case-insensitively.
    pub fn remove_named(&mut self, name: &[u8]) {
        let _ = name;
        todo!()
    }
    /// Adds a field at the end.
    ///
    /// # Errors
    ///
    /// [`Invalid`] when name or value may not stand in a message; nothing is changed.
    pub fn append(&mut self, name: &str, value: &[u8]) -> Result<(), Invalid> {
        let _ = (name, value);
        todo!()
    }
    /// Replaces every field of that name by one: at the place of the first if there was one, else
    /// at the end.
    ///
    /// # Errors
    ///
    /// As [`Fields::append`].
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Invalid> {
        let _ = (name, value);
        todo!()
    }
    /// `append` of a known name with a value that is made of parts known to be valid, without
    /// looking at each byte. The parts are joined without a separator. Debug builds check.
    pub fn push(&mut self, name: Known, parts: &[&[u8]]) {
        let _ = (name, parts);
        todo!()
    }
    /// Forgets every field, keeps the memory.
    pub fn clear(&mut self) {
        todo!()
    }
}

/// Where [`Head::rewind`] goes back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    // fields: usize, bytes: usize, start line
}

/// A request or response head: a start line and [`Fields`] (by `Deref`).
#[derive(Debug, Default)]
pub struct Head {
    fields: Fields,
    // method: Method + range of its token, target: range, version, status, reason: range
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
        Self { fields: Fields::new() }
    }
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        todo!()
    }
    /// The version it came in.
    pub fn version(&self) -> Version {
        todo!()
    }
    /// A request's method.
    pub fn method(&self) -> Method {
        todo!()
    }
    /// A request's method as it came.
    pub fn method_token(&self) -> &[u8] {
        todo!()
    }
    /// A request's target as it came, or as it was set.
    pub fn target(&self) -> &[u8] {
        todo!()
    }
    /// A response's status, 100 to 999.
    pub fn status(&self) -> u16 {
        todo!()
    }
    /// A response's reason phrase.
    pub fn reason(&self) -> &[u8] {
        todo!()
    }
    /// Replaces a request's target.
    ///
    /// # Errors
    ///
    /// [`Invalid::Target`] for an empty one or one with a control, a space, `#` or an 8-bit byte.
    pub fn set_target(&mut self, target: &[u8]) -> Result<(), Invalid> {
        let _ = target;
        todo!()
    }
    /// Makes this a request head without fields.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a method that is no token or a target that is none.
    pub fn start_request(&mut self, method: &[u8], target: &[u8], version: Version) -> Result<(), Invalid> {
        let _ = (method, target, version);
        todo!()
    }
    /// Makes this a response head without fields, with the status's usual reason phrase.
    pub fn start_response(&mut self, status: u16, version: Version) {
        let _ = (status, version);
        todo!()
    }
    /// Remembers this state. One mark at a time.
    pub fn mark(&mut self) -> Mark {
        todo!()
    }
    /// Undoes every change since the mark.
    pub fn rewind(&mut self, mark: Mark) {
        let _ = mark;
        todo!()
    }
}
