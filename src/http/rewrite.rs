//! Changes of host and path before a backend sees them.
use super::path::Asked;
use super::route::Route;
use crate::config::{PathMatch, PathRewrite};
use crate::message::{Head, Invalid};
use std::borrow::Cow;

/// What changes; made while the request is looked at, applied when that is over.
#[derive(Debug)]
pub struct Change {
    target: Option<Vec<u8>>,
}

/// What a route changes of a request's target. Nothing for most.
pub fn plan(route: &Route, asked: &Asked<'_>) -> Change {
    let path: Cow<'_, [u8]> = match &route.rewrite.path {
        Some(rule) => path(rule, &route.path, &asked.path).into(),
        None if asked.changed => Cow::Borrowed(&asked.path),
        None => return Change { target: None },
    };
    let mut target = path.into_owned();
    if let Some(query) = asked.query {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    Change { target: Some(target) }
}

/// Applies it. The Host of an absolute target takes the place of the field (RFC 9112 3.2.2).
///
/// # Errors
///
/// [`Invalid`] when an expression made something that is no target.
pub fn apply(change: Change, route: &Route, head: &mut Head) -> Result<(), Invalid> {
    let host = head.authority().map(<[u8]>::to_vec);
    if let Some(host) = route.rewrite.host.as_ref().map(|host| host.clone().into_bytes()).or(host) {
        head.set("Host", &host)?;
    }
    match change.target {
        Some(target) => head.set_target(&target),
        None => Ok(()),
    }
}

/// A path after a rule: the rest behind a prefix stays, and there is always a leading slash.
pub fn path(rule: &PathRewrite, matched: &PathMatch, path: &[u8]) -> Vec<u8> {
    match rule {
        PathRewrite::Full(full) => full.clone().into_bytes(),
        PathRewrite::Prefix(new) => {
            let old = match matched {
                PathMatch::Prefix(old) => old.trim_end_matches('/').as_bytes(),
                _ => b"",
            };
            let rest = path.strip_prefix(old).unwrap_or(path);
            let new = new.trim_end_matches('/').as_bytes();
            if new.is_empty() && rest.is_empty() {
                return b"/".to_vec();
            }
            [new, rest].concat()
        }
        PathRewrite::Regex(regex, to) => {
            let text = String::from_utf8_lossy(path);
            regex.replace(&text, to.as_str()).into_owned().into_bytes()
        }
    }
}
