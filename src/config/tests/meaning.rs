//! What the examples mean once they are read.
use super::super::model::*;
use super::super::sources::Sources;
use super::super::units::{Percent, Timeout};
use super::say::{examples, problems, read};
use crate::config::Check;
use std::time::Duration;

fn full() -> Config {
    let path = examples("valid").into_iter().find(|path| path.ends_with("full.toml")).unwrap();
    read(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_full_document_means_what_it_says() {
    let all = full();
    assert_eq!(all.server.workers, Some(2));
    assert_eq!(all.server.grace, Duration::from_secs(25));
    assert_eq!(all.listeners["web"].bind.len(), 2);
    assert_eq!(all.listeners["web"].trusted_proxies[1].to_string(), "::1/128");
    assert_eq!(all.listeners["db"].protocol, Protocol::Tcp);
    let api = &all.routes[0];
    assert_eq!(
        api.hosts,
        [HostMatch::Exact("api.example.com".into()), HostMatch::Wildcard("api.example.com".into())]
    );
    assert_eq!(api.path, PathMatch::Prefix("/v1".into()));
    assert_eq!(api.headers[0], ("x-tier".into(), ValueMatch::Exact("gold".into())));
    assert_eq!(api.request_headers.set, [("X-Env".into(), "prod".into())]);
    assert_eq!(api.request_headers.add.len(), 2);
    assert_eq!(api.request_headers.remove, ["x-debug"]);
    let Action::Pools(pools) = &api.action else { panic!("{:?}", api.action) };
    assert_eq!(
        pools.iter().map(|(to, weight)| (&*to.name, *weight)).collect::<Vec<_>>(),
        [("app", 95), ("canary", 5)]
    );
    assert!(api.websocket && api.refuse_encoded_slash);
    assert_eq!(&*all.routes[2].name, "#2");
    assert!(!all.routes[2].websocket);
    let networks: Vec<_> =
        all.listeners["edge"].proxy_protocol.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "fd00::1/128"]);
    assert!(all.listeners["tls"].passthrough && !all.listeners["db"].passthrough);
    let exact = HostMatch::Exact("a.example.com".into());
    assert_eq!(all.sni_routes[0].names, [exact, HostMatch::Wildcard("example.com".into())]);
    let pools: Vec<_> = all.sni_routes[0].pools.iter().map(|(to, n)| (&*to.name, *n)).collect();
    assert_eq!(pools, [("db", 1), ("replica", 0)]);
    assert_eq!(all.sni_routes[1].pools[0].1, 1);
    assert_eq!(all.pools["db"].send_proxy_protocol, Some(ProxyProtocol::V1));
    assert_eq!(all.pools["replica"].send_proxy_protocol, Some(ProxyProtocol::V2));
    assert!(all.pools["replica"].health.as_ref().unwrap().proxy_protocol);
    let app = &all.pools["app"];
    let hash = app.balance.hash.as_ref().unwrap();
    assert_eq!(
        (&*app.balance.policy, &*hash.fallback, hash.first),
        ("consistent_hash", "round_robin", true)
    );
    assert_eq!(hash.table, Table::Maglev(Some(65_537)));
    assert_eq!(hash.key[0], KeyPart::Header("x-user".into()));
    let tiers: Vec<_> = app.backends.iter().map(|b| (&*b.name, b.weight.get(), b.tier)).collect();
    assert_eq!(
        tiers,
        [
            ("10.0.0.1:8080", 1, 1),
            ("b", 3, 1),
            ("spare.internal:8080", 1, 2),
            ("unix:run/app.sock", 1, 3)
        ]
    );
    let Check::Http { status, .. } = &app.health.as_ref().unwrap().check else { panic!() };
    assert_eq!(status, &[(200, 299), (404, 404)]);
    assert_eq!(all.pools["canary"].balance.policy, "least_connections");
    let effective =
        Effective::layered([&all.defaults, &all.listeners["web"].over, &app.over, &api.over]);
    assert_eq!(effective.retry.attempts, 2);
    assert_eq!(effective.retry.on, RetryOn { connect: true, ..RetryOn::NOTHING });
    assert_eq!(effective.timeout.header, Timeout::secs(5));
    assert_eq!(effective.limits.body, Some(10_000_000));
}

#[test]
fn defaults_are_those_of_the_contract() {
    let all = read("[listener.web]\nbind = \":0\"\n");
    assert!(all.is_err());
    let all =
        read("[listener.web]\nbind = \"127.0.0.1:0\"\n[pool.a]\nbackends = []\nhealth = {}\n")
            .unwrap();
    assert_eq!(all.server.grace, Duration::from_secs(25));
    assert_eq!(all.server.memory, Memory::Share(Percent::new(0.5).unwrap()));
    assert_eq!(all.log.level, "info");
    assert_eq!(all.log.access, None);
    assert_eq!(all.admin.bind.unwrap().addr, BindAddr::Ip("127.0.0.1:9900".parse().unwrap()));
    assert_eq!(Effective::layered([&all.defaults]), Effective::default());
    let pool = &all.pools["a"];
    assert_eq!((pool.drain, pool.keep_alive.max_idle), (Timeout::secs(300), 64));
    let health = pool.health.as_ref().unwrap();
    assert_eq!((health.interval, health.rise, health.fall), (Duration::from_secs(2), 2, 3));
    assert!(matches!(&health.check, Check::Http { path, .. } if path == "/healthz"));
    assert_eq!(all.sources, Sources::of(std::path::Path::new("x.toml")));
}

#[test]
fn the_environment_stands_inside_strings() {
    let text = "[listener.web]\nbind = \"127.0.0.1:${PORT}\"\n[pool.a]\nbackends = [{ name = \"${EMPTY:-one}\", addr = \"${HOST:-a.b}:1\" }]\n";
    let all = read(text).unwrap();
    assert_eq!(all.listeners["web"].bind[0].addr, BindAddr::Ip("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(&*all.pools["a"].backends[0].name, "one");
    assert_eq!(
        problems("[server]\nmax_connections = \"${PORT}\"\n[listener.a]\nbind = \"127.0.0.1:0\""),
        ["x.toml:2:19: server.max_connections: expected a whole number, found a string"]
    );
}

#[test]
fn a_moved_value_is_an_unchanged_value() {
    let one = read("[listener.web]\nbind = \"127.0.0.1:0\"\n").unwrap();
    let two = read("# moved\n\n[listener.web]\n  bind = \"127.0.0.1:0\"\n").unwrap();
    assert_eq!(one, two);
}

#[test]
fn a_policy_of_an_embedder_may_have_a_key() {
    let text = "[listener.a]\nbind = \"127.0.0.1:0\"\n[pool.a]\nbackends = []\nbalance = { policy = \"Mine-Own\", key = \"path\" }\n";
    let balance = read(text).unwrap().pools["a"].balance.clone();
    assert_eq!((&*balance.policy, balance.hash.unwrap().key), ("mine_own", vec![KeyPart::Path]));
}

#[test]
fn ten_thousand_backends_are_read_at_once() {
    let backends: Vec<_> = (0..10_000)
        .map(|n| format!("{{ name = \"b{n}\", addr = \"10.0.{}.{}:80\" }}", n / 256, n % 256))
        .collect();
    // On one line, where a place counts characters from far away.
    let text = format!(
        "[listener.a]\nbind = \"127.0.0.1:0\"\n[pool.a]\nbackends = [{}]\n",
        backends.join(", ")
    );
    assert_eq!(read(&text).unwrap().pools["a"].backends.len(), 10_000);
}
