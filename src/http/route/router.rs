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
pub(in crate::http) struct Router<T> {
    exact: Keyed<Table<T>>,
    /// `*.example.com` as `example.com`.
    wild: Keyed<Table<T>>,
    wild_lengths: Lengths,
    any: Option<Table<T>>,
}

/// A route to be found.
#[derive(Debug)]
pub(in crate::http) struct Row<'a, T> {
    /// Empty: any host.
    pub(in crate::http) hosts: &'a [HostMatch],
    pub(in crate::http) path: &'a PathMatch,
    pub(in crate::http) conditions: Conditions,
    pub(in crate::http) value: T,
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
    pub(in crate::http) fn build<'a>(rows: impl IntoIterator<Item = Row<'a, T>>) -> Self
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
    /// The most specific route that matches.
    pub(in crate::http) fn find(&self, asked: &Asked<'_>) -> Option<&T> {
        let by_host = match self.exact.is_empty() && self.wild.is_empty() {
            true => None,
            false => asked.host().and_then(|host| self.by_host(host, asked)),
        };
        by_host.or_else(|| self.any.as_ref()?.find(asked))
    }

    /// Host names are equal whatever their case (RFC 9110 4.2.3); most come in lower case.
    fn by_host(&self, host: &[u8], asked: &Asked<'_>) -> Option<&T> {
        if host.len() > LONGEST_HOST {
            return None;
        }
        // Without an early end, so that many bytes are looked at at once.
        if !host.iter().fold(false, |upper, b| upper | b.is_ascii_uppercase()) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ValueMatch;
    use crate::http::path::asked;
    use crate::message::{Head, Version};
    use regex::Regex;

    /// A route by words: name, hosts, path (`=` exact, `~` expression, else prefix), conditions
    /// (`GET`, `header:name=value`, `query:name=value`).
    type Words = (&'static str, &'static str, &'static str, &'static str);

    fn router(routes: &[Words]) -> Router<&'static str> {
        let said: Vec<_> = routes
            .iter()
            .map(|(name, hosts, path, conditions)| {
                let hosts: Vec<HostMatch> = hosts.split_whitespace().map(host).collect();
                (*name, hosts, path_of(path), conditions_of(conditions))
            })
            .collect();
        Router::build(said.iter().map(|(value, hosts, path, conditions)| Row {
            hosts,
            path,
            conditions: conditions.clone(),
            value: *value,
        }))
    }

    fn host(text: &str) -> HostMatch {
        match text.strip_prefix("*.") {
            Some(rest) => HostMatch::Wildcard(rest.into()),
            None => HostMatch::Exact(text.into()),
        }
    }

    fn path_of(text: &str) -> PathMatch {
        match text.split_at(1) {
            ("=", path) => PathMatch::Exact(path.into()),
            ("~", path) => PathMatch::Regex(Regex::new(path).unwrap()),
            _ => PathMatch::Prefix(text.into()),
        }
    }

    fn conditions_of(text: &str) -> Conditions {
        let (mut methods, mut headers, mut query) = (vec![], vec![], vec![]);
        for word in text.split_whitespace() {
            let (kind, rest) = word.split_once(':').unwrap_or((word, ""));
            let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
            let wanted = match value {
                "*" => ValueMatch::Present(true),
                "!" => ValueMatch::Present(false),
                _ => match value.strip_prefix('~') {
                    Some(regex) => ValueMatch::Regex(Regex::new(regex).unwrap()),
                    None => ValueMatch::Exact(value.into()),
                },
            };
            match kind {
                "header" => headers.push((name.to_string(), wanted)),
                "query" => query.push((name.to_string(), wanted)),
                _ => methods.push(word.to_string()),
            }
        }
        Conditions::new(&methods, &headers, &query)
    }

    /// The route of a request by words: method, target, host, then fields as `name=value`.
    fn found(router: &Router<&'static str>, request: &str) -> Option<&'static str> {
        let mut words = request.split_whitespace();
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let host = words.next().filter(|host| *host != "-");
        let mut head = Head::new();
        head.start_request(method.as_bytes(), target.as_bytes(), Version::Http11).unwrap();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            head.append(name, value.as_bytes()).unwrap();
        }
        router.find(&asked(&head, host.map(str::as_bytes)).unwrap()).copied()
    }

    fn check(routes: &[Words], requests: &[(&str, Option<&str>)]) {
        let router = router(routes);
        for (request, expected) in requests {
            assert_eq!(found(&router, request), *expected, "{request}");
        }
    }

    #[test]
    fn an_absolute_target_stands_in_the_place_of_host_in_conditions_too() {
        check(
            &[("z", "", "/", "header:host=z.test"), ("q", "", "/", "header:Host=~^q")],
            &[
                ("GET http://z.test/ - Host=q.test", Some("z")),
                ("GET http://q.test/ - Host=z.test", Some("q")),
                ("GET / - Host=z.test", Some("z")),
                ("GET http://x.test/ - Host=z.test", None),
            ],
        );
    }

    #[test]
    fn the_more_specific_host_comes_first() {
        check(
            &[
                ("any", "", "/", ""),
                ("com", "*.com", "/", ""),
                ("wild", "*.example.com", "/", ""),
                ("exact", "a.example.com", "/", ""),
                ("v6", "::1", "/", ""),
            ],
            &[
                ("GET / a.example.com", Some("exact")),
                ("GET / A.Example.COM", Some("exact")),
                ("GET / a.example.com:8080", Some("exact")),
                ("GET / a.example.com.", Some("exact")),
                ("GET / a.example.com.:80", Some("exact")),
                ("GET / b.example.com", Some("wild")),
                ("GET / c.B.example.com:1", Some("wild")),
                ("GET / example.com", Some("com")),
                ("GET / xexample.com", Some("com")),
                ("GET / .example.com", Some("com")),
                ("GET / com", Some("any")),
                ("GET / example.org", Some("any")),
                ("GET / [::1]:80", Some("v6")),
                ("GET / -", Some("any")),
                ("GET http://b.example.com/ a.example.com", Some("wild")),
            ],
        );
    }

    #[test]
    fn a_host_whose_routes_do_not_match_leaves_the_request_to_others() {
        check(
            &[
                ("any", "", "/x", ""),
                ("com", "*.com", "/y", ""),
                ("wild", "*.example.com", "/z", ""),
                ("exact", "a.example.com", "/a", "GET"),
            ],
            &[
                ("GET /a a.example.com", Some("exact")),
                ("POST /a a.example.com", None),
                ("GET /z a.example.com", Some("wild")),
                ("GET /y a.example.com", Some("com")),
                ("GET /x a.example.com", Some("any")),
                ("GET /w a.example.com", None),
            ],
        );
    }

    #[test]
    fn an_exact_path_beats_the_longest_prefix_and_that_an_expression() {
        check(
            &[
                ("regex", "", "~^/api/v1/[0-9]+$|^/re", ""),
                ("api", "", "/api", ""),
                ("v1", "", "/api/v1/", ""),
                ("exact", "", "=/api/v1/7", ""),
            ],
            &[
                ("GET /api/v1/7 a", Some("exact")),
                ("GET /api/v1/7/ a", Some("v1")),
                ("GET /api/v1/8 a", Some("v1")),
                ("GET /api/v1 a", Some("v1")),
                ("GET /api/v10 a", Some("api")),
                ("GET /api/ a", Some("api")),
                ("GET /api a", Some("api")),
                ("GET /api?x=/api/v1 a", Some("api")),
                ("GET /apix a", None),
                ("GET /re/x a", Some("regex")),
                ("GET / a", None),
            ],
        );
    }

    #[test]
    fn any_depth_is_found_and_the_root_takes_the_rest() {
        let deep: &'static str = Box::leak("/d".repeat(100).into_boxed_str());
        let routes = [("root", "", "/", ""), ("deep", "", deep, ""), ("d", "", "/d", "")];
        let router = router(&routes);
        assert_eq!(found(&router, &format!("GET {deep}/x/y a")), Some("deep"));
        assert_eq!(found(&router, &format!("GET {} a", "/d".repeat(99))), Some("d"));
        assert_eq!(found(&router, "GET /e a"), Some("root"));
        assert_eq!(found(&router, "OPTIONS * a"), Some("root"));
        assert_eq!(found(&router, "GET //d a"), Some("root"));
    }

    #[test]
    fn then_method_then_headers_then_query_then_the_file() {
        check(
            &[
                ("plain", "", "/", ""),
                ("second", "", "/", ""),
                ("query", "", "/", "query:a=1 query:b=1"),
                ("header", "", "/", "header:x=1"),
                ("headers", "", "/", "header:x=1 header:y=1"),
                ("method", "", "/", "PUT"),
                ("other", "", "/", "PURGE"),
            ],
            &[
                ("GET / a", Some("plain")),
                ("GET /?a=1&b=1 a", Some("query")),
                ("GET /?a=1 a", Some("plain")),
                ("GET /?a=1&b=1 a X=1", Some("header")),
                ("GET / a X=1 y=1", Some("headers")),
                ("PUT /?a=1&b=1 a X=1 y=1", Some("method")),
                ("PURGE / a", Some("other")),
                ("purge / a", Some("plain")),
            ],
        );
    }

    #[test]
    fn a_longer_prefix_that_does_not_hold_leaves_the_request_to_a_shorter() {
        check(
            &[("short", "", "/a", ""), ("long", "", "/a/b", "POST"), ("exact", "", "=/a/b", "PUT")],
            &[
                ("GET /a/b a", Some("short")),
                ("POST /a/b a", Some("long")),
                ("PUT /a/b a", Some("exact")),
            ],
        );
    }

    #[test]
    fn values_match_by_text_expression_and_presence() {
        check(
            &[
                ("text", "", "/text", "header:x-tier=gold"),
                ("regex", "", "/regex", "header:x-tier=~^g"),
                ("there", "", "/there", "header:x-tier=*"),
                ("absent", "", "/absent", "header:x-tier=!"),
                ("qtext", "", "/qtext", "query:q=gold"),
                ("qregex", "", "/qregex", "query:q=~^g"),
                ("qthere", "", "/qthere", "query:q=*"),
                ("qabsent", "", "/qabsent", "query:q=!"),
            ],
            &[
                ("GET /text a X-Tier=silver X-TIER=gold", Some("text")),
                ("GET /text a X-Tier=Gold", None),
                ("GET /regex a X-Tier=gray", Some("regex")),
                ("GET /there a X-Tier=", Some("there")),
                ("GET /there a", None),
                ("GET /absent a", Some("absent")),
                ("GET /absent a x-tier=", None),
                ("GET /qtext?q=%67old a", Some("qtext")),
                ("GET /qtext?q=x&q=gold a", None),
                ("GET /qregex?q=gray a", Some("qregex")),
                ("GET /qthere?q a", Some("qthere")),
                ("GET /qabsent?qq=1 a", Some("qabsent")),
                ("GET /qabsent?q a", None),
            ],
        );
    }

    #[test]
    fn another_spelling_is_the_same_path() {
        check(
            &[("admin", "", "/admin", ""), ("slash", "", "/a%2fb", ""), ("root", "", "/", "")],
            &[
                ("GET /%61dmin a", Some("admin")),
                ("GET /x/../admin a", Some("admin")),
                ("GET /x/%2e%2E/admin/y a", Some("admin")),
                ("GET /admin%2Fx a", Some("root")),
                ("GET /a%2Fb/c a", Some("slash")),
                ("GET /a/b a", Some("root")),
            ],
        );
    }

    #[test]
    fn hosts_that_cannot_be_are_nobodys() {
        let long = format!("GET / {}.example.com", "a.".repeat(200));
        let router = router(&[("wild", "*.example.com", "/", "")]);
        assert_eq!(found(&router, &long), None);
        assert_eq!(found(&Router::default(), "GET / a"), None);
    }
}
