//! Changes of a request's path before a backend sees it.
use super::path::{Asked, BadPath, normal, normalise};
use super::route::Route;
use crate::config::{PathMatch, PathRewrite};
use crate::message::{Head, Invalid};
use regex::Regex;

/// What a path becomes.
#[derive(Debug)]
pub(super) enum PathChange {
    /// Another path altogether.
    Full(Vec<u8>),
    /// Another prefix in place of the route's; both without a slash at their end.
    Prefix { old: Vec<u8>, new: Vec<u8> },
    /// What an expression makes of it.
    Regex(Regex, String),
}

impl PathChange {
    /// For a route with this path.
    pub(super) fn new(rule: &PathRewrite, matched: &PathMatch) -> Self {
        match rule {
            PathRewrite::Full(path) => Self::Full(path.clone().into_bytes()),
            PathRewrite::Prefix(new) => {
                let old = match matched {
                    PathMatch::Prefix(old) | PathMatch::Exact(old) => normal(old),
                    PathMatch::Regex(_) => Vec::new(),
                };
                Self::Prefix { old: unslashed(&old).into(), new: unslashed(new.as_bytes()).into() }
            }
            PathRewrite::Regex(regex, to) => Self::Regex(regex.clone(), to.clone()),
        }
    }

    /// The new path, of one in normal form; what an expression makes may hold a query.
    ///
    /// # Errors
    ///
    /// [`BadPath`] when an expression puts together what would have been refused in a request.
    pub(super) fn apply(&self, path: &[u8]) -> Result<Vec<u8>, BadPath> {
        match self {
            Self::Full(path) => Ok(path.clone()),
            Self::Prefix { old, new } => {
                let rest = path.strip_prefix(&**old).unwrap_or(path);
                let slash: &[u8] = if new.is_empty() && rest.is_empty() { b"/" } else { b"" };
                Ok([new, rest, slash].concat())
            }
            Self::Regex(regex, to) => {
                let path = std::str::from_utf8(path).map_err(|_| BadPath::Form)?;
                made(regex.replace(path, to.as_str()).as_bytes())
            }
        }
    }
}

/// What an expression made may begin without a slash. Dot segments that it put together would lead out
/// of the folder it leads to.
fn made(target: &[u8]) -> Result<Vec<u8>, BadPath> {
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    };
    let slash: &[u8] = if path.first() == Some(&b'/') { b"" } else { b"/" };
    match normalise(&[slash, path].concat())? {
        (_, true) => Err(BadPath::Traversal),
        (path, false) => Ok(with_query(path.into_owned(), query)),
    }
}

fn unslashed(mut path: &[u8]) -> &[u8] {
    while let Some(shorter) = path.strip_suffix(b"/") {
        path = shorter;
    }
    path
}

/// A path with a query behind it, or behind the one it has.
pub(super) fn with_query(mut path: Vec<u8>, query: Option<&[u8]>) -> Vec<u8> {
    if let Some(query) = query {
        path.push(if path.contains(&b'?') { b'&' } else { b'?' });
        path.extend_from_slice(query);
    }
    path
}

/// What changes of a head; made while the request is looked at, applied when that is over.
#[derive(Debug)]
pub(super) struct Change {
    target: Result<Option<Vec<u8>>, BadPath>,
}

/// What a route changes of a request's target. Nothing for most.
pub(super) fn plan(route: &Route, asked: &Asked<'_>) -> Change {
    let path = match &route.path {
        Some(change) if *asked.path != *b"*" => change.apply(&asked.path),
        _ if asked.changed => Ok(asked.path.to_vec()),
        _ => return Change { target: Ok(None) },
    };
    Change { target: path.map(|path| Some(with_query(path, asked.query))) }
}

/// Applies it. The host of an absolute target takes the place of `Host` (RFC 9112 3.2.2).
///
/// # Errors
///
/// [`Invalid`] when an expression made something that is no target.
pub(super) fn apply(change: Change, head: &mut Head) -> Result<(), Invalid> {
    let Some(target) = change.target.map_err(|_| Invalid::Target)? else { return Ok(()) };
    if let Some(host) = head.authority().map(<[u8]>::to_vec) {
        head.set("Host", &host)?;
    }
    head.set_target(&target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(rule: PathRewrite, matched: &str, path: &str) -> Result<String, BadPath> {
        let matched = PathMatch::Prefix(matched.into());
        PathChange::new(&rule, &matched)
            .apply(path.as_bytes())
            .map(|p| String::from_utf8(p).unwrap())
    }

    #[test]
    fn a_prefix_is_replaced_on_its_boundary() {
        let cases = [
            ("/v1", "/v2", "/v1/x", "/v2/x"),
            ("/v1", "/v2", "/v1", "/v2"),
            ("/v1", "/v2", "/v1/", "/v2/"),
            ("/v1", "/", "/v1/x", "/x"),
            ("/v1", "/", "/v1", "/"),
            ("/v1", "/", "/v1/", "/"),
            ("/", "/v2", "/x", "/v2/x"),
            ("/", "/v2", "/", "/v2/"),
            ("/v1/", "/v2/", "/v1/x", "/v2/x"),
            ("/%76%31", "/v2", "/v1/x", "/v2/x"),
        ];
        for (old, new, path, expected) in cases {
            let rule = PathRewrite::Prefix(new.into());
            assert_eq!(changed(rule, old, path).as_deref(), Ok(expected), "{old} {new} {path}");
        }
    }

    #[test]
    fn an_expression_makes_a_path_and_no_dot_segments() {
        let regex = |text: &str, to: &str| PathRewrite::Regex(Regex::new(text).unwrap(), to.into());
        let cases = [
            ("^/x/(.*)$", "/$1", "/x/a/b", Ok("/a/b")),
            ("^/x/(.*)$", "$1", "/x/a", Ok("/a")),
            ("^/x/(.*)$", "/$1", "/y", Ok("/y")),
            ("^/x(.*)$", "/data/$1", "/x../etc", Err(BadPath::Traversal)),
            ("^/x-(.*)$", "/$1", "/x-../etc", Err(BadPath::Traversal)),
            ("^/x(.*)$", "/.$1", "/x.%2Fetc", Err(BadPath::Traversal)),
            ("^/u/([0-9]+)$", "/user?id=$1", "/u/7", Ok("/user?id=7")),
            (".*", "", "/x", Ok("/")),
        ];
        for (text, to, path, expected) in cases {
            assert_eq!(
                changed(regex(text, to), "/", path).as_deref(),
                expected.as_ref().map(|e| *e),
                "{text} {to} {path}"
            );
        }
    }

    #[test]
    fn queries_are_kept_and_joined() {
        assert_eq!(with_query(b"/a".to_vec(), None), b"/a");
        assert_eq!(with_query(b"/a".to_vec(), Some(b"")), b"/a?");
        assert_eq!(with_query(b"/a?x=1".to_vec(), Some(b"y=2")), b"/a?x=1&y=2");
    }
}
