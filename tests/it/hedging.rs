//! A second try beside one that takes long: who wins, who is cancelled, who is counted.
use crate::support::{Backend, Proxy, Response, Server, until, web};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

const HEDGED: &str = "after = \"30ms\", budget = \"100%\"";

/// Two backends behind a route that hedges; the first one is `slow` for whoever asks first.
fn hedged(backends: &[SocketAddr], hedge: &str, more: &str) -> Proxy {
    let route = format!("[[route]]\npath = \"/\"\npool = \"app\"\nhedge = {{ {hedge} }}");
    Proxy::http(backends, &format!("{more}\n{route}"))
}

/// Won, lost, failed.
fn outcomes(proxy: &Proxy) -> [u64; 3] {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let pool = &plan.pools["app"];
    [&pool.hedges_won, &pool.hedges_lost, &pool.hedges_failed].map(|cell| cell.get())
}

fn active(proxy: &Proxy) -> u32 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    plan.pools["app"].members().iter().map(|m| m.backend.active()).sum()
}

fn ask(proxy: &Proxy, method: &str) -> Response {
    proxy.client().ask(method, "/", "Connection: close\r\nContent-Length: 0\r\n")
}

/// Says nothing, and counts those that gave it up.
fn silent() -> (Backend, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(0));
    let count = left.clone();
    let backend = Backend::run(move |peer| {
        if peer.request().is_some() {
            peer.rest();
            count.fetch_add(1, SeqCst);
        }
    });
    (backend, left)
}

#[test]
fn the_first_answer_counts_and_the_slow_try_is_cancelled() {
    let ((slow, left), fast) = (silent(), Backend::named("fast"));
    let proxy = hedged(&[slow.addr, fast.addr], HEDGED, "");
    for _ in 0..6 {
        let response = ask(&proxy, "GET");
        assert_eq!((response.status, response.text().as_str()), (200, "fast"));
    }
    let [won, lost, failed] = outcomes(&proxy);
    assert!(won >= 3 && lost == 0 && failed == 0, "{won} {lost} {failed}");
    until("each that lost was closed", || left.load(SeqCst) as u64 == won && active(&proxy) == 0);
    assert_eq!(proxy.state("b1"), "up", "who is slow is not to blame");
}

#[test]
fn whoever_answers_first_after_all_wins_and_the_other_is_cancelled() {
    // The one beside says nothing; the first one answers when that was asked.
    let (tell, told) = std::sync::mpsc::channel();
    let (tell, told) = (std::sync::Mutex::new(tell), std::sync::Mutex::new(told));
    let first = Backend::run(move |peer| {
        while peer.request().is_some() {
            told.lock().unwrap().recv().unwrap();
            peer.answer("first");
        }
    });
    let left = Arc::new(AtomicUsize::new(0));
    let counted = left.clone();
    let beside = Backend::run(move |peer| {
        if peer.request().is_some() {
            tell.lock().unwrap().send(()).unwrap();
            peer.rest();
            counted.fetch_add(1, SeqCst);
        }
    });
    // In turn, the two tries of a request would always come to the same backends in the same order.
    let proxy = hedged(&[first.addr, beside.addr], HEDGED, "balance = \"random\"");
    let mut asked = 0;
    until("either was asked first at some time", || {
        assert_eq!(ask(&proxy, "GET").text(), "first", "whichever of them was asked first");
        asked += 1;
        outcomes(&proxy)[..2].iter().all(|seen| *seen > 0)
    });
    let [won, lost, failed] = outcomes(&proxy);
    assert!(won + lost == asked && failed == 0, "{won} {lost} {failed}");
    until("each was closed", || left.load(SeqCst) as u64 == asked && active(&proxy) == 0);
}

#[test]
fn one_beside_that_breaks_or_fails_wins_nothing() {
    for answer in ["", "500 No", "429 Too Many Requests"] {
        let answer = match answer {
            "" => String::new(),
            line => format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\n\r\nno"),
        };
        let sent = answer.clone();
        let (tell, told) = std::sync::mpsc::channel();
        let told = std::sync::Mutex::new(told);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let slow = Backend::run(move |peer| {
            while peer.request().is_some() {
                count.fetch_add(1, SeqCst);
                told.lock().unwrap().recv().unwrap();
                peer.answer("slow");
            }
        });
        let broken = Backend::run(move |peer| {
            if peer.request().is_some() {
                peer.send(&sent);
                peer.reset();
            }
        });
        let proxy = hedged(&[slow.addr, broken.addr], HEDGED, "retry = { attempts = 1 }");
        for _ in 0..4 {
            let before = (asked.load(SeqCst), broken.connections());
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
            let is_slow = || asked.load(SeqCst) > before.0;
            until("one was asked", || is_slow() || broken.connections() > before.1);
            if is_slow() {
                let [_, _, failed] = outcomes(&proxy);
                until("the one beside it broke", || outcomes(&proxy)[2] > failed);
                tell.send(()).unwrap();
                assert_eq!(client.response().text(), "slow");
            }
        }
        let [won, lost, failed] = outcomes(&proxy);
        assert_eq!((won, lost, failed), (0, 0, asked.load(SeqCst) as u64), "{answer:?}");
        assert!(failed >= 1);
    }
}

/// Who was asked first fails while the other one is still at it.
#[test]
fn an_own_answer_that_is_a_fault_wins_nothing_while_the_other_is_under_way() {
    let fault = "HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nown";
    for (said, status, text, counts) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbeside", 200, "beside", [1, 0, 0]),
        ("HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy", 500, "own", [0, 0, 1]),
        ("", 500, "own", [0, 0, 1]),
    ] {
        let (tell, told) = std::sync::mpsc::channel();
        let (tell, told) = (std::sync::Mutex::new(tell), std::sync::Mutex::new(told));
        let (sent, faulted) = std::sync::mpsc::channel();
        let sent = std::sync::Mutex::new(sent);
        let failing = Backend::run(move |peer| {
            if peer.request().is_some() {
                told.lock().unwrap().recv().unwrap();
                peer.send(fault);
                sent.lock().unwrap().send(()).unwrap();
                peer.rest();
            }
        });
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let gone = std::sync::Mutex::new(gone);
        let beside = Backend::run(move |peer| {
            if peer.request().is_some() {
                tell.lock().unwrap().send(()).unwrap();
                let _ = gone.lock().unwrap().recv();
                peer.send(said);
            }
        });
        let more = format!(
            "retry = {{ attempts = 1 }}\n[server]\nworkers = 1\n\
             [[route]]\npath = \"/own\"\nrespond = {{ status = 204 }}\n\
             [[route]]\npath = \"/\"\npool = \"app\"\nhedge = {{ {HEDGED} }}"
        );
        // The first one comes first.
        let words = web(&[failing.addr, beside.addr], &more);
        let words = words.replace("name = \"b1\",", "name = \"b1\", weight = 1000,");
        let proxy = Proxy::start(&words);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        faulted.recv().unwrap();
        // The worker has heard of it before it answered these.
        (0..3).for_each(|_| assert_eq!(proxy.get("/own").status, 204));
        go.send(()).unwrap();
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (status, text), "{said:?}");
        assert_eq!(outcomes(&proxy), counts, "{said:?}");
        until("nobody is held", || active(&proxy) == 0);
    }
}

/// Of those behind it, whoever is asked first fails once the second one was asked, which never answers.
fn failing_then_frozen() -> [Backend; 3] {
    let (tell, told) = std::sync::mpsc::channel();
    let (tell, told) = (std::sync::Mutex::new(tell), std::sync::Mutex::new(told));
    let all = Arc::new((AtomicUsize::new(0), tell, told));
    [(); 3].map(|()| {
        let all = all.clone();
        Backend::run(move |peer| {
            while peer.request().is_some() {
                let (asked, tell, told) = &*all;
                match asked.fetch_add(1, SeqCst) {
                    0 => {
                        told.lock().unwrap().recv().unwrap();
                        peer.send("HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nown");
                    }
                    1 => {
                        tell.lock().unwrap().send(()).unwrap();
                        peer.rest();
                        return;
                    }
                    _ => peer.answer("well"),
                }
            }
        })
    })
}

#[test]
fn a_hedge_at_a_frozen_backend_holds_up_neither_a_further_try_nor_the_own_answer() {
    let again = "attempts = 3, on = [\"5xx\"], budget = \"100%\"";
    for (retry, wanted) in [(again, (200, "well")), ("attempts = 1", (500, "own"))] {
        let backends = failing_then_frozen();
        let more = format!("retry = {{ {retry} }}\ntimeout = {{ first_byte = \"5m\" }}");
        let proxy = hedged(&backends.each_ref().map(|it| it.addr), HEDGED, &more);
        let response = ask(&proxy, "GET");
        assert_eq!((response.status, response.text().as_str()), wanted);
        assert_eq!(outcomes(&proxy), [0, 1, 0], "the one beside was cancelled");
        until("nobody is held", || active(&proxy) == 0);
    }
}

#[test]
fn a_try_that_breaks_while_one_is_beside_it_costs_nothing() {
    let (tell, told) = std::sync::mpsc::channel();
    let (tell, told) = (std::sync::Mutex::new(tell), std::sync::Mutex::new(told));
    let breaking = Backend::run(move |peer| {
        if peer.request().is_some() {
            told.lock().unwrap().recv().unwrap();
            peer.reset();
        }
    });
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let beside = Backend::run(move |peer| {
        if peer.request().is_some() {
            tell.lock().unwrap().send(()).unwrap();
            // Not before the other one has broken.
            let _ = gone.lock().unwrap().recv();
            peer.answer("beside");
        }
    });
    let more = "retry = { attempts = 1 }\nbalance = \"least_connections\"";
    let proxy = hedged(&[breaking.addr, beside.addr], HEDGED, more);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let open = || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools["app"].members()[0].backend.cells.open.get()
    };
    let both = || breaking.connections() == 1 && beside.connections() == 1;
    until("one is left of both", || both() && open() == 0);
    go.send(()).unwrap();
    let asked = client.response().text();
    assert_eq!(asked, "beside");
}

#[test]
fn what_may_not_be_sent_twice_is_not() {
    let ((slow, _), (slower, _)) = (silent(), silent());
    let more = "timeout = { first_byte = \"200ms\" }\nretry = { attempts = 1 }";
    for method in ["POST", "PATCH"] {
        let proxy = hedged(&[slow.addr, slower.addr], HEDGED, more);
        let before = slow.connections() + slower.connections();
        assert_eq!(ask(&proxy, method).status, 504);
        assert_eq!(slow.connections() + slower.connections() - before, 1, "{method}");
    }
    let proxy = hedged(&[slow.addr, slower.addr], HEDGED, more);
    let before = slow.connections() + slower.connections();
    let body = "Connection: close\r\nContent-Length: 4\r\n\r\nbody";
    let mut client = proxy.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: a.test\r\n{body}"));
    assert_eq!(client.response().status, 504);
    assert_eq!(slow.connections() + slower.connections() - before, 1, "a body");
}

#[test]
fn no_more_are_sent_than_the_budget_says() {
    let ((slow, _), (slower, _)) = (silent(), silent());
    let more = "timeout = { first_byte = \"60ms\" }\nretry = { attempts = 1 }";
    let proxy = hedged(&[slow.addr, slower.addr], "after = \"20ms\", budget = \"20%\"", more);
    for _ in 0..20 {
        assert_eq!(ask(&proxy, "GET").status, 504);
    }
    let beside = slow.connections() + slower.connections() - 20;
    assert!((1..=4).contains(&beside), "{beside}");
}

#[test]
fn how_long_is_usual_the_pool_learns_itself() {
    let held = Arc::new(AtomicUsize::new(0));
    let hold = held.clone();
    let one = Backend::run(move |peer| {
        while peer.request().is_some() {
            if hold.load(SeqCst) == 1 {
                peer.rest();
                return;
            }
            peer.answer("one");
        }
    });
    let two = Backend::named("two");
    let hedge = "after = \"p95\", min = \"10ms\", budget = \"100%\"";
    let proxy = hedged(&[one.addr, two.addr], hedge, "");
    for _ in 0..40 {
        assert_eq!(ask(&proxy, "GET").status, 200);
    }
    held.store(1, SeqCst);
    for _ in 0..4 {
        assert_eq!(ask(&proxy, "GET").text(), "two");
    }
    assert!(outcomes(&proxy)[0] >= 1);
}

#[test]
fn on_a_shared_connection_the_stream_alone_is_reset() {
    let (slow, fast) = (Server::h2(&["slow"]), Server::h2(&[]));
    let alone = Proxy::http(&[slow.addr], "http = \"2\"\n[server]\nworkers = 1");
    let state = |word: &str| -> u64 {
        let text = alone.get("/state").text();
        let found = text.split(' ').find_map(|pair| pair.strip_prefix(word)?.parse().ok());
        found.unwrap()
    };
    let before = state("conns=");
    let proxy = hedged(&[slow.addr, fast.addr], HEDGED, "http = \"2\"\n[server]\nworkers = 1");
    for _ in 0..4 {
        assert_eq!(proxy.get("/slow").status, 200);
    }
    assert!(outcomes(&proxy)[0] >= 1);
    until("each was reset", || state("resets=") == outcomes(&proxy)[0]);
    assert_eq!(state("conns=") - before, 1);
}
