//! A checker of its own for what the codec writes: RFC 9112 read as narrowly as it can be.
//!
//! It shares no line with the parser and trades speed for plainness. What it lets through no
//! recipient can read in two ways.

/// How a strictly valid message says its body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delimited {
    /// By nothing that the head says.
    Silent,
    /// By one Content-Length.
    Length(u64),
    /// By `Transfer-Encoding: chunked`.
    Chunked,
}

/// Name and value of each field of a head, in order.
pub(crate) type Lines<'a> = Vec<(&'a str, &'a [u8])>;

/// A strictly valid head.
#[derive(Debug)]
pub(crate) struct Strict<'a> {
    /// The three parts of its start line.
    pub(crate) start: [&'a [u8]; 3],
    /// Its fields.
    pub(crate) fields: Lines<'a>,
    /// Its framing.
    pub(crate) delimited: Delimited,
    /// Bytes of the head.
    pub(crate) len: usize,
}

impl Strict<'_> {
    /// How many fields have this name.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count()
    }
}

/// Checks a request head at the beginning of these bytes.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn request(bytes: &[u8]) -> Result<Strict<'_>, String> {
    let head = head(bytes)?;
    let [method, target, version] = head.start;
    token(method).ok_or("method")?;
    (version == b"HTTP/1.1").then_some(()).ok_or("version")?;
    let visible = target.iter().all(|b| b.is_ascii_graphic() && *b != b'#');
    let form = match method {
        b"CONNECT" => authority(target) && port(target),
        b"OPTIONS" if target == b"*" => true,
        _ => target.starts_with(b"/"),
    };
    if !visible || !form {
        return Err(format!("target {:?}", String::from_utf8_lossy(target)));
    }
    let hosts: Vec<_> =
        head.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case("host")).collect();
    match hosts[..] {
        [(_, host)] if authority(host) => Ok(head),
        _ => Err(format!("hosts {hosts:?}")),
    }
}

/// Checks a response head at the beginning of these bytes.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn response(bytes: &[u8]) -> Result<Strict<'_>, String> {
    let head = head(bytes)?;
    let [version, status, _reason] = head.start;
    let [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] = status else { return Err("status".into()) };
    if version != b"HTTP/1.1" {
        return Err("version".into());
    }
    let bare = status[0] == b'1' || status == b"204";
    if bare && head.delimited != Delimited::Silent {
        return Err(format!("{:?} where no body can be", head.delimited));
    }
    Ok(head)
}

/// Reads a whole chunked body with its trailers and says what it carried and how long it was.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn chunked(bytes: &[u8]) -> Result<(Vec<u8>, usize), String> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = line(&bytes[at..])?;
        let text = std::str::from_utf8(line).map_err(|_| "size")?;
        let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
        if !digits || text.len() > 16 {
            return Err(format!("size {text:?}"));
        }
        let size = u64::from_str_radix(text, 16).map_err(|_| "size")?;
        let size = usize::try_from(size).map_err(|_| "size")?;
        at += line.len() + 2;
        if size == 0 {
            let (_, len) = fields(&bytes[at..])?;
            return Ok((body, at + len));
        }
        let end = at.checked_add(size).filter(|end| *end <= bytes.len()).ok_or("short chunk")?;
        body.extend_from_slice(&bytes[at..end]);
        if !bytes[end..].starts_with(b"\r\n") {
            return Err("no line end after a chunk".into());
        }
        at = end + 2;
    }
}

fn head(bytes: &[u8]) -> Result<Strict<'_>, String> {
    let start = line(bytes)?;
    let parts: Vec<&[u8]> = start.splitn(3, |b| *b == b' ').collect();
    let start_parts: [&[u8]; 3] = parts.try_into().map_err(|_| "start line")?;
    let (fields, len) = fields(&bytes[start.len() + 2..])?;
    let delimited = delimited(&fields)?;
    Ok(Strict { start: start_parts, fields, delimited, len: start.len() + 2 + len })
}

/// Reads up to and with the empty line.
fn fields(bytes: &[u8]) -> Result<(Lines<'_>, usize), String> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let line = line(&bytes[at..])?;
        at += line.len() + 2;
        if line.is_empty() {
            return Ok((fields, at));
        }
        let said = || String::from_utf8_lossy(line).into_owned();
        let colon = line.iter().position(|b| *b == b':').ok_or_else(said)?;
        let name = token(&line[..colon]).ok_or_else(said)?;
        let value = line[colon + 1..].strip_prefix(b" ").ok_or_else(said)?;
        if value.trim_ascii().len() != value.len() {
            return Err(format!("space around {:?}", said()));
        }
        fields.push((name, value));
    }
}

/// A line without its CRLF: no control byte in it but the tab.
fn line(bytes: &[u8]) -> Result<&[u8], String> {
    let end = bytes.iter().position(|b| matches!(b, 0..=8 | 10..=31 | 127)).ok_or("no line end")?;
    if bytes[end..].starts_with(b"\r\n") { Ok(&bytes[..end]) } else { Err("a control".into()) }
}

fn delimited(fields: &Lines<'_>) -> Result<Delimited, String> {
    let framing: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), *value))
        .filter(|(name, _)| matches!(&**name, "content-length" | "transfer-encoding"))
        .collect();
    match &framing[..] {
        [] => Ok(Delimited::Silent),
        [(name, b"chunked")] if name == "transfer-encoding" => Ok(Delimited::Chunked),
        [(name, digits)] if name == "content-length" && digits.iter().all(u8::is_ascii_digit) => {
            let number = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<i64>().ok());
            number.map(|n| Delimited::Length(n as u64)).ok_or_else(|| "length".into())
        }
        _ => Err(format!("framing {framing:?}")),
    }
}

fn token(bytes: &[u8]) -> Option<&str> {
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    (!bytes.is_empty() && bytes.iter().all(is_token)).then(|| std::str::from_utf8(bytes).ok())?
}

/// Whether a port is named.
fn port(authority: &[u8]) -> bool {
    let after = authority.rsplit(|b| *b == b':').next();
    after.is_some_and(|port| {
        (1..authority.len()).contains(&port.len()) && port.iter().all(u8::is_ascii_digit)
    })
}

/// `uri-host [ ":" port ]` of RFC 3986: no userinfo, no broken escape.
fn authority(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    if port.len() > 5 || !port.chars().all(|c| c.is_ascii_digit()) {
        return false;
    }
    if let Some(v6) = host.strip_prefix('[') {
        return v6.strip_suffix(']').is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let mut parts = host.split('%');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c);
    let escaped = |part: &str| {
        part.len() >= 2
            && part.is_char_boundary(2)
            && part[..2].chars().all(|c| c.is_ascii_hexdigit())
            && part[2..].chars().all(plain)
    };
    !host.is_empty() && parts.next().is_some_and(|p| p.chars().all(plain)) && parts.all(escaped)
}
