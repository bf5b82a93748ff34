//! Clients that keep their share of the pools of a route.
use crate::support::{Backend, Proxy, Response};
use std::collections::BTreeSet;

fn words(pools: &str, by: &str, backends: &[(&str, &Backend)]) -> String {
    let list: String = backends
        .iter()
        .map(|(name, backend)| format!("[pool.{name}]\nbackends = [\"{}\"]\n", backend.addr))
        .collect();
    format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n\
         trusted_proxies = [\"127.0.0.1\"]\n\
         [[route]]\nname = \"split\"\npools = {pools}\n{by}\n{list}"
    )
}

fn ask(proxy: &Proxy, fields: &str) -> Response {
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n"));
    client.response()
}

/// Where each of some clients goes.
fn shares(proxy: &Proxy, clients: usize) -> Vec<String> {
    (0..clients).map(|n| ask(proxy, &format!("Cookie: sid=user{n}\r\n")).text()).collect()
}

#[test]
fn the_same_client_stays_in_its_share_and_few_move_with_the_weights() {
    let all = [Backend::named("app"), Backend::named("canary"), Backend::named("dark")];
    let list = [("app", &all[0]), ("canary", &all[1]), ("dark", &all[2])];
    let by = "split_by = [\"cookie:sid\", \"client_ip\"]";
    let with = |pools: &str| words(pools, by, &list);
    let proxy = Proxy::start(&with("{ app = 70, canary = 30 }"));
    let before = shares(&proxy, 300);
    let canaries = before.iter().filter(|pool| *pool == "canary").count();
    assert!((50..=130).contains(&canaries), "{canaries} of 300");
    assert_eq!(shares(&proxy, 300), before, "asked again");
    // On another proxy, with another order.
    let twin = Proxy::start(&with("{ canary = 30, app = 70 }"));
    assert_eq!(shares(&twin, 300), before);
    // A larger share takes clients of the others, and gives none away.
    proxy.reload(&with("{ app = 70, canary = 60 }")).unwrap();
    let after = shares(&proxy, 300);
    let moved: BTreeSet<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    assert_eq!(moved, [(&"app".into(), &"canary".into())].into());
    // A new pool takes clients of both, and nobody else moves.
    proxy.reload(&with("{ app = 70, canary = 60, dark = 40 }")).unwrap();
    let third = shares(&proxy, 300);
    assert!(third.contains(&"dark".into()));
    assert!(after.iter().zip(&third).all(|(a, b)| a == b || b == "dark"));
}

#[test]
fn the_first_part_that_is_there_counts_and_chance_without_any() {
    let all = [Backend::named("app"), Backend::named("canary")];
    let list = [("app", &all[0]), ("canary", &all[1])];
    let by = "split_by = [\"cookie:sid\", \"header:X-User\"]";
    let proxy = Proxy::start(&words("{ app = 1, canary = 1 }", by, &list));
    for user in 0..20 {
        let first = ask(&proxy, &format!("Cookie: sid={user}\r\n")).text();
        for other in 0..3 {
            let fields = format!("X-User: {other}\r\nCookie: a=b; sid={user}\r\n");
            assert_eq!(ask(&proxy, &fields).text(), first);
        }
        let second = ask(&proxy, &format!("X-User: {user}\r\n")).text();
        assert_eq!(ask(&proxy, &format!("X-User: {user}\r\nCookie: sid=\r\n")).text(), second);
    }
    let chance: BTreeSet<_> = (0..100).map(|_| ask(&proxy, "").text()).collect();
    assert_eq!(chance.len(), 2);
}

#[test]
fn a_client_is_its_address_as_trusted_proxies_say() {
    let all = [Backend::named("app"), Backend::named("canary")];
    let list = [("app", &all[0]), ("canary", &all[1])];
    let by = "split_by = \"client_ip\"";
    let proxy = Proxy::start(&words("{ app = 1, canary = 1 }", by, &list));
    let mut seen = BTreeSet::new();
    for n in 0..30 {
        let fields = format!("X-Forwarded-For: 192.0.2.{n}\r\n");
        let first = ask(&proxy, &fields).text();
        assert_eq!(ask(&proxy, &fields).text(), first);
        seen.insert(first);
    }
    assert_eq!(seen.len(), 2);
}
