//! How values are shown in problems, and which known word was probably meant.

/// Longer texts are cut in messages: a problem is a line, not a document.
const SHOWN: usize = 64;

/// A text in quotes, control characters escaped, cut when long.
pub(super) fn quoted(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(SHOWN).collect();
    format!("{:?}", cut + "…")
}

/// A key as a part of a key path: bare where TOML allows it, else quoted.
pub(super) fn key_part(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !key.is_empty() && key.len() <= SHOWN && key.bytes().all(bare) {
        key.into()
    } else {
        quoted(key)
    }
}

/// `did you mean "app"?`, when one of the known words is close.
pub(super) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    closest(word, known).map(|near| format!("did you mean {}?", quoted(near)))
}

/// The closest known word, when a third of its letters or fewer differ.
fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = normal(word)?;
    let near = |other: &'a str| {
        let letters = normal(other)?;
        let allowed = (letters.len().max(word.len()) / 3).max(1);
        // Of two one-letter words neither is a misspelling of the other.
        let distance = distance(&word, &letters);
        (distance <= allowed && distance < letters.len()).then_some((distance, other))
    };
    known.into_iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, other)| other)
}

/// Whether a word is a known one, or one edit away from it.
pub(super) fn is_near(word: &str, known: &str) -> bool {
    normal(word).zip(normal(known)).is_some_and(|(a, b)| distance(&a, &b) <= 1)
}

/// Letters without case, `-` as `_`; `None` for texts too long to compare at a bounded cost.
fn normal(word: &str) -> Option<Vec<char>> {
    (word.len() <= SHOWN).then(|| word.to_lowercase().replace('-', "_").chars().collect())
}

/// Edits between two words: insertion, deletion, replacement and the swap of neighbours count one
/// each (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_words_are_found_and_far_ones_are_not() {
        let known = ["backends", "balance", "health", "host", "tls"];
        for (word, meant) in [
            ("backend", Some("backends")),
            ("blance", Some("balance")),
            ("helath", Some("health")),
            ("HOST", Some("host")),
            ("tsl", Some("tls")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known), meant, "{word}");
        }
        assert_eq!(closest(&"x".repeat(1000), known), None);
    }

    #[test]
    fn long_and_odd_texts_stay_short_and_printable() {
        assert!(quoted(&"ä".repeat(10_000)).chars().count() < 70);
        assert_eq!(quoted("a\x1b[31m"), "\"a\\u{1b}[31m\"");
        assert_eq!(key_part("x-tier"), "x-tier");
        assert_eq!(key_part("a.b"), "\"a.b\"");
    }
}
