//! What a route asks beside host and path: method, header fields, query parameters.
use crate::config::ValueMatch;
use crate::http::path::Asked;
use crate::http::query;
use crate::message::{Head, Method};
use std::cmp::Reverse;

/// What a route asks beside host and path. Empty ones hold for every request.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Conditions {
    methods: Methods,
    headers: Vec<(String, ValueMatch)>,
    query: Vec<(String, ValueMatch)>,
}

/// A set of methods: a bit for each known one, tokens for the rest. Empty: any.
#[derive(Clone, Debug, Default)]
struct Methods {
    known: u16,
    other: Vec<Box<[u8]>>,
}

impl Conditions {
    /// From a route's words; methods are case-sensitive (RFC 9110 9.1).
    pub(in crate::http) fn new(
        methods: &[String],
        headers: &[(String, ValueMatch)],
        query: &[(String, ValueMatch)],
    ) -> Self {
        let mut set = Methods::default();
        for token in methods {
            match Method::of(token.as_bytes()) {
                Method::Other => set.other.push(token.as_bytes().into()),
                known => set.known |= bit(known),
            }
        }
        Self { methods: set, headers: headers.to_vec(), query: query.to_vec() }
    }

    /// Sorts the more specific one first.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        Reverse((!self.methods.is_any(), self.headers.len(), self.query.len()))
    }

    /// Whether the request has all that is asked.
    pub(in crate::http) fn hold(&self, asked: &Asked<'_>) -> bool {
        self.methods.hold(asked.method, asked.head)
            && self.headers.iter().all(|(name, wanted)| header_holds(asked.head, name, wanted))
            && self.query.iter().all(|(name, wanted)| query_holds(asked.query, name, wanted))
    }
}

impl Methods {
    fn is_any(&self) -> bool {
        self.known == 0 && self.other.is_empty()
    }
    fn hold(&self, method: Method, head: &Head) -> bool {
        if self.is_any() {
            return true;
        }
        match method {
            Method::Other => self.other.iter().any(|token| **token == *head.method_token()),
            known => self.known & bit(known) != 0,
        }
    }
}

fn bit(method: Method) -> u16 {
    1 << method as u16
}

/// A repeated field matches when one of its values does.
fn header_holds(head: &Head, name: &str, wanted: &ValueMatch) -> bool {
    let any = |holds: &dyn Fn(&[u8]) -> bool| match head.host_of_target(name) {
        Some(host) => holds(host),
        None => head.find_all(name).any(holds),
    };
    match wanted {
        ValueMatch::Exact(value) => any(&|v| v == value.as_bytes()),
        ValueMatch::Regex(regex) => {
            any(&|v| std::str::from_utf8(v).is_ok_and(|v| regex.is_match(v)))
        }
        ValueMatch::Present(wanted) => any(&|_| true) == *wanted,
    }
}

/// Of a repeated parameter the first one counts, as Gateway API says.
fn query_holds(query: Option<&[u8]>, name: &str, wanted: &ValueMatch) -> bool {
    let first = query::first(query.unwrap_or_default(), name);
    match (wanted, first) {
        (ValueMatch::Exact(value), Some(v)) => query::decodes_to(v, value.as_bytes()),
        (ValueMatch::Regex(regex), Some(v)) => {
            std::str::from_utf8(&query::decode(v)).is_ok_and(|v| regex.is_match(v))
        }
        (ValueMatch::Present(wanted), first) => first.is_some() == *wanted,
        (_, None) => false,
    }
}
