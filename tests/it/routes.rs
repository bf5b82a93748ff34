//! Which route a request takes, and what routes do.
use crate::support::{Backend, Proxy};

/// A proxy with these routes in front of backends named after their pools.
fn proxy(routes: &str, pools: &[(&str, &Backend)]) -> Proxy {
    let pools: String = pools
        .iter()
        .map(|(name, backend)| format!("[pool.{name}]\nbackends = [\"{}\"]\n", backend.addr))
        .collect();
    Proxy::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n{routes}\n{pools}"
    ))
}

fn ask(proxy: &Proxy, host: &str, path: &str, fields: &str) -> crate::support::Response {
    let mut client = proxy.client();
    client
        .send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n"));
    client.response()
}

#[test]
fn the_most_specific_route_wins() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let respond = |name: &str, what: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\n{what}\nrespond = {{ status = 200, body = \"{name}\" }}\n"
        )
    };
    let routes = [
        respond("any", ""),
        respond("wild", "host = \"*.example.com\""),
        respond("wilder", "host = \"*.deep.example.com\""),
        respond("exact-host", "host = \"api.example.com\""),
        respond("prefix", "host = \"api.example.com\"\npath = \"/v1\""),
        respond("longer", "host = \"api.example.com\"\npath = \"/v1/users\""),
        respond("exact", "host = \"api.example.com\"\npath = { exact = \"/v1/users\" }"),
        respond("regex", "host = \"re.example.com\"\npath = { regex = \"^/x/[0-9]+$\" }"),
        respond(
            "header",
            "host = \"api.example.com\"\npath = \"/v1\"\nheader = { \"x-tier\" = \"gold\" }",
        ),
        respond("query", "host = \"api.example.com\"\npath = \"/v1\"\nquery = { debug = \"1\" }"),
        respond("method", "host = \"api.example.com\"\npath = \"/v1\"\nmethod = [\"PUT\"]"),
    ]
    .concat();
    let proxy = proxy(&routes, &[("one", &one), ("two", &two)]);
    for (host, path, fields, wanted) in [
        ("other.test", "/", "", "any"),
        ("a.example.com", "/", "", "wild"),
        ("a.b.example.com", "/", "", "wild"),
        ("example.com", "/", "", "any"),
        ("x.deep.example.com", "/", "", "wilder"),
        ("api.example.com", "/", "", "exact-host"),
        ("API.Example.COM.:8080", "/", "", "exact-host"),
        ("api.example.com", "/v1", "", "prefix"),
        ("api.example.com", "/v1/", "", "prefix"),
        ("api.example.com", "/v10", "", "exact-host"),
        ("api.example.com", "/v1/users/7", "", "longer"),
        ("api.example.com", "/v1/users", "", "exact"),
        ("api.example.com", "/v1/../v1/./users", "", "exact"),
        ("api.example.com", "/v1/%75sers", "", "exact"),
        ("re.example.com", "/x/12", "", "regex"),
        ("re.example.com", "/x/y", "", "wild"),
        ("api.example.com", "/v1/y", "X-Tier: gold\r\n", "header"),
        ("api.example.com", "/v1/y?debug=1", "", "query"),
        ("api.example.com", "/v1/y?debug=1", "X-Tier: gold\r\n", "header"),
    ] {
        assert_eq!(ask(&proxy, host, path, fields).text(), wanted, "{host} {path} {fields}");
    }
}

#[test]
fn no_route_and_no_pool_is_404() {
    let proxy = proxy("[[route]]\nhost = \"a.test\"\nrespond = { status = 204 }\n", &[]);
    assert_eq!(ask(&proxy, "a.test", "/", "").status, 204);
    assert_eq!(ask(&proxy, "b.test", "/", "").status, 404);
}

#[test]
fn redirects_keep_what_they_do_not_name() {
    let routes = "[[route]]\nname = \"tls\"\npath = \"/a\"\nredirect = { scheme = \"https\" }\n\
                  [[route]]\nname = \"moved\"\npath = \"/old\"\nredirect = { status = 301, host = \"new.test\", port = 8443, path = { prefix = \"/new\" } }\n";
    let proxy = proxy(routes, &[]);
    let to_tls = ask(&proxy, "h.test:8080", "/a/b?q=1", "");
    assert_eq!((to_tls.status, to_tls.field("Location")), (308, Some("https://h.test/a/b?q=1")));
    let moved = ask(&proxy, "h.test", "/old/x?y", "");
    assert_eq!(
        (moved.status, moved.field("Location")),
        (301, Some("http://new.test:8443/new/x?y"))
    );
}

#[test]
fn header_rules_and_rewrites_apply_both_ways() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            peer.send(format!("HTTP/1.1 200 OK\r\nServer: secret\r\nX-Powered-By: x\r\nContent-Length: {}\r\n\r\n{head}", head.len()));
        }
    });
    let routes = "[[route]]\nname = \"r\"\npath = \"/v1\"\npool = \"app\"\n\
        request_headers = { set = { \"X-Env\" = \"prod\" }, add = { \"X-More\" = \"2\" }, remove = [\"X-Debug\"] }\n\
        response_headers = { set = { \"X-Frame-Options\" = \"DENY\" }, remove = [\"Server\", \"x-powered-by\"] }\n\
        rewrite = { host = \"in.test\", path = { prefix = \"/v2\" } }\n";
    let proxy = proxy(routes, &[("app", &backend)]);
    let response =
        ask(&proxy, "out.test", "/v1/x?q=1", "X-Debug: 1\r\nX-Env: dev\r\nX-More: 1\r\n");
    let seen = response.text();
    assert!(seen.starts_with("GET /v2/x?q=1 HTTP/1.1\r\n"), "{seen}");
    for there in
        ["Host: in.test", "X-Env: prod", "X-More: 1", "X-More: 2", "X-Forwarded-Host: out.test"]
    {
        assert!(seen.contains(there), "{there} not in {seen}");
    }
    assert!(!seen.contains("X-Debug") && !seen.contains("dev"), "{seen}");
    assert_eq!(response.field("X-Frame-Options"), Some("DENY"));
    assert_eq!((response.field("Server"), response.field("X-Powered-By")), (None, None));
}

#[test]
fn weighted_pools_share_by_weight() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let proxy =
        proxy("[[route]]\npools = { one = 90, two = 10 }\n", &[("one", &one), ("two", &two)]);
    let mut client = proxy.client();
    let mut twos = 0;
    for _ in 0..2000 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        twos += usize::from(client.response().text() == "two");
    }
    // 200 expected; six standard deviations are 80.
    assert!((120..=280).contains(&twos), "{twos} of 2000");
}

#[test]
fn a_hash_key_sends_a_user_to_one_backend() {
    let backends = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let addrs: Vec<_> = backends.iter().map(|b| b.addr).collect();
    let balance =
        "balance = { policy = \"consistent_hash\", key = [\"header:X-User\", \"cookie:sid\"] }";
    let proxy = Proxy::http(&addrs, balance);
    // The same backends in another order, on another proxy.
    let names = ["b1", "b2", "b3"];
    let list: Vec<String> = [2, 0, 1]
        .iter()
        .map(|n| format!("{{ name = \"{}\", addr = \"{}\" }}", names[*n], addrs[*n]))
        .collect();
    let other = Proxy::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n[pool.app]\n{balance}\nbackends = [{}]\n",
        list.join(", ")
    ));
    let mut used = std::collections::BTreeSet::new();
    for user in 0..40 {
        let first = ask(&proxy, "a", "/", &format!("X-User: {user}\r\n")).text();
        assert_eq!(ask(&proxy, "a", "/other", &format!("X-User: {user}\r\n")).text(), first);
        assert_eq!(ask(&other, "a", "/", &format!("X-User: {user}\r\n")).text(), first);
        used.insert(first);
    }
    assert_eq!(used.len(), 3);
}

#[test]
fn a_route_has_its_own_limit_of_bodies() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            let length = head.split("Content-Length: ").nth(1).unwrap().lines().next().unwrap();
            peer.bytes(length.parse().unwrap());
            peer.answer(length);
        }
    });
    let routes = "[defaults]\nlimits = { body = \"100B\" }\n\
                  [[route]]\nname = \"small\"\npath = \"/small\"\npool = \"app\"\nlimits = { body = \"10B\" }\n\
                  [[route]]\nname = \"large\"\npath = \"/large\"\npool = \"app\"\nlimits = { body = \"1KB\" }\n\
                  [[route]]\nname = \"any\"\npath = \"/any\"\npool = \"app\"\nlimits = { body = \"off\" }\n\
                  [[route]]\nname = \"rest\"\npool = \"app\"\n";
    let proxy = proxy(routes, &[("app", &backend)]);
    for (path, length, status) in [
        ("/small", 10, 200),
        ("/small", 11, 413),
        ("/large", 1000, 200),
        ("/large", 1001, 413),
        ("/any", 100_000, 200),
        ("/", 100, 200),
        ("/", 101, 413),
    ] {
        let mut client = proxy.client();
        let body = "x".repeat(length);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(client.response().status, status, "{path} {length}");
    }
}

#[test]
fn redirects_change_whole_paths_and_parts_of_them() {
    let routes = "[[route]]\nname = \"whole\"\npath = { exact = \"/a\" }\nredirect = { path = \"/b/c\" }\n\
                  [[route]]\nname = \"part\"\npath = { regex = \"^/blog/([0-9]+)/(.*)$\" }\n\
                  redirect = { status = 302, path = { regex = \"^/blog/([0-9]+)/(.*)$\", to = \"/$2-$1\" } }\n\
                  [[route]]\nname = \"host\"\npath = \"/host\"\nredirect = { status = 307, host = \"new.test\" }\n";
    let proxy = proxy(routes, &[]);
    for (path, status, location) in [
        ("/a?q=1", 308, "http://old.test/b/c?q=1"),
        ("/blog/12/title?x", 302, "http://old.test/title-12?x"),
        ("/host/x?y", 307, "http://new.test/host/x?y"),
    ] {
        let answer = ask(&proxy, "old.test", path, "");
        assert_eq!((answer.status, answer.field("Location")), (status, Some(location)), "{path}");
    }
}
