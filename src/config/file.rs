//! The text of one file and the way from an offset in it to a line and a column.
use super::problem::At;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes between two marks: `at` counts no more characters than this, however long a line is.
const STRIDE: usize = 512;

/// A text that was read, under the name it has in problems.
#[derive(Debug)]
pub(super) struct File {
    /// As it was named to us.
    pub(super) name: Arc<str>,
    /// The folder its relative paths start from.
    pub(super) dir: PathBuf,
    /// What it says, without a byte order mark.
    pub(super) text: String,
    /// Offsets in rising order with the line and column found there.
    marks: Vec<(usize, u32, u32)>,
}

impl File {
    /// Takes a text under the name of `path`.
    pub(super) fn new(path: &Path, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self { name: name(path), dir, marks: marks(&text), text }
    }

    /// Where an offset is.
    pub(super) fn at(&self, offset: usize) -> At {
        let offset = offset.min(self.text.len());
        let mark = self.marks.partition_point(|(start, ..)| *start <= offset).saturating_sub(1);
        let (start, line, column) = self.marks[mark];
        // A character begins at every byte that does not continue one (RFC 3629 section 3).
        let more =
            self.text.as_bytes()[start..offset].iter().filter(|b| **b & 0xC0 != 0x80).count();
        At { file: self.name.clone(), line, column: column.saturating_add(short(more)) }
    }

    /// A path of this file: relative ones start from its folder.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }
}

/// A file as a problem names it.
pub(super) fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

fn marks(text: &str) -> Vec<(usize, u32, u32)> {
    let mut marks = vec![(0, 1, 1)];
    let (mut line, mut column, mut last) = (1_u32, 1_u32, 0);
    for (offset, c) in text.char_indices() {
        if offset - last >= STRIDE {
            marks.push((offset, line, column));
            last = offset;
        }
        column = column.saturating_add(1);
        if c == '\n' {
            (line, column, last) = (line.saturating_add(1), 1, offset + 1);
            marks.push((last, line, column));
        }
    }
    marks
}

fn short(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Why a file was not read.
#[derive(Debug)]
pub(super) struct Unread {
    /// Where, down to the byte that is at fault.
    pub(super) at: At,
    /// What the reader must know.
    pub(super) what: String,
    /// What it says, where that is known and no text.
    pub(super) bytes: Option<Vec<u8>>,
}

/// A file that was not read, as a whole.
pub(super) fn unread(path: &Path, what: String) -> Unread {
    Unread { at: At { file: name(path), line: 0, column: 0 }, what, bytes: None }
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
///
/// [`Unread`]
pub(super) fn read(file: std::fs::File, path: &Path, limit: usize) -> Result<String, Unread> {
    let unread = |what| unread(path, what);
    let said = |error: std::io::Error| unread(format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let take = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(take).read_to_end(&mut bytes).map_err(said)?;
    if bytes.len() > limit {
        return Err(unread("is too large: 64MiB in all files together is the limit".into()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let at = File::new(path, &text).at(text.len());
        Unread { at, what: "is not valid UTF-8".into(), bytes: Some(error.into_bytes()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_from_one() {
        let file = File::new(Path::new("x.toml"), "\u{feff}aä=1\r\nb = \"ü\"");
        for (offset, line, column) in [(0, 1, 1), (3, 1, 3), (7, 2, 1), (12, 2, 6), (999, 2, 8)] {
            let at = file.at(offset);
            assert_eq!((at.line, at.column), (line, column), "{offset}");
        }
    }

    #[test]
    fn long_lines_are_counted_right() {
        let text = format!("{}\n{}", "é".repeat(3000), "x".repeat(2000));
        let file = File::new(Path::new("x.toml"), &text);
        let mut expect = (1, 1);
        for (offset, c) in text.char_indices() {
            let at = file.at(offset);
            assert_eq!((at.line, at.column), expect);
            expect = if c == '\n' { (expect.0 + 1, 1) } else { (expect.0, expect.1 + 1) };
        }
    }

    fn read(path: &Path, limit: usize) -> Result<String, Unread> {
        let open = std::fs::File::open(path)
            .map_err(|error| super::unread(path, format!("cannot be read: {error}")))?;
        super::read(open, path, limit)
    }

    #[test]
    fn unreadable_files_say_where_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        assert!(read(&path, 10).unwrap_err().what.starts_with("cannot be read: "));
        std::fs::write(&path, b"ab\nc\xff").unwrap();
        let Unread { at, what, .. } = read(&path, 10).unwrap_err();
        assert_eq!((at.line, at.column, &*what), (2, 2, "is not valid UTF-8"));
        assert!(read(&path, 4).unwrap_err().what.contains("too large"));
        assert!(read(dir.path(), 10).is_err());
    }
}
