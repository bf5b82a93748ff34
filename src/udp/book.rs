//! The sessions of one socket: by flow, by how long they are quiet, and who gives way when there
//! are too many. Pure: time is an argument.
//!
//! A datagram's source is easily forged. Who has answered an answer has shown that it is there:
//! such sessions never give way, the others do, those that are quiet for longest first.
use crate::net::Flow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

/// What is known of a session's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It may be forged: it gives way.
    New,
    /// It spoke again after an answer.
    Known,
    /// It was answered, and its listener ends.
    Leaving,
}

const CLASSES: [Class; 3] = [Class::New, Class::Known, Class::Leaving];
/// No session.
const NONE: u32 = u32::MAX;

/// A list's neighbours of a session.
#[derive(Clone, Copy, Debug)]
struct Links {
    before: u32,
    after: u32,
}

/// A list's first and last session.
#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

const APART: Links = Links { before: NONE, after: NONE };
const EMPTY: Ends = Ends { first: NONE, last: NONE };

/// The two lists a session is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    /// That of its class.
    Class = 0,
    /// That of its client, while it is new.
    Client = 1,
}

#[derive(Debug)]
struct Entry<T> {
    flow: Flow,
    touched: Instant,
    class: Class,
    links: [Links; 2],
    value: T,
}

/// Sessions by number and by flow.
#[derive(Debug)]
pub(super) struct Book<T> {
    entries: Vec<Option<Entry<T>>>,
    vacant: Vec<u32>,
    /// Its hash has a seed of the process's own: clients choose the keys.
    by_flow: HashMap<Flow, u32>,
    /// New sessions of each client address.
    clients: HashMap<IpAddr, Ends>,
    classes: [Ends; 3],
}

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            vacant: Vec::new(),
            by_flow: HashMap::new(),
            clients: HashMap::new(),
            classes: [EMPTY; 3],
        }
    }
}

impl<T> Book<T> {
    pub(super) fn len(&self) -> usize {
        self.by_flow.len()
    }

    pub(super) fn find(&self, flow: &Flow) -> Option<u32> {
        self.by_flow.get(flow).copied()
    }

    pub(super) fn get(&mut self, at: u32) -> Option<&mut T> {
        Some(&mut self.entries.get_mut(at as usize)?.as_mut()?.value)
    }

    /// The number the next session gets.
    pub(super) fn next(&self) -> u32 {
        self.vacant.last().copied().unwrap_or(self.entries.len() as u32)
    }

    /// A new session. Its flow has none yet.
    pub(super) fn begin(&mut self, flow: Flow, now: Instant, value: T) -> u32 {
        let at = self.next();
        let entry = Entry { flow, touched: now, class: Class::New, links: [APART; 2], value };
        match self.vacant.pop() {
            Some(at) => self.entries[at as usize] = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        self.by_flow.insert(flow, at);
        self.join(at);
        at
    }

    /// It moved something, and is of this class from here on.
    pub(super) fn touch(&mut self, at: u32, class: Class, now: Instant) {
        if self.entry(at).is_none() {
            return;
        }
        self.leave(at);
        if let Some(entry) = self.entry(at) {
            (entry.class, entry.touched) = (class, now);
        }
        self.join(at);
    }

    /// Takes a session out.
    pub(super) fn end(&mut self, at: u32) -> Option<(Flow, T)> {
        self.entry(at)?;
        self.leave(at);
        let entry = self.entries[at as usize].take()?;
        self.vacant.push(at);
        self.by_flow.remove(&entry.flow);
        Some((entry.flow, entry.value))
    }

    /// The one of a class that is quiet for longest, and since when.
    pub(super) fn quietest(&self, class: Class) -> Option<(u32, Instant)> {
        let at = self.classes[class as usize].first;
        Some((at, self.entries.get(at as usize)?.as_ref()?.touched))
    }

    /// The new one of a client that is quiet for longest.
    pub(super) fn quietest_of(&self, client: IpAddr) -> Option<u32> {
        self.clients.get(&client).map(|ends| ends.first)
    }

    /// Every session's number.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> + use<T> {
        let there: Vec<u32> =
            (0..).zip(&self.entries).filter(|(_, e)| e.is_some()).map(|(at, _)| at).collect();
        there.into_iter()
    }

    fn entry(&mut self, at: u32) -> Option<&mut Entry<T>> {
        self.entries.get_mut(at as usize)?.as_mut()
    }

    fn links(&mut self, at: u32, list: List) -> Option<&mut Links> {
        self.entry(at).map(|entry| &mut entry.links[list as usize])
    }

    /// Into its lists, as the last one.
    fn join(&mut self, at: u32) {
        let Some(entry) = self.entry(at) else { return };
        let (class, client) = (entry.class, entry.flow.peer.ip());
        self.classes[class as usize] = self.append(at, List::Class, self.classes[class as usize]);
        if class == Class::New {
            let ends = self.clients.get(&client).copied().unwrap_or(EMPTY);
            let ends = self.append(at, List::Client, ends);
            self.clients.insert(client, ends);
        }
    }

    /// Out of its lists.
    fn leave(&mut self, at: u32) {
        let Some(entry) = self.entry(at) else { return };
        let (class, client) = (entry.class, entry.flow.peer.ip());
        self.classes[class as usize] = self.unlink(at, List::Class, self.classes[class as usize]);
        if let (Class::New, Some(ends)) = (class, self.clients.get(&client).copied()) {
            let ends = self.unlink(at, List::Client, ends);
            if ends.first == NONE {
                self.clients.remove(&client);
            } else {
                self.clients.insert(client, ends);
            }
        }
    }

    fn append(&mut self, at: u32, list: List, ends: Ends) -> Ends {
        if let Some(links) = self.links(ends.last, list) {
            links.after = at;
        }
        if let Some(links) = self.links(at, list) {
            *links = Links { before: ends.last, after: NONE };
        }
        Ends { first: if ends.first == NONE { at } else { ends.first }, last: at }
    }

    fn unlink(&mut self, at: u32, list: List, mut ends: Ends) -> Ends {
        let Some(links) = self.links(at, list) else { return ends };
        let Links { before, after } = std::mem::replace(links, APART);
        match self.links(before, list) {
            Some(links) => links.after = after,
            None => ends.first = after,
        }
        match self.links(after, list) {
            Some(links) => links.before = before,
            None => ends.last = before,
        }
        ends
    }
}

/// Every class, for who looks at all.
pub(super) const fn classes() -> [Class; 3] {
    CLASSES
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
