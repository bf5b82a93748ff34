//! File patterns of `include`: `*`, `?` and `[a-z]` within one part of a path.
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// Files one pattern may stand for, and folders it may look into.
const MOST: usize = 10_000;

/// What a pattern stands for at this moment.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files, by name.
    pub(super) files: BTreeSet<PathBuf>,
    /// Folders in which a further match may appear.
    pub(super) folders: BTreeSet<PathBuf>,
}

impl Found {
    /// A folder in which one part of the pattern is looked for; a plain file is none.
    fn looked_into(&mut self, place: &Path) {
        if place.is_dir() || !place.exists() {
            self.folders.insert(place.to_path_buf());
        }
    }
}

/// Whether a text is a pattern rather than a name.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Looks a pattern up. Names that begin with a dot are matched only by a part that does, too:
/// editors and Kubernetes keep their own files under such names.
///
/// # Errors
///
/// A pattern this cannot read, a folder that cannot be listed, too many files.
pub(super) fn find(pattern: &Path) -> Result<Found, String> {
    let mut found = Found::default();
    let mut places = BTreeSet::from([PathBuf::new()]);
    let mut listed = false;
    for part in pattern.components() {
        let text = part.as_os_str().to_string_lossy();
        if !matches!(part, Component::Normal(_)) || !is_pattern(&text) {
            if listed {
                places.iter().for_each(|place| found.looked_into(place));
            }
            places = places.into_iter().map(|place| place.join(part)).collect();
            if listed {
                places.retain(|place| is_there(place));
            }
            continue;
        }
        listed = true;
        if text.contains("**") {
            return Err("\"**\" is not known; write one \"*\" for each folder".into());
        }
        let text: Vec<char> = text.chars().collect();
        let mut next = BTreeSet::new();
        for place in places {
            list(&place, &text, &mut next)?;
            found.looked_into(&place);
            if next.len() > MOST || found.folders.len() > MOST {
                return Err(format!("stands for more than {MOST} files"));
            }
        }
        places = next;
    }
    found.files = places.into_iter().filter(|place| !place.is_dir()).collect();
    Ok(found)
}

/// Whether a name that follows a listed one exists: a pattern stands for what does. What cannot be
/// looked at counts, so that it is said.
fn is_there(place: &Path) -> bool {
    let gone = |error: std::io::Error| {
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
    };
    !place.symlink_metadata().is_err_and(gone)
}

/// Whether one name fits one part of a pattern.
pub(super) fn is_match(part: &str, name: &str) -> bool {
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    fits(&chars(part), &chars(name))
}

/// Whether a pattern stands for a path, were it there.
pub(super) fn stands_for(pattern: &Path, path: &Path) -> bool {
    let (mut parts, mut names) = (pattern.components(), path.components());
    loop {
        match (parts.next(), names.next()) {
            (None, None) => return true,
            (Some(part), Some(name)) if part == name => {}
            (Some(Component::Normal(part)), Some(Component::Normal(name))) => {
                let fits = part.to_str().zip(name.to_str()).is_some_and(|(p, n)| is_match(p, n));
                if !fits {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// As [`matches`], but for hidden names.
fn fits(pattern: &[char], name: &[char]) -> bool {
    (name.first() != Some(&'.') || pattern.first() == Some(&'.')) && matches(pattern, name)
}

fn list(place: &Path, pattern: &[char], into: &mut BTreeSet<PathBuf>) -> Result<(), String> {
    let folder = if place.as_os_str().is_empty() { Path::new(".") } else { place };
    if !folder.is_dir() {
        return Ok(());
    }
    let said =
        |error: std::io::Error| format!("folder {} cannot be listed: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(said)? {
        let name = entry.map_err(said)?.file_name();
        let Some(text) = name.to_str() else { continue };
        let text: Vec<char> = text.chars().collect();
        if fits(pattern, &text) {
            into.insert(place.join(&name));
        }
        if into.len() > MOST {
            return Err(format!("stands for more than {MOST} files"));
        }
    }
    Ok(())
}

/// Matches a name in time proportional to the product of both lengths: only the last `*` is ever
/// tried again.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(next) = step(pattern, p, name[n]) {
            (p, n) = (next, n + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, n) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The place after one element of the pattern, if it takes this character.
fn step(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => {
            let negated = matches!(pattern.get(p + 1), Some('!' | '^'));
            let first = p + 1 + usize::from(negated);
            // The first `]` may be a member of the set.
            let end = pattern.iter().skip(first + 1).position(|c| *c == ']').map(|i| first + 1 + i);
            let Some(end) = end else { return (c == '[').then_some(p + 1) };
            (within(&pattern[first..end], c) != negated).then_some(end + 1)
        }
        other => (other == c).then_some(p + 1),
    }
}

fn within(set: &[char], c: char) -> bool {
    let mut i = 0;
    while i < set.len() {
        if i + 2 < set.len() && set[i + 1] == '-' {
            if (set[i]..=set[i + 2]).contains(&c) {
                return true;
            }
            i += 3;
        } else {
            if set[i] == c {
                return true;
            }
            i += 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (pattern, name, expect) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml~", false),
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?.toml", "ä.toml", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("**a", "xa", true),
        ] {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(matches(&chars(pattern), &chars(name)), expect, "{pattern} {name}");
        }
    }

    #[test]
    fn folders_are_listed_and_hidden_names_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/1.toml", "a/.2.toml", "b/3.toml", "b/x.txt", "c.toml"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = find(&dir.path().join("*/*.toml")).unwrap();
        let files: Vec<_> = found
            .files
            .iter()
            .map(|f| f.strip_prefix(dir.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(files, ["a/1.toml", "b/3.toml"]);
        assert_eq!(found.folders.len(), 3, "{:?}", found.folders);
        let none = find(&dir.path().join("gone/*.toml")).unwrap();
        assert!(none.files.is_empty() && none.folders.contains(&dir.path().join("gone")));
        assert!(find(Path::new("a/**/x")).is_err());
    }

    #[test]
    fn a_name_behind_a_star_is_matched_where_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["d-a/x.toml", "d-b/y.toml", "d-plain"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = find(&dir.path().join("d-*/x.toml")).unwrap();
        assert_eq!(found.files, [dir.path().join("d-a/x.toml")].into());
        // One may appear in the other folder, none below a plain file.
        assert!(found.folders.contains(&dir.path().join("d-b")), "{:?}", found.folders);
        assert!(!found.folders.contains(&dir.path().join("d-plain")), "{:?}", found.folders);
        assert!(find(&dir.path().join("*/x.toml/*")).unwrap().files.is_empty());
    }
}
