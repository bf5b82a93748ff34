//! The routes of one host by path: exact ones, prefixes on segment boundaries, expressions.
use super::conditions::Conditions;
use super::keyed::{Keyed, Lengths};
use crate::config::PathMatch;
use crate::http::path::{Asked, normal};
use regex::Regex;

/// The routes of one host.
#[derive(Debug)]
pub(super) struct Table<T> {
    exact: Keyed<Bucket<T>>,
    /// By prefix without its trailing slash.
    prefix: Keyed<Bucket<T>>,
    prefix_lengths: Lengths,
    /// The most slashes any prefix has: deeper segments are not looked at.
    depth: usize,
    /// The prefix `/`, which needs no look-up.
    root: Bucket<T>,
    regex: Bucket<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            exact: Keyed::default(),
            prefix: Keyed::default(),
            prefix_lengths: Lengths::default(),
            depth: 0,
            root: Bucket::default(),
            regex: Bucket::default(),
        }
    }
}

impl<T> Table<T> {
    /// Adds a route; `order` is its place in the file.
    pub(super) fn add(&mut self, path: &PathMatch, conditions: Conditions, order: usize, value: T) {
        let mut entry = Entry { regex: None, conditions, order, value };
        match path {
            PathMatch::Exact(path) => self.exact.entry(normal(path).into()).or_default().add(entry),
            PathMatch::Regex(regex) => {
                entry.regex = Some(regex.clone());
                self.regex.add(entry);
            }
            PathMatch::Prefix(prefix) => {
                let mut prefix = normal(prefix);
                while prefix.last() == Some(&b'/') {
                    prefix.pop();
                }
                if prefix.is_empty() {
                    return self.root.add(entry);
                }
                self.depth = self.depth.max(memchr::memchr_iter(b'/', &prefix).count());
                self.prefix_lengths.note(prefix.len());
                self.prefix.entry(prefix.into()).or_default().add(entry);
            }
        }
    }

    /// The best route of this host, if one matches.
    pub(super) fn find(&self, asked: &Asked<'_>) -> Option<&T> {
        let path = match &*asked.path {
            b"*" => b"/",
            path => path,
        };
        self.by_exact(path, asked)
            .or_else(|| self.by_prefix(path, asked))
            .or_else(|| self.root.find(path, asked))
            .or_else(|| self.regex.find(path, asked))
    }

    fn by_exact(&self, path: &[u8], asked: &Asked<'_>) -> Option<&T> {
        if self.exact.is_empty() {
            return None;
        }
        self.exact.get(path)?.find(path, asked)
    }

    /// Longest first: from the deepest segment a prefix reaches back to the first.
    fn by_prefix(&self, path: &[u8], asked: &Asked<'_>) -> Option<&T> {
        if self.prefix.is_empty() {
            return None;
        }
        let mut end = memchr::memchr_iter(b'/', path).nth(self.depth).unwrap_or(path.len());
        while end > 0 {
            let prefix = &path[..end];
            if self.prefix_lengths.may_have(end)
                && let Some(value) =
                    self.prefix.get(prefix).and_then(|bucket| bucket.find(path, asked))
            {
                return Some(value);
            }
            end = memchr::memrchr(b'/', prefix).unwrap_or(0);
        }
        None
    }
}

/// Routes that agree in host and path, the most specific first.
#[derive(Debug)]
struct Bucket<T>(Vec<Entry<T>>);

#[derive(Debug)]
struct Entry<T> {
    regex: Option<Regex>,
    conditions: Conditions,
    order: usize,
    value: T,
}

impl<T> Default for Bucket<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Bucket<T> {
    fn add(&mut self, entry: Entry<T>) {
        let rank = |e: &Entry<T>| (e.conditions.rank(), e.order);
        let at = self.0.partition_point(|other| rank(other) <= rank(&entry));
        self.0.insert(at, entry);
    }
    fn find(&self, path: &[u8], asked: &Asked<'_>) -> Option<&T> {
        self.0.iter().find(|entry| entry.holds(path, asked)).map(|entry| &entry.value)
    }
}

impl<T> Entry<T> {
    fn holds(&self, path: &[u8], asked: &Asked<'_>) -> bool {
        self.conditions.hold(asked)
            && self
                .regex
                .as_ref()
                .is_none_or(|r| std::str::from_utf8(path).is_ok_and(|p| r.is_match(p)))
    }
}
