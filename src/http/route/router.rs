//! Finds the route of a request: host first, then path, then the rest.
//!
//! A look-up costs the same with ten routes and with ten thousand: one probe for the host, one
//! for each label of a host where there are wildcards, one for the exact path, one for each
//! segment that a prefix can end at. It allocates nothing.
use super::conditions::Conditions;
use super::keyed::{Keyed, Lengths};
use super::table::Table;
use crate::config::{HostMatch, PathMatch};
use crate::http::path::Asked;
use std::net::Ipv6Addr;

/// The longest host that is looked up, in bytes (RFC 1035 2.3.4 allows 255); a longer one has
/// only the routes without a host.
const LONGEST_HOST: usize = 255;

/// Finds the route of a request.
#[derive(Debug)]
pub struct Router<T> {
    exact: Keyed<Table<T>>,
    /// `*.example.com` as `example.com`.
    wild: Keyed<Table<T>>,
    wild_lengths: Lengths,
    any: Option<Table<T>>,
}

/// A route to be found.
#[derive(Debug)]
#[allow(missing_docs, reason = "names say it")]
pub struct Row<'a, T> {
    /// Empty: any host.
    pub hosts: &'a [HostMatch],
    pub path: &'a PathMatch,
    pub conditions: Conditions,
    pub value: T,
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self {
            exact: Keyed::default(),
            wild: Keyed::default(),
            wild_lengths: Lengths::default(),
            any: None,
        }
    }
}

impl<T: Clone> Router<T> {
    /// From routes in the order of the file.
    pub fn build<'a>(rows: impl IntoIterator<Item = Row<'a, T>>) -> Self
    where
        T: 'a,
    {
        let mut router = Self::default();
        for (order, row) in rows.into_iter().enumerate() {
            if row.hosts.is_empty() {
                let any = router.any.get_or_insert_default();
                any.add(row.path, row.conditions.clone(), order, row.value.clone());
            }
            for host in row.hosts {
                router.table(host).add(row.path, row.conditions.clone(), order, row.value.clone());
            }
        }
        router
    }

    fn table(&mut self, host: &HostMatch) -> &mut Table<T> {
        match host {
            HostMatch::Exact(name) => self.exact.entry(key(name)).or_default(),
            HostMatch::Wildcard(name) => {
                let name = key(name);
                self.wild_lengths.note(name.len());
                self.wild.entry(name).or_default()
            }
        }
    }
}

impl<T> Router<T> {
    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wild.is_empty() && self.any.is_none()
    }

    /// The most specific route that matches.
    pub fn find(&self, asked: &Asked<'_>) -> Option<&T> {
        let by_host = match asked.host {
            Some(host) if !(self.exact.is_empty() && self.wild.is_empty()) => {
                self.by_host(host, asked)
            }
            _ => None,
        };
        by_host.or_else(|| self.any.as_ref()?.find(asked))
    }

    /// Host names are equal whatever their case (RFC 9110 4.2.3); most come in lower case.
    fn by_host(&self, host: &[u8], asked: &Asked<'_>) -> Option<&T> {
        if host.len() > LONGEST_HOST {
            return None;
        }
        if !host.iter().any(u8::is_ascii_uppercase) {
            return self.by_lower_host(host, asked);
        }
        let mut lower = [0; LONGEST_HOST];
        let lower = &mut lower[..host.len()];
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        self.by_lower_host(lower, asked)
    }

    fn by_lower_host(&self, host: &[u8], asked: &Asked<'_>) -> Option<&T> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        exact.and_then(|table| table.find(asked)).or_else(|| self.by_wildcard(host, asked))
    }

    /// The longest suffix first: more labels are more specific.
    fn by_wildcard(&self, host: &[u8], asked: &Asked<'_>) -> Option<&T> {
        if self.wild.is_empty() {
            return None;
        }
        memchr::memchr_iter(b'.', host).filter(|at| *at > 0).find_map(|at| {
            let suffix = &host[at + 1..];
            if !self.wild_lengths.may_have(suffix.len()) {
                return None;
            }
            self.wild.get(suffix)?.find(asked)
        })
    }
}

/// A host of the config as requests are looked up: lower case, no trailing dot, IPv6 in brackets.
fn key(name: &str) -> Box<[u8]> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let name = if name.parse::<Ipv6Addr>().is_ok() { format!("[{name}]") } else { name };
    name.into_bytes().into()
}
