//! A table whose keys are asked for by name: what nobody asked for is a problem.
//!
//! Nothing stops at a problem: a value that cannot be read is said and left out, and the whole
//! configuration is discarded at the end.
use super::astray;
use super::env::{self, Lookup};
use super::faults::Faults;
use super::file::File;
use super::hint::{did_you_mean, key_part};
use super::problem::{At, Problem, Wrong};
use super::sources::Sources;
use super::unbuilt;
use std::cell::RefCell;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What all readers of one load share.
pub(super) struct Desk<'a> {
    /// The environment.
    pub(super) env: Lookup<'a>,
    /// The only files that may be read; `None`: all.
    pub(super) files: Option<&'a Sources>,
    /// What is wrong so far.
    pub(super) faults: RefCell<Faults>,
}

/// One file on the desk.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    /// The file.
    pub(super) file: &'a File,
    /// The desk.
    pub(super) desk: &'a Desk<'a>,
}

impl Page<'_> {
    /// Says what is wrong at an offset.
    pub(super) fn wrong(&self, offset: usize, key: &str, wrong: Wrong) {
        let Wrong { what, hint } = wrong;
        let problem = Problem { at: self.file.at(offset), key: key.into(), what, hint };
        self.desk.faults.borrow_mut().push(problem);
    }

    /// Whether some text of a file could not be read, so that what is absent may have been there.
    pub(super) fn is_torn(&self) -> bool {
        self.desk.faults.borrow().is_torn()
    }
}

/// A value with the key that names it.
#[derive(Clone)]
pub(super) struct Item<'a> {
    /// Where it is.
    pub(super) page: Page<'a>,
    /// The key's full path.
    pub(super) path: String,
    /// Where the key begins; for an item of a list where its value does.
    key: usize,
    /// The value.
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    /// Says what is wrong with the value, at the value.
    pub(super) fn wrong(&self, wrong: Wrong) {
        let raw = self.value.get_ref().as_str().filter(|raw| raw.contains("${"));
        let full = raw.and_then(|raw| Some((raw, env::substitute(raw, self.page.desk.env).ok()?)));
        let wrong = match full {
            // What was written as a literal was not put in.
            Some((raw, full)) if !full.is_empty() && raw.replace("$${", "${") != full => {
                env::masked(wrong, raw, &full)
            }
            _ => wrong,
        };
        self.page.wrong(self.offset(), &self.path, wrong);
    }

    /// Says what is wrong with the value, without a hint.
    pub(super) fn fault(&self, what: impl Into<String>) {
        self.wrong(Wrong::new(what));
    }

    /// Says that the key is wrong, at the key.
    pub(super) fn key_wrong(&self, wrong: Wrong) {
        self.page.wrong(self.key, &self.path, wrong);
    }

    /// Says that a word of this value has no feature behind it.
    pub(super) fn unbuilt(&self, word: &str) {
        self.fault(format!("{word} is not built yet"));
    }

    /// Where the value is.
    pub(super) fn at(&self) -> At {
        self.page.file.at(self.offset())
    }

    /// Where the key is.
    pub(super) fn key_at(&self) -> At {
        self.page.file.at(self.key)
    }

    fn offset(&self) -> usize {
        let span = self.value.span();
        // A table that no header or brace names (`a.b = 1` makes `a`) is where its key is.
        if span.is_empty() { self.key } else { span.start }
    }

    /// Reads a table: `place` is its name in the table of what is not built.
    pub(super) fn table<T>(
        &self,
        place: &'static str,
        read: impl FnOnce(&mut Table<'a>) -> T,
    ) -> Option<T> {
        let DeValue::Table(map) = self.value.get_ref() else {
            self.wrong_type("a table");
            return None;
        };
        let (page, path) = (self.page, self.path.clone());
        Some(Table { page, path, place, at: self.key, map, asked: Vec::new() }.read(read))
    }

    /// Entries of a table whose keys the operator chose, in the order of the file.
    pub(super) fn entries(&self) -> Vec<(&'a str, Item<'a>)> {
        let DeValue::Table(map) = self.value.get_ref() else {
            self.wrong_type("a table");
            return Vec::new();
        };
        let mut all: Vec<_> =
            map.iter().map(|(key, value)| (key.span().start, key, value)).collect();
        all.sort_by_key(|(start, ..)| *start);
        let item = |(key, name, value): (usize, &'a Spanned<std::borrow::Cow<'a, str>>, _)| {
            let name: &str = name.get_ref();
            let path = format!("{}.{}", self.path, key_part(name));
            (name, Item { page: self.page, path, key, value })
        };
        all.into_iter().map(item).collect()
    }

    /// What a key of this table says, if it is one.
    pub(super) fn inside(&self, key: &str) -> Option<Item<'a>> {
        let DeValue::Table(_) = self.value.get_ref() else { return None };
        self.entries().into_iter().find(|(name, _)| *name == key).map(|(_, item)| item)
    }

    /// The items of a list; a value that is none is a list of one.
    pub(super) fn list(&self) -> Vec<Item<'a>> {
        match self.value.get_ref() {
            DeValue::Array(all) => {
                all.iter().enumerate().map(|(i, value)| self.nth(i, value)).collect()
            }
            _ => vec![self.clone()],
        }
    }

    /// The items of a list that has no short form.
    pub(super) fn array(&self) -> Vec<Item<'a>> {
        if matches!(self.value.get_ref(), DeValue::Array(_)) {
            return self.list();
        }
        self.wrong_type("a list");
        Vec::new()
    }

    /// An item of a list, called by its `name`, else by its index.
    fn nth(&self, index: usize, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        let name = value.get_ref().get("name").and_then(|name| name.get_ref().as_str());
        let name = name.and_then(|name| env::substitute(name, self.page.desk.env).ok());
        let path = match name {
            Some(name) => format!("{}.{}", self.path, key_part(&name)),
            None => format!("{}[{index}]", self.path),
        };
        Item { page: self.page, path, key: value.span().start, value }
    }

    /// `expected a table, found a number`
    pub(super) fn wrong_type(&self, expected: &str) {
        self.wrong(self.type_fault(expected));
    }

    /// The same as a value, for a hint.
    pub(super) fn type_fault(&self, expected: &str) -> Wrong {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Wrong::new(format!("expected {expected}, found {found}"))
    }
}

/// A table of known keys.
pub(super) struct Table<'a> {
    /// Where it is.
    pub(super) page: Page<'a>,
    /// Its full path.
    pub(super) path: String,
    place: &'static str,
    at: usize,
    map: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// Reads the outermost table of a file.
    pub(super) fn root<T>(
        page: Page<'a>,
        map: &'a DeTable<'a>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        Table { page, path: String::new(), place: "", at: 0, map, asked: Vec::new() }.read(read)
    }

    fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let out = read(&mut self);
        self.leftovers();
        out
    }

    /// The value of a key, which by this counts as known.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.asked.push(key);
        self.item(key)
    }

    /// Whether a key is there, without asking for it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some()
    }

    /// A key that was taken, to say more of it.
    pub(super) fn again(&self, key: &str) -> Option<Item<'a>> {
        self.item(key)
    }

    fn item(&self, key: &str) -> Option<Item<'a>> {
        let (name, value) = self.map.get_key_value(key)?;
        let part = key_part(key);
        let path = if self.path.is_empty() { part } else { format!("{}.{part}", self.path) };
        Some(Item { page: self.page, path, key: name.span().start, value })
    }

    /// Says that a key must be there.
    pub(super) fn missing(&self, wrong: Wrong) {
        if !self.page.is_torn() {
            self.page.wrong(self.at, &self.path, wrong);
        }
    }

    /// Says that the keys together are wrong.
    pub(super) fn fault(&self, wrong: Wrong) {
        self.page.wrong(self.at, &self.path, wrong);
    }

    /// Keys that nobody asked for.
    fn leftovers(&self) {
        for key in self.map.keys() {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let Some(item) = self.item(name) else { continue };
            if astray::may_be(name, item.value.get_ref(), &self.asked) {
                self.page.desk.faults.borrow_mut().strays();
            }
            if unbuilt::is_unbuilt(self.place, name) {
                item.key_wrong(Wrong::new(format!("{name} is not built yet")));
                continue;
            }
            let known = self.asked.iter().copied().chain(unbuilt::of(self.place));
            let (there, free): (Vec<_>, Vec<_>) = known.partition(|known| self.has(known));
            let hint = did_you_mean(name, free).or_else(|| did_you_mean(name, there));
            item.key_wrong(Wrong::new("unknown key").maybe(hint));
        }
    }
}
