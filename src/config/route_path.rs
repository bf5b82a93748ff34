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
    if let Some(bad) = bad_escape(text) {
        let what = format!("{} has {}, which is no escape", quoted(text), quoted(bad));
        let hint = format!("write {}", quoted(&bad.replacen('%', "%25", 1)));
        return Err(Wrong::new(what).hint(hint));
    }
    target(text)
}

/// A `%` that no two hexadecimal digits follow, with what does (RFC 3986 2.1): a request with one
/// gets 400.
fn bad_escape(text: &str) -> Option<&str> {
    let is_bad = |at: &usize| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let at = text.match_indices('%').map(|(at, _)| at).find(is_bad)?;
    Some(text.get(at..at + 3).unwrap_or(&text[at..]))
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

/// A path to match: dot segments are resolved before matching, and hidden ones are refused, so none
/// can be met.
fn matched(text: &str) -> Result<String, Wrong> {
    let path = path(text)?;
    if has_dots(&path) {
        return Err(Wrong::new(format!(
            "{} has a dot segment, which no request has when it is matched",
            quoted(text)
        )));
    }
    Ok(path)
}

/// Whether a reader that decodes, takes backslashes for slashes or cuts parameters off finds a dot
/// segment.
fn has_dots(path: &str) -> bool {
    let mut plain = path.to_ascii_lowercase().replace('\\', "/");
    for (escape, means) in [("%2e", "."), ("%2f", "/"), ("%5c", "/")] {
        plain = plain.replace(escape, means);
    }
    plain.split('/').any(|part| matches!(part.split(';').next(), Some("." | "..")))
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
                let to = to.and_then(|item| item.checked(|to| replacement(to, regex.as_ref())));
                Some(PathRewrite::Regex(regex?, to?))
            }
            (None, None) => None,
        }
    });
    read.flatten()
}

/// What a match is replaced by; groups as `$1`. A path only together with what is around the match.
fn replacement(text: &str, regex: Option<&Regex>) -> Result<String, Wrong> {
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        let what = format!("{} has {}, which no path has", quoted(text), quoted(&c.to_string()));
        return Err(Wrong::new(what));
    }
    let unknown = regex.and_then(|regex| groups(text).find(|group| !has_group(regex, group)));
    let Some(group) = unknown else { return Ok(text.to_owned()) };
    let wrong = Wrong::new(format!("the regex has no group {}", quoted(group)));
    // `$1a` is the group `1a`, as in every replacement of the regex crate.
    let digits = group.len() - group.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits > 0 && digits < group.len() {
        let (number, rest) = group.split_at(digits);
        return Err(wrong.hint(format!("write {}", quoted(&format!("$${{{number}}}{rest}")))));
    }
    Err(wrong.hint("the first (…) of the regex is $1; a dollar sign itself is $$"))
}

fn has_group(regex: &Regex, group: &str) -> bool {
    match group.parse::<usize>() {
        Ok(number) => number < regex.captures_len(),
        Err(_) => regex.capture_names().flatten().any(|name| name == group),
    }
}

/// The groups a replacement names, as the regex crate reads it: `$name` as long as it goes, or
/// `${name}`; `$$` is a dollar sign.
fn groups(to: &str) -> impl Iterator<Item = &str> {
    let mut rest = to;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.find('$')? + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                rest = after;
            } else if let Some((name, after)) =
                rest.strip_prefix('{').and_then(|inside| inside.split_once('}'))
            {
                rest = after;
                return Some(name);
            } else {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let (name, after) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
                rest = after;
                if !name.is_empty() {
                    return Some(name);
                }
            }
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_as_the_regex_crate_reads_them() {
        for (to, expect) in [
            ("/$1/${2}/$name", vec!["1", "2", "name"]),
            ("/$1a", vec!["1a"]),
            ("/$$1/$", vec![]),
            ("/$-$1", vec!["1"]),
            ("/${open", vec![]),
            ("$$$1", vec!["1"]),
        ] {
            assert_eq!(groups(to).collect::<Vec<_>>(), expect, "{to}");
        }
    }

    #[test]
    fn a_group_that_is_not_there_is_a_problem() {
        let regex = Regex::new("^/(?<a>x)/(y)$").unwrap();
        for to in ["/$0/$1/$2/$a", "/$$9", "/${1}x"] {
            assert!(replacement(to, Some(&regex)).is_ok(), "{to}");
        }
        for (to, group) in [("/$3", "3"), ("/$b", "b"), ("/$1x", "1x"), ("/${3}", "3")] {
            let wrong = replacement(to, Some(&regex)).unwrap_err();
            assert_eq!(wrong.what, format!("the regex has no group \"{group}\""), "{to}");
        }
        let hint = replacement("/$1x", Some(&regex)).unwrap_err().hint;
        assert_eq!(hint.as_deref(), Some("write \"$${1}x\""));
    }

    #[test]
    fn paths_that_no_request_can_have_are_refused() {
        for path in ["/a%20b", "/a/.b/..c/...", "/a%2Fb", "/%252e%252e/"] {
            assert!(matched(path).is_ok(), "{path}");
        }
        for path in ["/%zz", "/a%", "/a%2", "/a/%2E./b", "/a/..%2fb", "/a\\..", "/..;x/b", "/."] {
            assert!(matched(path).is_err(), "{path}");
        }
        let wrong = matched("/zz/%zz").unwrap_err();
        assert_eq!(wrong.what, "\"/zz/%zz\" has \"%zz\", which is no escape");
        assert_eq!(wrong.hint.as_deref(), Some("write \"%25zz\""));
    }
}
