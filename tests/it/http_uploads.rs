//! Large plain uploads, which go from socket to socket inside the kernel once they are under way.
use crate::support::{Backend, Client, Proxy, until};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Bytes that differ from place to place.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 % 251) as u8).collect()
}

fn post(length: usize, more: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n{more}\r\n")
}

/// The length its head announces.
fn length(head: &str) -> usize {
    let value = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Compares each body with the pattern and answers with its length.
fn comparing() -> Backend {
    Backend::run(|peer| {
        while let Some(head) = peer.request() {
            let n = length(&head);
            let same = peer.bytes(n) == pattern(n);
            peer.answer(&format!("{n} {same}"));
        }
    })
}

#[test]
fn not_a_byte_is_lost_or_taken_from_what_follows() {
    let backend = comparing();
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    // A backend that is not known gets each upload on a connection of its own.
    for _ in 0..64 {
        assert_eq!(client.ask("GET", "/", "").status, 200);
    }
    let sizes = [1, 4096, 4097, 65_535, 65_536, 100_000, 262_145, 1 << 20, 5_000_000];
    let mut stream = client.stream().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        // One behind the other: where a body ends the next request begins.
        for size in sizes {
            let body = pattern(size);
            stream.write_all(post(size, "").as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    for size in sizes {
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, format!("{size} true")));
    }
    sender.join().unwrap();
    assert_eq!(backend.connections(), 1, "the backend's connection was kept, too");
}

#[test]
fn it_may_come_in_any_pieces() {
    let backend = comparing();
    let proxy = Proxy::http(&[backend.addr], "");
    let (size, body) = (1 << 20, pattern(1 << 20));
    for piece in [999, 70_000, 400_000] {
        let mut client = proxy.client();
        client.send(post(size, ""));
        for part in body.chunks(piece) {
            client.send(part);
            std::thread::yield_now();
        }
        assert_eq!(client.response().text(), format!("{size} true"), "pieces of {piece}");
    }
}

#[test]
fn it_waits_for_the_backend_to_want_it() {
    let size = 3_000_000;
    let backend = Backend::run(move |peer| {
        let head = peer.request().unwrap();
        assert!(head.contains("Expect: 100-continue"), "{head}");
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        let same = peer.bytes(size) == pattern(size);
        peer.answer(&same.to_string());
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let (mut client, body) = (proxy.client(), pattern(size));
    client.send(post(size, "Expect: 100-continue\r\n"));
    assert_eq!(client.response().status, 100);
    client.send(body);
    assert_eq!(client.response().text(), "true");
}

#[test]
fn a_client_that_goes_midway_leaves_no_whole_request_behind() {
    let (ended, whole) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (end, all) = (ended.clone(), whole.clone());
    let size = 4 << 20;
    let backend = Backend::run(move |peer| {
        peer.request();
        all.fetch_add(usize::from(peer.rest().len() >= size), SeqCst);
        end.fetch_add(1, SeqCst);
    });
    let proxy = Proxy::http(&[backend.addr], "");
    for (n, sent) in [100, 70_000, 2 << 20].into_iter().enumerate() {
        let mut client = proxy.client();
        client.send(post(size, ""));
        client.send(pattern(sent));
        drop(client);
        until("the backend sees the end", || ended.load(SeqCst) == n + 1);
    }
    assert_eq!(whole.load(SeqCst), 0);
    let plan = proxy.running().state().plan.load_full().unwrap();
    until("nothing is in work", || plan.pools["app"].members()[0].backend.active() == 0);
    assert_eq!(proxy.state("b1"), "up", "it was the client's doing");
}

/// Sends an upload of which the backend takes only a part, and gives the answer.
fn cut_short(backend: &Backend) -> (Proxy, Client) {
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    let mut stream = client.stream().try_clone().unwrap();
    std::thread::spawn(move || {
        let _ = stream.write_all(post(64 << 20, "").as_bytes());
        let piece = pattern(1 << 20);
        let _ = (0..64).try_for_each(|_| stream.write_all(&piece));
    });
    (proxy, client)
}

#[test]
fn an_early_answer_stops_it() {
    for closes in [false, true] {
        let over = Arc::new(AtomicUsize::new(0));
        let heard = over.clone();
        let backend = Backend::run(move |peer| {
            peer.request();
            peer.bytes(1 << 20);
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
            if !closes {
                // Open, but not another byte is read.
                until("the client was answered", || heard.load(SeqCst) == 1);
            }
        });
        let (_proxy, mut client) = cut_short(&backend);
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (403, "no"), "closes: {closes}");
        assert!(client.is_closed(), "the rest was never read, so nothing may follow");
        over.store(1, SeqCst);
    }
}

#[test]
fn a_backend_that_breaks_off_is_502() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.bytes(1 << 20);
        peer.reset();
    });
    let (proxy, mut client) = cut_short(&backend);
    assert_eq!(client.response().status, 502);
    assert_eq!(backend.connections(), 1, "what was sent in part is not sent again");
    assert_eq!(proxy.state("b1"), "up");
}

#[test]
fn a_backend_that_reads_nothing_holds_the_client_back() {
    let size: usize = 256 << 20;
    let go = Arc::new(AtomicUsize::new(0));
    let going = go.clone();
    let backend = Backend::run(move |peer| {
        peer.request();
        until("it may read", || going.load(SeqCst) == 1);
        let mut left = size;
        while left > 0 {
            left -= peer.bytes(left.min(1 << 20)).len();
        }
        peer.answer("all");
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    let sent = Arc::new(AtomicUsize::new(0));
    let (count, mut stream) = (sent.clone(), client.stream().try_clone().unwrap());
    let sender = std::thread::spawn(move || {
        stream.write_all(post(size, "").as_bytes()).unwrap();
        let piece = vec![7; 65536];
        for _ in 0..size / piece.len() {
            stream.write_all(&piece).unwrap();
            count.fetch_add(piece.len(), SeqCst);
        }
    });
    let mut last = usize::MAX;
    until("the client stands still", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = sent.load(SeqCst);
        let still = now > 0 && now == last;
        last = now;
        still
    });
    assert!(last < size / 2, "{last} bytes went ahead of a backend that reads nothing");
    go.store(1, SeqCst);
    assert_eq!(client.response().text(), "all");
    sender.join().unwrap();
}

#[test]
fn a_pool_says_how_much_of_an_unwanted_upload_is_read_on() {
    for (limit, kept) in [("1KiB", false), ("1MiB", true)] {
        let backend = Backend::run(|peer| {
            // Answers before it has read anything of the body.
            while peer.request().is_some_and(|head| head.starts_with("POST")) {
                peer.answer("early");
            }
        });
        let proxy = Proxy::http(&[backend.addr], &format!("limits.drain = \"{limit}\""));
        let mut client = proxy.client();
        client.send(post(200_000, ""));
        assert_eq!(client.response().text(), "early");
        let _ = client.stream().write_all(&pattern(200_000));
        let _ = client.stream().write_all(post(0, "").as_bytes());
        match kept {
            true => assert_eq!(client.response().text(), "early", "{limit}"),
            false => assert!(client.is_closed(), "{limit}"),
        }
    }
}

/// What could go past the proxy into a TCP socket cannot go so into another one.
#[test]
fn it_goes_to_a_unix_socket_too() {
    use std::io::{BufRead, BufReader, Read};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backend");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            let mut body = vec![0; length(&head)];
            reader.read_exact(&mut body).unwrap();
            let said = format!("{} {}", body.len(), body == pattern(body.len()));
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len());
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    let proxy = Proxy::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n\
         [pool.app]\nkeep_alive = \"off\"\nbackends = [\"unix:{}\"]\n",
        path.display()
    ));
    for size in [1000, 70_000, 5_000_000] {
        let mut client = proxy.client();
        client.send(post(size, ""));
        client.send(pattern(size));
        assert_eq!(client.response().text(), format!("{size} true"));
    }
}
