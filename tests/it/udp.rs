//! Datagrams: sessions, their bounds, and who answers.
use crate::support::{Proxy, access_lines, access_log, config, nobody, until};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// A server of datagrams that answers each with its name and what it got.
struct Server {
    addr: SocketAddr,
    got: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn at(addr: SocketAddr, name: &'static str) -> Self {
        Self::run(addr, move |bytes| Some([name.as_bytes(), b" ", bytes].concat()))
    }

    fn named(name: &'static str) -> Self {
        Self::at(nobody(), name)
    }

    fn run(addr: SocketAddr, answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind(addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let addr = socket.local_addr().unwrap();
        let (got, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (got.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            let mut buf = vec![0; 1 << 16];
            while !stop.load(SeqCst) {
                let Ok((n, peer)) = socket.recv_from(&mut buf) else { continue };
                // A knock.
                if n == 0 {
                    continue;
                }
                count.fetch_add(1, SeqCst);
                if let Some(answer) = answer(&buf[..n]) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Self { addr, got, ended, thread: Some(thread) }
    }

    fn got(&self) -> usize {
        self.got.load(SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        let _ = self.thread.take().unwrap().join();
    }
}

/// A client of one address.
struct Client(UdpSocket);

impl Client {
    fn of(addr: SocketAddr) -> Self {
        let any: SocketAddr = if addr.is_ipv4() {
            "127.0.0.1:0".parse().unwrap()
        } else {
            "[::1]:0".parse().unwrap()
        };
        Self::from(any, addr)
    }

    fn from(own: SocketAddr, addr: SocketAddr) -> Self {
        let socket = UdpSocket::bind(own).unwrap();
        socket.connect(addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(socket)
    }

    fn send(&self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes.as_ref()).unwrap();
    }

    #[track_caller]
    fn hear(&self) -> Vec<u8> {
        let mut buf = vec![0; 1 << 16];
        let n = self.0.recv(&mut buf).expect("an answer in time");
        buf.truncate(n);
        buf
    }

    #[track_caller]
    fn ask(&self, what: &str) -> String {
        self.send(what);
        String::from_utf8(self.hear()).unwrap()
    }
}

fn toml(bind: &str, udp: &str, backends: &[(&str, SocketAddr)], more: &str) -> String {
    let list: Vec<String> = backends
        .iter()
        .map(|(name, addr)| format!("{{ name = \"{name}\", addr = \"{addr}\" }}"))
        .collect();
    format!(
        "[listener.web]\nbind = {bind}\nprotocol = \"udp\"\npool = \"app\"\nudp = {{ {udp} }}\n\
         [pool.app]\nbackends = [{}]\n{more}\n",
        list.join(", ")
    )
}

const LOCAL: &str = "\"127.0.0.1:0\"";

fn start(udp: &str, backends: &[&Server], more: &str) -> Proxy {
    let named: Vec<(String, SocketAddr)> =
        backends.iter().enumerate().map(|(n, b)| (format!("b{}", n + 1), b.addr)).collect();
    let named: Vec<(&str, SocketAddr)> = named.iter().map(|(n, a)| (n.as_str(), *a)).collect();
    Proxy::start(&toml(LOCAL, udp, &named, more))
}

fn cells(proxy: &Proxy) -> Arc<evenkeel::metrics::ListenerCells> {
    proxy.running().state().plan.load_full().unwrap().listeners["web"].cells.clone()
}

fn counted(words: &evenkeel::metrics::Words, word: &str) -> u64 {
    words.all().iter().find(|(w, _)| *w == word).map_or(0, |(_, n)| *n)
}

#[test]
fn a_session_keeps_its_backend_and_round_robin_spreads_sessions() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    let (folder, log) = access_log();
    let proxy = start("idle = \"200ms\"", &[&a, &b], &log);
    let clients: Vec<Client> = (0..4).map(|_| Client::of(proxy.addr())).collect();
    let mut names = Vec::new();
    for client in &clients {
        let first = client.ask("x");
        assert_eq!(client.ask("x"), first);
        assert_eq!(client.ask("x"), first);
        names.push(first);
    }
    names.sort();
    assert_eq!(names, ["a x", "a x", "b x", "b x"]);
    let cells = cells(&proxy);
    assert_eq!(cells.accepted.get(), 4);
    assert_eq!((cells.received.get(), cells.sent.get()), (12, 36));
    for line in access_lines(&folder, 4) {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["reason"], &line["tries"]), (&"-".into(), &1.into()), "{line}");
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&3.into(), &9.into()), "{line}");
        assert!(line["first_byte"].is_number(), "{line}");
    }
    until("idle sessions are over", || cells.open.get() == 0);
    let plan = proxy.running().state().plan.load_full().unwrap();
    for member in plan.pools["app"].members() {
        assert_eq!((member.backend.active(), member.backend.cells.open.get()), (0, 0));
    }
}

#[test]
fn datagrams_of_every_size_pass_whole_both_ways_and_empty_ones_too() {
    let server = Server::run(nobody(), |bytes| Some(bytes.to_vec()));
    let proxy = start("", &[&server], "");
    let client = Client::of(proxy.addr());
    for size in [1, 512, 1472, 1473, 9000, 65_507] {
        let sent: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        client.send(&sent);
        assert!(client.hear() == sent, "{size} bytes");
    }
    let empty = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = empty.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let (n, peer) = empty.recv_from(&mut [0; 8]).unwrap();
        empty.send_to(&[], peer).unwrap();
        n
    });
    let proxy = Proxy::start(&toml(LOCAL, "", &[("b1", addr)], ""));
    let client = Client::of(proxy.addr());
    client.send([]);
    assert_eq!((client.hear().len(), echo.join().unwrap()), (0, 0));
}

#[test]
fn ipv6_and_every_address_answer_from_the_one_that_was_asked() {
    let server = Server::named("a");
    let every = ["0.0.0.0:0", "[::]:0", "[::1]:0"];
    let bind = format!("[{}]", every.map(|a| format!("\"{a}\"")).join(", "));
    let proxy = Proxy::start(&toml(&bind, "", &[("b1", server.addr)], ""));
    let ports: Vec<u16> = proxy
        .running()
        .addresses("web")
        .iter()
        .map(|addr| match addr {
            evenkeel::config::BindAddr::Ip(addr) => addr.port(),
            other => panic!("{other:?}"),
        })
        .collect();
    for (ip, port) in
        [("127.0.0.1", ports[0]), ("127.0.0.7", ports[0]), ("::1", ports[1]), ("::1", ports[2])]
    {
        // A connected socket hears the address it asked alone.
        let client = Client::of(SocketAddr::new(ip.parse().unwrap(), port));
        for _ in 0..3 {
            assert_eq!(client.ask("x"), "a x", "{ip}");
        }
    }
    // One client that asks two of our addresses has two sessions.
    let both = UdpSocket::bind("127.0.0.1:0").unwrap();
    both.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let before = cells(&proxy).accepted.get();
    for ip in ["127.0.0.1", "127.0.0.2"] {
        let to = SocketAddr::new(ip.parse().unwrap(), ports[0]);
        both.send_to(b"x", to).unwrap();
        assert_eq!(both.recv_from(&mut [0; 8]).unwrap(), (3, to));
    }
    assert_eq!(cells(&proxy).accepted.get(), before + 2);
}

#[test]
fn a_backend_that_refuses_is_passed_over_and_comes_back() {
    let (gone, good) = (nobody(), Server::named("good"));
    let proxy = Proxy::start(&toml(LOCAL, "", &[("gone", gone), ("good", good.addr)], ""));
    // Whoever is led there first is asked again elsewhere, with the same words.
    for n in 0..4 {
        assert_eq!(Client::of(proxy.addr()).ask(&format!("{n}")), format!("good {n}"));
    }
    proxy.until_state("gone", "down");
    let plan = proxy.running().state().plan.load_full().unwrap();
    let members = plan.pools["app"].members();
    assert!(members[0].backend.cells.connect_refused.get() >= 1);
    assert_eq!(members[1].backend.cells.connect_ok.get(), 4);
    assert!(plan.pools["app"].retries_connect.get() >= 1);
    // Knocked at until it is there again.
    let back = Server::at(gone, "back");
    proxy.until_state("gone", "up");
    let names: BTreeSet<String> = (0..4).map(|_| Client::of(proxy.addr()).ask("x")).collect();
    assert_eq!(names, ["back x".to_string(), "good x".into()].into());
    assert!(back.got() >= 1);
}

#[test]
fn a_session_moves_when_its_backend_dies_and_none_is_left_without_words() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    let (folder, log) = access_log();
    let proxy = start("idle = \"1h\"", &[&a, &b], &log);
    let client = Client::of(proxy.addr());
    let first = client.ask("1");
    let (dies, stays) = if first == "a 1" { (a, b) } else { (b, a) };
    drop(dies);
    // The first datagram after it went is lost with it: the refusal comes only for that one.
    client.send("2");
    until("it is down", || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools["app"].members().iter().any(|m| m.state.word() == "down")
    });
    assert!(client.ask("3").ends_with(" 3"));
    assert_eq!(cells(&proxy).open.get(), 1, "it is the same session");
    drop(stays);
    client.send("4");
    until("nobody is left", || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools["app"].is_out()
    });
    client.send("5");
    let line = access_lines(&folder, 1).remove(0);
    assert!(line.contains("\"reason\":\"no_backend\""), "{line}");
    assert_eq!(counted(&cells(&proxy).own, "no_backend"), 1);
}

#[test]
fn too_many_sessions_let_the_quietest_go_and_keep_who_has_answered() {
    let server = Server::named("a");
    let proxy = start("sessions = 3", &[&server], "[server]\nworkers = 1");
    let cells = cells(&proxy);
    let known = Client::of(proxy.addr());
    (0..2).for_each(|_| drop(known.ask("x")));
    let guests: Vec<Client> = (0..5).map(|_| Client::of(proxy.addr())).collect();
    guests.iter().for_each(|guest| assert_eq!(guest.ask("x"), "a x"));
    assert_eq!((cells.open.get(), cells.accepted.get()), (3, 6));
    assert_eq!(counted(&cells.limit_hits, "sessions"), 3);
    known.ask("x");
    assert_eq!(cells.accepted.get(), 6, "the known one kept its session");
    // Now all three are known: nobody gives way.
    guests[3..].iter().for_each(|guest| assert_eq!(guest.ask("y"), "a y"));
    Client::of(proxy.addr()).send("z");
    until("it was dropped", || counted(&cells.dropped, "sessions") == 1);
    assert_eq!((cells.open.get(), server.got()), (3, 10));
}

#[test]
fn one_client_cannot_have_them_all() {
    let server = Server::named("a");
    let proxy = start("per_client = 2", &[&server], "[server]\nworkers = 1");
    let cells = cells(&proxy);
    let other = Client::from("127.0.0.3:0".parse().unwrap(), proxy.addr());
    other.ask("x");
    let greedy: Vec<Client> = (0..4).map(|_| Client::of(proxy.addr())).collect();
    greedy.iter().for_each(|one| assert_eq!(one.ask("x"), "a x"));
    assert_eq!((cells.open.get(), counted(&cells.limit_hits, "per_client")), (3, 2));
    greedy[2..].iter().for_each(|one| assert_eq!(one.ask("y"), "a y"));
    greedy[0].send("z");
    until("it was dropped", || counted(&cells.dropped, "per_client") == 1);
    assert_eq!(other.ask("x"), "a x");
    assert_eq!(cells.accepted.get(), 5);
}

#[test]
fn consistent_hash_goes_by_address_or_by_address_and_port() {
    let servers = [Server::named("a"), Server::named("b"), Server::named("c")];
    let all: Vec<&Server> = servers.iter().collect();
    let hash = |key: &str| {
        start("", &all, &format!("balance = {{ policy = \"consistent_hash\", key = \"{key}\" }}"))
    };
    let proxy = hash("client_ip");
    let of = |ip: usize| {
        let own = SocketAddr::from(([127, 0, 9, ip as u8], 0));
        Client::from(own, proxy.addr()).ask("x")
    };
    let chosen: Vec<String> = (1..40).map(of).collect();
    let again: Vec<String> = (1..40).map(of).collect();
    assert_eq!(chosen, again, "other ports, the same backends");
    assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 3);
    // One goes: only its clients move.
    let toml = toml(
        LOCAL,
        "",
        &[("b1", servers[0].addr), ("b2", servers[1].addr)],
        "balance = { policy = \"consistent_hash\", key = \"client_ip\" }",
    );
    proxy.reload(&toml).unwrap();
    for (ip, before) in chosen.iter().enumerate() {
        let after = of(ip + 1);
        assert!(before == "c x" || after == *before, "{ip}: {before} became {after}");
    }
    let proxy = hash("client_addr");
    let chosen: BTreeSet<String> = (0..40).map(|_| Client::of(proxy.addr()).ask("x")).collect();
    assert_eq!(chosen.len(), 3, "one address, many ports");
}

#[test]
fn every_policy_leads_somewhere_and_counts_what_it_leads() {
    for policy in ["round_robin", "least_connections", "random", "p2c", "peak_ewma"] {
        let (a, b) = (Server::named("a"), Server::named("b"));
        let proxy = start("", &[&a, &b], &format!("balance = \"{policy}\""));
        let clients: Vec<Client> = (0..20).map(|_| Client::of(proxy.addr())).collect();
        clients.iter().for_each(|client| assert!(client.ask("x").ends_with(" x")));
        let plan = proxy.running().state().plan.load_full().unwrap();
        let active: Vec<u32> =
            plan.pools["app"].members().iter().map(|m| m.backend.active()).collect();
        assert_eq!(active.iter().sum::<u32>(), 20, "{policy}");
        assert!(active.iter().all(|n| *n > 0), "{policy}: {active:?}");
        if policy == "least_connections" {
            assert_eq!(active, [10, 10]);
        }
    }
}

#[test]
fn sessions_live_through_reloads_as_long_as_their_backend_is_wanted() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    let (both, one) = ([("a", a.addr), ("b", b.addr)], [("b", b.addr)]);
    let bind = format!("\"{}\"", nobody());
    let proxy = Proxy::start(&toml(&bind, "idle = \"1h\"", &both, ""));
    let clients: Vec<Client> = (0..4).map(|_| Client::of(proxy.addr())).collect();
    let names: Vec<String> = clients.iter().map(|client| client.ask("x")).collect();
    for udp in ["idle = \"2h\"", "idle = \"1h\", sessions = 100"] {
        proxy.reload(&toml(&bind, udp, &both, "balance = \"random\"")).unwrap();
        let again: Vec<String> = clients.iter().map(|client| client.ask("x")).collect();
        assert_eq!(again, names);
    }
    // Removed: what goes there goes on, what is new goes elsewhere.
    proxy.reload(&toml(&bind, "idle = \"1h\"", &one, "")).unwrap();
    let again: Vec<String> = clients.iter().map(|client| client.ask("x")).collect();
    assert_eq!(again, names);
    assert_eq!(Client::of(proxy.addr()).ask("x"), "b x");
    assert_eq!(cells(&proxy).accepted.get(), 5);
    // Until its time to drain is over.
    proxy.reload(&toml(&bind, "idle = \"1h\"", &one, "drain = \"1ms\"")).unwrap();
    until("its sessions are over", || cells(&proxy).open.get() == 3);
    clients.iter().for_each(|client| assert_eq!(client.ask("x"), "b x"));
}

#[test]
fn sessions_of_an_address_that_goes_have_their_time() {
    let a = Server::named("a");
    let (old, new) = (nobody(), nobody());
    let at = |addr: SocketAddr, grace: &str| {
        let server = format!("[server]\ngrace = \"{grace}\"\n");
        server + &toml(&format!("\"{addr}\""), "idle = \"1h\"", &[("a", a.addr)], "")
    };
    let proxy = Proxy::start(&at(old, "1h"));
    let client = Client::of(old);
    assert_eq!(client.ask("x"), "a x");
    let report = proxy.reload(&at(new, "1h")).unwrap();
    assert_eq!((report.drained.len(), report.drained[0].in_work), (1, 1));
    assert_eq!(Client::of(new).ask("y"), "a y");
    assert_eq!(client.ask("z"), "a z");
    assert_eq!(cells(&proxy).open.get(), 2);
}

#[test]
fn a_listener_that_goes_answers_what_is_in_flight_and_may_come_back_meanwhile() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let slow = Server::run(nobody(), move |bytes| {
        if bytes == b"slow" {
            held.lock().unwrap().recv().unwrap();
        }
        Some(bytes.to_vec())
    });
    let bind = format!("\"{}\"", nobody());
    let with = toml(&bind, "", &[("b", slow.addr)], "");
    let without = format!(
        "[listener.other]\nbind = {LOCAL}\nprotocol = \"udp\"\npool = \"app\"\n[pool.app]\nbackends = [\"{}\"]",
        nobody()
    )
    .replace("[pool.app]", "[pool.app]");
    let without = without.replace(
        &without[without.find("backends").unwrap()..],
        &format!("backends = [{{ name = \"b\", addr = \"{}\" }}]", slow.addr),
    );
    let proxy = Proxy::start(&with);
    let addr = proxy.addr();
    let (client, idle) = (Client::of(addr), Client::of(addr));
    assert_eq!(idle.ask("x"), "x");
    client.send("slow");
    until("it is at the backend", || slow.got() == 2);
    proxy.reload(&without).unwrap();
    // Nobody new is let in; the address is still ours, so it can be had again at once.
    let late = Client::of(addr);
    late.send("late");
    proxy.reload(&with).unwrap();
    assert_eq!(proxy.addr(), addr);
    hold.send(()).unwrap();
    assert_eq!(client.hear(), b"slow");
    assert_eq!(late.ask("x"), "x");
    // And for good: the address is free once the last session was answered and is quiet.
    proxy.reload(&without).unwrap();
    until("the address is free", || UdpSocket::bind(addr).is_ok());
}

#[test]
fn an_end_in_order_waits_for_answers_and_not_for_idle_sessions() {
    let server = Server::named("a");
    let proxy = start("idle = \"1h\"", &[&server], "[server]\ngrace = \"1h\"");
    let client = Client::of(proxy.addr());
    assert_eq!(client.ask("x"), "a x");
    proxy.stop();
}

#[test]
fn a_second_process_gets_address_in_use_and_tcp_may_have_the_same_port() {
    let server = Server::named("a");
    let bind = format!("\"{}\"", nobody());
    let both = format!(
        "[listener.tcp]\nbind = {bind}\nprotocol = \"tcp\"\npool = \"app\"\n{}",
        toml(&bind, "", &[("b1", server.addr)], "")
    );
    let proxy = Proxy::start(&both);
    assert_eq!(Client::of(proxy.addr()).ask("x"), "a x");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let second = toml(&bind, "", &[("b1", server.addr)], "");
    let options = evenkeel::server::Options::default();
    let refused = runtime.block_on(evenkeel::server::start(config(&second), options));
    let said = refused.err().expect("two on one address").to_string();
    assert!(said.contains("another process listens there"), "{said}");
}

#[test]
fn what_comes_from_ourselves_or_our_backends_goes_no_further() {
    let server = Server::named("a");
    let backend = nobody();
    let others = [("b1", server.addr), ("b2", backend)];
    let proxy = Proxy::start(&toml(LOCAL, "", &others, ""));
    // As if a datagram with that sender had been forged.
    let forged = UdpSocket::bind(backend).unwrap();
    forged.send_to(b"x", proxy.addr()).unwrap();
    until("it was dropped", || counted(&cells(&proxy).dropped, "loop") == 1);
    assert_eq!((server.got(), cells(&proxy).accepted.get()), (0, 0));
    // A proxy that has itself as its backend.
    let own = nobody();
    let bind = format!("\"{own}\"");
    let proxy = Proxy::start(&toml(&bind, "", &[("b1", own)], ""));
    Client::of(own).send("x");
    until("it was noticed", || counted(&cells(&proxy).dropped, "loop") == 1);
    assert_eq!(cells(&proxy).accepted.get(), 1);
}

#[test]
fn the_first_words_wait_for_the_first_probe() {
    let server = Server::named("a");
    let more = "health = { udp = { send = \"ping\", expect = \"a ping\" }, interval = \"50ms\" }";
    let proxy = start("", &[&server], more);
    assert_eq!(Client::of(proxy.addr()).ask("x"), "a x");
    let plan = proxy.running().state().plan.load_full().unwrap();
    assert!(plan.pools["app"].members()[0].backend.cells.checks_pass.get() >= 1);
}

#[test]
fn probes_by_datagrams_find_who_is_dead_and_who_talks_nonsense() {
    let addr = nobody();
    let health = "health = { udp = { send = \"ping\", expect = \"good ping\" }, interval = \"20ms\", timeout = \"200ms\", rise = 1, fall = 1 }";
    let proxy = Proxy::start(&toml(LOCAL, "", &[("b1", addr)], health));
    proxy.until_state("b1", "down");
    let bad = Server::at(addr, "bad");
    until("it was asked", || bad.got() > 1);
    assert_eq!(proxy.state("b1"), "down");
    drop(bad);
    let _good = Server::at(addr, "good");
    proxy.until_state("b1", "up");
}

#[test]
fn a_flood_of_forged_clients_leaves_nothing_behind() {
    let server = Server::run(nobody(), |_| None);
    let proxy = start("sessions = 50, idle = \"100ms\"", &[&server], "");
    for n in 0..400_u16 {
        let own = SocketAddr::from(([127, 1, (n / 200) as u8, (n % 200) as u8 + 1], 0));
        let Ok(socket) = UdpSocket::bind(own) else { continue };
        let _ = socket.send_to(&[n as u8; 100], proxy.addr());
    }
    let cells = cells(&proxy);
    until("all came", || cells.received.get() >= 5_000);
    assert!(cells.open.get() <= 50);
    until("all are over", || cells.open.get() == 0);
    let plan = proxy.running().state().plan.load_full().unwrap();
    assert_eq!(plan.pools["app"].members()[0].backend.active(), 0);
}

#[test]
fn sessions_of_forged_clients_give_way_to_connections() {
    let server = Server::run(nobody(), |_| None);
    let backend = crate::support::Backend::run(|peer| peer.send("good"));
    let more = format!(
        "[server]\nmax_connections = 10\n[listener.tcp]\nbind = {LOCAL}\nprotocol = \"tcp\"\n\
         pool = \"tcp\"\n[pool.tcp]\nbackends = [\"{}\"]",
        backend.addr
    );
    let proxy = start("idle = \"1h\"", &[&server], &more);
    let all: Vec<Client> = (0..30).map(|_| Client::of(proxy.addr())).collect();
    all.iter().for_each(|client| client.send("x"));
    let cells = cells(&proxy);
    until("every place is taken", || {
        let dropped = counted(&cells.dropped, "max_connections");
        cells.accepted.get() + dropped == 30 && cells.open.get() == 10
    });
    for _ in 0..3 {
        let mut client = crate::support::Client::connect(proxy.addr_of("tcp"));
        assert_eq!(client.rest(), b"good");
    }
}
