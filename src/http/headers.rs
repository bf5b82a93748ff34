//! What is taken out of heads and put in between client and backend: hop-by-hop fields, the
//! route's rules. Who the client is, is in `forwarded.rs`.
use super::date::http_date;
use super::forwarded::push_via;
pub(super) use super::forwarded::{Via, came_by_tls, client_address, forwarded};
use super::reply::Reply;
use crate::config::HeaderRules;
use crate::http1::hop_by_hop;
use crate::message::{Barred, Fields, Head, Invalid, Known, Method};
use std::time::SystemTime;

/// A route's rules on fields, both ways; checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    request: HeaderRules,
    response: HeaderRules,
    /// Of both ways, what trailers do not say either.
    pub(super) asked: Option<Barred>,
    pub(super) answered: Option<Barred>,
}

impl Rules {
    /// Checks names and values, so that no rule can split a message.
    ///
    /// # Errors
    ///
    /// The key (`request_headers`, `response_headers`), the field's name and what is wrong.
    pub(super) fn new(
        request: &HeaderRules,
        response: &HeaderRules,
    ) -> Result<Self, (&'static str, String, Invalid)> {
        for (word, rules) in [("request_headers", request), ("response_headers", response)] {
            let mut fields = Fields::new();
            for (name, value) in rules.set.iter().chain(&rules.add) {
                let checked = fields.append(name, value.as_bytes());
                checked.map_err(|invalid| (word, name.clone(), invalid))?;
            }
        }
        let (asked, answered) = (barred(request), barred(response));
        Ok(Self { request: request.clone(), response: response.clone(), asked, answered })
    }
}

fn barred(rules: &HeaderRules) -> Option<Barred> {
    let set = rules.set.iter().map(|(name, _)| name.as_str());
    Barred::new(rules.remove.iter().map(String::as_str).chain(set))
}

/// In the order remove, set, add.
#[inline]
fn apply(rules: &HeaderRules, fields: &mut Fields) {
    if !(rules.remove.is_empty() && rules.set.is_empty() && rules.add.is_empty()) {
        apply_some(rules, fields);
    }
}

fn apply_some(rules: &HeaderRules, fields: &mut Fields) {
    for name in &rules.remove {
        fields.remove_named(name.as_bytes());
    }
    // Names and values were checked when the rules were made.
    for (name, value) in &rules.set {
        let _ = fields.set(name, value.as_bytes());
    }
    for (name, value) in &rules.add {
        let _ = fields.append(name, value.as_bytes());
    }
}

/// TRACE would show what the proxy added, CONNECT would make it an open proxy.
pub(super) fn method_allowed(method: Method) -> bool {
    !matches!(method, Method::Trace | Method::Connect)
}

const MAX_FORWARDS: &str = "Max-Forwards";

/// Counts down how far an OPTIONS request may go (RFC 9110 7.6.2); `false` when it ends here. What
/// is no number is passed on as it came.
#[inline]
pub(super) fn goes_on(head: &mut Head) -> bool {
    head.method() != Method::Options || counted_down(head)
}

/// Whether it is an OPTIONS request that may go no further.
pub(super) fn ends_here(head: &Head) -> bool {
    head.method() == Method::Options && hops(head) == Some(0)
}

/// How far a request may go, where it says so.
fn hops(head: &Head) -> Option<u32> {
    std::str::from_utf8(head.find(MAX_FORWARDS)?).ok()?.parse().ok()
}

fn counted_down(head: &mut Head) -> bool {
    let Some(hops) = hops(head) else { return true };
    // A number is a valid value.
    let left = hops.checked_sub(1);
    left.is_some_and(|left| head.set(MAX_FORWARDS, left.to_string().as_bytes()).is_ok())
}

/// Whether the client takes trailers: what it says of that ends here, and is said anew.
#[inline(always)]
pub(super) fn takes_trailers(head: &Head) -> bool {
    head.has(Known::Te) && says_trailers(head)
}

#[cold]
fn says_trailers(head: &Head) -> bool {
    let said = |value: &[u8]| {
        value == b"trailers"
            || value
                .split(|b| *b == b',')
                .any(|one| one.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    };
    head.all(Known::Te).any(said)
}

/// Makes a request head ready for a backend: hop-by-hop fields out, the route's rules applied.
pub(super) fn request_ready(rules: &Rules, head: &mut Head, upgrade: bool) {
    hop_by_hop(head);
    if upgrade {
        head.push(Known::Upgrade, &[b"websocket"]);
    }
    apply(&rules.request, head);
}

/// Makes an answer's head ready for the client.
pub(super) fn response_ready(rules: &Rules, answer: &mut Head, switched: bool, via: &Via) {
    let upgrade = switched.then(|| answer.get(Known::Upgrade).map(<[u8]>::to_vec)).flatten();
    hop_by_hop(answer);
    if let Some(protocol) = upgrade {
        answer.push(Known::Upgrade, &[&protocol]);
    }
    // RFC 9110 6.6.1: whoever forwards an answer without a date says when it came.
    if !answer.has(Known::Date) {
        answer.push(Known::Date, &[&http_date(SystemTime::now())]);
    }
    push_via(answer, via);
    apply(&rules.response, answer);
}

/// Applies a route's rules to its own answer.
pub(super) fn answer_ready(rules: &Rules, mut reply: Reply) -> Reply {
    apply(&rules.response, reply.fields());
    reply
}

/// Makes an interim answer ready for the client.
pub(super) fn interim_ready(answer: &mut Head) {
    hop_by_hop(answer);
    answer.remove(Known::ContentLength);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Version;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    }

    fn shown(fields: &Fields) -> Vec<(String, String)> {
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        fields.iter().map(|(n, v)| (text(n), text(v))).collect()
    }

    #[test]
    fn rules_are_applied_in_the_order_remove_set_add() {
        let rules = HeaderRules {
            remove: vec!["x-a".into(), "cookie".into()],
            set: pairs(&[("X-A", "set"), ("x-b", "set")]),
            add: pairs(&[("X-A", "added"), ("X-C", "1"), ("X-C", "2")]),
        };
        let mut head = Head::new();
        head.start_request(b"GET", b"/", Version::Http11).unwrap();
        for (name, value) in [("X-a", "old"), ("X-B", "1"), ("Cookie", "c"), ("X-B", "2")] {
            head.append(name, value.as_bytes()).unwrap();
        }
        let rules = Rules::new(&rules, &HeaderRules::default()).unwrap();
        request_ready(&rules, &mut head, false);
        let expected =
            pairs(&[("x-b", "set"), ("X-A", "set"), ("X-A", "added"), ("X-C", "1"), ("X-C", "2")]);
        assert_eq!(shown(&head), expected);
    }

    #[test]
    fn rules_cannot_split_a_message() {
        let good = HeaderRules::default();
        for (name, value) in [("X-A", "1\r\nX-B: 2"), ("X A", "1"), ("", "1"), ("X-A", "\0")] {
            let bad = HeaderRules { set: pairs(&[(name, value)]), ..good.clone() };
            assert_eq!(Rules::new(&bad, &good).unwrap_err().0, "request_headers", "{name:?}");
            let bad = HeaderRules { add: pairs(&[(name, value)]), ..good.clone() };
            assert_eq!(Rules::new(&good, &bad).unwrap_err().0, "response_headers", "{name:?}");
        }
    }

    #[test]
    fn an_answer_loses_its_hop_and_gains_ours() {
        let mut head = Head::new();
        head.start_response(200, Version::Http11);
        for (name, value) in
            [("Server", "x"), ("Connection", "X-Hop"), ("X-Hop", "1"), ("Via", "1.1 b")]
        {
            head.append(name, value.as_bytes()).unwrap();
        }
        let rules = HeaderRules { remove: vec!["server".into()], ..HeaderRules::default() };
        let rules = Rules::new(&HeaderRules::default(), &rules).unwrap();
        response_ready(&rules, &mut head, false, &Via::new("me"));
        let [first, date, last] = &shown(&head)[..] else { panic!("{head:?}") };
        assert_eq!((first.1.as_str(), last.1.as_str()), ("1.1 b", "1.1 me"));
        assert!(date.0 == "Date" && date.1.ends_with(" GMT"), "{date:?}");
        // A date that is there is the backend's own.
        head.start_response(200, Version::Http11);
        head.append("date", b"long ago").unwrap();
        response_ready(&rules, &mut head, false, &Via::new("me"));
        assert_eq!(shown(&head), pairs(&[("date", "long ago"), ("Via", "1.1 me")]));
    }

    #[test]
    fn options_goes_as_far_as_it_may() {
        for (method, said, goes, then) in [
            ("OPTIONS", "2", true, Some("1")),
            ("OPTIONS", "1", true, Some("0")),
            ("OPTIONS", "0", false, Some("0")),
            ("OPTIONS", "-1", true, Some("-1")),
            ("OPTIONS", "", true, None),
            ("GET", "0", true, Some("0")),
        ] {
            let mut head = Head::new();
            head.start_request(method.as_bytes(), b"/", Version::Http11).unwrap();
            if !said.is_empty() {
                head.append("max-forwards", said.as_bytes()).unwrap();
            }
            assert_eq!(goes_on(&mut head), goes, "{method} {said:?}");
            assert_eq!(head.find("Max-Forwards"), then.map(str::as_bytes), "{method} {said:?}");
        }
    }

    #[test]
    fn trace_and_connect_are_not_allowed() {
        assert!(!method_allowed(Method::Trace) && !method_allowed(Method::Connect));
        assert!(method_allowed(Method::Get) && method_allowed(Method::Other));
    }
}
