//! Active probes: who gets work, and when.
use crate::support::{Backend, Proxy, nobody, until};
use evenkeel::discover::{Answer, Resolver};
use evenkeel::server::Options;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

const FAST: &str = "interval = \"20ms\", timeout = \"200ms\"";

/// Answers `/healthz` as it is told, and everything else with its name.
fn moody(name: &'static str, well: &Arc<AtomicBool>) -> Backend {
    let well = well.clone();
    Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            match (head.starts_with("GET /healthz"), well.load(SeqCst)) {
                (true, true) => peer.answer("all ok here"),
                (true, false) => {
                    peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                }
                _ => peer.answer(name),
            }
        }
    })
}

#[test]
fn a_backend_goes_down_and_comes_back_by_its_probes() {
    let (one_well, two_well) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let (one, two) = (moody("one", &one_well), moody("two", &two_well));
    let health =
        format!("health = {{ http = \"/healthz\", expect = {{ body = \"ok\" }}, {FAST} }}");
    let proxy = Proxy::http(&[one.addr, two.addr], &health);
    proxy.until_state("b1", "up");
    proxy.until_state("b2", "up");
    one_well.store(false, SeqCst);
    proxy.until_state("b1", "down");
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "two");
    }
    one_well.store(true, SeqCst);
    proxy.until_state("b1", "up");
    let plan = proxy.running().state().plan.load_full().unwrap();
    let member = plan.pools["app"].members().remove(0);
    assert!(
        member.backend.cells.checks_fail.get() >= 3 && member.backend.cells.last_probe_ms.get() > 0
    );
}

#[test]
fn requests_wait_for_the_first_verdict() {
    let well = Arc::new(AtomicBool::new(true));
    let one = moody("one", &well);
    for _ in 0..5 {
        let proxy = Proxy::http(&[one.addr], "health = \"/healthz\"");
        assert_eq!(proxy.get("/").text(), "one");
    }
}

#[test]
fn a_probe_that_gets_no_answer_fails_in_its_time_and_disturbs_no_other() {
    let well = Arc::new(AtomicBool::new(true));
    let good = moody("good", &well);
    // Frozen: its kernel accepts, nobody answers.
    let frozen = TcpListener::bind(nobody()).unwrap();
    // A full accept queue: connects hang.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    full.listen(0).unwrap();
    let full_addr = full.local_addr().unwrap().as_socket().unwrap();
    let _fill: Vec<_> = (0..4)
        .map(|_| {
            let s =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            s.set_nonblocking(true).unwrap();
            let _ = s.connect(&full_addr.into());
            s
        })
        .collect();
    let health =
        "health = { http = \"/healthz\", interval = \"20ms\", timeout = \"100ms\", fall = 1 }";
    let proxy =
        Proxy::http(&[good.addr, frozen.local_addr().unwrap(), full_addr, nobody()], health);
    proxy.until_state("b1", "up");
    for dead in ["b2", "b3", "b4"] {
        proxy.until_state(dead, "down");
    }
    let plan = proxy.running().state().plan.load_full().unwrap();
    let passed = || plan.pools["app"].members()[0].backend.cells.checks_pass.get();
    let before = passed();
    until("the good one is probed on", || passed() > before + 5);
    for _ in 0..5 {
        assert_eq!(proxy.get("/").text(), "good");
    }
}

#[test]
fn backups_work_only_when_the_first_tier_has_nobody() {
    let well = Arc::new(AtomicBool::new(true));
    let (main, spare) = (moody("main", &well), Backend::named("spare"));
    let toml = format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n[pool.app]\nhealth = {{ tcp = true, {FAST} }}\n\
         backends = [{{ name = \"b1\", addr = \"{}\" }}, {{ name = \"b2\", addr = \"{}\", backup = true }}]\n",
        main.addr, spare.addr
    );
    let proxy = Proxy::start(&toml);
    proxy.until_state("b1", "up");
    proxy.until_state("b2", "up");
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "main");
    }
    main.end();
    proxy.until_state("b1", "down");
    assert_eq!(proxy.get("/").text(), "spare");
}

#[test]
fn below_the_panic_threshold_the_unhealthy_are_tried_too() {
    let ill = Arc::new(AtomicBool::new(false));
    let (one, two) = (moody("one", &ill), moody("two", &ill));
    let more = format!("health = {{ http = \"/healthz\", {FAST} }}\npanic_threshold = \"50%\"");
    let proxy = Proxy::http(&[one.addr, two.addr], &more);
    proxy.until_state("b1", "down");
    proxy.until_state("b2", "down");
    until("it panics", || proxy.get("/").status == 200);
    let plan = proxy.running().state().plan.load_full().unwrap();
    assert_eq!(plan.pools["app"].panic.get(), 1);
}

/// Answers what it is told: 0 an error, 1 an address, 2 nothing.
struct Scripted(Arc<AtomicUsize>);

impl Resolver for Scripted {
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a> {
        assert_eq!(name, "app.internal");
        let mood = self.0.load(SeqCst);
        Box::pin(async move {
            match mood {
                0 => Err(std::io::Error::other("no server answers")),
                1 => Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
                _ => Ok(Vec::new()),
            }
        })
    }
}

#[test]
fn a_name_without_an_address_is_a_down_backend_and_the_last_answer_is_kept() {
    let backend = Backend::named("named");
    let mood = Arc::new(AtomicUsize::new(0));
    let toml = format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n[pool.app]\nresolve = {{ interval = \"20ms\" }}\n\
         backends = [{{ name = \"b1\", addr = \"app.internal:{}\" }}]\n",
        backend.addr.port()
    );
    let options = Options { resolver: Arc::new(Scripted(mood.clone())), ..Options::default() };
    let proxy = Proxy::start_with(&toml, options);
    assert_eq!(proxy.state("b1"), "down");
    assert_eq!(proxy.get("/").status, 503);
    mood.store(1, SeqCst);
    proxy.until_state("b1", "up");
    assert_eq!(proxy.get("/").text(), "named");
    for lost in [0, 2] {
        mood.store(lost, SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!((proxy.state("b1").as_str(), proxy.get("/").text().as_str()), ("up", "named"));
    }
}
