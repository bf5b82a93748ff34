//! What a backend does to us, and what a client sees of it.
use crate::support::{Backend, Client, Proxy, nobody, until, web};
use std::net::TcpListener;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn a_refused_backend_is_passed_over_and_taken_out() {
    let good = Backend::named("good");
    let proxy = Proxy::http(&[nobody(), good.addr], "");
    let mut client = proxy.client();
    for n in 0..10 {
        // Also a request that may not be repeated: not one byte of it was written.
        client.send(format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(client.response().text(), "good");
    }
    assert_eq!(proxy.state("b1"), "down");
    assert_eq!(proxy.state("b2"), "up");
}

#[test]
fn with_nobody_reachable_the_answer_says_so() {
    let proxy = Proxy::http(&[nobody(), nobody()], "");
    assert_eq!(proxy.get("/").status, 502);
    // Both are known to be down: nothing is dialled for the next one.
    let mut client = proxy.client();
    client.send(GET);
    let response = client.response();
    assert_eq!((response.status, response.field("Retry-After")), (503, Some("1")));
}

#[test]
fn a_backend_that_comes_back_gets_work_again() {
    let addr = nobody();
    let proxy = Proxy::http(&[addr], "");
    assert_eq!(proxy.get("/").status, 502);
    proxy.until_state("b1", "down");
    let listener = TcpListener::bind(addr).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let mut buf = [0; 4096];
                if stream.read(&mut buf).is_ok_and(|n| n > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback");
                }
            });
        }
    });
    until("b1 gets work", || proxy.get("/").text() == "back");
}

/// Closes after its first answer, at the moment the next request comes: it reads it and says nothing.
fn racing() -> Backend {
    Backend::run(|peer| {
        if peer.request().is_some() {
            peer.answer("answer");
        }
        if peer.number == 0 {
            let _ = peer.request();
        } else {
            while peer.request().is_some() {
                peer.answer("answer");
            }
        }
    })
}

#[test]
fn a_kept_connection_that_closes_at_its_reuse_costs_a_get_nothing() {
    let backend = racing();
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    for _ in 0..5 {
        client.send(GET);
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (200, "answer"));
    }
    assert_eq!(backend.connections(), 2);
    assert_eq!(proxy.state("b1"), "up", "a stale connection is nobody's fault");
}

/// Each connection ends under its second request: a server that counts, or whose limit is shorter than ours.
#[test]
fn connections_that_always_close_at_their_reuse_cost_no_get_once_that_is_known() {
    let backend = Backend::run(|peer| {
        if peer.request().is_some() {
            peer.answer("answer");
            let _ = peer.request();
        }
    });
    let rules = "retry = { budget = \"10%\", floor = \"2/s\" }";
    let proxy = Proxy::http(&[backend.addr], rules);
    let mut client = proxy.client();
    for n in 0..200 {
        client.send(GET);
        assert_eq!(client.response().status, 200, "request {n}");
    }
    assert_eq!(backend.connections(), 200);
}

/// Half of the budget may be gone for the faults of somebody else.
#[test]
fn a_backend_that_seldom_closes_a_kept_connection_keeps_them_while_another_spends_the_budget() {
    let well = Backend::run(|peer| {
        for _ in 0..50 {
            match peer.request() {
                Some(_) => peer.answer("answer"),
                None => return,
            }
        }
        let _ = peer.request();
    });
    let ill = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let rules = "retry = { on = [\"connect\", \"reset\", \"5xx\"] }";
    let proxy = Proxy::http(&[well.addr, ill.addr], rules);
    let mut client = proxy.client();
    for _ in 0..600 {
        client.send(GET);
        client.response();
    }
    let none = "evenkeel_retry_budget_exhausted_total{pool=\"app\"} 0\n";
    assert!(!crate::readme::scrape(&proxy).contains(none), "the budget was spent");
    assert!(well.connections() < 30, "{} connections", well.connections());
}

/// Reads a request on each connection and resets it.
fn breaking() -> Backend {
    Backend::run(|peer| {
        peer.request();
        peer.reset();
    })
}

#[test]
fn a_reset_before_the_answer_costs_a_get_nothing() {
    let (bad, good) = (breaking(), Backend::named("good"));
    let proxy = Proxy::http(&[bad.addr, good.addr], "");
    for _ in 0..8 {
        let response = proxy.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "good"));
    }
    assert!(bad.connections() > 0, "the one that breaks was tried");
    let plan = proxy.running().state().plan.load_full().unwrap();
    assert_eq!(plan.pools["app"].retries_reset.get(), bad.connections() as u64);
}

#[test]
fn a_reset_is_only_tried_again_where_it_may_be() {
    let (bad, good) = (breaking(), Backend::named("good"));
    let broken = |more: &str, method: &str| {
        let proxy = Proxy::http(&[bad.addr, good.addr], more);
        let ask = |_| {
            let mut client = proxy.client();
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
            client.response().status
        };
        (0..4).map(ask).filter(|status| *status == 502).count()
    };
    assert_eq!(broken("", "DELETE"), 0);
    assert_eq!(broken("", "POST"), 2, "what may not be repeated");
    assert_eq!(broken("retry = { on = [\"connect\"] }", "GET"), 2, "what nobody asked for");
    assert_eq!(broken("retry = { attempts = 1 }", "GET"), 2);
}

#[test]
fn nothing_is_tried_again_when_nothing_is_said() {
    let good = Backend::named("good");
    let proxy = Proxy::http(&[nobody(), good.addr], "retry = { on = [] }");
    let statuses: Vec<u16> = (0..4).map(|_| proxy.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 1, "{statuses:?}");
}

#[test]
fn a_written_post_is_never_sent_twice() {
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = seen.clone();
    let backend = Backend::run(move |peer| {
        for _ in 0..64 {
            if peer.request().is_none() {
                return;
            }
            peer.answer("one of the first");
        }
        if peer.request().is_some() {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    for _ in 0..64 {
        client.send(GET);
        assert_eq!(client.response().status, 200);
    }
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().status, 502);
    assert_eq!(seen.load(std::sync::atomic::Ordering::SeqCst), 1);
}

/// It may close its connections after a few requests, at the moment of the next one.
#[test]
fn a_post_takes_no_kept_connection_of_a_backend_that_nobody_knows() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.answer("first");
        peer.request();
        peer.reset();
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    for _ in 0..20 {
        client.send(GET);
        assert_eq!(client.response().text(), "first", "sent again where it must be");
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().text(), "first");
    }
}

#[test]
fn a_kept_connection_that_closed_long_ago_is_not_used() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.answer("once");
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    for _ in 0..4 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response().text(), "once");
        // The end of the connection is there before the next request.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn garbage_of_a_backend_is_502() {
    for garbage in [
        "hello\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "",
    ] {
        let backend = Backend::run(move |peer| {
            peer.request();
            peer.send(garbage);
        });
        let proxy = Proxy::http(&[backend.addr], "");
        assert_eq!(proxy.get("/").status, 502, "{garbage:?}");
    }
}

#[test]
fn a_head_without_end_is_502() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n");
        for _ in 0..3000 {
            peer.send("X-Filler: 0123456789012345678901234567890123456789\r\n");
        }
        peer.rest();
    });
    let proxy = Proxy::http(&[backend.addr], "");
    assert_eq!(proxy.get("/").status, 502);
}

#[test]
fn bytes_that_nobody_asked_for_never_reach_the_next_client() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send(GET);
        assert_eq!(client.response().text(), "ok");
    }
}

#[test]
fn each_limit_on_time_names_itself() {
    let silent = Backend::run(|peer| {
        peer.request();
        peer.rest();
    });
    for (limit, reason) in [("first_byte", "timeout_first_byte"), ("request", "timeout_request")] {
        let (folder, log) = crate::support::access_log();
        let limits = format!("timeout = {{ {limit} = \"50ms\" }}\n{log}");
        let proxy = Proxy::http(&[silent.addr], &limits);
        assert_eq!(proxy.get("/").status, 504);
        let line = crate::support::access_lines(&folder, 1).remove(0);
        assert!(line.contains(&format!(r#""reason":"{reason}""#)), "{line}");
        let own =
            format!("evenkeel_responses_own_total{{listener=\"web\",reason=\"{reason}\"}} 1\n");
        assert!(crate::readme::scrape(&proxy).contains(&own));
        is_hit(&proxy, limit);
        assert_eq!(proxy.state("b1"), "up");
    }

    // It is connected to, and does not begin to speak.
    let mute = Backend::run(|peer| drop(peer.rest()));
    let (folder, log) = crate::support::access_log();
    let limits = format!("http = \"2\"\ntimeout = {{ connect = \"50ms\" }}\n{log}");
    let proxy = Proxy::http(&[mute.addr], &limits);
    assert_eq!(proxy.get("/").status, 504);
    let line = crate::support::access_lines(&folder, 1).remove(0);
    assert!(line.contains(r#""reason":"timeout_connect""#), "{line}");
    let own = "evenkeel_responses_own_total{listener=\"web\",reason=\"timeout_connect\"} 1\n";
    assert!(crate::readme::scrape(&proxy).contains(own));

    let stalls = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        peer.rest();
    });
    let proxy = Proxy::http(&[stalls.addr], "timeout = { idle = \"50ms\" }");
    assert!(!proxy.get("/").complete);
}

#[test]
fn a_slow_head_is_408_and_closed() {
    let backend = Backend::named("one");
    let web = crate::support_web(&[backend.addr], "");
    let proxy = Proxy::start(&format!("{web}\n[defaults]\ntimeout = {{ header = \"100ms\" }}\n"));
    for begun in ["G", "GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY"] {
        let mut client = proxy.client();
        client.send(begun);
        let response = client.response();
        assert_eq!(
            (response.status, response.field("Connection")),
            (408, Some("close")),
            "{begun:?}"
        );
        assert!(client.is_closed());
    }
    assert_eq!(backend.connections(), 0);
}

/// A backend that takes its time, but never stands still for long.
fn in_pieces(pieces: &'static [&'static str], pause: u64) -> Backend {
    Backend::run(move |peer| {
        let Some(head) = peer.request() else { return };
        let length = head
            .split("Content-Length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap_or_default().parse().unwrap_or(0));
        peer.bytes(length);
        for piece in pieces {
            std::thread::sleep(Duration::from_millis(pause));
            peer.send(piece);
        }
        peer.rest();
    })
}

#[test]
fn first_byte_is_over_with_the_first_byte() {
    let pieces = &["HTTP/1.1 200 OK\r\n", "X: 1\r\n", "Content-Length: 2\r\n", "\r\n", "ok"];
    let backend = in_pieces(pieces, 250);
    let proxy = Proxy::http(&[backend.addr], "timeout = { first_byte = \"700ms\", idle = \"5s\" }");
    let response = proxy.get("/");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
}

#[test]
fn a_head_that_comes_byte_by_byte_has_no_longer_than_idle() {
    const SLOW: [&str; 400] = {
        let mut pieces = ["x"; 400];
        pieces[0] = "HTTP/1.1 200 OK\r\nX: ";
        pieces
    };
    let backend = in_pieces(&SLOW, 20);
    let (folder, log) = crate::support::access_log();
    let proxy = Proxy::http(&[backend.addr], &format!("timeout = {{ idle = \"300ms\" }}\n{log}"));
    assert_eq!(proxy.get("/").status, 504);
    let line = &crate::support::access_lines(&folder, 1)[0];
    assert!(line.contains(r#""reason":"timeout_idle""#), "{line}");
}

#[test]
fn after_an_interim_answer_the_final_one_has_its_own_time() {
    let pieces =
        &["HTTP/1.1 102 Processing\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"];
    let backend = in_pieces(pieces, 10);
    // `first_byte` is what an answer may take, `idle` is not: each upload here takes longer.
    let proxy =
        Proxy::http(&[backend.addr], "timeout = { first_byte = \"600ms\", idle = \"600ms\" }");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(100));
        client.send("x");
    }
    assert_eq!(client.response().status, 102);
    assert_eq!(client.response().status, 200);
}

/// Sends a head and a piece of the body, then only says when the proxy let go.
fn event_stream() -> (Backend, std::sync::mpsc::Receiver<()>) {
    let (tell, heard) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let backend = Backend::run(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        peer.rest();
        let _ = tell.lock().unwrap().send(());
    });
    (backend, heard)
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_cancels_it() {
    let (backend, heard) = event_stream();
    let (folder, log) = crate::support::access_log();
    let proxy = Proxy::http(&[backend.addr], &log);
    let mut client = proxy.client();
    client.send(GET);
    assert!(!client.until("one\r\n").is_empty());
    drop(client);
    heard.recv_timeout(crate::support::PATIENCE).expect("the backend is let go long before `idle`");
    let line = crate::support::access_lines(&folder, 1).remove(0);
    assert!(line.contains(r#""reason":"client_gone""#), "{line}");
}

#[test]
fn a_body_that_stands_still_is_408() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.rest();
    });
    let (folder, log) = crate::support::access_log();
    let proxy = Proxy::http(&[backend.addr], &format!("timeout = {{ idle = \"100ms\" }}\n{log}"));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    let response = client.response();
    assert_eq!((response.status, response.field("Connection")), (408, Some("close")));
    let line = crate::support::access_lines(&folder, 1).remove(0);
    assert!(line.contains(r#""reason":"timeout_idle""#), "{line}");
    is_hit(&proxy, "idle");
    client.send("defghijGET /behind HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.is_closed());
    assert_eq!(backend.connections(), 1);
}

#[test]
fn max_active_is_never_exceeded() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let (now, most) =
        (std::sync::Arc::new(AtomicUsize::new(0)), std::sync::Arc::new(AtomicUsize::new(0)));
    let (n, m) = (now.clone(), most.clone());
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            m.fetch_max(n.fetch_add(1, SeqCst) + 1, SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            n.fetch_sub(1, SeqCst);
            peer.answer("ok");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "max_active = 3");
    let addr = proxy.addr();
    let clients: Vec<_> = (0..12)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(addr);
                let mut good = 0;
                for _ in 0..20 {
                    client.send(GET);
                    let status = client.response().status;
                    assert!(status == 200 || status == 503, "{status}");
                    good += usize::from(status == 200);
                }
                good
            })
        })
        .collect();
    let good: usize = clients.into_iter().map(|c| c.join().unwrap()).sum();
    assert!(most.load(SeqCst) <= 3 && good > 0, "{} at once, {good} good", most.load(SeqCst));
    until("all are given back", || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools["app"].members()[0].backend.active() == 0
    });
}

#[test]
fn a_backup_takes_over_from_the_request_that_found_the_primary_gone() {
    // The second table takes long to build: what is not published yet is waited for.
    let large = "balance = { policy = \"consistent_hash\", key = [\"path\"], size = 65537 }";
    for round in 0..20 {
        let backup = Backend::named("backup");
        let proxy = Proxy::start(&format!(
            "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
             [pool.app]\nbackends = [\"{}\", {{ addr = \"{}\", backup = true }}]\n{}\n",
            nobody(),
            backup.addr,
            if round % 4 == 0 { large } else { "" }
        ));
        // Past the quiet of the start, the next publication comes at once.
        std::thread::sleep(Duration::from_millis(60));
        let response = proxy.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "backup"));
    }
}

#[test]
fn an_upload_that_moves_is_not_idle_once_its_answer_has_begun() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
        assert_eq!(peer.bytes(10).len(), 10);
        peer.send("cd");
        peer.rest();
    });
    let proxy = Proxy::http(&[backend.addr], "timeout = { idle = \"600ms\" }");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(100));
        client.send("x");
    }
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "abcd"));
}

#[test]
fn too_many_interim_answers_are_502_and_counted() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 102 P\r\n\r\n".repeat(4));
        peer.rest();
    });
    let proxy = Proxy::http(&[backend.addr], "limits = { interim = 3 }");
    let mut client = proxy.client();
    client.send(GET);
    for _ in 0..3 {
        assert_eq!(client.response().status, 102);
    }
    assert_eq!(client.response().status, 502);
    let plan = proxy.running().state().plan.load_full().unwrap();
    let hits = || plan.listeners["web"].cells.limit_hits.all();
    until("it is counted", || hits().contains(&("interim", 1)));
}

#[test]
fn a_timeout_in_the_middle_of_an_answer_names_itself() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        peer.rest();
    });
    for (limit, reason) in [("idle", "timeout_idle"), ("request", "timeout_request")] {
        let (folder, log) = crate::support::access_log();
        let limits = format!("timeout = {{ {limit} = \"50ms\" }}\n{log}");
        let proxy = Proxy::http(&[backend.addr], &limits);
        assert!(!proxy.get("/").complete);
        let line = crate::support::access_lines(&folder, 1).remove(0);
        assert!(line.contains(&format!(r#""reason":"{reason}""#)), "{line}");
        is_hit(&proxy, limit);
    }
}

/// Counted by the last word of its key.
#[track_caller]
fn is_hit(proxy: &Proxy, limit: &str) {
    let hit = format!("evenkeel_limit_hits_total{{listener=\"web\",limit=\"{limit}\"}} 1\n");
    let metrics = crate::readme::scrape(proxy);
    assert!(metrics.contains(&hit), "{limit}: {metrics}");
}

#[test]
fn a_client_that_says_nothing_in_time_is_counted() {
    let good = Backend::named("good");
    let proxy = Proxy::http(
        &[good.addr],
        "[defaults]\ntimeout = { keep_alive = \"50ms\", header = \"2s\" }",
    );
    let mut client = proxy.client();
    assert_eq!(client.ask("GET", "/", "").status, 200);
    assert!(client.is_closed());
    is_hit(&proxy, "keep_alive");
    assert!(proxy.client().is_closed());
    is_hit(&proxy, "header");
}

#[test]
fn trailers_are_bounded_by_the_limit_of_their_route() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.rest();
    });
    let proxy = Proxy::http(&[backend.addr], "limits = { trailers = \"16B\" }");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n");
    client.send("X-Sum: 12345678901234567890\r\n\r\n");
    assert_eq!(client.response().status, 400);
}

#[test]
fn a_head_goes_out_before_its_body_if_that_takes_its_time() {
    let (tell, heard) = std::sync::mpsc::channel::<()>();
    let heard = std::sync::Mutex::new(heard);
    let backend = Backend::run(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        // The body is made once the client has the head.
        heard.lock().unwrap().recv_timeout(crate::support::PATIENCE).unwrap();
        peer.send("late");
        peer.rest();
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send(GET);
    assert!(client.until("\r\n\r\n").starts_with(b"HTTP/1.1 200 OK\r\n"));
    tell.send(()).unwrap();
    assert_eq!(client.bytes(4), b"late");
}

#[test]
fn a_backend_that_breaks_behind_its_head_is_answered_for() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        peer.reset();
    });
    let proxy = Proxy::http(&[backend.addr], "");
    assert_eq!(proxy.get("/").status, 502);
}

#[test]
fn what_is_left_of_interim_answers_is_whole_before_our_own() {
    let link = "x".repeat(30_000);
    let interim = format!("HTTP/1.1 103 Early Hints\r\nLink: <{link}>\r\n\r\n");
    let backend = Backend::run(move |peer| {
        peer.request();
        // More than the client's side takes: a part of one is written, the rest waits.
        peer.send(interim.repeat(300));
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        peer.reset();
    });
    let proxy = Proxy::http(&[backend.addr], "limits = { interim = 1000 }");
    let mut client = proxy.client();
    client.send(GET);
    let mut interims = 0;
    loop {
        let response = client.response();
        if response.status != 103 {
            assert_eq!(response.status, 502);
            break;
        }
        assert!(response.field("Link").is_some_and(|value| value.len() == 30_002));
        interims += 1;
    }
    assert!(interims > 0, "some were there");
}

#[test]
fn a_body_behind_an_answer_that_has_none_reaches_nobody_and_its_backend_is_known_for_it() {
    let ((go, told), (said, hear)) = (mpsc::channel::<()>(), mpsc::channel());
    let (told, said) = (Mutex::new(told), Mutex::new(said));
    let backend = Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
            if head.starts_with("HEAD /late ") {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n");
                told.lock().unwrap().recv().unwrap();
                peer.send(evil);
                said.lock().unwrap().send("sent").unwrap();
            } else if head.starts_with("HEAD /") || head.starts_with("GET /304 ") {
                let status = if head.starts_with("HEAD") { "200 OK" } else { "304 Not Modified" };
                peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 9\r\n\r\n"));
                assert_eq!(peer.rest(), b"", "no request follows");
                said.lock().unwrap().send("closed").unwrap();
            } else {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
            }
        }
    });
    let proxy = Proxy::start(&(format!("[server]\nworkers = 1\n{}", web(&[backend.addr], ""))));
    let mut client = proxy.client();
    assert_eq!(client.ask("GET", "/", "").text(), "good");
    client.send("HEAD /late HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.until("\r\n\r\n").starts_with(b"HTTP/1.1 200"));
    go.send(()).unwrap();
    assert_eq!(hear.recv().unwrap(), "sent");
    for path in ["/", "/"] {
        assert_eq!(client.ask("GET", path, "").text(), "good");
    }
    // Noticed by the next request, or within a second.
    until("its connection is closed", || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools["app"].members()[0].backend.cells.open.get() == 1
    });
    for request in ["HEAD / HTTP/1.1", "GET /304 HTTP/1.1"] {
        client.send(format!("{request}\r\nHost: a\r\n\r\n"));
        client.until("\r\n\r\n");
        assert_eq!(hear.recv().unwrap(), "closed");
    }
    assert_eq!(client.ask("GET", "/", "").text(), "good");
}
