//! Where a configuration came from: the files it names and the patterns that may name more. What
//! they say now, and where an edit of them shows. Nothing else in their folders is ever opened.
use super::glob;
use super::open;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Bytes of a file that count: a longer one is refused when it is read.
const MOST: u64 = 64 << 20;
/// Symbolic links on one way, as the kernel's own limit (path_resolution(7)).
const LINKS: usize = 40;

/// The files that were named and the patterns of `include`. Two are equal when they name the same.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: BTreeSet<PathBuf>,
    /// The one that includes the others, as it was named.
    root: Option<PathBuf>,
    /// Those of them that are texts of a configuration: no secret, and nothing else.
    texts: BTreeSet<PathBuf>,
    patterns: BTreeSet<PathBuf>,
    /// What was read.
    read: Contents,
}

impl PartialEq for Sources {
    fn eq(&self, other: &Self) -> bool {
        (&self.files, &self.patterns) == (&other.files, &other.patterns)
    }
}

/// A hash of what each file says; `None` of one that is gone, is none, or cannot be read, and of a
/// pattern that cannot be looked up.
pub type Contents = BTreeMap<PathBuf, Option<u64>>;

/// Folders in which an edit shows, each with what it is at this moment.
pub type Folders = BTreeMap<PathBuf, Option<Folder>>;

/// Tells a folder from another that takes its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folder {
    device: u64,
    inode: u64,
    /// A new folder may get the number of the one it replaces.
    born: Option<SystemTime>,
}

impl Folder {
    fn at(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Self { device: meta.dev(), inode: meta.ino(), born: meta.created().ok() })
    }
}

impl Sources {
    /// One file and no more.
    pub fn of(file: &Path) -> Self {
        Self { files: [file.to_path_buf()].into(), ..Self::default() }
    }

    /// The file that all begins with.
    pub(super) fn begin(&mut self, file: PathBuf) {
        self.root = Some(file.clone());
        self.text(file);
    }

    /// The file that the configuration was loaded from, as it was named.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// A file that is named.
    pub(super) fn file(&mut self, file: PathBuf) {
        self.files.insert(file);
    }

    /// A file that is named and is a text of the configuration.
    pub(super) fn text(&mut self, file: PathBuf) {
        self.texts.insert(file.clone());
        self.files.insert(file);
    }

    /// Whether texts of a configuration are read at a place: a file's, or a pattern's.
    pub(super) fn includes(&self, place: &Path, is_pattern: bool) -> bool {
        if is_pattern { self.patterns.contains(place) } else { self.texts.contains(place) }
    }

    /// Whether a file is named that is no text of the configuration: a certificate, a key.
    pub(super) fn names_blob(&self, file: &Path) -> bool {
        self.files.contains(file) && !self.texts.contains(file)
    }

    /// What a file said when the configuration was read; without its bytes, what it says now.
    pub(super) fn said(&mut self, file: &Path, bytes: Option<&[u8]>) {
        // What is said by a pipe is said once: nobody can look whether it says something else.
        let said = bytes.filter(|_| file.is_file()).map(xxh3_64);
        self.read.insert(file.to_path_buf(), said.or_else(|| contents(file)));
    }

    /// Takes over what the files said when the configuration was read, over what was known before
    /// of those it did not come to.
    pub fn note(&self, seen: &mut Contents) {
        seen.retain(|file, _| !self.names_file(file));
        seen.extend(self.read.iter().map(|(file, said)| (file.clone(), *said)));
    }

    /// Whether a file is named, or stood for by a pattern.
    fn names_file(&self, file: &Path) -> bool {
        self.files.contains(file) || self.patterns.iter().any(|of| glob::stands_for(of, file))
    }

    /// A pattern that stands for files.
    pub(super) fn pattern(&mut self, pattern: PathBuf) {
        self.patterns.insert(pattern);
    }

    /// These and those that another reading names; what they said is of this one.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.files.extend(other.files.iter().cloned());
        self.texts.extend(other.texts.iter().cloned());
        self.patterns.extend(other.patterns.iter().cloned());
        self
    }

    /// What the files say now and which there are: contents, not times, so that a touched file is
    /// no edit. Reads piece by piece, at most 64 MiB of each file, and no file that is not one of
    /// the configuration.
    pub fn contents(&self) -> Contents {
        let mut all = self.files.clone();
        for pattern in &self.patterns {
            match glob::find(pattern) {
                Ok(found) => all.extend(found.files),
                Err(_) => drop(all.insert(pattern.clone())),
            }
        }
        all.into_iter()
            .map(|file| (contents(&file), file))
            .map(|(said, file)| (file, said))
            .collect()
    }

    /// The folders in which an edit shows: of each file and of each place a pattern looks into,
    /// the one above it (it may be replaced as a whole), and those that hold a symbolic link on
    /// the way (it may be led elsewhere).
    pub fn folders(&self) -> Folders {
        let mut all = BTreeSet::new();
        let mut names = BTreeSet::new();
        for place in self.places() {
            way(&place, &mut all, &mut names);
        }
        all.into_iter().map(|path| (path.clone(), Folder::at(&path))).collect()
    }

    /// The names that an edit can have: every part of every way, the targets of links too.
    pub fn names(&self) -> Names {
        let mut names = Names::default();
        for place in self.places() {
            way(&place, &mut BTreeSet::new(), &mut names.said);
        }
        let parts = self.patterns.iter().flat_map(|pattern| pattern.components());
        for part in parts.filter(|part| matches!(part, Component::Normal(_))) {
            let part = part.as_os_str();
            match part.to_str().filter(|text| glob::is_pattern(text)) {
                Some(text) => names.patterns.push(text.to_string()),
                None => drop(names.said.insert(part.into())),
            }
        }
        names
    }

    /// Files, and what a pattern stands for or might.
    fn places(&self) -> BTreeSet<PathBuf> {
        let mut all = self.files.clone();
        for pattern in &self.patterns {
            let Ok(found) = glob::find(pattern) else { continue };
            // A name that nothing has: only the folder counts.
            all.extend(found.folders.iter().map(|folder| folder.join("*")));
            all.extend(found.files);
        }
        all
    }
}

/// Names that concern a configuration.
#[derive(Clone, Debug, Default)]
pub struct Names {
    said: BTreeSet<std::ffi::OsString>,
    patterns: Vec<String>,
}

impl Names {
    /// Whether something of this name may be a file of the configuration, or lie on the way to one.
    pub fn has(&self, name: &OsStr) -> bool {
        let fits = |text: &str| self.patterns.iter().any(|pattern| glob::is_match(pattern, text));
        self.said.contains(name) || name.to_str().is_some_and(fits)
    }
}

/// Notes the folders and names on the way to a file, following links as the kernel does.
fn way(file: &Path, folders: &mut BTreeSet<PathBuf>, names: &mut BTreeSet<std::ffi::OsString>) {
    let mut place = file.to_path_buf();
    for _ in 0..LINKS {
        names.extend(place.iter().map(Into::into));
        let above: Vec<&Path> = place.ancestors().skip(1).take(2).collect();
        // Of a folder that is not there the nearest one that is.
        let there = above.first().and_then(|first| first.ancestors().find(|p| shown(p).is_dir()));
        folders.extend(there.map(shown));
        folders.extend(above.get(1).map(|p| shown(p)).filter(|p| p.is_dir()));
        let Some((link, target)) = first_link(&place) else { return };
        folders.insert(shown(link.parent().unwrap_or(Path::new(""))));
        let rest = place.strip_prefix(&link).unwrap_or(Path::new("")).to_path_buf();
        place = link.parent().unwrap_or(Path::new("")).join(target).join(rest);
    }
}

/// The first symbolic link on a way and where it leads.
fn first_link(place: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut so_far = PathBuf::new();
    for part in place.components() {
        so_far.push(part);
        if let Ok(target) = std::fs::read_link(&so_far) {
            return Some((so_far, target));
        }
    }
    None
}

/// A folder by a name that can be opened.
fn shown(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() { ".".into() } else { folder.into() }
}

/// The hash of what a file says.
fn contents(path: &Path) -> Option<u64> {
    let mut file = open::open(path).ok()?.0.take(MOST);
    let mut hasher = Xxh3::new();
    let mut piece = vec![0; 64 << 10];
    while let read @ 1.. = file.read(&mut piece).ok()? {
        hasher.update(&piece[..read]);
    }
    Some(hasher.digest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn only_files_of_the_configuration_count() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("proxy.toml"), "a");
        write(&at("x.inc.toml"), "b");
        write(&at("access.log"), "c");
        let mut sources = Sources::of(&at("proxy.toml"));
        sources.pattern(at("*.inc.toml"));
        let before = sources.contents();
        write(&at("access.log"), "other");
        write(&at("huge.bin"), "new");
        assert_eq!(sources.contents(), before);
        let mut seen = vec![before];
        let changes: [&dyn Fn(); 4] = [
            &|| write(&at("proxy.toml"), "A"),
            &|| write(&at("x.inc.toml"), "B"),
            &|| write(&at("y.inc.toml"), ""),
            &|| std::fs::remove_file(at("x.inc.toml")).unwrap(),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            change();
            let now = sources.contents();
            assert!(!seen.contains(&now), "change {n} is not seen");
            seen.push(now);
        }
        let names = sources.names();
        for (name, has) in [("proxy.toml", true), ("z.inc.toml", true), ("access.log", false)] {
            assert_eq!(names.has(OsStr::new(name)), has, "{name}");
        }
    }

    #[test]
    fn a_huge_file_is_read_piece_by_piece_and_not_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.toml");
        let file = std::fs::File::create(&path).unwrap();
        // Sparse: it takes no room on the disk.
        file.set_len(1 << 40).unwrap();
        let begun = std::time::Instant::now();
        let sources = Sources::of(&path);
        assert_eq!(sources.contents(), sources.contents());
        assert!(begun.elapsed().as_secs() < 60, "a terabyte would take longer");
    }

    #[test]
    fn folders_of_links_and_folders_above_are_watched() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("releases/1/etc/proxy.toml"), "");
        symlink("releases/1", at("current")).unwrap();
        let mut sources = Sources::of(&at("current/etc/proxy.toml"));
        sources.pattern(at("more/conf.d/*/x.toml"));
        write(&at("more/conf.d/a/y.toml"), "");
        let folders = sources.folders();
        for folder in ["", "current/etc", "releases/1/etc", "more", "more/conf.d", "more/conf.d/a"]
        {
            let folder = if folder.is_empty() { dir.path().to_path_buf() } else { at(folder) };
            assert!(folders.contains_key(&folder), "{} in {folders:?}", folder.display());
        }
        assert!(!folders.contains_key(Path::new("/")));
        for name in ["current", "releases", "1", "etc", "conf.d", "x.toml", "anything"] {
            assert!(sources.names().has(OsStr::new(name)), "{name}");
        }
    }
}
