//! The file in which the API's words survive: written whole, synced, and renamed over the old one,
//! which stays beside it. One that is torn is set aside, and the last good one counts and is kept at
//! once; only what was read well ever becomes the one before.
use super::said::{Said, wish_word};
use crate::config::{Addr, Name, Weight};
use crate::pool::{Wish, Word, Words};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

const FILE: &str = "words.json";
/// The one before the last.
const BEFORE: &str = "words.before.json";
const NEXT: &str = "words.next.json";
/// What becomes the one before: a second name of a file, or a copy where a file has but one.
const LINK: &str = "words.link.json";
const COPY: &str = "words.copy.json";
/// Torn ones, the oldest first; of more the last is the newest: the first is nearest to the fault.
const TORN: [&str; 4] =
    ["words.torn.json", "words.torn.2.json", "words.torn.3.json", "words.torn.4.json"];
/// The form of the file.
const VERSION: u32 = 1;
/// A file of words is no longer than this: a hundred times what `admin.limits.words` allows.
const MOST: u64 = 256 << 20;

/// The first line: what must follow.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Seal {
    version: u32,
    bytes: u64,
    xxh3: String,
}

/// A word as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
}

fn seal(body: &[u8]) -> Seal {
    Seal { version: VERSION, bytes: body.len() as u64, xxh3: format!("{:016x}", xxh3_64(body)) }
}

pub(super) fn text(said: &Said) -> Vec<u8> {
    let word = |word: &Word| Written {
        addr: word.addr.as_ref().map(ToString::to_string),
        weight: word.weight.map(Weight::get),
        registered: word.added.map(Weight::get),
        tier: word.tier,
        state: word.wish.map(|wish| wish_word(wish).to_string()),
        removed: word.removed,
        ttl_ms: word.ttl.map(|ttl| ttl.as_millis() as u64),
    };
    let pools: BTreeMap<&str, BTreeMap<&str, Written>> = said
        .0
        .iter()
        .map(|(pool, words)| (&**pool, words.iter().map(|(name, w)| (&**name, word(w))).collect()))
        .collect();
    let body = serde_json::to_vec(&pools).unwrap_or_default();
    let mut all = serde_json::to_vec(&seal(&body)).unwrap_or_default();
    all.push(b'\n');
    all.extend(body);
    all
}

pub(super) fn read(text: &[u8]) -> Result<Said, String> {
    let body = body(text)?;
    let pools: BTreeMap<String, BTreeMap<String, Written>> =
        serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let mut all = Said::default();
    for (pool, written) in pools {
        let mut words = Words::new();
        for (name, written) in written {
            words.insert(Name::new(&name)?, word(written)?);
        }
        all.0.insert(Name::new(&pool)?, Arc::new(words));
    }
    Ok(all)
}

/// What follows the seal, which it fits.
fn body(text: &[u8]) -> Result<&[u8], String> {
    let end = text.iter().position(|byte| *byte == b'\n').ok_or("it has no second line")?;
    let (first, body) = (&text[..end], &text[end + 1..]);
    let said: Seal = serde_json::from_slice(first).map_err(|e| format!("its first line: {e}"))?;
    if said.version != VERSION {
        return Err(format!("it is of form {}, this program knows {VERSION}", said.version));
    }
    if said != seal(body) {
        return Err(format!("{} of its {} bytes are there, or others", body.len(), said.bytes));
    }
    Ok(body)
}

fn word(written: Written) -> Result<Word, String> {
    let wish = match written.state.as_deref() {
        None => None,
        Some("drain") => Some(Wish::Drain),
        Some("maintenance") => Some(Wish::Maintenance),
        Some(other) => return Err(format!("no state is called {other:?}")),
    };
    let weight = |said: Option<u16>| {
        let one = |w| Weight::new(w).ok_or_else(|| format!("a weight of {w}"));
        said.map(one).transpose()
    };
    Ok(Word {
        addr: written.addr.map(|addr| Addr::new(&addr)).transpose()?,
        weight: weight(written.weight)?,
        added: weight(written.registered)?,
        tier: written.tier,
        wish,
        removed: written.removed,
        ttl: written.ttl_ms.map(Duration::from_millis),
        lapsed: false,
    })
}

/// The folder in which words are kept.
#[derive(Clone, Debug)]
pub(super) struct Kept(PathBuf);

impl Kept {
    /// Nothing is made before something is said.
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_path_buf())
    }

    /// What was kept, and what is to be said of it: nothing was, or the last good one counts, and is
    /// in force again when this returns. Blocks.
    ///
    /// # Errors
    ///
    /// Words are there and cannot be read: what they say is not known, and not forgotten.
    pub(super) fn load(&self) -> io::Result<(Said, Vec<String>)> {
        let mut notes = Vec::new();
        for name in [FILE, BEFORE] {
            let path = self.0.join(name);
            let shown = path.display();
            let Some(text) = self.there(name)? else {
                let before = self.0.join(BEFORE);
                if name == FILE && before.exists() {
                    // No crash leaves it so: somebody took it away.
                    let forget =
                        format!("to forget what the API said, remove {} too", before.display());
                    notes.push(format!("{shown} is gone; {forget}, while no proxy runs"));
                }
                continue;
            };
            match read(&text) {
                Ok(said) if name == FILE => return Ok((said, notes)),
                Ok(said) => {
                    notes.push(format!("{shown}, the one before it, holds"));
                    if let Err(error) = self.store(&said) {
                        notes.push(format!("it could not be kept as {FILE}: {error}"));
                    }
                    return Ok((said, notes));
                }
                Err(why) => {
                    let kept = self.set_aside(&path);
                    let kept = kept.map(|aside| format!("; it is kept as {}", aside.display()));
                    notes.push(format!("{shown} is torn: {why}{}", kept.unwrap_or_default()));
                }
            }
        }
        if !notes.is_empty() {
            notes.push("what the API said before is not known: the file's words hold".into());
        }
        Ok((Said::default(), notes))
    }

    /// What a file says; `None` where there is none.
    fn there(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.0.join(name);
        match bytes(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let what = format!(
                    "read {}, what the API said of backends: {error}; let this process read it, or, \
                     to forget what it says, take it and {BEFORE} away",
                    path.display()
                );
                Err(io::Error::new(error.kind(), what))
            }
        }
    }

    /// Gives a torn file another name, so that it is never taken for a good one.
    fn set_aside(&self, path: &Path) -> Option<PathBuf> {
        let mut places = TORN.iter().map(|name| self.0.join(name));
        let free = places.clone().find(|place| !place.exists()).or_else(|| places.next_back());
        free.filter(|place| std::fs::rename(path, place).is_ok())
    }

    /// Keeps it unless it is kept already. Blocks.
    pub(super) fn agree(&self, said: &Said) -> io::Result<()> {
        let (kept, _) = self.load()?;
        if text(&kept) == text(said) { Ok(()) } else { self.store(said) }
    }

    /// Keeps it: when this returns, it is on the disk. Blocks.
    pub(super) fn store(&self, said: &Said) -> io::Result<()> {
        let folder = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        folder.map_err(|error| self.failed("make the folder", "", error))?;
        self.write(NEXT, &text(said))?;
        self.keep_before()?;
        self.rename(NEXT, FILE)?;
        let synced = File::open(&self.0).and_then(|folder| folder.sync_all());
        synced.map_err(|error| self.failed("sync the folder", "", error))
    }

    /// Makes the one in force the one before, too: it stays under its name all the time. One that is
    /// torn is none, and the one before stays.
    fn keep_before(&self) -> io::Result<()> {
        let text = match bytes(&self.0.join(FILE)) {
            Ok(text) if body(&text).is_ok() => text,
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed("read", FILE, error)),
        };
        let link = self.0.join(LINK);
        // One that a crash left.
        let _ = std::fs::remove_file(&link);
        if std::fs::hard_link(self.0.join(FILE), link).is_ok() {
            return self.rename(LINK, BEFORE);
        }
        self.write(COPY, &text)?;
        self.rename(COPY, BEFORE)
    }

    fn write(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file =
            file.open(self.0.join(name)).map_err(|error| self.failed("open", name, error))?;
        let written = file.write_all(text).and_then(|()| file.sync_all());
        written.map_err(|error| self.failed("write", name, error))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let renamed = std::fs::rename(self.0.join(from), self.0.join(to));
        renamed.map_err(|error| self.failed("rename to", to, error))
    }

    fn failed(&self, what: &str, name: &str, error: io::Error) -> io::Error {
        let path = self.0.join(name);
        io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
    }
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(weight: u16) -> Said {
        let mut said = Said::default();
        let name = |text| Name::new(text).unwrap();
        let word = Word { weight: Weight::new(weight), ..Word::default() };
        said.set(&name("app"), &name("b \"1\" ü"), Some(word));
        let word = Word {
            addr: Some(Addr::new("[::1]:80").unwrap()),
            tier: Some(2),
            wish: Some(Wish::Drain),
            added: Weight::new(4),
            ttl: Some(Duration::from_millis(1500)),
            ..Word::default()
        };
        said.set(&name("app"), &name("own"), Some(word));
        said.set(&name("x/y"), &name("out"), Some(Word { removed: true, ..Word::default() }));
        said
    }

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(&folder.path().join("not/there/yet"));
        assert_eq!(kept.load().unwrap(), (Said::default(), Vec::new()));
        for weight in [1, 2, 3] {
            kept.store(&said(weight)).unwrap();
            assert_eq!(kept.load().unwrap(), (said(weight), Vec::new()));
        }
    }

    #[test]
    fn one_torn_at_any_byte_is_reported_and_the_one_before_counts() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path());
        kept.store(&said(1)).unwrap();
        kept.store(&said(2)).unwrap();
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
            let mut other = whole.clone();
            other[cut] ^= 1;
            assert!(read(&other).is_err(), "byte {cut}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (found, notes) = kept.load().unwrap();
        assert!(found == said(1) && notes.len() == 2, "{notes:?}");
        assert!(notes[0].contains("is torn: ") && notes[0].contains(TORN[0]), "{notes:?}");
        assert_eq!(kept.load().unwrap(), (said(1), Vec::new()), "it is in force again");
        std::fs::remove_file(&path).unwrap();
        let (found, notes) = kept.load().unwrap();
        assert!(found == said(1) && notes.len() == 2, "{notes:?}");
        assert!(notes[0].contains("words.json is gone; to forget"), "{notes:?}");
        std::fs::write(&path, "torn").unwrap();
        std::fs::write(folder.path().join(BEFORE), "too").unwrap();
        let (found, notes) = kept.load().unwrap();
        assert!(found.is_empty() && notes.len() == 3, "{notes:?}");
    }

    #[test]
    fn however_often_it_is_torn_the_last_good_one_holds() {
        for has_links in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let kept = Kept::new(folder.path());
            if !has_links {
                std::fs::create_dir(at(LINK)).unwrap();
            }
            kept.store(&said(1)).unwrap();
            for weight in 2..9 {
                kept.store(&said(weight)).unwrap();
                let before = read(&std::fs::read(at(BEFORE)).unwrap()).unwrap();
                assert_eq!(before, said(weight - 1));
                // What a second write finds torn is not the one before, either.
                std::fs::write(at(FILE), format!("torn {weight}")).unwrap();
                kept.store(&said(weight)).unwrap();
                assert_eq!(read(&std::fs::read(at(BEFORE)).unwrap()).unwrap(), before);
                std::fs::write(at(FILE), format!("torn {weight}")).unwrap();
                assert_eq!(kept.load().unwrap().0, before);
                assert_eq!(kept.load().unwrap(), (before, Vec::new()));
                kept.store(&said(weight)).unwrap();
            }
            let torn = TORN.map(|name| std::fs::read_to_string(at(name)).unwrap());
            assert_eq!(torn, ["torn 2", "torn 3", "torn 4", "torn 8"]);
            assert!(!at(COPY).exists() && at(LINK).exists() != has_links);
        }
    }

    #[test]
    fn what_is_there_and_cannot_be_read_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path());
        kept.store(&said(1)).unwrap();
        kept.store(&said(2)).unwrap();
        let (path, good) = (folder.path().join(FILE), folder.path().join("good"));
        std::fs::rename(&path, &good).unwrap();
        std::fs::create_dir(&path).unwrap();
        let error = kept.load().unwrap_err().to_string();
        assert!(error.starts_with(&format!("read {}, what", path.display())), "{error}");
        assert!(kept.agree(&said(3)).is_err());
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&good, &path).unwrap();
        assert_eq!(kept.load().unwrap(), (said(2), Vec::new()));
    }
}
