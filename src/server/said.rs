//! What the API says of backends, of all pools: the rules of each write. Pure: whether it is kept on
//! a disk is `writer.rs`'s to say, and what comes of it the pools'.
use crate::config::{Addr, Config, Name, Weight};
use crate::pool::{Author, Endpoint, Pool, Wish, Word, Words, lay};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Everything that the API says. A copy costs a pointer for each pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said(pub(super) BTreeMap<Name, Arc<Words>>);

/// Words by pool; `None`: nothing any more.
pub(super) type Changes = BTreeMap<Name, Vec<(Name, Option<Word>)>>;

/// What a caller wants to say.
#[derive(Clone, Debug)]
pub struct Write {
    /// Of which pool.
    pub pool: Name,
    /// Of which backend.
    pub backend: Name,
    /// What.
    pub what: What,
    /// The tag that its pool must have.
    pub if_match: Option<String>,
}

/// See [`Write`].
#[derive(Clone, Debug)]
pub enum What {
    /// A backend of the API's own.
    Add(Word),
    /// `None` leaves as it is, `Some(None)` gives back to the file.
    Change {
        /// Its weight.
        weight: Option<Option<Weight>>,
        /// What is wanted of it.
        wish: Option<Option<Wish>>,
    },
    /// Drains, then is gone, and what was said of it is forgotten.
    Remove,
    /// It registered itself, and its heartbeat stopped: it drains, then is gone. What an operator said
    /// of it waits for whoever registers under its name.
    Expire,
}

impl What {
    /// Whether nothing more is said after it than before.
    fn takes_back(&self) -> bool {
        match self {
            Self::Add(_) | Self::Expire => false,
            Self::Change { weight, wish } => {
                weight.is_none_or(|weight| weight.is_none()) && wish.is_none_or(is_return)
            }
            Self::Remove => true,
        }
    }
}

/// Whether nothing is wanted of a backend any more.
fn is_return(wish: Option<Wish>) -> bool {
    wish.is_none_or(|wish| wish == Wish::Up)
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(word) => match &word.addr {
                Some(addr) => write!(f, "it is at {addr}"),
                None => f.write_str("it is there"),
            },
            Self::Change { weight, wish } => {
                let weight = weight.map(|weight| match weight {
                    Some(weight) => format!("weight {}", weight.get()),
                    None => "weight as it came".into(),
                });
                let wish = wish.map(|wish| format!("state {}", wish.map_or("up", wish_word)));
                let both: Vec<String> = weight.into_iter().chain(wish).collect();
                f.write_str(&both.join(", "))
            }
            Self::Remove => f.write_str("it goes"),
            Self::Expire => f.write_str("its heartbeat stopped, it goes"),
        }
    }
}

/// Why nothing was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No pool has this name.
    NoPool(Name),
    /// No backend of the pool has this name.
    NoBackend(Name, Name),
    /// One has it already.
    Taken(String),
    /// The tag of the pool is another by now.
    Changed(String),
    /// More words than this are not kept.
    Full(usize),
    /// What the disk said.
    NotKept(String),
    /// Another process serves, and writes, by now.
    HandedOver(u32),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPool(pool) => write!(f, "no pool named {pool:?}"),
            Self::NoBackend(pool, name) => write!(f, "pool {pool:?} has no backend named {name:?}"),
            Self::Taken(what) => f.write_str(what),
            Self::Changed(tag) => write!(f, "the pool was changed meanwhile: its tag is {tag} now"),
            Self::Full(most) => {
                write!(f, "the API already says something of {most} backends (admin.limits.words)")
            }
            Self::HandedOver(pid) => {
                write!(f, "the service was handed over to process {pid}: say it again, to that one")
            }
            Self::NotKept(why) => write!(f, "it could not be kept, so it does not hold: {why}"),
        }
    }
}

/// A value that somebody says and nobody sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Of which pool.
    pub pool: Name,
    /// Of which backend.
    pub backend: Name,
    /// `addr`, `weight`, `state` or `removed`.
    pub key: &'static str,
    /// What the file says; `None` where it does not name the backend (any more).
    pub file: Option<String>,
    /// What the API says, which holds.
    pub api: String,
}

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, backend, key, file, api } = self;
        match file {
            Some(file) => write!(f, "{pool}/{backend}: {key} {api}, over the file's {file}"),
            None => write!(f, "{pool}/{backend}: {key} {api}, which the file does not name"),
        }
    }
}

impl Said {
    /// The words on the backends of a pool.
    pub fn of(&self, pool: &str) -> Arc<Words> {
        self.0.get(pool).cloned().unwrap_or_default()
    }

    /// How many backends it says something of.
    pub fn len(&self) -> usize {
        self.0.values().map(|words| words.len()).sum()
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names what file and API say of a pool's backends (RFC 9110 8.8.3): it changes with each word
    /// of either, and never with what probes and requests find.
    pub fn tag(&self, pool: &Pool) -> String {
        let (config, words) = (pool.config(), self.of(&pool.name));
        let said: Vec<Endpoint> = config.backends.iter().map(Endpoint::of).collect();
        let mut hash = Xxh3::new();
        let mut part = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        for endpoint in lay(&said, &words) {
            part(&endpoint.name);
            part(&endpoint.addr.to_string());
            part(&format!("{} {}", endpoint.weight.get(), endpoint.tier));
        }
        for (name, word) in &*words {
            part(name);
            part(&format!("{:?} {:?}", word.wish, word.ttl));
        }
        format!("\"{:016x}\"", hash.digest())
    }

    /// Says something; `most`: words that are kept. Returns what the backend's word is from here on.
    pub(super) fn write(
        &mut self,
        write: &Write,
        pool: Option<&Arc<Pool>>,
        most: usize,
    ) -> Result<Option<Word>, Refused> {
        let before = self.of(&write.pool).get(&write.backend).cloned().unwrap_or_default();
        // What was said of a pool that no file names now can be taken back; it has no tag.
        let takes_back = write.what.takes_back() && !before.is_empty() && write.if_match.is_none();
        if pool.is_none() && !takes_back {
            return Err(Refused::NoPool(write.pool.clone()));
        }
        let asked = write.if_match.as_deref().filter(|asked| *asked != "*");
        if let Some((asked, pool)) = asked.zip(pool) {
            let tag = self.tag(pool);
            if !asked.split(',').any(|one| one.trim() == tag) {
                return Err(Refused::Changed(tag));
            }
        }
        let backends = pool.map(|pool| pool.config());
        let mut backends = backends.iter().flat_map(|config| &config.backends);
        let in_file = backends.any(|backend| backend.name == write.backend);
        // Said again while it drains: it goes already.
        if matches!(write.what, What::Remove)
            && before.is_empty()
            && !in_file
            && pool.is_some_and(|pool| is_sent_away(pool, &write.backend))
        {
            return Ok(None);
        }
        let word = after(write, in_file, before.clone())?;
        if before.is_empty() && !word.is_empty() && self.len() >= most {
            return Err(Refused::Full(most));
        }
        let word = (!word.is_empty()).then_some(word);
        self.set(&write.pool, &write.backend, word.clone());
        Ok(word)
    }

    pub(super) fn set(&mut self, pool: &Name, backend: &Name, word: Option<Word>) {
        let words = Arc::make_mut(self.0.entry(pool.clone()).or_default());
        match word {
            Some(word) => words.insert(backend.clone(), word),
            None => words.remove(backend),
        };
        if words.is_empty() {
            self.0.remove(pool);
        }
    }

    /// What must be said for this to become the other, by pool.
    pub(super) fn changes(&self, other: &Self) -> Changes {
        let mut changes = Changes::new();
        let pools: BTreeSet<&Name> = self.0.keys().chain(other.0.keys()).collect();
        for pool in pools {
            let (before, after) = (self.of(pool), other.of(pool));
            let names: BTreeSet<&Name> = before.keys().chain(after.keys()).collect();
            let differs = |name: &&&Name| before.get(**name) != after.get(**name);
            let words = names.iter().filter(differs);
            let words: Vec<_> =
                words.map(|name| ((*name).clone(), after.get(*name).cloned())).collect();
            if !words.is_empty() {
                changes.insert(pool.clone(), words);
            }
        }
        changes
    }

    /// Every value that one of the two says and the other's word covers.
    pub fn covered(&self, config: &Config) -> Vec<Covered> {
        let mut all = Vec::new();
        for (pool, words) in &self.0 {
            let section = config.pools.get(pool);
            let backends = section.into_iter().flat_map(|section| &section.backends);
            let file: BTreeMap<_, _> =
                backends.filter(|b| words.contains_key(&b.name)).map(|b| (&b.name, b)).collect();
            for (backend, word) in &**words {
                let named = file.get(backend);
                let mut say = |key, of_file: Option<String>, api: String| {
                    // Both say the same.
                    if of_file.as_ref() == Some(&api) {
                        return;
                    }
                    let (pool, backend) = (pool.clone(), backend.clone());
                    all.push(Covered { pool, backend, key, file: of_file, api });
                };
                // One of its own covers nothing, where its pool is there to have it.
                if named.is_none() && word.addr.is_some() && section.is_some() {
                    continue;
                }
                if let Some(addr) = &word.addr {
                    say("addr", named.map(|b| b.addr.to_string()), addr.to_string());
                }
                if let Some(weight) = word.counts() {
                    let of_file = named.map(|b| b.weight.get().to_string());
                    say("weight", of_file, weight.get().to_string());
                }
                if let Some(wish) = word.wish {
                    say("state", named.map(|_| "up".into()), wish_word(wish).into());
                }
                if word.removed {
                    say("removed", named.map(|_| "false".into()), "true".into());
                }
            }
        }
        all
    }
}

/// The word of a wish.
pub(super) fn wish_word(wish: Wish) -> &'static str {
    match wish {
        Wish::Up => "up",
        Wish::Drain => "drain",
        Wish::Maintenance => "maintenance",
    }
}

/// Whether the API sent away who has this name: what is said of it here is gone before the pool hears of it.
fn is_sent_away(pool: &Pool, backend: &Name) -> bool {
    let mut is = false;
    pool.glance(|at| is |= at.backend.name == *backend && at.removed != Some(Author::File));
    is
}

/// What is said of a backend after a write.
fn after(write: &Write, in_file: bool, mut word: Word) -> Result<Word, Refused> {
    let (pool, backend) = (&write.pool, &write.backend);
    let own = word.addr.is_some();
    let is_there = (in_file || own) && !word.removed;
    // Nobody has the name now, and something is said of it all the same.
    let is_awaited = !in_file && !own && !word.is_empty();
    let none = || Refused::NoBackend(pool.clone(), backend.clone());
    match &write.what {
        What::Add(added) => {
            if own {
                let at = word.addr.as_ref().map(Addr::to_string).unwrap_or_default();
                let what =
                    format!("pool {pool:?} has a backend named {backend:?} already, at {at}");
                return Err(Refused::Taken(what));
            }
            if in_file {
                let hint = match word.removed {
                    true => "; it was removed by the API: PATCH {\"state\": null} gives it back",
                    false => "",
                };
                let what = format!("the file names the backend {backend:?} of pool {pool:?}{hint}");
                return Err(Refused::Taken(what));
            }
            // What an operator said of the name stays said, whoever registers under it; an operator
            // who adds it says it anew.
            let is_anew = added.ttl.is_none() && added.added.is_some();
            let weight = word.weight.filter(|_| !is_anew);
            word = Word { weight, wish: added.wish.or(word.wish), ..added.clone() };
        }
        What::Change { weight, wish } => {
            let returns = wish.is_some_and(is_return);
            let uncovered = write.what.takes_back() && !word.is_empty();
            if !(is_there || uncovered || is_awaited) {
                return Err(none());
            }
            if let Some(weight) = weight {
                word.weight = *weight;
            }
            if let Some(wish) = wish {
                word.wish = wish.filter(|wish| *wish != Wish::Up);
                word.removed &= !returns;
            }
        }
        // Said again, by who did not hear the answer: it is out until somebody wants it back.
        What::Remove if word.removed => {}
        What::Remove if !is_there && !is_awaited => return Err(none()),
        What::Remove if in_file => word = Word { removed: true, ..Word::default() },
        What::Remove => word = Word::default(),
        What::Expire => {
            word = Word { weight: word.weight, wish: word.wish, ..Word::default() };
        }
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Policies;
    use std::path::Path;
    use std::time::Duration;

    const FILE: &str = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n[pool.app]\n\
        backends = [{ name = \"a\", addr = \"127.0.0.1:1\", weight = 3 }, { name = \"b\", addr = \"127.0.0.1:2\" }]\n";

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }
    fn file() -> (Config, Arc<Pool>) {
        let config = crate::config::parse(FILE, Path::new("proxy.toml")).unwrap();
        let section = &config.pools["app"];
        let pool = Pool::prepare(&section.name, section, &Policies::default(), None).unwrap();
        let pool = pool.commit().0;
        (config, pool)
    }
    fn own(addr: &str) -> What {
        What::Add(Word { addr: Some(Addr::new(addr).unwrap()), ..Word::default() })
    }
    fn change(weight: Option<Option<u16>>, wish: Option<Option<Wish>>) -> What {
        What::Change { weight: weight.map(|w| w.and_then(Weight::new)), wish }
    }

    #[test]
    fn each_write_has_its_rule() {
        let ((config, pool), mut said) = (file(), Said::default());
        let mut write = |backend: &str, what: What| {
            let write = Write { pool: name("app"), backend: name(backend), what, if_match: None };
            said.write(&write, Some(&pool), 3).map(|word| word.is_some()).map_err(|e| e.to_string())
        };
        let none = "pool \"app\" has no backend named \"x\"".to_string();
        let taken = "the file names the backend \"a\" of pool \"app\"".to_string();
        let back = "; it was removed by the API: PATCH {\"state\": null} gives it back";
        assert_eq!(write("x", What::Remove), Err(none.clone()));
        assert_eq!(write("x", change(Some(Some(1)), None)), Err(none));
        assert_eq!(write("a", own("127.0.0.1:9")), Err(taken.clone()));
        assert_eq!(write("x", own("127.0.0.1:9")), Ok(true));
        assert!(write("x", own("127.0.0.1:9")).unwrap_err().ends_with("already, at 127.0.0.1:9"));
        assert_eq!(write("x", change(Some(None), Some(Some(Wish::Up)))), Ok(true));
        assert_eq!(write("a", change(Some(Some(7)), Some(Some(Wish::Drain)))), Ok(true));
        assert_eq!(write("a", change(Some(None), None)), Ok(true));
        assert_eq!(write("a", change(None, Some(None))), Ok(false), "nothing is left to say");
        assert_eq!(write("a", What::Remove), Ok(true));
        assert_eq!(write("a", own("127.0.0.1:9")), Err(taken + back));
        assert!(write("a", change(Some(Some(1)), None)).is_err(), "it is out");
        assert_eq!(write("a", change(Some(None), None)), Ok(true), "it was the file's, and is out");
        assert_eq!(write("a", What::Remove), Ok(true), "it is out all the same");
        assert_eq!(write("a", change(None, Some(None))), Ok(false));
        assert_eq!(write("a", change(Some(Some(7)), None)), Ok(true));
        assert_eq!(write("b", change(None, Some(Some(Wish::Maintenance)))), Ok(true));
        // What registered itself goes, and an operator's word waits for who comes under its name.
        let beats = |weight| {
            let (addr, ttl) = (Addr::new("127.0.0.1:7").ok(), Some(Duration::from_secs(9)));
            What::Add(Word { addr, ttl, added: Weight::new(weight), ..Word::default() })
        };
        assert_eq!(write("x", What::Remove), Ok(false));
        assert_eq!(write("x", beats(2)), Ok(true));
        assert_eq!(write("x", What::Expire), Ok(false), "nobody said more of it");
        assert_eq!(write("x", beats(2)), Ok(true));
        assert_eq!(write("x", change(Some(Some(5)), Some(Some(Wish::Drain)))), Ok(true));
        for (what, left) in [
            (What::Expire, true),
            (change(None, Some(Some(Wish::Maintenance))), true),
            (beats(3), true),
            (What::Expire, true),
            (change(Some(None), Some(None)), false),
        ] {
            assert_eq!(write("x", what), Ok(left));
        }
        assert_eq!(write("x", own("127.0.0.1:9")), Ok(true));
        let full = "the API already says something of 3 backends (admin.limits.words)";
        assert_eq!(write("y", own("127.0.0.1:8")), Err(full.to_string()));
        assert_eq!(write("x", What::Remove), Ok(false));
        let covered: Vec<String> = said.covered(&config).iter().map(ToString::to_string).collect();
        let expect =
            ["app/a: weight 7, over the file's 3", "app/b: state maintenance, over the file's up"];
        assert_eq!(covered, expect);
    }

    #[test]
    fn of_a_pool_that_is_not_there_words_can_be_taken_back() {
        let ((_, pool), mut said) = (file(), Said::default());
        let mut write = |backend: &str, what: What, is_there: bool, if_match: Option<&str>| {
            let if_match = if_match.map(String::from);
            let write = Write { pool: name("app"), backend: name(backend), what, if_match };
            said.write(&write, is_there.then_some(&pool), 9).map(|word| word.is_some())
        };
        let none = Err(Refused::NoPool(name("app")));
        let drains = change(Some(Some(7)), Some(Some(Wish::Drain)));
        for (backend, what) in
            [("a", drains.clone()), ("b", What::Remove), ("x", own("127.0.0.1:9"))]
        {
            assert_eq!(write(backend, what, true, None), Ok(true));
        }
        assert_eq!(write("a", drains, false, None), none);
        assert_eq!(write("y", own("127.0.0.1:9"), false, None), none);
        assert_eq!(write("y", What::Remove, false, None), none, "nothing is said of it");
        assert_eq!(write("a", What::Remove, false, Some("*")), none, "it has no tag");
        assert_eq!(write("a", change(Some(None), None), false, None), Ok(true));
        assert_eq!(write("a", change(None, Some(None)), false, None), Ok(false));
        assert_eq!(write("b", What::Remove, false, None), Ok(true), "it stays removed");
        assert_eq!(write("b", change(None, Some(Some(Wish::Up))), false, None), Ok(false));
        assert_eq!(write("x", What::Remove, false, None), Ok(false));
    }

    #[test]
    fn what_differs_leads_from_one_to_the_other() {
        let word = |weight| Some(Word { weight: Weight::new(weight), ..Word::default() });
        let said = |all: &[(&str, &str, u16)]| {
            let mut said = Said::default();
            all.iter()
                .for_each(|(pool, backend, w)| said.set(&name(pool), &name(backend), word(*w)));
            said
        };
        let before = said(&[("app", "a", 1), ("app", "b", 2), ("gone", "x", 1)]);
        let after = said(&[("app", "a", 1), ("app", "b", 3), ("new", "y", 1)]);
        let changes = before.changes(&after);
        let expect = [
            (name("app"), vec![(name("b"), word(3))]),
            (name("gone"), vec![(name("x"), None)]),
            (name("new"), vec![(name("y"), word(1))]),
        ];
        assert_eq!(changes, Changes::from(expect));
        let mut now = before;
        for (pool, words) in changes {
            words.into_iter().for_each(|(backend, word)| now.set(&pool, &backend, word));
        }
        assert_eq!(now, after);
    }

    #[test]
    fn a_tag_holds_until_somebody_speaks() {
        let ((_, pool), mut said) = (file(), Said::default());
        let tag = said.tag(&pool);
        let mut write = |if_match: &str, weight: Option<u16>| {
            let what = change(Some(weight), None);
            let if_match = Some(if_match.to_string());
            let write = Write { pool: name("app"), backend: name("a"), what, if_match };
            said.write(&write, Some(&pool), 9)
        };
        assert!(write(&tag, Some(9)).is_ok());
        let Err(Refused::Changed(other)) = write(&tag, Some(8)) else { panic!("it does not hold") };
        assert_ne!(other, tag);
        assert!(write(&format!("\"x\", {other}"), None).is_ok(), "back to the file's");
        assert!(write("*", None).is_ok());
        assert_eq!(said.tag(&pool), tag);
    }
}
