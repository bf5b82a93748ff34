//! What is sent again, to whom, how often and when; and what never is.
use crate::support::{Backend, Client, Proxy, Response, access_lines, access_log, nobody, until};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Answers every request by this, and counts them.
fn saying(answer: &'static str) -> (Backend, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            count.fetch_add(1, SeqCst);
            peer.send(answer);
        }
    });
    (backend, asked)
}

const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nX-Who: bad\r\n\r\nbusy";

fn ask(proxy: &Proxy, method: &str) -> Response {
    let mut client = proxy.client();
    client.send(format!(
        "{method} / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    ));
    client.response_to(method)
}

/// The answer behind interim ones.
fn last(client: &mut Client) -> Response {
    loop {
        let response = client.response();
        if response.status >= 200 {
            return response;
        }
    }
}

/// How often tries of pool `app` were repeated for this reason, as the metrics say.
fn retries(proxy: &Proxy, reason: &str) -> u64 {
    let found = metric(
        proxy,
        &format!("evenkeel_upstream_retries_total{{pool=\"app\",reason=\"{reason}\"}}"),
    );
    found.unwrap_or(0)
}

fn metric(proxy: &Proxy, series: &str) -> Option<u64> {
    let text = crate::readme::scrape(proxy);
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn each_word_repeats_what_it_says_and_nothing_else() {
    let silent = Backend::run(|peer| {
        peer.request();
        peer.rest();
    });
    let reset = Backend::run(|peer| {
        peer.request();
        peer.reset();
    });
    let (unavailable, _) = saying(UNAVAILABLE);
    let refused = nobody();
    let good = Backend::named("good");
    let cases: [(&str, SocketAddr, &str, u16); 4] = [
        ("connect", refused, "connect", 502),
        ("reset", reset.addr, "reset", 502),
        ("timeout", silent.addr, "timeout", 504),
        ("503", unavailable.addr, "503", 503),
    ];
    for (on, bad, reason, status) in cases {
        let word = if on == "503" { on.to_string() } else { format!("\"{on}\"") };
        let more = "timeout = { first_byte = \"50ms\" }";
        let with = Proxy::http(&[bad, good.addr], &format!("{more}\nretry = {{ on = [{word}] }}"));
        for _ in 0..2 {
            assert_eq!(ask(&with, "GET").text(), "good", "{on}");
        }
        assert!(retries(&with, reason) >= 1, "{on}: one of two met the bad one");
        let without = Proxy::http(&[bad, good.addr], &format!("{more}\nretry = {{ on = [404] }}"));
        let mut all: Vec<u16> = (0..2).map(|_| ask(&without, "GET").status).collect();
        all.sort_unstable();
        assert_eq!(all, [200, status], "{on}");
    }
}

/// Nothing of an answer has gone to the client, but what was interim.
#[test]
fn a_backend_that_breaks_inside_its_head_is_not_the_last_word() {
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let half = "HTTP/1.1 200 OK\r\nX-Who: bad\r\nContent-Le";
    let long = format!("{HINTS}{half}").leak();
    // No head at all, and one that nobody can rely on.
    let twice = "HTTP/1.1 200 OK\r\nX-Who: bad\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let cases =
        ["HTTP/", "HTTP/1.1 200", half, go_on, HINTS, HINTS, long, "\0\u{1}garbage\r\n", twice];
    for (n, said) in cases.into_iter().enumerate() {
        let bad = Backend::run(move |peer| {
            if peer.request().is_some() {
                peer.send(said);
                // Half of them end in order.
                if n % 2 == 0 {
                    peer.reset();
                }
            }
        });
        let good = Backend::named("good");
        let proxy = Proxy::http(&[bad.addr, good.addr], "");
        for method in ["GET", "PUT", "GET", "PUT"] {
            let mut client = proxy.client();
            let head = format!("{method} / HTTP/1.1\r\nHost: a.test\r\nConnection: close");
            client.send(format!("{head}\r\nContent-Length: 3\r\n\r\nall"));
            let response = last(&mut client);
            assert_eq!(response.text(), "good", "{said:?} {method}");
            assert_eq!(response.field("X-Who"), None, "nothing is left of the other head");
        }
        let again = retries(&proxy, "reset");
        assert!(again >= 2, "{said:?}: {again}");
        let mut all = [(); 2].map(|()| {
            let mut client = proxy.client();
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
            last(&mut client).status
        });
        all.sort_unstable();
        assert_eq!(all, [200, 502], "{said:?}");
        assert_eq!(retries(&proxy, "reset"), again, "what may not be repeated is not");
    }
}

#[test]
fn an_answer_of_five_hundred_is_held_back_while_another_is_asked() {
    let (bad, asked) = saying(UNAVAILABLE);
    let good = Backend::named("good");
    let proxy = Proxy::http(&[bad.addr, good.addr], "retry = { on = [\"5xx\"] }");
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.ask("GET", "/", "").text(), "good");
    }
    assert!(asked.load(SeqCst) >= 5);
    assert_eq!(bad.connections(), 1, "what nobody gets is read, and its connection kept");
    assert_eq!(retries(&proxy, "503"), asked.load(SeqCst) as u64);
}

#[test]
fn where_nobody_else_can_be_asked_the_answer_comes_as_it_is() {
    let (bad, asked) = saying(UNAVAILABLE);
    let proxy = Proxy::http(&[bad.addr], "retry = { on = [503], attempts = 5 }");
    for _ in 0..3 {
        let response = ask(&proxy, "GET");
        assert_eq!((response.status, response.text().as_str()), (503, "busy"));
        assert_eq!(response.field("X-Who"), Some("bad"));
    }
    assert_eq!(asked.load(SeqCst), 3);
    let (worse, _) = saying(UNAVAILABLE);
    let proxy = Proxy::http(&[bad.addr, worse.addr], "retry = { on = [503], attempts = 5 }");
    assert_eq!(ask(&proxy, "GET").text(), "busy", "both were asked, the last one's word counts");
    assert_eq!(retries(&proxy, "503"), 1);
}

#[test]
fn a_post_that_was_written_is_never_repeated() {
    let (bad, one) = saying(UNAVAILABLE);
    let (worse, two) = saying(UNAVAILABLE);
    let more = "retry = { attempts = 9, on = [\"connect\", \"reset\", \"timeout\", \"5xx\"] }";
    let proxy = Proxy::http(&[bad.addr, worse.addr], more);
    for n in 1..=4 {
        assert_eq!(ask(&proxy, "POST").status, 503);
        assert_eq!(one.load(SeqCst) + two.load(SeqCst), n);
    }
    assert_eq!(retries(&proxy, "503"), 0);
}

/// The tries that reach the backends are counted there: with the first ones they are as many as the
/// budget says, whatever fails.
#[test]
fn a_pool_that_only_fails_gets_no_more_than_its_budget() {
    let (one, first) = saying(UNAVAILABLE);
    let (two, second) = saying(UNAVAILABLE);
    let (three, third) = saying(UNAVAILABLE);
    let all = [one.addr, two.addr, three.addr];
    let more = "retry = { attempts = 3, on = [503], budget = \"20%\", floor = \"1/s\", window = \"1h\", backoff = { base = \"0s\", max = \"0s\" } }";
    let proxy = Proxy::http(&all, &more.replace("1/s", "0/s"));
    let mut client = proxy.client();
    let requests = 2000;
    for _ in 0..requests {
        assert_eq!(client.ask("GET", "/", "").status, 503);
    }
    let tries = [&first, &second, &third].map(|count| count.load(SeqCst)).iter().sum::<usize>();
    let again = tries - requests;
    assert!(again <= requests / 5, "{again}");
    assert!(again >= requests / 10, "{again}: what is allowed is used");
    let refused = metric(&proxy, "evenkeel_retry_budget_exhausted_total{pool=\"app\"}").unwrap();
    assert!(refused > 0);
    assert_eq!(retries(&proxy, "503") as usize, again);
    // A reload keeps the account.
    let text = crate::support_web(&all, &more.replace("1/s", "0/s").replace("20%", "1%"));
    proxy.reload(&text).unwrap();
    assert_eq!(client.ask("GET", "/", "").status, 503);
    assert_eq!(retries(&proxy, "503") as usize, again);
}

#[test]
fn who_was_never_reached_costs_no_budget() {
    let good = Backend::named("good");
    let more = "retry = { attempts = 3, budget = \"0%\", floor = \"0/s\" }";
    let proxy = Proxy::http(&[nobody(), nobody(), good.addr], more);
    for _ in 0..6 {
        assert_eq!(ask(&proxy, "POST").text(), "good");
    }
    let reset = Backend::run(|peer| {
        peer.request();
        peer.reset();
    });
    let proxy = Proxy::http(&[reset.addr, good.addr], more);
    let failed = (0..4).filter(|_| ask(&proxy, "GET").status == 502).count();
    assert_eq!(failed, 2, "a try that may have been begun does");
}

/// Who asks for time is not asked again; whoever else is asked has asked for nothing.
#[test]
fn nobody_waits_for_another_backend_than_the_one_that_asked_for_it() {
    for after in ["60", "99999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let answer =
            format!("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: {after}\r\n\r\n");
        let (bad, _) = saying(answer.leak());
        let good = Backend::named("good");
        let more = "retry = { on = [503], backoff = { base = \"0s\", max = \"60s\" } }";
        let proxy = Proxy::http(&[bad.addr, good.addr], more);
        // A minute is more than this client waits.
        assert_eq!(ask(&proxy, "GET").text() + &ask(&proxy, "GET").text(), "goodgood");
    }
}

/// Where nobody else is left they are asked again, when that is in good time.
#[test]
fn who_asked_for_a_while_is_asked_again_after_it() {
    let busy = |asked: Arc<AtomicUsize>, after: &'static str| {
        Backend::run(move |peer| {
            while peer.request().is_some() {
                if asked.fetch_add(1, SeqCst) < 2 {
                    let field = format!("Content-Length: 4\r\nRetry-After: {after}\r\n\r\nbusy");
                    peer.send(format!("HTTP/1.1 503 Busy\r\n{field}"));
                } else {
                    peer.answer("good");
                }
            }
        })
    };
    for (after, said, times) in [("1", "good", 3), ("9", "busy", 2), ("soon", "busy", 2)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let (one, two) = (busy(asked.clone(), after), busy(asked.clone(), after));
        let more =
            "retry = { attempts = 3, on = [503], backoff = { base = \"0s\", max = \"2s\" } }";
        let proxy = Proxy::http(&[one.addr, two.addr], more);
        let begun = Instant::now();
        assert_eq!(
            (ask(&proxy, "GET").text().as_str(), asked.load(SeqCst)),
            (said, times),
            "{after}"
        );
        assert!(said == "busy" || begun.elapsed() >= Duration::from_secs(1), "it is waited for");
    }
}

#[test]
fn what_has_no_time_to_wait_fails_at_once() {
    let answer = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nRetry-After: 9\r\n\r\nbusy";
    let ((bad, _), (worse, _)) = (saying(answer), saying(answer));
    let more = "retry = { on = [503], backoff = { base = \"30s\", max = \"60s\" } }\n\
                [[route]]\npath = \"/\"\npool = \"app\"\ntimeout = { request = \"5s\" }";
    let proxy = Proxy::http(&[bad.addr, worse.addr], more);
    assert_eq!(ask(&proxy, "GET").text(), "busy");
}

#[test]
fn who_leaves_while_a_try_waits_is_not_sent_again() {
    let answer = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 60\r\n\r\n";
    let ((bad, one), (worse, two)) = (saying(answer), saying(answer));
    let more = "retry = { attempts = 3, on = [503], backoff = { base = \"0s\", max = \"60s\" } }";
    let (folder, log) = access_log();
    let proxy = Proxy::http(&[bad.addr, worse.addr], &format!("{more}\n{log}"));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let asked = || one.load(SeqCst) + two.load(SeqCst);
    until("both were asked", || asked() == 2);
    let active = || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools["app"].members().iter().map(|m| m.backend.active()).sum::<u32>()
    };
    until("it waits, and holds no place", || active() == 0);
    drop(client);
    let line = access_lines(&folder, 1).remove(0);
    assert!(line.contains(r#""reason":"client_gone""#), "{line}");
    assert_eq!(asked(), 2);
}

#[test]
fn push_back_is_obeyed() {
    let answer = |said: &str| {
        let text = format!(
            "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\ngrpc-retry-pushback-ms: {said}\r\n\r\nbusy"
        );
        &*text.leak()
    };
    let good = Backend::named("good");
    for (said, expected) in [("-1", "busy"), ("never", "busy"), ("20", "good")] {
        let (bad, _) = saying(answer(said));
        let proxy = Proxy::http(&[bad.addr, good.addr], "retry = { on = [503] }");
        let mut all = [ask(&proxy, "GET").text(), ask(&proxy, "GET").text()];
        all.sort();
        assert_eq!(all, [expected, "good"], "{said}");
    }
}

#[test]
fn a_client_of_http2_gets_the_other_answer_too() {
    use crate::support::h2::Frames;
    let (bad, _) = saying(UNAVAILABLE);
    let good = Backend::named("good");
    let proxy = Proxy::http(&[bad.addr, good.addr], "retry = { on = [503] }");
    let mut frames = Frames::connect(proxy.addr());
    for stream in [1, 3, 5, 7] {
        frames.get(stream, "/", &[]);
        assert_eq!(frames.answer(stream), (200, "good".into()));
    }
    assert!(retries(&proxy, "503") >= 2);
}

/// Over HTTP/2 to the backend: what is sent again is whole, and a call that was not taken up is made
/// again.
#[test]
fn backends_of_http2_are_asked_one_after_the_other() {
    use crate::support::Server;
    let (busy, good) = (Server::h2(&["busy"]), Server::h2(&[]));
    let more = "http = \"2\"\nretry = { on = [503] }\n[server]\nworkers = 1";
    let proxy = Proxy::http(&[busy.addr, good.addr], more);
    let send = |method: &str, path: &str, fields: &str, body: &str| {
        let mut client = proxy.client();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close");
        client.send(format!("{head}\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len()));
        client.response()
    };
    for _ in 0..4 {
        assert_eq!(send("GET", "/busy", "", "").status, 200);
        let put = send("PUT", "/busy", "", "all of it");
        assert!(put.status == 200 && put.text().contains("body: 9"), "{}", put.text());
    }
    let posts = (0..4).filter(|_| send("POST", "/busy", "", "once").status == 503).count();
    assert_eq!(posts, 2, "never repeated");
    let before = retries(&proxy, "503");
    let call = |fields: &str| {
        send(
            "POST",
            "/call",
            &format!("Content-Type: application/grpc\r\nTE: trailers\r\n{fields}"),
            "message",
        )
    };
    for _ in 0..4 {
        assert_eq!(call("").field("grpc-status"), None, "{:?}", call(""));
    }
    assert!(retries(&proxy, "503") > before);
    let ended = (0..4).filter(|_| call("X-Push-Back: -1\r\n").field("grpc-status") == Some("14"));
    assert_eq!(ended.count(), 2, "the backend said: not again");
}

/// By HTTP/1.1 to the backends, with the message in one piece and in chunks.
#[test]
fn a_call_that_was_not_taken_up_is_made_again_by_http_1_too() {
    let unavailable = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 14\r\nContent-Length: 0\r\n\r\n";
    for (fields, body, chunked) in [
        ("Content-Length: 7", "message", false),
        ("Transfer-Encoding: chunked", "7\r\nmessage\r\n0\r\n\r\n", true),
    ] {
        let read = move |peer: &mut crate::support::Peer| {
            if chunked { peer.bytes(body.len()) } else { peer.bytes(7) }
        };
        let bad = Backend::run(move |peer| {
            while peer.request().is_some() {
                read(peer);
                peer.send(unavailable);
            }
        });
        let good = Backend::run(move |peer| {
            while peer.request().is_some() {
                let body = read(peer);
                peer.answer(&String::from_utf8_lossy(&body));
            }
        });
        let call = |proxy: &Proxy| {
            let mut client = proxy.client();
            client.send(format!(
                "POST /a.B/C HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTE: trailers\r\n\
                 Content-Type: application/grpc\r\n{fields}\r\n\r\n{body}"
            ));
            client.response().text()
        };
        let proxy = Proxy::http(&[bad.addr, good.addr], "retry = { on = [503] }");
        for _ in 0..4 {
            assert_eq!(call(&proxy), body, "{fields}");
        }
        assert!(retries(&proxy, "503") >= 2, "{fields}");
        let proxy = Proxy::http(&[bad.addr, good.addr], "");
        let empty = (0..4).filter(|_| call(&proxy).is_empty()).count();
        assert_eq!(empty, 2, "nobody said that a call may be made again");
    }
}

/// Reads so much of each request's body and resets: what came of it goes to the channel.
fn cutting(after: usize) -> (Backend, std::sync::mpsc::Receiver<Vec<u8>>) {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let backend = Backend::run(move |peer| {
        if peer.request().is_some() {
            let _ = tell.lock().unwrap().send(peer.bytes(after));
            peer.reset();
        }
    });
    (backend, told)
}

/// Answers with the length and a sum of the body it read, whose length is said.
fn summing() -> Backend {
    Backend::run(|peer| {
        while let Some(head) = peer.request() {
            let n = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
            });
            let body = peer.bytes(n.unwrap());
            peer.answer(&summed(&body));
        }
    })
}

fn summed(body: &[u8]) -> String {
    let sum = body.iter().fold(7u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b)));
    format!("{} {sum}", body.len())
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 % 251) as u8).collect()
}

fn put(proxy: &Proxy, method: &str, body: &[u8]) -> Response {
    let mut client = proxy.client();
    let n = body.len();
    let head = format!(
        "{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {n}\r\n\r\n"
    );
    client.send(head);
    // In two parts: the second comes when the first is long with the backend.
    client.send(&body[..n / 2]);
    client.send(&body[n / 2..]);
    client.response()
}

#[test]
fn a_body_that_broke_in_the_middle_is_sent_whole_to_another() {
    let (bad, cut) = cutting(1000);
    let good = summing();
    let proxy = Proxy::http(&[bad.addr, good.addr], "");
    for n in [1000, 5000, 20_000, 64 << 10] {
        let body = pattern(n);
        for method in ["PUT", "DELETE", "PUT"] {
            let response = put(&proxy, method, &body);
            assert_eq!((response.status, response.text()), (200, summed(&body)), "{method} {n}");
        }
    }
    let halves: Vec<Vec<u8>> = cut.try_iter().collect();
    assert!(halves.len() >= 4, "the one that breaks was asked");
    assert!(halves.iter().all(|half| *half == pattern(1000)), "and heard the body's beginning");
    assert_eq!(retries(&proxy, "reset"), halves.len() as u64);
}

#[test]
fn what_is_too_long_to_be_kept_or_may_not_be_repeated_is_sent_once() {
    let (bad, cut) = cutting(100);
    let good = summing();
    for (more, method, n) in [
        ("", "PUT", (64 << 10) + 1),
        ("retry = { body = \"1KiB\" }", "PUT", 1025),
        ("retry = { body = \"0B\" }", "PUT", 100),
        ("", "POST", 100),
        ("", "PATCH", 100),
    ] {
        let proxy = Proxy::http(&[bad.addr, good.addr], more);
        let body = pattern(n);
        let mut all = [put(&proxy, method, &body), put(&proxy, method, &body)].map(|r| r.status);
        all.sort_unstable();
        assert_eq!(all, [200, 502], "{more} {method} {n}");
        assert_eq!(cut.try_iter().count(), 1);
    }
}

#[test]
fn chunks_and_trailers_are_sent_again_as_they_came() {
    let (bad, cut) = cutting(10);
    let good = Backend::run(|peer| {
        while peer.request().is_some() {
            let mut all = Vec::new();
            while !all.ends_with(b"0\r\nX-Sum: 7\r\n\r\n") {
                all.push(peer.byte().unwrap());
            }
            peer.answer(&String::from_utf8_lossy(&all));
        }
    });
    let proxy = Proxy::http(&[bad.addr, good.addr], "");
    for _ in 0..4 {
        let mut client = proxy.client();
        client.send(
            "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
             6\r\nfirst \r\n7\r\nsecond \r\n",
        );
        client.send("5\r\nthird\r\n0\r\nX-Sum: 7\r\n\r\n");
        let text = client.response().text();
        let chunks: String = text.split("\r\n").skip(1).step_by(2).collect();
        assert!(chunks.starts_with("first second third"), "{text}");
    }
    assert!(cut.try_iter().count() >= 2);
}

/// The one that answers before it has read all is answered for; who is asked instead gets all of it.
#[test]
fn an_early_answer_that_is_not_wanted_costs_the_next_one_nothing() {
    let bad = Backend::run(|peer| {
        if peer.request().is_some() {
            peer.bytes(100);
            peer.send(UNAVAILABLE.replace("X-Who", "Connection: close\r\nX-Who"));
            peer.rest();
        }
    });
    let good = summing();
    let proxy = Proxy::http(&[bad.addr, good.addr], "retry = { on = [503] }");
    let body = pattern(40_000);
    for _ in 0..4 {
        assert_eq!(put(&proxy, "PUT", &body).text(), summed(&body));
    }
    assert!(retries(&proxy, "503") >= 2);
    let alone = Proxy::http(&[bad.addr], "retry = { on = [503] }");
    assert_eq!(put(&alone, "PUT", &body).text(), "busy", "the rest goes to nobody else");
}
