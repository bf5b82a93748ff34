//! Backends whose name has several addresses, or others after a while, by real sockets.
use crate::support::{Backend, Client, Proxy, Server, nobody, until};
use evenkeel::discover::{Answer, Resolver};
use evenkeel::server::Options;
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

const FIRST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What the name `app.internal` has.
#[derive(Clone)]
struct Zone(Arc<Mutex<Vec<Ipv4Addr>>>);

impl Zone {
    fn new(addrs: &[Ipv4Addr]) -> Self {
        Self(Arc::new(Mutex::new(addrs.to_vec())))
    }
    fn set(&self, addrs: &[Ipv4Addr]) {
        *self.0.lock() = addrs.to_vec();
    }
    /// A proxy whose one backend has the name, at this port.
    fn proxy(&self, port: u16, listener: &str, pool: &str) -> Proxy {
        let toml = format!(
            "[server]\nworkers = 1\n[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n{listener}\n\
             [pool.app]\nresolve = {{ interval = \"20ms\" }}\n\
             backends = [{{ name = \"b1\", addr = \"app.internal:{port}\" }}]\n{pool}\n"
        );
        Proxy::start_with(&toml, Options { resolver: Arc::new(self.clone()), ..Options::default() })
    }
}

impl Resolver for Zone {
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a> {
        assert_eq!(name, "app.internal");
        let all = self.0.lock().iter().copied().map(IpAddr::V4).collect();
        Box::pin(async move { Ok(all) })
    }
}

/// A port at which nobody listens on the first address, and a backend on the second.
fn at_second(name: &'static str) -> Backend {
    Backend::at(SocketAddr::from((SECOND, nobody().port())), name)
}

#[test]
fn an_address_that_refuses_costs_nobody_anything_while_another_takes_connections() {
    let backend = at_second("second");
    let zone = Zone::new(&[FIRST, SECOND]);
    let tcp = "[listener.raw]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"app\"";
    for health in ["", "health = { tcp = true, interval = \"20ms\" }"] {
        // No try but the first: nothing is owed to retries.
        let pool =
            format!("retry = {{ attempts = 1 }}\nkeep_alive = {{ idle = \"off\" }}\n{health}");
        let proxy = zone.proxy(backend.addr.port(), tcp, &pool);
        proxy.until_state("b1", "up");
        for _ in 0..20 {
            assert_eq!(proxy.get("/").text(), "second");
            let mut raw = Client::connect(proxy.addr_of("raw"));
            assert_eq!(raw.ask("GET", "/", "").text(), "second");
        }
        assert_eq!(proxy.state("b1"), "up");
        let plan = proxy.running().state().plan.load_full().unwrap();
        let cells = &plan.pools["app"].members()[0].backend.cells;
        assert_eq!(cells.connect_refused.get(), 0, "it was reached each time");
    }
}

#[test]
fn an_address_that_takes_connections_and_says_nothing_is_passed_over() {
    let ports = [nobody(), nobody()].map(|addr| addr.port());
    let mute = |port| Backend::run_at(SocketAddr::from((FIRST, port)), |peer| drop(peer.rest()));
    let mute = ports.map(mute);
    let _well = ports.map(|port| Backend::at(SocketAddr::from((SECOND, port)), "second"));
    let zone = Zone::new(&[FIRST, SECOND]);
    let asks = |proxy: &Proxy| (0..16).map(|_| proxy.get("/").status).collect::<Vec<_>>();
    // Probes find it, those that go to another port, too.
    for (probed, at) in [(0, String::new()), (1, format!(", port = {}", ports[1]))] {
        let health = format!(
            "health = {{ http = \"/\", interval = \"20ms\", timeout = \"100ms\"{at} }}\n\
             keep_alive = {{ idle = \"off\" }}\nretry = {{ attempts = 1 }}"
        );
        let proxy = zone.proxy(ports[0], "", &health);
        until("a probe was sent there", || mute[probed].connections() > 0);
        proxy.until_state("b1", "up");
        until("it is known", || asks(&proxy) == [200; 16]);
    }
}

#[test]
fn a_backend_of_which_every_address_refuses_is_down() {
    let zone = Zone::new(&[FIRST, SECOND]);
    let proxy = zone.proxy(nobody().port(), "", "");
    assert!([502, 503].contains(&proxy.get("/").status));
    proxy.until_state("b1", "down");
}

#[test]
fn kept_connections_go_where_the_name_does() {
    let port = nobody().port();
    let one = Backend::at(SocketAddr::from((FIRST, port)), "one");
    let two = Backend::at(SocketAddr::from((SECOND, port)), "two");
    let zone = Zone::new(&[FIRST]);
    let proxy = zone.proxy(port, "", "");
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.ask("GET", "/", "").text(), "one");
    }
    assert_eq!(one.connections(), 1);
    zone.set(&[FIRST, SECOND]);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(
        (client.ask("GET", "/", "").text().as_str(), one.connections()),
        ("one", 1),
        "it is still one"
    );
    zone.set(&[SECOND]);
    // It is asked all the time, so that its connection never lies idle for long.
    until("the other one answers", || client.ask("GET", "/", "").text() == "two");
    for _ in 0..10 {
        assert_eq!(client.ask("GET", "/", "").text(), "two");
    }
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

#[test]
fn shared_connections_go_where_the_name_does() {
    let port = nobody().port();
    let [one, two] = [FIRST, SECOND].map(|host| Server::h2_at(SocketAddr::from((host, port)), &[]));
    let zone = Zone::new(&[FIRST]);
    let proxy = zone.proxy(port, "", "http = \"2\"");
    let mut client = proxy.client();
    let number = |text: &str, word: &str| {
        let found = text.split(' ').find_map(|pair| pair.strip_prefix(word)?.strip_prefix('='));
        found.unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(number(&client.ask("GET", "/state", "").text(), "streams"), 1);
    assert_eq!(number(&client.ask("GET", "/state", "").text(), "streams"), 2);
    zone.set(&[SECOND]);
    until("the other one answers", || {
        number(&client.ask("GET", "/state", "").text(), "streams") == 1
    });
    drop((one, two));
}

/// Says back each datagram that comes to it.
fn echo(at: (Ipv4Addr, u16)) {
    let socket = UdpSocket::bind(at).unwrap();
    std::thread::spawn(move || {
        let mut buf = [0; 64];
        while let Ok((n, from)) = socket.recv_from(&mut buf) {
            let _ = socket.send_to(&buf[..n], from);
        }
    });
}

/// A proxy of datagrams to the name at this port.
fn datagrams(zone: &Zone, port: u16, pool: &str) -> Proxy {
    let udp = "[listener.udp]\nbind = \"127.0.0.1:0\"\nprotocol = \"udp\"\npool = \"dns\"\n\
        [pool.dns]\nresolve = { interval = \"20ms\" }\n";
    let backends = format!("backends = [{{ name = \"d1\", addr = \"app.internal:{port}\" }}]");
    zone.proxy(nobody().port(), &format!("{udp}{backends}\n{pool}"), "")
}

/// Whether one datagram in a session of its own is answered.
fn echoes(proxy: &Proxy, word: &[u8]) -> bool {
    let client = UdpSocket::bind((FIRST, 0)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    client.send_to(word, proxy.addr_of("udp")).unwrap();
    let mut buf = [0; 64];
    client.recv(&mut buf).is_ok_and(|n| &buf[..n] == word)
}

#[test]
fn datagrams_pass_over_an_address_that_refuses() {
    let port = nobody().port();
    echo((SECOND, port));
    let proxy = datagrams(&Zone::new(&[FIRST, SECOND]), port, "");
    until("it is known which one refuses", || echoes(&proxy, b"first"));
    for _ in 0..10 {
        assert!(echoes(&proxy, b"more"), "of sessions begun since then none meets it");
    }
}

#[test]
fn datagrams_pass_over_an_address_whose_probes_get_no_answer() {
    let [port, probed] = [nobody(), nobody()].map(|addr| addr.port());
    let zone = Zone::new(&[FIRST, SECOND]);
    let _mute = [port, probed].map(|port| UdpSocket::bind((FIRST, port)).unwrap());
    [port, probed].into_iter().for_each(|port| echo((SECOND, port)));
    for at in [String::new(), format!(", port = {probed}")] {
        let health =
            "health = { udp = { send = \"ping\" }, interval = \"20ms\", timeout = \"100ms\"";
        let proxy = datagrams(&zone, port, &format!("{health}{at} }}"));
        until("it is known", || (0..8).all(|_| echoes(&proxy, b"word")));
    }
}

/// One name that is never answered; all others have the first address.
#[derive(Clone, Default)]
struct Deaf(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    /// Look-ups of the name that is never answered: how many began, and whether one is under way.
    hung: usize,
    hangs: bool,
    /// Each other look-up: its name, and the one that hung meanwhile.
    others: Vec<(String, Option<usize>)>,
}

/// A look-up that hangs, for as long as it is waited for.
struct Hangs(Arc<Mutex<Asked>>);

impl Drop for Hangs {
    fn drop(&mut self) {
        self.0.lock().hangs = false;
    }
}

impl Resolver for Deaf {
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a> {
        let mut asked = self.0.lock();
        if name != "deaf.internal" {
            let meanwhile = asked.hangs.then_some(asked.hung);
            asked.others.push((name.to_string(), meanwhile));
            return Box::pin(async { Ok(vec![IpAddr::V4(FIRST)]) });
        }
        asked.hung += 1;
        asked.hangs = true;
        let hangs = Hangs(self.0.clone());
        Box::pin(async move {
            let _hangs = hangs;
            std::future::pending().await
        })
    }
}

#[test]
fn a_name_without_an_answer_holds_no_other_up() {
    let (backend, names) = (Backend::named("first"), Deaf::default());
    let toml = |name: &str| {
        let port = backend.addr.port();
        format!(
            "[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n[pool.app]\n\
             resolve = {{ interval = \"20ms\" }}\nbackends = [\"deaf.internal:{port}\", \"{name}:{port}\"]\n"
        )
    };
    let resolver: Arc<dyn Resolver> = Arc::new(names.clone());
    let options = Options { resolver, ..Options::default() };
    let proxy = Proxy::start_with(&toml("good.internal"), options);
    until("a name has its own rhythm", || {
        let asked = names.0.lock();
        let during = |hung| asked.others.iter().filter(|(_, at)| *at == Some(hung)).count();
        (1..=asked.hung).any(|hung| during(hung) >= 3)
    });
    assert_eq!(proxy.get("/").text(), "first");
    let mut n = 0;
    until("a new name is looked up while another hangs", || {
        n += 1;
        let name = format!("new{n}.internal");
        let hung = Some(names.0.lock().hung);
        proxy.reload(&toml(&name)).unwrap();
        let first = || names.0.lock().others.iter().find(|(n, _)| *n == name).cloned();
        until("it is looked up", || first().is_some());
        assert_eq!(proxy.get("/").text(), "first");
        first().is_some_and(|(_, at)| at == hung)
    });
}
