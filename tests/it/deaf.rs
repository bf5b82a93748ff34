//! A backend whose kernel takes no more connections: packets to it vanish, and nothing says so.
use crate::support::{Backend, Client, Proxy, nobody, until};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Answers one request a connection, and takes nobody while it is deaf.
struct Deaf {
    addr: SocketAddr,
    listener: Arc<Socket>,
    is_deaf: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Deaf {
    fn new() -> Self {
        let listener = Arc::new(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap());
        listener.bind(&nobody().into()).unwrap();
        listener.listen(128).unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let (is_deaf, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stops, counted, accepts) = (is_deaf.clone(), answered.clone(), listener.clone());
        std::thread::spawn(move || {
            // Ends with the test: the listener is this thread's alone then.
            while Arc::strong_count(&accepts) > 1 {
                let peer = if stops.load(SeqCst) { None } else { accepts.accept().ok() };
                match peer {
                    Some((peer, _)) => serve(peer, &counted),
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Self { addr, listener, is_deaf, answered }
    }

    /// Takes nobody from here on: the queue is full with those that are returned.
    fn stop(&self) -> Vec<Socket> {
        self.is_deaf.store(true, SeqCst);
        self.listener.listen(0).unwrap();
        let fill = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&self.addr.into());
            socket
        };
        (0..3).map(fill).collect()
    }

    fn go_on(&self) {
        self.is_deaf.store(false, SeqCst);
        self.listener.listen(128).unwrap();
    }
}

fn serve(mut peer: Socket, counted: &AtomicUsize) {
    peer.set_nonblocking(false).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (mut head, mut buf) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match peer.read(&mut buf) {
            Ok(n) if n > 0 => head.extend_from_slice(&buf[..n]),
            _ => return,
        }
    }
    counted.fetch_add(1, SeqCst);
    let _ =
        peer.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndeaf");
}

#[test]
fn who_takes_no_connection_costs_one_short_wait() {
    let (deaf, good, better) = (Deaf::new(), Backend::named("good"), Backend::named("better"));
    // Nothing but silence ends a wait.
    let more = "timeout = { connect = \"off\", first_byte = \"off\" }\n\
         outlier = { consecutive_failures = \"off\", success_rate = \"off\", silence = { wait = \"100ms\", hold = \"300ms\" } }";
    let proxy = Proxy::http(&[deaf.addr, good.addr, better.addr], more);
    let mut client = proxy.client();
    // What is usual is learnt.
    (0..100).for_each(|_| drop(client.ask("GET", "/", "")));
    let filled = deaf.stop();
    let (over, lost) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for n in 0..6 {
            let (over, lost, addr) = (&over, &lost, proxy.addr());
            // Nothing was written yet: also what cannot be sent twice goes elsewhere.
            let (method, fields) =
                if n % 2 == 0 { ("GET", "") } else { ("POST", "Content-Length: 0\r\n") };
            scope.spawn(move || {
                let mut client = Client::connect(addr);
                while !over.load(SeqCst) {
                    let answer = client.ask(method, "/", fields);
                    lost.fetch_add(usize::from(answer.status != 200), SeqCst);
                }
            });
        }
        let members = || {
            let plan = proxy.running().state().plan.load_full().unwrap();
            (
                plan.pools["app"].members(),
                plan.pools["app"].ejections.iter().map(|n| n.get()).sum::<u64>(),
            )
        };
        until("it was ejected twice", || members().1 >= 2);
        assert_eq!(members().0[0].reason.word(), "silence");
        let before = deaf.answered.load(SeqCst);
        drop(filled);
        deaf.go_on();
        proxy.until_state("b1", "up");
        until("it gets work again", || deaf.answered.load(SeqCst) > before + 20);
        over.store(true, SeqCst);
    });
    assert_eq!(lost.load(SeqCst), 0);
    assert_eq!([proxy.state("b2"), proxy.state("b3")], ["up", "up"]);
}
