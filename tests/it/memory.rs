//! Slow clients by the hundreds, bounded by `server.memory`. The account is the process's, so each
//! test has a process of its own.
use crate::cli::Process;
use crate::support::{Backend, Client, Nginx, PATIENCE, until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

fn proxy(backend: SocketAddr, memory: &str, more: &str) -> Process {
    Process::serving(|port, admin| {
        format!(
            "[server]\nworkers = 2\nmemory = \"{memory}\"\n[admin]\nbind = \"127.0.0.1:{admin}\"\n{more}\n\
             [listener.web]\nbind = \"127.0.0.1:{port}\"\npool = \"app\"\n\
             [pool.app]\nbackends = [{{ name = \"b1\", addr = \"{backend}\" }}]\n"
        )
    })
}

/// A connection with so small a window that what is sent to it waits at the sender.
fn narrow(proxy: &Process) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], proxy.port)).into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn get(proxy: &Process, path: &str) -> u16 {
    let mut client = Client::connect(([127, 0, 0, 1], proxy.port).into());
    client.ask("GET", path, "Connection: close\r\n").status
}

fn refused(proxy: &Process) -> f64 {
    let own = "evenkeel_responses_own_total{listener=\"web\",reason=\"memory\"}";
    let hits = "evenkeel_limit_hits_total{listener=\"web\",limit=\"memory\"}";
    let refused = proxy.metric(own).unwrap_or(0.0);
    assert!(proxy.metric(hits).unwrap_or(0.0) >= refused);
    refused
}

fn resident(proxy: &Process) -> f64 {
    proxy.metric("process_resident_memory_bytes").unwrap()
}

const MIB: f64 = (1 << 20) as f64;

/// `/big` is 4 MiB in chunks, everything else is short. Counts the chunks it could send.
fn chunking(sent: &Arc<AtomicUsize>) -> Backend {
    let sent = sent.clone();
    Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            if !head.starts_with("GET /big") {
                peer.answer("ok");
                continue;
            }
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = [b"10000\r\n".to_vec(), vec![7; 0x10000], b"\r\n".to_vec()].concat();
            for _ in 0..64 {
                if peer.stream().write_all(&chunk).is_err() {
                    return;
                }
                sent.fetch_add(1, SeqCst);
            }
            peer.send("0\r\n\r\n");
        }
    })
}

/// At the limit itself a head is not even read: then it is refused when its time is over.
const SOON: &str = "[defaults]\ntimeout = { header = \"1s\" }";

#[test]
fn slow_readers_are_read_for_no_further_and_disturb_no_other() {
    let sent = Arc::new(AtomicUsize::new(0));
    let backend = chunking(&sent);
    let proxy = proxy(backend.addr, "1MiB", SOON);
    assert_eq!(get(&proxy, "/"), 200);
    let before = resident(&proxy);
    // The kernel takes a megabyte for each before it says that it is enough.
    let slow: Vec<_> = (0..80)
        .map(|_| {
            let mut stream = narrow(&proxy);
            stream.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let mut last = usize::MAX;
    until("nothing more is read of the backend", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let before = std::mem::replace(&mut last, sent.load(SeqCst));
        last > 0 && last == before
    });
    assert!(last < 80 * 64, "all was read for clients that read nothing");
    until("a newcomer is served", || get(&proxy, "/") == 200);
    let grown = resident(&proxy) - before;
    assert!(grown < 8.0 * MIB, "{grown} bytes for eighty slow readers");
    // Room that one gives back is for the others: when they read on, all get all of it.
    let readers = slow.into_iter().map(|mut stream| {
        std::thread::spawn(move || {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).map(|n| n > 4 << 20 && answer.ends_with(b"0\r\n\r\n"))
        })
    });
    let readers: Vec<_> = readers.collect();
    for reader in readers {
        assert!(reader.join().unwrap().unwrap(), "an answer was cut");
    }
}

#[test]
fn slow_readers_of_large_files_hold_no_block_and_all_are_served() {
    let nginx = Nginx::start("one", "");
    let size = 2 << 20;
    std::fs::write(nginx.files().join("big"), vec![7; size]).unwrap();
    let proxy = proxy(nginx.addr, "4MiB", SOON);
    assert_eq!(get(&proxy, "/name"), 200);
    let before = resident(&proxy);
    // More than the kernel's buffers and all pipes may hold together.
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = narrow(&proxy);
            stream
                .write_all(b"GET /files/big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    let grown = resident(&proxy) - before;
    assert!(grown < 12.0 * MIB, "{grown} bytes for a hundred slow readers");
    // In turn: each gives room to the next.
    for mut stream in slow {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        if !answer.starts_with(b"HTTP/1.1 503 ") {
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(&[7; 1000]));
            assert!(answer.len() > size);
        }
    }
    until("newcomers are served", || get(&proxy, "/name") == 200);
}

#[test]
fn heads_that_never_end_are_bounded_too() {
    let backend = Backend::named("one");
    let proxy = proxy(backend.addr, "2MiB", SOON);
    assert_eq!(get(&proxy, "/"), 200);
    let before = resident(&proxy);
    let slow: Vec<_> = (0..1000)
        .map(|_| {
            let mut stream = narrow(&proxy);
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
            stream
        })
        .collect();
    let grown = resident(&proxy) - before;
    assert!(grown < 16.0 * MIB, "{grown} bytes for a thousand unfinished heads");
    // Each is given up in its time, and newcomers are served although the slow ones are still there.
    until("newcomers are served", || get(&proxy, "/") == 200);
    drop(slow);
}

#[test]
fn uploads_wait_for_room_and_all_that_began_arrive() {
    let (go, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (may, count) = (go.clone(), arrived.clone());
    // More than the kernel takes of each on its way to a backend that does not read: what it sends from at the
    // most, and a window that nobody opens further.
    let sysctl = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap();
    let most: usize = sysctl.split_whitespace().last().unwrap().parse().unwrap();
    let (pieces, piece) = (most / 4096 + 128, 4096);
    let backend = Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            if head.starts_with("GET") {
                peer.answer("ok");
                continue;
            }
            until("it may read", || may.load(SeqCst));
            if head.contains("chunked") {
                let mut last = Vec::new();
                while !last.ends_with(b"\r\n0\r\n\r\n") {
                    last.extend(peer.byte());
                }
            } else {
                peer.bytes(pieces * piece);
            }
            count.fetch_add(1, SeqCst);
            peer.answer("all");
        }
    });
    let proxy = proxy(backend.addr, "1MiB", SOON);
    let addr = SocketAddr::from(([127, 0, 0, 1], proxy.port));
    let clients: Vec<_> = (0..120)
        .map(|n| {
            std::thread::spawn(move || {
                let mut client = Client::connect(addr);
                let body = vec![7; piece];
                if n % 2 == 0 {
                    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
                    for _ in 0..pieces {
                        client.send([b"1000\r\n", &body[..], b"\r\n"].concat());
                    }
                    client.send("0\r\n\r\n");
                } else {
                    let length = pieces * piece;
                    client.send(format!(
                        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
                    ));
                    (0..pieces).for_each(|_| client.send(&body));
                }
                client.response().status
            })
        })
        .collect();
    until("there is no room for more", || refused(&proxy) > 0.0 || get(&proxy, "/") == 503);
    go.store(true, SeqCst);
    let statuses: Vec<u16> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let good = statuses.iter().filter(|status| **status == 200).count();
    assert!(good > 0 && good == arrived.load(SeqCst), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    until("newcomers are served again", || get(&proxy, "/") == 200);
}

/// Of bodies that backends have so much is kept at the most, to send it again, that others can be read:
/// else these would wait for an answer while nobody's body is read.
#[test]
fn what_is_kept_to_be_sent_again_keeps_nobody_from_uploading() {
    let server = crate::support::Server::h2(&[]);
    let proxy = Process::serving(|port, admin| {
        format!(
            "[server]\nworkers = 1\nmemory = \"4MiB\"\n[admin]\nbind = \"127.0.0.1:{admin}\"\n\
             [listener.web]\nbind = \"127.0.0.1:{port}\"\npool = \"app\"\n\
             [pool.app]\nhttp = \"2\"\nbackends = [\"{}\"]\n",
            server.addr
        )
    });
    let addr = SocketAddr::from(([127, 0, 0, 1], proxy.port));
    let (count, length) = (120, 60_000);
    let mut uploads = Vec::new();
    while uploads.len() < count {
        // Few at once: of many there would be no room for what is under way.
        for _ in 0..4 {
            let mut client = Client::connect(addr);
            client.send(format!(
                "POST /silent HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n"
            ));
            client.send("x".repeat(length));
            uploads.push(client);
        }
        let all = format!("bytes={}", uploads.len() * length);
        until("the backend has all of them", || {
            let mut client = Client::connect(addr);
            client.ask("GET", "/state", "Connection: close\r\n").text().contains(&all)
        });
    }
    drop(uploads);
}
