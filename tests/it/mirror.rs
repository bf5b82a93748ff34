//! Copies of requests to another pool: what they are, and that nobody waits for them.
use crate::readme::scrape;
use crate::support::h2::{DATA, END_STREAM, Frames};
use crate::support::{Backend, Client, Proxy, Response, nobody, until};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// A route with this mirror, to `app`; its copies go to `shadow`.
fn words(app: SocketAddr, shadow: SocketAddr, mirror: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n\
         [[route]]\nname = \"main\"\npool = \"app\"\nmirror = {{ pool = \"shadow\", {mirror} }}\n\
         [pool.app]\nbackends = [\"{app}\"]\n[pool.shadow]\nbackends = [\"{shadow}\"]\n"
    )
}

/// A backend that tells of each request with its body, and answers when it is let.
fn telling(answers: bool) -> (Backend, Receiver<(String, Vec<u8>)>) {
    let (tell, told) = channel();
    let tell: Arc<Mutex<Sender<_>>> = Arc::new(Mutex::new(tell));
    let backend = Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1);
            let mut body = Vec::new();
            if let Some(length) = length {
                body = peer.bytes(length.lines().next().unwrap().parse().unwrap());
            } else if lower.contains("transfer-encoding: chunked") {
                while !body.ends_with(b"0\r\n\r\n") {
                    body.push(peer.byte().unwrap());
                }
            }
            let _ = tell.lock().unwrap().send((head, body));
            if answers {
                peer.send("HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\nshadow");
            } else {
                peer.rest();
            }
        }
    });
    (backend, told)
}

/// A backend that reads bodies of a said length, and answers with its name.
fn named(name: &'static str) -> Backend {
    Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            let lower = head.to_ascii_lowercase();
            if let Some(length) = lower.split("content-length: ").nth(1) {
                peer.bytes(length.lines().next().unwrap().parse().unwrap());
            } else if lower.contains("transfer-encoding: chunked") {
                let mut last = Vec::new();
                while !last.ends_with(b"0\r\n\r\n") {
                    last.push(peer.byte().unwrap());
                }
            }
            peer.answer(if head.contains("X-Mirrored") { "marked" } else { name });
        }
    })
}

fn ask(client: &mut Client, request: &str) -> Response {
    client.send(request);
    client.response()
}

/// How often each result was counted: success, failure, dropped.
fn counted(proxy: &Proxy) -> [u64; 3] {
    let text = scrape(proxy);
    ["success", "failure", "dropped"].map(|result| {
        let line = format!("evenkeel_mirror_total{{route=\"main\",result=\"{result}\"}} ");
        text.split(&line).nth(1).unwrap().lines().next().unwrap().parse().unwrap()
    })
}

#[test]
fn a_copy_is_the_request_as_backends_see_it_and_says_that_it_is_one() {
    let app = named("app");
    let (shadow, told) = telling(true);
    let proxy = Proxy::start(&words(app.addr, shadow.addr, "share = \"100%\""));
    let mut client = proxy.client();
    let get = "GET /a?b=1 HTTP/1.1\r\nHost: a.test\r\nX-Own: 1\r\nX-Mirrored: mine\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
    let answer = ask(&mut client, get);
    // Whoever is asked first: a client cannot pass for a copy.
    assert_eq!((answer.status, answer.text().as_str()), (200, "app"));
    let (head, body) = told.recv().unwrap();
    assert!(head.starts_with("GET /a?b=1 HTTP/1.1\r\n") && body.is_empty(), "{head}");
    for line in ["Host: a.test", "X-Own: 1", "X-Mirrored: main", "X-Forwarded-For: 127.0.0.1"] {
        assert!(head.contains(&format!("{line}\r\n")), "{line} is not in {head}");
    }
    assert!(!head.contains("mine") && !head.to_lowercase().contains("x-hop"), "{head}");
    // Bodies, of a length that is said and in chunks.
    let post = "POST /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(ask(&mut client, post).text(), "app");
    let (head, body) = told.recv().unwrap();
    assert!(head.starts_with("POST /p ") && body == b"hello", "{head}");
    let chunked = "POST /c HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    assert_eq!(ask(&mut client, chunked).text(), "app");
    let (_, body) = told.recv().unwrap();
    let data: Vec<u8> = body.into_iter().filter(u8::is_ascii_lowercase).collect();
    assert_eq!(data, b"abcdefg");
    until("all are counted", || counted(&proxy) == [3, 0, 0]);
}

#[test]
fn by_http_2_it_is_the_same() {
    let app = named("app");
    let (shadow, told) = telling(true);
    let proxy = Proxy::start(&words(app.addr, shadow.addr, "share = \"100%\""));
    let mut frames = Frames::connect(proxy.addr());
    frames.post(1, "/p", &[("content-length", "6")]);
    frames.send(DATA, 0, 1, b"abc");
    frames.send(DATA, END_STREAM, 1, b"def");
    assert_eq!(frames.answer(1), (200, "app".into()));
    assert_eq!(told.recv().unwrap().1, b"abcdef");
    frames.get(3, "/g", &[]);
    assert_eq!(frames.answer(3), (200, "app".into()));
    assert!(told.recv().unwrap().0.starts_with("GET /g "));
    until("both are counted", || counted(&proxy) == [2, 0, 0]);
}

#[test]
fn nobody_waits_for_a_copy_and_those_under_way_are_bounded() {
    let app = named("app");
    let (shadow, told) = telling(false);
    let mirror = "share = \"100%\", in_flight = 2, timeout = \"300s\"";
    let proxy = Proxy::start(&words(app.addr, shadow.addr, mirror));
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "app");
    }
    for _ in 0..2 {
        told.recv().unwrap();
    }
    assert_eq!(counted(&proxy), [0, 0, 3]);
    // None is ever answered: their time ends them, and there is room again.
    let short = "share = \"100%\", in_flight = 2, timeout = \"50ms\"";
    proxy.reload(&words(app.addr, shadow.addr, short)).unwrap();
    drop(shadow);
    let (shadow, told) = telling(false);
    let proxy = Proxy::start(&words(app.addr, shadow.addr, short));
    let mut client = proxy.client();
    for n in 1..4 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "app");
        told.recv().unwrap();
        until("its time is over", || counted(&proxy) == [0, n, 0]);
    }
}

/// A place is for a copy that is sent: a request that takes its time to come has none.
#[test]
fn slow_uploads_keep_nobody_else_from_being_copied() {
    let app = named("app");
    let (shadow, told) = telling(true);
    let mirror = "share = \"100%\", in_flight = 1, body = \"10B\"";
    let proxy = Proxy::start(&words(app.addr, shadow.addr, mirror));
    let half = "PUT /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhal";
    let mut slow: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    slow.iter_mut().for_each(|client| client.send(half));
    let mut client = proxy.client();
    for n in 1..6 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "app");
        assert!(told.recv().unwrap().0.starts_with("GET "));
        until("it is over", || counted(&proxy)[0] == n);
    }
    for client in &mut slow {
        assert_eq!(ask(client, "f!").text(), "app");
    }
    // Three times five bytes are more than may be held, ten.
    until("each is counted", || counted(&proxy).iter().sum::<u64>() == 8);
    let [success, failure, dropped] = counted(&proxy);
    assert!(success >= 6 && failure == 0 && dropped >= 1, "{success} {dropped}");
    assert_eq!(told.recv().unwrap().1, b"half!");
}

#[test]
fn what_is_too_long_is_not_copied() {
    let app = named("app");
    let (shadow, told) = telling(true);
    let proxy = Proxy::start(&words(app.addr, shadow.addr, "share = \"100%\", body = \"1KiB\""));
    let mut client = proxy.client();
    let post = |n: usize| {
        let body = "x".repeat(n);
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{body}")
    };
    let chunks = |n: usize| {
        let body = "x".repeat(n);
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{n:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    for (request, copied) in [
        (post(1024), true),
        (post(1025), false),
        (chunks(1024), true),
        (chunks(1025), false),
        (post(3_000_000), false),
    ] {
        assert_eq!(ask(&mut client, &request).text(), "app");
        if copied {
            assert!(told.recv().unwrap().1.len() >= 1024);
        }
    }
    until("all are counted", || counted(&proxy) == [2, 0, 3]);
    assert!(told.try_recv().is_err());
}

#[test]
fn a_mirror_that_is_not_there_harms_nobody() {
    let app = named("app");
    let proxy = Proxy::start(&words(app.addr, nobody(), "share = \"100%\""));
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "app");
    }
    until("all are counted", || counted(&proxy) == [0, 3, 0]);
    let text = scrape(&proxy);
    let line = format!("evenkeel_backend_up{{pool=\"app\",backend=\"{}\"}} 1\n", app.addr);
    assert!(text.contains(&line), "{text}");
}

#[test]
fn copies_wait_behind_all_who_wait_for_their_pool_and_their_requests_for_nothing() {
    let app = named("app");
    let (busy, order) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
    let (is_busy, came) = (busy.clone(), order.clone());
    let shadow = Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            came.lock().unwrap().push(head.contains("X-Mirrored"));
            until("it is let", || !is_busy.load(Ordering::SeqCst));
            peer.answer("shadow");
        }
    });
    let mirror = "share = \"100%\", in_flight = 50, timeout = \"300s\"";
    let queue = "max_active = 1\nqueue = { size = 3, timeout = \"300s\" }\n";
    let own = "[[route]]\npath = \"/own\"\npool = \"shadow\"\n";
    let proxy = Proxy::start(&format!("{}{queue}{own}", words(app.addr, shadow.addr, mirror)));
    let mut client = proxy.client();
    for _ in 0..6 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "app");
    }
    until("one has the place, and the queue as many as it takes", || {
        order.lock().unwrap().len() == 1 && counted(&proxy) == [0, 2, 0]
    });
    let mut users = [(); 3].map(|()| proxy.client());
    users.iter_mut().for_each(|user| user.send("GET /own HTTP/1.1\r\nHost: a\r\n\r\n"));
    let plan = proxy.running().state().plan.load_full().unwrap();
    until("so many of users wait, too", || plan.pools["shadow"].queue_depth() == 6);
    busy.store(false, Ordering::SeqCst);
    users.iter_mut().for_each(|user| assert_eq!(user.response().text(), "shadow"));
    until("all had their turn", || counted(&proxy) == [4, 2, 0]);
    let order = order.lock().unwrap();
    assert_eq!(order[..], [true, false, false, false, true, true, true]);
}

#[test]
fn a_share_of_the_requests_is_copied() {
    let app = named("app");
    let (shadow, _told) = telling(true);
    let proxy = Proxy::start(&words(app.addr, shadow.addr, "share = \"25%\", in_flight = 1000"));
    let mut client = proxy.client();
    for _ in 0..800 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    // 200 expected; six standard deviations are 74.
    until("all are counted", || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.shaping.mirrors.is_empty()
    });
    let [success, failure, dropped] = counted(&proxy);
    assert!((126..=274).contains(&success) && failure + dropped == 0, "{success}");
}

#[test]
fn a_proxy_that_ends_lets_its_copies_end() {
    let app = named("app");
    let (ask_it, asked) = channel::<()>();
    let (address, addressed) = channel::<SocketAddr>();
    let (ask_it, addressed) = (Mutex::new(ask_it), Mutex::new(addressed));
    // Answers once nobody listens at the proxy any more.
    let shadow = Backend::run(move |peer| {
        let proxy = addressed.lock().unwrap().recv().unwrap();
        peer.request().unwrap();
        ask_it.lock().unwrap().send(()).unwrap();
        until("the proxy's door is shut", || TcpStream::connect(proxy).is_err());
        peer.answer("late");
    });
    let proxy = Proxy::start(&words(app.addr, shadow.addr, "share = \"100%\", timeout = \"60s\""));
    address.send(proxy.addr()).unwrap();
    let plan = proxy.running().state().plan.load_full().unwrap();
    assert_eq!(proxy.get("/").text(), "app");
    asked.recv().unwrap();
    proxy.stop();
    let cells = plan.shaping.all().next().unwrap().mirror.clone().unwrap();
    assert_eq!((cells.success.get(), cells.failure.get()), (1, 0));
}
