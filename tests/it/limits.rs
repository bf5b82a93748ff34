//! How many clients there may be, and who gives way.
use crate::support::{Backend, Client, Proxy, access_lines, access_log, until};
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn with_most(most: usize, backend: &Backend, more: &str) -> Proxy {
    let web = crate::support_web(&[backend.addr], "");
    Proxy::start(&format!("{web}[server]\nmax_connections = {most}\nworkers = 2\n{more}"))
}

fn hits(proxy: &Proxy, limit: &str) -> u64 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let hits = plan.listeners["web"].cells.limit_hits.all();
    hits.iter().find(|(word, _)| *word == limit).map_or(0, |(_, n)| *n)
}

#[test]
fn idle_clients_give_way_the_oldest_first_over_all_workers() {
    let backend = Backend::named("one");
    let proxy = with_most(10, &backend, "");
    let mut clients: Vec<Client> = Vec::new();
    for n in 0..20 {
        let mut client = proxy.client();
        client.send(GET);
        assert_eq!(client.response().status, 200, "client {n}");
        // Idle times are told apart by milliseconds, and a place is free once its owner has left.
        std::thread::sleep(Duration::from_millis(15));
        clients.push(client);
    }
    let old = clients.len() - 8;
    for (n, client) in clients.iter_mut().enumerate() {
        match n < old {
            true => assert!(client.is_closed(), "client {n} was older"),
            false => {
                client.send(GET);
                assert_eq!(client.response().status, 200, "client {n} is among the youngest");
            }
        }
    }
}

#[test]
fn above_the_limit_clients_wait_and_none_is_refused() {
    let backend = Backend::named("one");
    let proxy = with_most(10, &backend, "");
    // None of the first ten gives way: they have not asked for anything yet.
    let mut clients: Vec<Client> = (0..30).map(|_| proxy.client()).collect();
    until("the eleventh waits", || hits(&proxy, "max_connections") > 0);
    for client in &mut clients {
        client.send(GET);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().status, 200, "client {n}");
    }
}

#[test]
fn a_listener_has_its_own_limit_and_each_address_one() {
    let backend = Backend::named("one");
    let listener = |more: &str| {
        format!(
            "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n{more}\n\
             [pool.app]\nbackends = [\"{}\"]\n",
            backend.addr
        )
    };
    let proxy = Proxy::start(&listener("max_connections = 2"));
    let mut all: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    until("one waits", || hits(&proxy, "max_connections") == 1);
    // Whoever it is that waits: one that was served gives way to it.
    for client in &mut all {
        client.send(GET);
    }
    for client in &mut all {
        assert_eq!(client.response().status, 200);
    }

    let proxy = Proxy::start(&listener("limits = { per_client = 2 }"));
    let mut all: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    until("one was closed", || hits(&proxy, "per_client") == 1);
    let served = all.iter_mut().filter_map(|client| {
        client.send(GET);
        client.bytes(12).ends_with(b"200").then_some(())
    });
    assert_eq!(served.count(), 2);
}

/// Sends a head and then a byte now and then, for as long as somebody reads.
fn stream() -> Backend {
    Backend::run(|peer| {
        if peer.request().is_some_and(|head| head.starts_with("GET /silent")) {
            peer.rest();
            return;
        }
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        loop {
            std::thread::sleep(Duration::from_millis(2));
            use std::io::Write;
            if peer.stream().write_all(b"1\r\nx\r\n").is_err() {
                return;
            }
        }
    })
}

#[test]
fn what_runs_on_a_backend_that_is_gone_is_cut_when_its_drain_is_over() {
    let (gone, stays) = (stream(), stream());
    let pools = |app: &str| {
        format!(
            "[pool.app]\ndrain = \"300ms\"\nbackends = [{app}]\n\
             [listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n"
        )
    };
    let old = format!(
        "[pool.old]\ndrain = \"300ms\"\nbackends = [\"{}\"]\n\
         [listener.gone]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [[route]]\nname = \"old\"\nlistener = \"web\"\npath = \"/old\"\npool = \"old\"\n\
         [[route]]\nname = \"silent\"\nlistener = \"web\"\npath = \"/silent\"\npool = \"old\"\n",
        gone.addr
    );
    let both = format!("\"{}\", \"{}\"", gone.addr, stays.addr);
    let (folder, log) = access_log();
    let proxy = Proxy::start(&format!("{}{old}{log}", pools(&both)));
    let ask = |path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!client.until("x\r\n").is_empty());
        client
    };
    // One on each backend of `app`, one on the pool that goes; and one that hears nothing.
    let mut all = [ask("/"), ask("/"), ask("/old")];
    let mut silent = proxy.client();
    silent.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it waits there", || gone.connections() == 3);
    proxy.reload(&format!("{}{log}", pools(&format!("\"{}\"", stays.addr)))).unwrap();
    assert_eq!(silent.response().status, 503);
    for line in access_lines(&folder, 3) {
        assert!(line.contains(r#""reason":"drain_cut""#), "{line}");
    }
    let lives = all.iter_mut().filter_map(|client| {
        // Much more than was under way when the others were cut.
        (client.bytes(8000).len() == 8000).then_some(())
    });
    assert_eq!(lives.count(), 1, "the one whose backend is still wanted");
}
