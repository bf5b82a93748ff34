//! From a text to its tables: every fault of syntax, at the key it concerns where that is plain.
use super::problem::{At, Problem};
use super::table::Page;
use toml::Spanned;
use toml::de::DeTable;

/// Up to this size a text with a fault of syntax is read again for all of its faults; beyond it
/// the first one is said, because a fault for every byte would take more memory than the text.
const RECOVER: usize = 1 << 20;

/// Lines that are looked through for a header: each line may have a fault.
const ABOVE: usize = 200;
/// Parts of a key, and its length: no key of a configuration has more, and a problem is a line.
const PARTS: usize = 8;
const SHOWN: usize = 256;

/// Parses a text; `None` when what was recovered of it says nothing of what was meant.
pub(super) fn parse(page: Page<'_>) -> Option<Spanned<DeTable<'_>>> {
    let text = &page.file.text;
    let first = match DeTable::parse(text) {
        Ok(map) => return Some(map),
        Err(error) => error,
    };
    let (map, errors) = match text.len() {
        0..=RECOVER => DeTable::parse_recoverable(text),
        _ => (Spanned::new(0..0, DeTable::new()), vec![first]),
    };
    let mut header = text.len() > RECOVER;
    let mut last = None;
    for error in &errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let start = span.start.min(text.len());
        let line =
            text.as_bytes()[..start].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        header |= text[line..].trim_start().starts_with('[');
        // What follows on a line only follows from its first fault.
        if last.replace(line) != Some(line) {
            page.desk.faults.borrow_mut().syntax(fault(
                error.message(),
                key(text, start),
                page.file.at(start),
            ));
        }
    }
    // With a broken header the keys below it would be taken for those of the table above.
    (!header).then_some(map)
}

/// What the parser says, in a line.
fn fault(message: &str, key: String, at: At) -> Problem {
    let what = message.trim_end_matches(", expected nothing").replace('\n', " ");
    let bare = ["invalid float", "invalid integer", "invalid boolean", "invalid date"]
        .iter()
        .any(|bare| what.starts_with(bare));
    let problem = Problem::new(&at, key, what);
    if bare { problem.hint("a text stands in quotes") } else { problem }
}

/// The key that a fault at an offset concerns, read from the lines alone, since there are no tables
/// yet: the header above it and the key its line begins with. Empty where that is not plain, as
/// inside a list of several lines.
fn key(text: &str, offset: usize) -> String {
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    if let Some(header) = header(line) {
        return header;
    }
    let Some(own) = line.split_once('=').and_then(|(own, _)| dotted(own)) else {
        return String::new();
    };
    let mut above = text[..start].lines().rev();
    match above.by_ref().take(ABOVE).find_map(header) {
        Some(header) => format!("{header}.{own}"),
        None if above.next().is_none() => own,
        None => String::new(),
    }
}

/// The name in `[name]` or `[[name]]`.
fn header(line: &str) -> Option<String> {
    let line = line.split('#').next()?.trim();
    let inside = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]"));
    dotted(inside.or_else(|| line.strip_prefix('[')?.strip_suffix(']'))?)
}

/// A key of bare parts, without the space around them.
fn dotted(key: &str) -> Option<String> {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let parts: Vec<&str> = key.split('.').map(str::trim).collect();
    let fits = parts.len() <= PARTS && key.len() <= SHOWN;
    let all = fits && parts.iter().all(|part| !part.is_empty() && part.chars().all(bare));
    all.then(|| parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_fault_is_read_from_its_lines() {
        let text =
            "include = 1\n[pool.app]\nhealth . x = [\n  \"a\"\n  b\n]\n[[route]] # r\npool = x\n";
        for (at, expect) in [
            ("include", "include"),
            ("app]", "pool.app"),
            ("health", "pool.app.health.x"),
            ("  b", ""),
            ("[[route", "route"),
            ("= x", "route.pool"),
        ] {
            assert_eq!(key(text, text.find(at).unwrap()), expect, "{at}");
        }
        assert_eq!((key("", 0), key("a\n", 2)), (String::new(), String::new()));
    }
}
