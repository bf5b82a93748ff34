//! Paths of routes, rewrites and probes, and regular expressions.
use super::hint::quoted;
use super::model::{PathMatch, PathRewrite, ValueMatch};
use super::problem::Wrong;
use super::table::{Item, Table};
use super::value::Kind;
use regex::{Regex, RegexBuilder};

/// Bytes a compiled expression may take: thousands of routes may have one.
const REGEX: usize = 1 << 20;

/// A path without a query.
///
/// # Errors
///
/// No `/` at its start, a `?` or `#`, what cannot stand in a path.
fn path(text: &str) -> Result<String, Wrong> {
    if let Some(at) = text.find(['?', '#']) {
        let what = format!("{} has more than a path", quoted(text));
        return Err(Wrong::new(what).hint(format!("write {}", quoted(&text[..at]))));
    }
    target(text)
}

/// A path that may have a query: what is asked of a backend.
///
/// # Errors
///
/// As [`path`].
pub(super) fn target(text: &str) -> Result<String, Wrong> {
    if !text.starts_with('/') {
        let what = format!("{} does not start with \"/\"", quoted(text));
        return Err(Wrong::new(what).hint(format!("write {}", quoted(&format!("/{text}")))));
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        None => Ok(text.to_owned()),
        Some(c) => {
            let mut bytes = [0; 4];
            let escaped: String =
                c.encode_utf8(&mut bytes).bytes().map(|b| format!("%{b:02X}")).collect();
            let what =
                format!("{} has {}, which no path has", quoted(text), quoted(&c.to_string()));
            Err(Wrong::new(what).hint(format!("write {}", quoted(&escaped))))
        }
    }
}

/// A path to match: dot segments are resolved before matching, so none can be met.
fn matched(text: &str) -> Result<String, Wrong> {
    let path = path(text)?;
    if path.split('/').any(|part| part == "." || part == "..") {
        return Err(Wrong::new(format!(
            "{} has a dot segment, which no request has when it is matched",
            quoted(text)
        )));
    }
    Ok(path)
}

/// A prefix as a string, or `{ exact }` or `{ regex }`.
pub(super) fn path_match(item: &Item<'_>) -> Option<PathMatch> {
    if item.kind() != Kind::Table {
        return item.checked(matched).map(|path| PathMatch::Prefix(trimmed(&path)));
    }
    let read = item.table("route.path", |t| {
        let (exact, regex) = (t.take("exact"), t.take("regex"));
        one_of(t, [exact.is_some(), regex.is_some()], ["exact", "regex"]);
        match (exact, regex) {
            (Some(item), _) => item.checked(matched).map(PathMatch::Exact),
            (None, Some(item)) => self::regex(&item).map(PathMatch::Regex),
            (None, None) => None,
        }
    });
    read.flatten()
}

/// Without slashes at the end; at least `/`.
fn trimmed(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".into(),
        path => path.into(),
    }
}

/// Says when not exactly one of two keys is there.
fn one_of(t: &Table<'_>, there: [bool; 2], names: [&str; 2]) {
    match there {
        [true, true] => t.fault(Wrong::new(format!("says both {}", names.join(" and ")))),
        [false, false] => t.missing(Wrong::new(format!("says neither {}", names.join(" nor ")))),
        _ => {}
    }
}

/// A value to match: a string, `{ regex }` or `{ present }`.
pub(super) fn value_match(item: &Item<'_>, place: &'static str) -> Option<ValueMatch> {
    if item.kind() != Kind::Table {
        return item.text().map(ValueMatch::Exact);
    }
    let read = item.table(place, |t| {
        let (regex, present) = (t.take("regex"), t.take("present"));
        one_of(t, [regex.is_some(), present.is_some()], ["regex", "present"]);
        match (regex, present) {
            (Some(item), _) => self::regex(&item).map(ValueMatch::Regex),
            (None, Some(item)) => item.flag().map(ValueMatch::Present),
            (None, None) => None,
        }
    });
    read.flatten()
}

/// A new path: whole as a string, `{ prefix }`, or `{ regex, to }`.
pub(super) fn path_rewrite(item: &Item<'_>, place: &'static str) -> Option<PathRewrite> {
    if item.kind() != Kind::Table {
        return item.checked(path).map(PathRewrite::Full);
    }
    let read = item.table(place, |t| {
        let (prefix, regex, to) = (t.take("prefix"), t.take("regex"), t.take("to"));
        one_of(t, [prefix.is_some(), regex.is_some()], ["prefix", "regex"]);
        if let Some(to) = to.as_ref().filter(|_| regex.is_none()) {
            to.key_wrong(Wrong::new("means nothing without regex"));
        }
        match (prefix, regex) {
            (Some(item), _) => item.checked(path).map(|path| PathRewrite::Prefix(trimmed(&path))),
            (None, Some(item)) => {
                if to.is_none() {
                    t.missing(
                        Wrong::new("says a regex and no to").hint("write for example to = \"/$1\""),
                    );
                }
                let regex = self::regex(&item);
                let to = to.and_then(|item| item.checked(replacement));
                Some(PathRewrite::Regex(regex?, to?))
            }
            (None, None) => None,
        }
    });
    read.flatten()
}

/// What a match is replaced by; groups as `$1`. A path only together with what is around the match.
fn replacement(text: &str) -> Result<String, Wrong> {
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        None => Ok(text.to_owned()),
        Some(c) => Err(Wrong::new(format!(
            "{} has {}, which no path has",
            quoted(text),
            quoted(&c.to_string())
        ))),
    }
}

/// A regular expression that fits in memory.
fn regex(item: &Item<'_>) -> Option<Regex> {
    item.checked(|text| {
        RegexBuilder::new(text)
            .size_limit(REGEX)
            .build()
            .map_err(|error| Wrong::new(message(&error, text)))
    })
}

/// The last line of what the regex crate says: the ones before it draw the expression.
fn message(error: &regex::Error, text: &str) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        return format!("{} takes more than {REGEX} bytes when compiled", quoted(text));
    }
    let all = error.to_string();
    let last = all.lines().last().unwrap_or_default();
    format!(
        "{} is not a regular expression: {}",
        quoted(text),
        last.strip_prefix("error: ").unwrap_or(last)
    )
}
