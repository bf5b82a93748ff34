//! Backups: who is asked again, and finds nobody of its tier who was not asked yet, goes on to the next.
use crate::support::{Backend, Client, Proxy, Server, nobody, python, until};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const AGAIN: &str = "retry = { attempts = 2, on = [\"connect\", \"reset\", \"timeout\", \"5xx\"], budget = \"100%\", floor = \"1000/s\" }";

/// Backends `b1`, `b2` …, each of a tier.
fn tiers(backends: &[(SocketAddr, u8)], more: &str) -> Proxy {
    let named = |(n, (addr, tier)): (usize, &(SocketAddr, u8))| {
        format!("{{ name = \"b{}\", addr = \"{addr}\", tier = {tier} }}", n + 1)
    };
    let list: Vec<String> = backends.iter().enumerate().map(named).collect();
    Proxy::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [pool.app]\nbackends = [{}]\n{more}\n",
        list.join(", ")
    ))
}

/// How often a backend was picked: by the policy, for a further try, for a hedge.
fn picks(proxy: &Proxy, backend: &str) -> [u64; 3] {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let members = plan.pools["app"].members();
    let member = members.iter().find(|m| &*m.backend.name == backend).unwrap();
    let picks = member.picks();
    [&picks.policy, &picks.retry, &picks.hedge].map(|cell| cell.get())
}

fn active(proxy: &Proxy, backend: &str) -> u32 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let members = plan.pools["app"].members();
    members.iter().find(|m| &*m.backend.name == backend).unwrap().backend.active()
}

fn ask(proxy: &Proxy, method: &str) -> (u16, String) {
    let answer = proxy.client().ask(method, "/", "Connection: close\r\nContent-Length: 0\r\n");
    (answer.status, answer.text())
}

fn well(name: &str) -> (u16, String) {
    (200, name.into())
}

const BAD: &str = "HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nbad";

#[test]
fn whatever_befalls_the_only_one_of_the_first_tier_a_backup_answers() {
    let said = |text: &'static str, reset: bool| {
        Backend::run(move |peer| {
            if peer.request().is_some() {
                peer.send(text);
                if reset {
                    peer.reset();
                }
            }
        })
    };
    let now_and_then = Arc::new(AtomicUsize::new(0));
    let some = Backend::run(move |peer| {
        while peer.request().is_some() {
            match now_and_then.fetch_add(1, SeqCst) % 3 {
                0 => peer.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
                _ => peer.answer("good"),
            }
        }
    });
    let slow = Backend::run(|peer| {
        peer.request();
        peer.rest();
    });
    for (what, bad, fails, first_byte) in [
        ("500", said(BAD, false), 9, "30s"),
        ("a share of 503", some, 3, "30s"),
        ("a reset before the head", said("", true), 9, "30s"),
        ("a reset in the head", said("HTTP/1.1 200 OK\r\nContent-Le", true), 9, "30s"),
        ("an end before the head", said("", false), 9, "30s"),
        ("no first byte in time", slow, 2, "1s"),
    ] {
        let good = Backend::named("good");
        let more = format!("{AGAIN}\ntimeout = {{ first_byte = \"{first_byte}\" }}");
        let proxy = tiers(&[(bad.addr, 1), (good.addr, 2)], &more);
        let asked = if first_byte == "1s" { 2 } else { 9 };
        (0..asked).for_each(|_| assert_eq!(ask(&proxy, "GET"), well("good"), "{what}"));
        assert_eq!(
            (picks(&proxy, "b1"), picks(&proxy, "b2")),
            ([asked, 0, 0], [0, fails, 0]),
            "{what}"
        );
        // What may not be repeated is not.
        assert!(what == "a share of 503" || ask(&proxy, "POST").0 >= 500, "{what}");
        assert_eq!(picks(&proxy, "b2"), [0, fails, 0], "{what}");
    }
}

#[test]
fn each_tier_comes_after_the_one_before_and_within_the_attempts() {
    let fails = || {
        Backend::run(|peer| {
            while peer.request().is_some() {
                peer.send(BAD);
            }
        })
    };
    let (one, two, three, four) = (fails(), fails(), fails(), Backend::named("last"));
    let all = [(one.addr, 1), (two.addr, 1), (three.addr, 2), (four.addr, 7)];
    for (attempts, answer) in [(4, well("last")), (3, (500, "bad".into()))] {
        let again = AGAIN.replace("attempts = 2", &format!("attempts = {attempts}"));
        let proxy = tiers(&all, &again);
        (0..6).for_each(|_| assert_eq!(ask(&proxy, "GET"), answer));
        assert_eq!(picks(&proxy, "b1").iter().sum::<u64>(), 6);
        assert_eq!(picks(&proxy, "b2").iter().sum::<u64>(), 6);
        assert_eq!(picks(&proxy, "b3"), [0, 6, 0]);
    }
}

#[test]
fn a_backup_that_is_drained_or_the_budget_that_is_spent_leaves_the_failure() {
    let bad = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send(BAD);
        }
    });
    let good = Backend::named("good");
    let all = [(bad.addr, 1), (good.addr, 2)];
    let poor = AGAIN
        .replace("budget = \"100%\", floor = \"1000/s\"", "budget = \"1%\", floor = \"0.1/s\"");
    let proxy = tiers(&all, &poor);
    assert_eq!([(); 3].map(|()| ask(&proxy, "GET").0), [200, 500, 500], "one in ten seconds");
    let proxy = tiers(&all, AGAIN);
    assert_eq!(ask(&proxy, "GET"), well("good"));
    let plan = proxy.running().state().plan.load_full().unwrap();
    let name = evenkeel::config::Name::new("b2").unwrap();
    let wish = evenkeel::pool::Wish::Maintenance;
    let change = evenkeel::pool::Change::Operator { name, wish };
    plan.pools["app"].apply(change, std::time::Instant::now());
    assert_eq!(ask(&proxy, "GET").0, 500);
}

#[test]
fn the_last_of_the_first_tier_killed_with_requests_in_flight_loses_none() {
    for round in 0..3 {
        let addr = nobody();
        let mut command = python("tiers/mute.py");
        command.arg(addr.port().to_string());
        let mut mute = Server::start(command, addr);
        let good = Backend::named("good");
        let proxy = tiers(&[(addr, 1), (good.addr, 2)], AGAIN);
        let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
        clients.iter_mut().for_each(|c| c.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        until("all are in flight", || active(&proxy, "b1") == 20);
        mute.signal(Signal::KILL);
        mute.ended();
        for client in &mut clients {
            let answer = client.response();
            assert_eq!((answer.status, answer.text()), well("good"), "round {round}");
        }
        // Nobody listens there any more.
        assert_eq!(ask(&proxy, "POST"), well("good"));
    }
}

#[test]
fn the_only_one_of_the_first_tier_that_freezes_is_found_out_by_a_backup() {
    let (cold, frozen) = freezing();
    let good = Backend::named("good");
    // Nothing but silence ends a wait.
    let more = format!(
        "{}\ntimeout = {{ first_byte = \"off\" }}\n\
         outlier = {{ consecutive_failures = \"off\", success_rate = \"off\", silence = {{ wait = \"100ms\", hold = \"300ms\" }} }}",
        AGAIN.replace(", \"timeout\"", "")
    );
    let proxy = tiers(&[(cold.addr, 1), (good.addr, 2)], &more);
    let mut client = proxy.client();
    (0..100).for_each(|_| assert_eq!(client.ask("GET", "/", "").text(), "cold"));
    frozen.store(true, SeqCst);
    // One alone may be a slow page.
    let mut several = [(); 3].map(|()| proxy.client());
    several.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    several.iter_mut().for_each(|client| assert_eq!(client.response().text(), "good"));
    for _ in 0..30 {
        assert_eq!(client.ask("GET", "/", "").text(), "good");
    }
    let ejections = || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools["app"].ejections[2].get()
    };
    until("it was tried again, in vain", || {
        assert_eq!(client.ask("GET", "/", "").text(), "good");
        ejections() >= 3
    });
    frozen.store(false, SeqCst);
    until("it has its work back", || {
        let answer = client.ask("GET", "/", "");
        assert_eq!(answer.status, 200);
        answer.text() == "cold" && proxy.state("b1") == "up"
    });
}

/// A backup may be a page that only says sorry; and one worker have one place, where others wait meanwhile.
#[test]
fn a_slow_page_of_the_only_one_of_the_first_tier_is_waited_for() {
    let slow = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            if head.starts_with("GET /slow") {
                std::thread::sleep(Duration::from_millis(1500));
            }
            peer.answer("slow");
        }
    });
    let sorry = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let more = format!("{AGAIN}\noutlier = {{ silence = {{ wait = \"50ms\" }} }}");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let queue = "queue = { size = 99, timeout = \"1h\" }";
    let all = [
        (2, "", ""),
        (1, "max_active = 1", queue),
        (2, "max_active = 2", queue),
        (2, "max_active = 2", ""),
    ];
    for (waiting, limit, queue) in all {
        let proxy = tiers(&[(slow.addr, 1), (sorry.addr, 2)], &format!("{more}\n{limit}\n{queue}"));
        let mut clients = [(); 5].map(|()| proxy.client());
        (0..100).for_each(|_| assert_eq!(clients[0].ask("GET", "/", "").text(), "slow"));
        let (slow, others) = clients.split_at_mut(waiting);
        slow.iter_mut().for_each(|client| client.send(get("/slow")));
        until("they are there", || active(&proxy, "b1") as usize == waiting);
        if !queue.is_empty() {
            others.iter_mut().for_each(|client| client.send(get("/")));
            others.iter_mut().for_each(|client| assert_eq!(client.response().text(), "slow"));
        }
        slow.iter_mut().for_each(|client| assert_eq!(client.response().text(), "slow"));
        assert_eq!(
            (proxy.state("b1"), picks(&proxy, "b2")),
            ("up".into(), [0; 3]),
            "{limit} {queue}"
        );
    }
}

#[test]
fn a_hedge_wakes_no_backup() {
    let slow = Backend::run(|peer| {
        while peer.request().is_some() {
            std::thread::sleep(Duration::from_millis(60));
            peer.answer("slow");
        }
    });
    let good = Backend::named("good");
    let route =
        "[[route]]\npath = \"/\"\npool = \"app\"\nhedge = { after = \"5ms\", budget = \"100%\" }";
    let proxy = tiers(&[(slow.addr, 1), (good.addr, 2)], &format!("{AGAIN}\n{route}"));
    (0..5).for_each(|_| assert_eq!(ask(&proxy, "GET"), well("slow")));
    assert_eq!(picks(&proxy, "b2"), [0; 3]);
}

#[test]
fn who_is_asked_again_waits_in_no_queue_while_a_backup_is_free() {
    let bad = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send(BAD);
        }
    });
    let held = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.rest();
        }
    });
    let good = Backend::named("good");
    let more = format!("{AGAIN}\nmax_active = 1\nqueue = {{ size = 9, timeout = \"1h\" }}");
    let all = [(bad.addr, 1), (held.addr, 1), (good.addr, 2)];
    let proxy = tiers(&all, &more);
    let mut waits = proxy.client();
    until("one has the place of the one that is held", || {
        waits = proxy.client();
        waits.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        until("it is there, or answered", || {
            active(&proxy, "b2") == 1 || picks(&proxy, "b3")[1] > 0
        });
        active(&proxy, "b2") == 1
    });
    let before = picks(&proxy, "b3");
    (0..2).for_each(|_| assert_eq!(ask(&proxy, "GET"), well("good")));
    let after = picks(&proxy, "b3");
    assert_eq!((after[0], after[1] - before[1]), (0, 2));
}

#[test]
fn who_waits_for_a_place_at_the_only_one_of_the_first_tier_that_froze_goes_on_to_a_backup() {
    let (cold, frozen) = freezing();
    let good = Backend::named("good");
    // Its places are held by what may not be sent again, and nothing ends a wait in time.
    let held = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    let more = format!(
        "{}\ntimeout = {{ first_byte = \"off\" }}\nmax_active = 2\n\
         outlier = {{ silence = {{ wait = \"100ms\", hold = \"1h\" }} }}",
        AGAIN.replace(", \"timeout\"", "")
    );
    for queue in ["queue = { size = 99, timeout = \"1h\" }", ""] {
        let proxy = tiers(&[(cold.addr, 1), (good.addr, 2)], &format!("{more}\n{queue}"));
        let mut clients = [(); 12].map(|()| proxy.client());
        (0..100).for_each(|_| assert_eq!(clients[0].ask("GET", "/", "").text(), "cold"));
        frozen.store(true, SeqCst);
        let (holders, others) = clients.split_at_mut(2);
        holders.iter_mut().for_each(|client| client.send(held));
        until("its places are taken", || active(&proxy, "b1") == 2);
        if queue.is_empty() {
            until("who finds it full goes on", || ask(&proxy, "POST") == well("good"));
        } else {
            others.iter_mut().for_each(|client| client.send(held));
            others.iter_mut().for_each(|client| assert_eq!(client.response().text(), "good"));
        }
        assert_eq!((proxy.state("b1"), active(&proxy, "b1")), ("up".into(), 2));
        frozen.store(false, SeqCst);
        holders.iter_mut().for_each(|client| assert_eq!(client.response().text(), "cold"));
        until("it has its work back", || ask(&proxy, "POST") == well("cold"));
    }
}

/// One that answers by its name until it is told to stand still, and again after.
fn freezing() -> (Backend, Arc<AtomicBool>) {
    let frozen = Arc::new(AtomicBool::new(false));
    let stop = frozen.clone();
    let cold = Backend::run(move |peer| {
        while peer.request().is_some() {
            while stop.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            peer.answer("cold");
        }
    });
    (cold, frozen)
}

#[test]
fn a_backup_gets_what_may_not_be_repeated_once_the_only_one_of_the_first_tier_froze() {
    let (cold, frozen) = freezing();
    let good = Backend::named("good");
    let more = "timeout = { first_byte = \"off\" }\noutlier = { silence = { hold = \"1h\" } }";
    let proxy = tiers(&[(cold.addr, 1), (good.addr, 2)], more);
    let mut clients = [(); 4].map(|()| proxy.client());
    (0..100).for_each(|_| assert_eq!(clients[0].ask("POST", "/", "").text(), "cold"));
    frozen.store(true, SeqCst);
    let held = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    clients.iter_mut().for_each(|client| client.send(held));
    until("it is found out", || proxy.state("b1") == "ejected");
    assert_eq!(ask(&proxy, "POST"), well("good"));
    frozen.store(false, SeqCst);
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "cold"));
    until("it has its work back", || ask(&proxy, "POST") == well("cold"));
}

#[test]
fn a_backup_that_answers_for_one_that_failed_keeps_no_sticky_client() {
    let fails = Arc::new(AtomicBool::new(true));
    let told = fails.clone();
    let one = Backend::run(move |peer| {
        while peer.request().is_some() {
            match told.load(SeqCst) {
                true => peer.send(BAD),
                false => peer.answer("one"),
            }
        }
    });
    let spare = Backend::named("spare");
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret that nobody can guess").unwrap();
    let sticky = format!("sticky = {{ secret_files = {:?} }}", secret.display().to_string());
    let proxy = tiers(&[(one.addr, 1), (spare.addr, 2)], &format!("{AGAIN}\n{sticky}"));
    let ask = |cookie: &str| {
        let answer = proxy.client().ask("GET", "/", &format!("Connection: close\r\n{cookie}"));
        let given = answer
            .field("Set-Cookie")
            .map(|said| format!("Cookie: {}\r\n", said.split(';').next().unwrap_or_default()));
        (answer.text(), given)
    };
    assert_eq!(ask(""), ("spare".into(), None), "who comes for the first time");
    fails.store(false, SeqCst);
    let (text, cookie) = ask("");
    let cookie = cookie.expect("a cookie");
    fails.store(true, SeqCst);
    assert_eq!((text, ask(&cookie)), ("one".into(), ("spare".into(), None)), "who comes back");
    fails.store(false, SeqCst);
    assert_eq!(ask(&cookie), ("one".into(), None), "its own has it again");
    // Its tier has nobody: the backup keeps whom it answers.
    let plan = proxy.running().state().plan.load_full().unwrap();
    let name = evenkeel::config::Name::new("b1").unwrap();
    let wish = |wish| {
        let change = evenkeel::pool::Change::Operator { name: name.clone(), wish };
        plan.pools["app"].apply(change, std::time::Instant::now());
    };
    wish(evenkeel::pool::Wish::Maintenance);
    let mut moved = None;
    until("it is known that there is nobody else", || {
        let (text, cookie) = ask(&cookie);
        assert_eq!(text, "spare");
        moved = cookie;
        moved.is_some()
    });
    wish(evenkeel::pool::Wish::Up);
    assert_eq!(ask(&moved.expect("a cookie")).0, "spare", "it stays");
}
