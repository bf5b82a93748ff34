//! The file in which the API's words survive: written whole, synced, and renamed over the old one,
//! which stays beside it. One that is torn is set aside, and the last good one counts.
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
/// One that could not be read.
const TORN: &str = "words.torn.json";
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
        registered: word.registered.map(Weight::get),
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
    let end = text.iter().position(|byte| *byte == b'\n').ok_or("it has no second line")?;
    let (first, body) = (&text[..end], &text[end + 1..]);
    let said: Seal = serde_json::from_slice(first).map_err(|e| format!("its first line: {e}"))?;
    if said.version != VERSION {
        return Err(format!("it is of form {}, this program knows {VERSION}", said.version));
    }
    if said != seal(body) {
        return Err(format!("{} of its {} bytes are there, or others", body.len(), said.bytes));
    }
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
        registered: weight(written.registered)?,
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

    /// What was kept, and what is to be said of it: nothing was, or the last good one counts.
    pub(super) fn load(&self) -> (Said, Vec<String>) {
        let mut notes = Vec::new();
        for name in [FILE, BEFORE] {
            let path = self.0.join(name);
            let shown = path.display();
            match bytes(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && name == FILE => {
                    let before = self.0.join(BEFORE);
                    if !before.exists() {
                        break;
                    }
                    // No crash leaves it so: somebody took it away.
                    let forget =
                        format!("to forget what the API said, remove {} too", before.display());
                    notes.push(format!("{shown} is gone; {forget}, while no proxy runs"));
                }
                Err(error) => notes.push(format!("{shown} cannot be read: {error}")),
                Ok(text) => match read(&text) {
                    Ok(said) => {
                        if name == BEFORE {
                            notes.push(format!("{shown}, the one before it, holds"));
                        }
                        return (said, notes);
                    }
                    Err(why) => {
                        let aside = self.0.join(TORN);
                        let moved = std::fs::copy(&path, &aside).is_ok();
                        let kept = if moved {
                            format!("; it is kept as {}", aside.display())
                        } else {
                            String::new()
                        };
                        notes.push(format!("{shown} is torn: {why}{kept}"));
                    }
                },
            }
        }
        if !notes.is_empty() {
            notes.push("what the API said before is not known: the file's words hold".into());
        }
        (Said::default(), notes)
    }

    /// Keeps it unless it is kept already. Blocks.
    pub(super) fn agree(&self, said: &Said) -> io::Result<()> {
        let (kept, _) = self.load();
        if text(&kept) == text(said) { Ok(()) } else { self.store(said) }
    }

    /// Keeps it: when this returns, it is on the disk. Blocks.
    pub(super) fn store(&self, said: &Said) -> io::Result<()> {
        let failed = |what: &str, name: &str, error: io::Error| {
            let path = self.0.join(name);
            io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
        };
        let folder = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        folder.map_err(|error| failed("make the folder", "", error))?;
        let next = self.0.join(NEXT);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&next);
        let mut file = file.map_err(|error| failed("open", NEXT, error))?;
        let written = file.write_all(&text(said)).and_then(|()| file.sync_all());
        written.map_err(|error| failed("write", NEXT, error))?;
        let (path, before) = (self.0.join(FILE), self.0.join(BEFORE));
        // The one in force stays under its name all the time.
        let _ = std::fs::remove_file(&before);
        let _ = std::fs::hard_link(&path, &before);
        std::fs::rename(&next, &path).map_err(|error| failed("rename to", FILE, error))?;
        let synced = File::open(&self.0).and_then(|folder| folder.sync_all());
        synced.map_err(|error| failed("sync the folder", "", error))
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
            registered: Weight::new(4),
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
        assert_eq!(kept.load(), (Said::default(), Vec::new()));
        for weight in [1, 2, 3] {
            kept.store(&said(weight)).unwrap();
            assert_eq!(kept.load(), (said(weight), Vec::new()));
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
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (found, notes) = kept.load();
            assert!(found == said(1) && notes.len() == 2, "cut at {cut}: {notes:?}");
            let mut other = whole.clone();
            other[cut] ^= 1;
            std::fs::write(&path, &other).unwrap();
            let (found, notes) = kept.load();
            assert!(found == said(1) && notes[0].contains("is torn: "), "byte {cut}: {notes:?}");
        }
        assert!(folder.path().join(TORN).exists());
        std::fs::remove_file(&path).unwrap();
        let (found, notes) = kept.load();
        assert!(found == said(1) && notes.len() == 2, "{notes:?}");
        assert!(notes[0].contains("words.json is gone; to forget"), "{notes:?}");
        std::fs::write(&path, "torn").unwrap();
        std::fs::write(folder.path().join(BEFORE), "too").unwrap();
        let (found, notes) = kept.load();
        assert!(found.is_empty() && notes.len() == 3, "{notes:?}");
    }
}
