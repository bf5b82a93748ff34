//! The cookie that brings a client back to its backend: what it looks like, who is believed, and where
//! a client goes whose backend is not there.
use crate::readme::scrape;
use crate::support::h2::Frames;
use crate::support::{Backend, Certs, Client, Proxy, Response, until};
use std::net::SocketAddr;
use tempfile::TempDir;

/// Files with these secrets.
fn secrets(all: &[&str]) -> (TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let write = |(n, secret): (usize, &&str)| {
        let path = folder.path().join(format!("{n}.key"));
        std::fs::write(&path, secret).unwrap();
        path.display().to_string()
    };
    let files = all.iter().enumerate().map(write).collect();
    (folder, files)
}

const NEW: &str = "a secret that nobody can guess";
const OLD: &str = "another one that was good before\r\n";

fn sticky(files: &[String], more: &str) -> String {
    format!("sticky = {{ secret_files = {files:?}{more} }}")
}

/// Backends `b1`, `b2` … of a pool with these words, each answering with its name and the cookies it
/// got.
fn words(backends: &[(&str, &Backend)], pool: &str) -> String {
    let list: Vec<String> = backends
        .iter()
        .map(|(said, backend)| format!("{{ addr = \"{}\", {said} }}", backend.addr))
        .collect();
    format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [pool.app]\n{pool}\nbackends = [{}]\n",
        list.join(", ")
    )
}

fn backend(name: &'static str) -> Backend {
    Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            let cookies = head.lines().filter(|line| line.to_lowercase().starts_with("cookie:"));
            let cookies: Vec<&str> = cookies.map(|line| &line[7..]).collect();
            peer.answer(&format!("{name}{}", cookies.concat()));
        }
    })
}

fn ask_at(addr: SocketAddr, cookie: &str) -> Response {
    let mut client = Client::connect(addr);
    let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{cookie}Connection: close\r\n\r\n"));
    client.response()
}

fn ask(proxy: &Proxy, cookie: &str) -> Response {
    ask_at(proxy.addr(), cookie)
}

/// The cookie that an answer gives, without its attributes.
#[track_caller]
fn given(response: &Response) -> String {
    let said = response.field("Set-Cookie").expect("a cookie");
    said.split(';').next().unwrap().into()
}

/// How often each result was counted: hit, miss, forged, gone.
fn counted(proxy: &Proxy) -> [u64; 4] {
    ["hit", "miss", "forged", "gone"].map(|result| counted_as(proxy, result))
}

fn counted_as(proxy: &Proxy, result: &str) -> u64 {
    let text = scrape(proxy);
    let line = format!("evenkeel_sticky_total{{pool=\"app\",result=\"{result}\"}} ");
    text.split(&line).nth(1).unwrap().lines().next().unwrap().parse().unwrap()
}

#[test]
fn a_client_comes_back_to_its_backend_with_every_policy() {
    let (_folder, files) = secrets(&[NEW]);
    let all = [backend("b1"), backend("b2"), backend("b3")];
    let list = [("name = \"b1\"", &all[0]), ("name = \"b2\"", &all[1]), ("name = \"b3\"", &all[2])];
    for policy in [
        "\"round_robin\"",
        "\"least_connections\"",
        "\"random\"",
        "\"p2c\"",
        "\"peak_ewma\"",
        "{ policy = \"consistent_hash\", key = \"query:none\" }",
        "{ policy = \"consistent_hash\", key = \"path\", bounded_load = 1.25 }",
    ] {
        let pool = format!("balance = {policy}\n{}", sticky(&files, ""));
        let proxy = Proxy::start(&words(&list, &pool));
        for _ in 0..4 {
            let first = ask(&proxy, "");
            let cookie = given(&first);
            for _ in 0..5 {
                let again = ask(&proxy, &cookie);
                assert_eq!((again.text(), again.field("Set-Cookie")), (first.text(), None));
            }
        }
        assert_eq!(counted(&proxy), [20, 4, 0, 0], "{policy}");
        let picks = scrape(&proxy);
        let sticky: u64 = picks
            .lines()
            .filter(|line| line.contains("picks_total") && line.contains("reason=\"sticky\""))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(sticky, 20, "{policy}");
    }
}

#[test]
fn the_cookie_says_nothing_and_backends_never_see_it() {
    let (_folder, files) = secrets(&[NEW]);
    let one = backend("one");
    let proxy = Proxy::start(&words(&[("name = \"one\"", &one)], &sticky(&files, "")));
    let (first, second) = (ask(&proxy, ""), ask(&proxy, ""));
    let said = first.field("Set-Cookie").unwrap();
    let (pair, attributes) = said.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
    let value = pair.strip_prefix("evenkeel=").unwrap();
    assert_eq!(value.len(), 68);
    // Of one backend, and not to be told from those of two.
    assert_ne!(value[..25], given(&second)["evenkeel=".len()..][..25]);
    for (cookie, seen) in [
        (pair.to_string(), "one"),
        (format!("a=1; {pair}; b=2"), "one a=1; b=2"),
        (format!("{pair}; a=1"), "one a=1"),
        (format!("a=1;{pair};"), "one a=1"),
        ("evenkeel=\"forged\"; xevenkeel=1".into(), "one xevenkeel=1"),
        ("evenkeel2=1; b".into(), "one evenkeel2=1; b"),
    ] {
        assert_eq!(ask(&proxy, &cookie).text(), seen, "{cookie}");
    }
    let mut client = proxy.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\nCookie: {pair}\r\nCookie: y=2\r\n\r\n"
    ));
    assert_eq!(client.response().text(), "one x=1; y=2");
    // The same by HTTP/2, where cookies come in crumbs.
    let mut frames = Frames::connect(proxy.addr());
    frames.get(1, "/", &[("cookie", "x=1"), ("cookie", pair), ("cookie", "y=2")]);
    assert_eq!(frames.answer(1), (200, "one x=1; y=2".into()));
}

#[test]
fn attributes_are_as_they_are_said() {
    let (_folder, files) = secrets(&[NEW]);
    let one = backend("one");
    let certs = Certs::new();
    certs.make("a", &["localhost"]);
    let with = |more: &str, tls: bool| {
        let mut text = words(&[("name = \"one\"", &one)], &sticky(&files, more));
        if tls {
            text += &format!("[listener.web.tls]\ncertificates = [{{ {} }}]\n", certs.words("a"));
        }
        Proxy::start(&text)
    };
    for (more, tls, said) in [
        (
            ", cookie = \"sid\", ttl = \"90s\", same_site = \"strict\"",
            false,
            "; Max-Age=90; HttpOnly; SameSite=Strict",
        ),
        (
            ", secure = true, same_site = \"none\"",
            false,
            "; Max-Age=3600; HttpOnly; SameSite=None; Secure",
        ),
        ("", true, "; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"),
        (", secure = false", true, "; Max-Age=3600; HttpOnly; SameSite=Lax"),
    ] {
        let proxy = with(more, tls);
        let mut client =
            if tls { Client::secure(&proxy, &certs, "localhost") } else { proxy.client() };
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = client.response();
        let cookie = answer.field("Set-Cookie").unwrap();
        assert!(cookie.ends_with(&format!("; Path=/{said}")), "{more}: {cookie}");
        assert_eq!(cookie.starts_with("sid="), more.contains("sid"), "{cookie}");
    }
}

#[test]
fn what_nobody_with_a_secret_made_is_ignored_and_counted() {
    let (_folder, files) = secrets(&[NEW, OLD]);
    let all = [backend("b1"), backend("b2")];
    let list = [("name = \"b1\"", &all[0]), ("name = \"b2\"", &all[1])];
    let proxy = Proxy::start(&words(&list, &sticky(&files[..1], "")));
    let good = given(&ask(&proxy, ""));
    // Of a pool with another name, and of one with another secret.
    let foreign = words(&list, &sticky(&files[..1], "")).replace("app", "other");
    let foreign = given(&ask(&Proxy::start(&foreign), ""));
    let other = given(&ask(&Proxy::start(&words(&list, &sticky(&files[1..], ""))), ""));
    let value = &good["evenkeel=".len()..];
    let mut wrong = vec![
        foreign,
        other,
        "evenkeel=".into(),
        "evenkeel=b1".into(),
        format!("evenkeel={value}A"),
        format!("evenkeel={}", &value[1..]),
        format!("evenkeel={}", "\u{ff}".repeat(34)),
    ];
    // Each character counts.
    for at in 0..value.len() {
        let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
        wrong.push(format!("evenkeel={}{other}{}", &value[..at], &value[at + 1..]));
    }
    for cookie in &wrong {
        let answer = ask(&proxy, cookie);
        assert_eq!(answer.status, 200);
        assert_ne!(given(&answer), *cookie);
    }
    assert_eq!(counted(&proxy), [0, 1, wrong.len() as u64, 0]);
    // However many there are: few are looked at, and a good one among the first is found.
    let few = format!("evenkeel=x; evenkeel=y; {good}");
    assert_eq!(ask(&proxy, &few).field("Set-Cookie"), None);
    let many = format!("{}{good}", "evenkeel=x; ".repeat(1000));
    assert!(ask(&proxy, &many).field("Set-Cookie").is_some());
    assert_eq!(counted(&proxy), [1, 1, wrong.len() as u64 + 1, 0]);
}

#[test]
fn secrets_are_changed_while_clients_stay() {
    let (folder, files) = secrets(&[OLD, NEW]);
    let all = [backend("b1"), backend("b2"), backend("b3")];
    let list = [("name = \"b1\"", &all[0]), ("name = \"b2\"", &all[1]), ("name = \"b3\"", &all[2])];
    let proxy = Proxy::start(&words(&list, &sticky(&files[..1], "")));
    let first = ask(&proxy, "");
    let old = given(&first);
    // The new secret signs, the old one is still believed: what it signed is signed anew.
    let both = [files[1].clone(), files[0].clone()];
    proxy.reload(&words(&list, &sticky(&both, ""))).unwrap();
    let renewed = ask(&proxy, &old);
    assert_eq!(renewed.text(), first.text());
    let new = given(&renewed);
    proxy.reload(&words(&list, &sticky(&files[1..], ""))).unwrap();
    for _ in 0..4 {
        let again = ask(&proxy, &new);
        assert_eq!((again.text(), again.field("Set-Cookie")), (first.text(), None));
    }
    assert!(ask(&proxy, &old).field("Set-Cookie").is_some());
    assert_eq!(counted(&proxy), [5, 1, 1, 0]);
    // Another proxy with the secret, whatever the order in its file.
    let twin = Proxy::start(&words(&[list[2], list[0], list[1]], &sticky(&files[1..], "")));
    assert_eq!(ask(&twin, &new).text(), first.text());
    // The same file with another secret in it is another configuration.
    std::fs::write(folder.path().join("1.key"), "not the secret that it was").unwrap();
    proxy.reload(&words(&list, &sticky(&files[1..], ""))).unwrap();
    assert!(ask(&proxy, &new).field("Set-Cookie").is_some());
}

#[test]
fn a_cookie_past_its_end_is_none_and_one_past_its_half_is_renewed() {
    let (_folder, files) = secrets(&[NEW]);
    let all = [backend("b1"), backend("b2")];
    let list = [("name = \"b1\"", &all[0]), ("name = \"b2\"", &all[1])];
    let with = |ttl: &str| words(&list, &sticky(&files, &format!(", ttl = \"{ttl}\"")));
    let proxy = Proxy::start(&with("1s"));
    let first = ask(&proxy, "");
    let cookie = given(&first);
    // Longer than it is good for: only the clock can show that.
    until("it is past its end", || {
        let again = ask(&proxy, &cookie);
        again.field("Set-Cookie").is_some() && counted_as(&proxy, "expired") == 1
    });
    assert_eq!(counted(&proxy)[1..], [1, 0, 0]);
    // What has less than half of what is given now gets a new one, and stays.
    proxy.reload(&with("10m")).unwrap();
    let first = ask(&proxy, "");
    let short = given(&first);
    proxy.reload(&with("1h")).unwrap();
    let again = ask(&proxy, &short);
    assert_eq!(again.text(), first.text());
    let long = given(&again);
    assert_eq!(ask(&proxy, &long).field("Set-Cookie"), None);
}

#[test]
fn whose_backend_is_not_there_is_sent_elsewhere_and_stays_there() {
    let (_folder, files) = secrets(&[NEW]);
    let all = [backend("b1"), backend("b2")];
    let list = [("name = \"b1\"", &all[0]), ("name = \"b2\"", &all[1])];
    let said = sticky(&files, "");
    let proxy = Proxy::start(&words(&list, &said));
    let of = |name: &str| {
        let all = (0..20).map(|_| ask(&proxy, ""));
        given(&all.into_iter().find(|answer| answer.text() == name).unwrap())
    };
    let (one, two) = (of("b1"), of("b2"));
    let before = counted(&proxy);
    // Removed: its client moves, and stays where it is when it comes back.
    proxy.reload(&words(&list[1..], &said)).unwrap();
    let moved = ask(&proxy, &one);
    assert_eq!(moved.text(), "b2");
    let moved = given(&moved);
    proxy.reload(&words(&list, &said)).unwrap();
    for _ in 0..4 {
        assert_eq!(ask(&proxy, &moved).text(), "b2");
    }
    assert_eq!(counted(&proxy).map(|n| n as i64 - before[1] as i64)[3], 1 - before[1] as i64);
    assert_eq!(counted(&proxy)[0], 4);
    // Drained by an operator.
    let plan = proxy.running().state().plan.load_full().unwrap();
    let wish = |name: &str, wish| {
        let name = evenkeel::config::Name::new(name).unwrap();
        let change = evenkeel::pool::Change::Operator { name, wish };
        plan.pools["app"].apply(change, std::time::Instant::now());
    };
    wish("b2", evenkeel::pool::Wish::Drain);
    assert_eq!(ask(&proxy, &two).text(), "b1");
    wish("b2", evenkeel::pool::Wish::Up);
    assert_eq!(ask(&proxy, &two).text(), "b2");
    // One that refuses: the request goes on to the other one.
    drop(all);
    assert_eq!(counted(&proxy)[3], 2);
}

#[test]
fn a_full_backend_lets_its_clients_go() {
    let (_folder, files) = secrets(&[NEW]);
    let hold = |name: &'static str| {
        Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                if head.contains("POST") {
                    peer.bytes(1);
                }
                peer.answer(name);
            }
        })
    };
    let all = [hold("b1"), hold("b2")];
    let list = [("name = \"b1\"", &all[0]), ("name = \"b2\"", &all[1])];
    let pool = format!("max_active = 1\n{}", sticky(&files, ""));
    let proxy = Proxy::start(&words(&list, &pool));
    let first = ask(&proxy, "");
    let cookie = given(&first);
    let plan = proxy.running().state().plan.load_full().unwrap();
    let active = || plan.pools["app"].members().iter().map(|m| m.backend.active()).sum::<u32>();
    until("the first one is over", || active() == 0);
    // A request that its backend works on until it is let go.
    let mut busy = proxy.client();
    busy.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nContent-Length: 1\r\n\r\n"
    ));
    until("it is in work", || active() == 1);
    let other = ask(&proxy, &cookie);
    assert_ne!(other.text(), first.text());
    busy.send("x");
    assert_eq!(busy.response().text(), first.text());
    assert_eq!(counted(&proxy), [1, 1, 0, 1]);
}

#[test]
fn a_weight_of_nought_and_a_backup_keep_the_clients_they_have() {
    let (_folder, files) = secrets(&[NEW]);
    let all = [backend("b1"), backend("b2"), backend("b3")];
    let said = sticky(&files, "");
    let list = |first: &'static str| {
        let list = [
            (first, &all[0]),
            ("name = \"b2\"", &all[1]),
            ("name = \"b3\", backup = true", &all[2]),
        ];
        words(&list, &said)
    };
    let proxy = Proxy::start(&list("name = \"b1\""));
    let mut cookies = (0..2).map(|_| ask(&proxy, "")).map(|answer| (answer.text(), given(&answer)));
    let (a, b) = (cookies.next().unwrap(), cookies.next().unwrap());
    let one = if a.0 == "b1" { a.1 } else { b.1 };
    proxy.reload(&list("name = \"b1\", weight = 0")).unwrap();
    for _ in 0..6 {
        assert_eq!((ask(&proxy, &one).text(), ask(&proxy, "").text()), ("b1".into(), "b2".into()));
    }
    // While the backup has the work its clients become its own.
    let only = words(&[("name = \"b3\", backup = true", &all[2])], &said);
    proxy.reload(&only).unwrap();
    let three = given(&ask(&proxy, ""));
    proxy.reload(&list("name = \"b1\"")).unwrap();
    assert_eq!(ask(&proxy, &three).text(), "b3");
    assert_ne!(ask(&proxy, "").text(), "b3");
}

#[test]
fn after_a_start_clients_wait_for_the_first_word_on_their_own_backend() {
    let (_folder, files) = secrets(&[NEW]);
    let (one, two) = (backend("b1"), backend("b2"));
    let slow = |name: &'static str| {
        // Its first probe is answered only after the other backend has been asked something.
        Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                if head.contains("/healthz") {
                    std::thread::sleep(std::time::Duration::from_millis(150));
                }
                peer.answer(name);
            }
        })
    };
    let before = Proxy::start(&words(&[("name = \"b1\"", &one)], &sticky(&files, "")));
    let cookie = given(&ask(&before, ""));
    let late = slow("b1");
    let pool = format!("health = \"/healthz\"\n{}", sticky(&files, ""));
    let list = [("name = \"b1\"", &late), ("name = \"b2\"", &two)];
    let proxy = Proxy::start(&words(&list, &pool));
    assert_eq!(ask(&proxy, &cookie).text(), "b1");
    assert_eq!(counted(&proxy), [1, 0, 0, 0]);
}

#[test]
fn a_cookie_decides_among_the_pools_of_a_split() {
    let (_folder, files) = secrets(&[NEW]);
    let (app, canary) = (backend("app"), backend("canary"));
    let said = sticky(&files, "");
    let proxy = Proxy::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n\
         [[route]]\npools = {{ app = 1, canary = 1 }}\n\
         [pool.app]\n{said}\nbackends = [\"{}\"]\n[pool.canary]\n{said}\nbackends = [\"{}\"]\n",
        app.addr, canary.addr
    ));
    for _ in 0..10 {
        let first = ask(&proxy, "");
        let cookie = given(&first);
        for _ in 0..5 {
            let again = ask(&proxy, &cookie);
            assert_eq!((again.text(), again.field("Set-Cookie")), (first.text(), None));
        }
    }
}

/// Whoever is only slow keeps its clients.
#[test]
fn a_faster_try_beside_takes_no_client_away() {
    let (_folder, files) = secrets(&[NEW]);
    let named = |name: &'static str| {
        Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                if name == "slow" && head.starts_with("GET /h") {
                    peer.rest();
                    return;
                }
                peer.answer(name);
            }
        })
    };
    let (slow, fast) = (named("slow"), named("fast"));
    let route =
        "[[route]]\npath = \"/h\"\npool = \"app\"\nhedge = { after = \"20ms\", budget = \"100%\" }";
    let list = [("name = \"slow\"", &slow), ("name = \"fast\"", &fast)];
    let proxy = Proxy::start(&format!("{}{route}\n", words(&list, &sticky(&files, ""))));
    let mut cookie = String::new();
    until("it is a client of the slow one", || {
        let first = ask(&proxy, "");
        cookie = given(&first);
        first.text() == "slow"
    });
    let fields = format!("Cookie: {cookie}\r\nConnection: close\r\n");
    for _ in 0..3 {
        let hedged = proxy.client().ask("GET", "/h", &fields);
        assert_eq!((hedged.text().as_str(), hedged.field("Set-Cookie")), ("fast", None));
        let after = ask(&proxy, &cookie);
        assert_eq!((after.text().as_str(), after.field("Set-Cookie")), ("slow", None));
    }
    assert_eq!(counted(&proxy)[3], 3, "another one answered");
}

/// Of whatever pool the cookie is, and wherever a request goes.
#[test]
fn no_backend_sees_the_cookie_of_another_pool() {
    let (_folder, files) = secrets(&[NEW]);
    let (app, shop, files_backend) = (backend("app"), backend("shop"), backend("files"));
    let other = sticky(&files, ", cookie = \"shop\"");
    let toml = words(&[("name = \"app\"", &app)], &sticky(&files, ""));
    let proxy = Proxy::start(&format!(
        "{toml}[pool.shop]\n{other}\nbackends = [\"{}\"]\n[pool.files]\nbackends = [\"{}\"]\n\
         [[route]]\npath = \"/shop\"\npool = \"shop\"\n[[route]]\npath = \"/files\"\npool = \"files\"\n",
        shop.addr, files_backend.addr
    ));
    let get = |path: &str, cookies: &str| {
        proxy.client().ask("GET", path, &format!("Cookie: {cookies}\r\nConnection: close\r\n"))
    };
    let (one, two) = (given(&ask(&proxy, "")), given(&get("/shop", "x=1")));
    assert!(one.starts_with("evenkeel=") && two.starts_with("shop="), "{one} {two}");
    for (path, name) in [("/", "app"), ("/shop", "shop"), ("/files", "files")] {
        let said = get(path, &format!("a=1; {one}; b=2; {two}")).text();
        assert_eq!(said, format!("{name} a=1; b=2"));
    }
}

/// Whom the proxy before this one was reached by is known where that is believed.
#[test]
fn a_cookie_goes_by_tls_alone_where_a_proxy_that_is_trusted_says_tls() {
    let (_folder, files) = secrets(&[NEW]);
    let one = backend("one");
    let toml = words(&[("name = \"one\"", &one)], &sticky(&files, ""));
    let trusting =
        toml.replace("pool = \"app\"", "pool = \"app\"\ntrusted_proxies = [\"127.0.0.1\"]");
    let (trusting, plain) = (Proxy::start(&trusting), Proxy::start(&toml));
    for (proxy, said, secure) in [
        (&trusting, "https", true),
        (&trusting, "HTTPS, http", true),
        (&trusting, "http", false),
        (&plain, "https", false),
    ] {
        let fields = format!("X-Forwarded-Proto: {said}\r\nConnection: close\r\n");
        let answer = proxy.client().ask("GET", "/", &fields);
        let cookie = answer.field("Set-Cookie").unwrap();
        assert_eq!(cookie.contains("; Secure"), secure, "{said}: {cookie}");
    }
}
