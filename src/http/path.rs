//! A request's target, split and normalised once: what the router sees and what the backend gets
//! never differ in meaning.
//!
//! The normal form is RFC 3986's (6.2.2): escapes of unreserved characters decoded, the others
//! in upper case, dot segments resolved (5.2.4; `..` at the root stays there). `//` and `%2F` are
//! kept and mean themselves. A path whose meaning depends on who reads it is refused: a broken
//! escape, and dot segments hidden behind an escaped slash, a backslash or path parameters
//! (`..%2f`, `\..\`, `..;x`).
//!
//! The target is forwarded as it came, since all of this says the same thing, but for one case:
//! when dot segments were resolved, the resolved path is forwarded, so that no backend can
//! resolve them another way.
use super::query::nibble;
use crate::message::{Head, Method};
use std::borrow::Cow;

/// A request as routes see it.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Host and port as the client wrote them: of an absolute target, else of `Host`.
    pub authority: Option<&'a [u8]>,
    /// The path in normal form, beginning with `/`; or `*`.
    pub path: Cow<'a, [u8]>,
    /// Whether the target must be written anew: dot segments were resolved, or it was absolute.
    pub changed: bool,
    /// What follows `?`, as it came.
    pub query: Option<&'a [u8]>,
    /// The method.
    pub method: Method,
    /// The head itself.
    pub head: &'a Head,
}

/// A target that cannot be routed without a doubt; the client gets 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Neither a path, nor `*`, nor an absolute http URI without userinfo.
    #[error("a target that is no path")]
    Form,
    /// `%` without two hexadecimal digits.
    #[error("a broken escape in the path")]
    Escape,
    /// A dot segment hidden behind an escaped slash, a backslash or path parameters.
    #[error("a hidden dot segment in the path")]
    Traversal,
}

/// Reads a request's target; `host` is the value of its `Host` field. Allocates nothing for a
/// path that is in normal form.
///
/// # Errors
///
/// [`BadPath`]
pub fn asked<'a>(head: &'a Head, host: Option<&'a [u8]>) -> Result<Asked<'a>, BadPath> {
    let mut target = Target::of(head.target())?;
    if target.path.is_empty() {
        // RFC 9112 3.2.1 and 3.2.4: what an absolute target leaves out.
        let whole = head.method() == Method::Options && target.query.is_none();
        target.path = if whole { b"*" } else { b"/" };
    }
    let authority = target.authority.or(host);
    let (path, resolved) = normalise(target.path)?;
    Ok(Asked {
        authority,
        path,
        changed: resolved || target.authority.is_some(),
        query: target.query,
        method: head.method(),
        head,
    })
}

impl<'a> Asked<'a> {
    /// The host without port and trailing dot, case as it came; never empty.
    pub fn host(&self) -> Option<&'a [u8]> {
        self.authority.map(host_name).filter(|name| !name.is_empty())
    }
    /// The port the client named.
    pub(super) fn port(&self) -> Option<u16> {
        let authority = self.authority?;
        let after = authority.strip_prefix(host_name(authority))?;
        let digits = after.strip_prefix(b".").unwrap_or(after).strip_prefix(b":")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
    /// Whether the path holds `%2F` or `%00`, which a route may refuse.
    pub fn has_encoded_slash(&self) -> bool {
        memchr::memchr_iter(b'%', &self.path)
            .any(|at| matches!(self.path.get(at + 1..at + 3), Some(b"2F" | b"00")))
    }
}

/// A target in its parts.
struct Target<'a> {
    authority: Option<&'a [u8]>,
    path: &'a [u8],
    query: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    /// Origin form, `*`, or absolute form (RFC 9112 3.2).
    fn of(target: &'a [u8]) -> Result<Self, BadPath> {
        let (authority, rest) = match target {
            [b'/', ..] | b"*" => (None, target),
            _ => absolute(target).map(|(authority, rest)| (Some(authority), rest))?,
        };
        let (path, query) = match memchr::memchr(b'?', rest) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        Ok(Self { authority, path, query })
    }
}

fn absolute(target: &[u8]) -> Result<(&[u8], &[u8]), BadPath> {
    let at = memchr::memchr(b':', target).ok_or(BadPath::Form)?;
    let (scheme, rest) = target.split_at(at);
    let is_http = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let rest = rest.strip_prefix(b"://").filter(|_| is_http).ok_or(BadPath::Form)?;
    let (authority, path) = rest.split_at(memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len()));
    if authority.is_empty() || authority.contains(&b'@') {
        return Err(BadPath::Form);
    }
    Ok((authority, path))
}

/// A host without port and trailing dot.
pub(super) fn host_name(authority: &[u8]) -> &[u8] {
    let name = match authority {
        [b'[', ..] => memchr::memchr(b']', authority).map_or(authority, |at| &authority[..=at]),
        _ => memchr::memrchr(b':', authority).map_or(authority, |at| &authority[..at]),
    };
    name.strip_suffix(b".").unwrap_or(name)
}

/// A path of the config in the form that requests are matched in. What may not stand in a target
/// is escaped first; a path that requests could never have is left as it is.
pub(super) fn normal(path: &str) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            0..=b' ' | 0x7f.. => push_escape(byte, &mut escaped),
            _ => escaped.push(byte),
        }
    }
    match normalise(&escaped) {
        Ok((path, _)) => path.into_owned(),
        Err(_) => escaped,
    }
}

/// The normal form, and whether resolving dot segments changed the path.
pub(super) fn normalise(path: &[u8]) -> Result<(Cow<'_, [u8]>, bool), BadPath> {
    if is_plain(path) {
        return Ok((Cow::Borrowed(path), false));
    }
    let (path, resolved) = resolve(&unescape(path)?)?;
    Ok((Cow::Owned(path), resolved))
}

/// Whether there is no escape, no backslash and no segment that begins with a dot.
fn is_plain(path: &[u8]) -> bool {
    memchr::memchr3_iter(b'%', b'\\', b'.', path)
        .all(|at| path[at] == b'.' && at > 0 && path[at - 1] != b'/')
}

/// Decodes unreserved characters (RFC 3986 2.3), writes other escapes in upper case.
fn unescape(path: &[u8]) -> Result<Vec<u8>, BadPath> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(nibble).ok_or(BadPath::Escape);
        let decoded = digit()? << 4 | digit()?;
        match decoded {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(decoded)
            }
            _ => push_escape(decoded, &mut out),
        }
    }
    Ok(out)
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// Resolves dot segments (RFC 3986 5.2.4).
fn resolve(path: &[u8]) -> Result<(Vec<u8>, bool), BadPath> {
    let Some(path) = path.strip_prefix(b"/") else {
        return Ok((path.to_vec(), false)); // `*`
    };
    let mut out = Vec::with_capacity(path.len() + 1);
    let mut resolved = false;
    let mut segments = path.split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let ends_here = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                resolved = true;
                if segment == b".." {
                    out.truncate(memchr::memrchr(b'/', &out).unwrap_or(0));
                }
                if ends_here {
                    out.push(b'/');
                }
            }
            _ if hides_dots(segment) => return Err(BadPath::Traversal),
            _ => {
                out.push(b'/');
                out.extend(segment);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok((out, resolved))
}

/// Whether a reader that decodes slashes, takes backslashes for them or cuts path parameters off
/// would find a dot segment in this segment.
fn hides_dots(segment: &[u8]) -> bool {
    let mut rest = segment;
    loop {
        let (part, next) = next_part(rest);
        let name = &part[..memchr::memchr(b';', part).unwrap_or(part.len())];
        if matches!(name, b"." | b"..") {
            return true;
        }
        match next {
            Some(next) => rest = next,
            None => return false,
        }
    }
}

/// Cuts at the first `\`, `%5C` or `%2F`.
fn next_part(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    for at in memchr::memchr2_iter(b'\\', b'%', text) {
        if text[at] == b'\\' {
            return (&text[..at], Some(&text[at + 1..]));
        }
        if let Some(b"2F" | b"5C") = text.get(at + 1..at + 3) {
            return (&text[..at], Some(&text[at + 3..]));
        }
    }
    (text, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal_of(path: &str) -> Result<(String, bool), BadPath> {
        normalise(path.as_bytes())
            .map(|(path, changed)| (String::from_utf8(path.into_owned()).unwrap(), changed))
    }

    #[test]
    fn paths_have_one_normal_form() {
        let cases = [
            ("/", "/", false),
            ("*", "*", false),
            ("/a/b.js", "/a/b.js", false),
            ("/a..b/c..", "/a..b/c..", false),
            ("/.well-known/x", "/.well-known/x", false),
            ("/a//b", "/a//b", false),
            ("/%61dmin/%7euser", "/admin/~user", false),
            ("/a%2fb", "/a%2Fb", false),
            ("/a%00", "/a%00", false),
            ("/a\\b", "/a\\b", false),
            ("/caf%c3%a9", "/caf%C3%A9", false),
            ("/a/./b", "/a/b", true),
            ("/a/../b", "/b", true),
            ("/a/b/..", "/a/", true),
            ("/a/b/.", "/a/b/", true),
            ("/..", "/", true),
            ("/.", "/", true),
            ("/../../etc", "/etc", true),
            ("/a//../b", "/a/b", true),
            ("/a/%2e%2E/b", "/b", true),
            ("/a/.%2e/b%2e", "/b.", true),
            ("/a/%252e%252e/b", "/a/%252e%252e/b", false),
            ("/...", "/...", false),
        ];
        for (path, expected, changed) in cases {
            assert_eq!(normal_of(path), Ok((expected.into(), changed)), "{path}");
        }
    }

    #[test]
    fn doubtful_paths_are_refused() {
        let cases = [
            ("/a%", BadPath::Escape),
            ("/a%2", BadPath::Escape),
            ("/a%zz", BadPath::Escape),
            ("/a/..%2fb", BadPath::Traversal),
            ("/a/x%2F..%2fb", BadPath::Traversal),
            ("/a/%2e%2e%5cb", BadPath::Traversal),
            ("/a\\..\\b", BadPath::Traversal),
            ("/a/..;/b", BadPath::Traversal),
            ("/a/..;x=1/b", BadPath::Traversal),
        ];
        for (path, expected) in cases {
            assert_eq!(normal_of(path), Err(expected), "{path}");
        }
    }

    #[test]
    fn the_normal_form_is_stable() {
        let mut random = fastrand::Rng::with_seed(7);
        let parts = ["/", ".", "%2e", "%2F", "a", "//", "%41", "\\", ";", "%00"];
        for _ in 0..20_000 {
            let path: String = std::iter::once("/")
                .chain((0..random.usize(..9)).map(|_| parts[random.usize(..parts.len())]))
                .collect();
            if let Ok((once, _)) = normal_of(&path) {
                assert_eq!(normal_of(&once), Ok((once.clone(), false)), "{path}");
                assert!(once.starts_with('/'));
                assert!(!once.split('/').any(|s| s == "." || s == ".."), "{path} -> {once}");
            }
        }
    }

    #[test]
    fn hosts_lose_port_and_dot() {
        let cases = [
            ("a.b", "a.b"),
            ("a.b:80", "a.b"),
            ("a.b.", "a.b"),
            ("a.b.:80", "a.b"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
            (":80", ""),
        ];
        for (authority, host) in cases {
            assert_eq!(host_name(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }

    #[test]
    fn targets_are_split() {
        let of = |target: &'static str| {
            Target::of(target.as_bytes()).map(|t| {
                let text = |b: &'static [u8]| std::str::from_utf8(b).unwrap();
                (t.authority.map(text), text(t.path), t.query.map(text))
            })
        };
        assert_eq!(of("/a?b=1?c"), Ok((None, "/a", Some("b=1?c"))));
        assert_eq!(of("/a?"), Ok((None, "/a", Some(""))));
        assert_eq!(of("*"), Ok((None, "*", None)));
        assert_eq!(of("http://h:1/a?b"), Ok((Some("h:1"), "/a", Some("b"))));
        assert_eq!(of("HTTPS://h?b"), Ok((Some("h"), "", Some("b"))));
        for bad in ["", "a", "h:1", "ftp://h/", "http:///a", "http://u@h/", "http:/a", "**"] {
            assert_eq!(of(bad), Err(BadPath::Form), "{bad}");
        }
    }

    #[test]
    fn config_paths_are_escaped_and_normalised() {
        assert_eq!(normal("/café x"), b"/caf%C3%A9%20x");
        assert_eq!(normal("/a/../%62"), b"/b");
        assert_eq!(normal("/100%"), b"/100%");
    }
}
