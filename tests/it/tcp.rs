//! Layer 4, with scripted and with real protocols behind it.
use crate::support::{Backend, Client, Proxy, access_lines, access_log, nobody, until};
use evenkeel::discover::{Answer, Resolver};
use evenkeel::server::Options;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

fn raw(backends: &[SocketAddr], more: &str) -> Proxy {
    let list: Vec<String> = backends.iter().map(|a| format!("\"{a}\"")).collect();
    Proxy::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"app\"\n[pool.app]\nbackends = [{}]\n{more}\n",
        list.join(", ")
    ))
}

#[test]
fn half_closes_pass_in_both_directions() {
    let backend = Backend::run(|peer| {
        // The client ends first and still hears the whole answer.
        let all = peer.rest();
        peer.send(format!("{} bytes", all.len()));
    });
    let proxy = raw(&[backend.addr], "");
    let mut client = proxy.client();
    client.send("hello");
    client.end();
    assert_eq!(client.rest(), b"5 bytes");

    let first = Backend::run(|peer| {
        peer.send("bye");
        peer.stream().shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(peer.rest(), b"still here");
    });
    let proxy = raw(&[first.addr], "");
    let mut client = proxy.client();
    assert_eq!(client.rest(), b"bye");
    client.send("still here");
    client.end();
    until("both ended", || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools["app"].members()[0].backend.active() == 0
    });
}

#[test]
fn bulk_passes_byte_for_byte_both_ways_at_once() {
    let size = 16 << 20;
    let data =
        move |seed: usize| -> Vec<u8> { (0..size).map(|i| ((i * 7 + seed) % 253) as u8).collect() };
    let backend = Backend::run(move |peer| {
        let mut stream = peer.stream().try_clone().unwrap();
        let writer =
            std::thread::spawn(move || std::io::Write::write_all(&mut stream, &data(1)).unwrap());
        assert!(peer.bytes(size) == data(2));
        writer.join().unwrap();
        peer.stream().shutdown(std::net::Shutdown::Write).unwrap();
    });
    let proxy = raw(&[backend.addr], "");
    let mut client = proxy.client();
    let mut stream = client.stream().try_clone().unwrap();
    let writer =
        std::thread::spawn(move || std::io::Write::write_all(&mut stream, &data(2)).unwrap());
    assert!(client.bytes(size) == data(1));
    writer.join().unwrap();
    let plan = proxy.running().state().plan.load_full().unwrap();
    let cells = &plan.listeners["web"].cells;
    until("bytes are counted", || {
        (cells.received.get(), cells.sent.get()) == (size as u64, size as u64)
    });
}

#[test]
fn the_next_backend_is_tried_when_one_refuses() {
    let good = Backend::run(|peer| peer.send("good"));
    let proxy = raw(&[nobody(), good.addr], "");
    for _ in 0..4 {
        assert_eq!(proxy.client().rest(), b"good");
    }
    assert_eq!(proxy.state(&good.addr.to_string()), "up");
}

/// It is always free, and takes all that come, else.
#[test]
fn who_hears_its_clients_and_closes_without_a_word_has_failed() {
    let bad = Backend::run(|peer| drop(peer.bytes(5)));
    let good = Backend::run(|peer| {
        peer.bytes(5);
        peer.send("good");
    });
    let more = "outlier = { consecutive_failures = 3, success_rate = \"off\", silence = \"off\", eject = \"1h\" }";
    let (folder, log) = access_log();
    let proxy = raw(&[bad.addr, good.addr], &format!("{more}\n{log}"));
    let ask = |proxy: &Proxy| {
        let mut client = proxy.client();
        client.send("hello");
        client.rest()
    };
    for _ in 0..20 {
        let said = ask(&proxy);
        assert!(said == b"good" || said.is_empty());
    }
    proxy.until_state(&bad.addr.to_string(), "ejected");
    let lines = access_lines(&folder, 20);
    let told = lines.iter().filter(|line| line.contains(r#""reason":"no_answer""#)).count();
    assert_eq!(told, 3, "{lines:?}");
    // Nor is it the one with the fewest.
    let proxy = raw(&[bad.addr, good.addr], "balance = \"least_connections\"");
    let silent = (0..30).filter(|_| ask(&proxy).is_empty()).count();
    assert!(silent <= 10, "{silent} of 30");
    // Whose client ends first need not say anything.
    let sink = Backend::run(|peer| drop(peer.rest()));
    let proxy = raw(&[sink.addr, good.addr], more);
    for _ in 0..20 {
        let mut client = proxy.client();
        client.send("hello");
        client.end();
        client.rest();
    }
    assert_eq!(proxy.state(&sink.addr.to_string()), "up");
}

#[test]
fn an_idle_tunnel_ends_in_its_time() {
    let backend = Backend::run(|peer| drop(peer.rest()));
    let proxy = raw(&[backend.addr], "timeout = { tunnel = \"50ms\" }");
    let mut client = proxy.client();
    client.send("x");
    assert!(client.is_closed());
    let hit = "evenkeel_limit_hits_total{listener=\"web\",limit=\"tunnel\"} 1\n";
    until("it is counted", || crate::readme::scrape(&proxy).contains(hit));
}

/// A real server; killed when dropped.
struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until_listens(port: u16) {
    until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
}

fn redis() -> Server {
    let (folder, port) = (tempfile::tempdir().unwrap(), nobody().port());
    let child = Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server: install Debian's package redis-server");
    until_listens(port);
    Server { child, port, _folder: folder }
}

#[test]
fn redis_speaks_through_it() {
    let server = redis();
    let proxy = raw(
        &[SocketAddr::from(([127, 0, 0, 1], server.port))],
        "health = { tcp = { send = \"PING\\r\\n\", expect = \"+PONG\" } }",
    );
    proxy.until_state(&format!("127.0.0.1:{}", server.port), "up");
    let mut client = proxy.client();
    let value = "v".repeat(300_000);
    // A pipeline of a thousand commands, then a value of many segments.
    client.send("INCR n\r\n".repeat(1000));
    for n in 1..=1000 {
        let wanted = format!(":{n}\r\n");
        assert_eq!(client.bytes(wanted.len()), wanted.as_bytes());
    }
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\nGET k\r\n", value.len()));
    let wanted = format!("+OK\r\n${}\r\n{value}\r\n", value.len());
    assert!(client.bytes(wanted.len()) == wanted.as_bytes());
}

/// Where Debian keeps PostgreSQL's own programs.
fn postgres_bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL: install Debian's package postgresql");
    let mut all: Vec<PathBuf> = versions
        .flatten()
        .map(|v| v.path().join("bin"))
        .filter(|b| b.join("initdb").exists())
        .collect();
    all.sort();
    all.pop().expect("PostgreSQL's initdb: install Debian's package postgresql")
}

/// PostgreSQL refuses to run as root: then it runs as its own user.
fn as_postgres(program: &Path) -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        return command;
    }
    Command::new(program)
}

fn postgres() -> Server {
    let (bin, folder, port) =
        (postgres_bin(), tempfile::tempdir_in("/tmp").unwrap(), nobody().port());
    let data = folder.path().join("data");
    if rustix::process::geteuid().is_root() {
        let done = Command::new("chown").arg("postgres").arg(folder.path()).status().unwrap();
        assert!(done.success());
    }
    let made = as_postgres(&bin.join("initdb"))
        .args(["-A", "trust", "-U", "postgres", "-N", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let child = as_postgres(&bin.join("postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F", "-k"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_listens(port);
    Server { child, port, _folder: folder }
}

#[test]
fn postgres_speaks_through_it() {
    let server = postgres();
    let proxy = raw(&[SocketAddr::from(([127, 0, 0, 1], server.port))], "");
    let psql = |sql: &str| {
        let output = Command::new("psql")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &proxy.addr().port().to_string(),
                "-U",
                "postgres",
                "-tA",
                "-c",
                sql,
            ])
            .output()
            .expect("psql: install Debian's package postgresql-client");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    until("it answers", || psql("select 1").0);
    assert_eq!(psql("select sum(n) from generate_series(1, 1000) n").1, "500500\n");
    // Some megabytes in one direction.
    let (good, out, error) =
        psql("copy (select repeat('x', 100) from generate_series(1, 50000)) to stdout");
    assert!(good, "{error}");
    assert_eq!(out.len(), 50_000 * 101);
}

#[test]
fn a_client_of_nobody_is_let_go() {
    let proxy = raw(&[nobody()], "");
    let mut client = Client::connect(proxy.addr());
    assert!(client.is_closed());
}

/// Every name is this machine's.
struct Own;

impl Resolver for Own {
    fn resolve<'a>(&'a self, _: &'a str) -> Answer<'a> {
        Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) })
    }
}

#[test]
fn a_connection_that_would_come_back_is_refused_and_another_backend_takes_it() {
    let (folder, log) = access_log();
    let port = nobody().port();
    let toml = |backends: &str| {
        format!(
            "[listener.web]\nbind = \"0.0.0.0:{port}\"\nprotocol = \"tcp\"\npool = \"app\"\n\
             [pool.app]\nbackends = [{{ name = \"own\", addr = \"own.internal:{port}\" }}{backends}]\n{log}"
        )
    };
    let options = Options { resolver: Arc::new(Own), ..Options::default() };
    let proxy = Proxy::start_with(&toml(""), options);
    proxy.until_state("own", "up");
    let cells = || proxy.running().state().plan.load_full().unwrap().listeners["web"].cells.clone();
    let looped =
        || cells().own.all().iter().find(|(word, _)| *word == "loop").map_or(0, |own| own.1);
    // Straight, and by another address of the machine, of which it is known a round later.
    for (rounds, ip) in [(1, [127, 0, 0, 1]), (2, [127, 0, 0, 2])] {
        let before = cells().accepted.get();
        let mut client = Client::connect(SocketAddr::from((ip, port)));
        assert_eq!(client.rest(), b"");
        drop(client);
        until("it is over", || cells().open.get() == 0);
        assert_eq!(cells().accepted.get() - before, rounds, "{ip:?}");
    }
    assert_eq!(looped(), 2);
    assert_eq!(proxy.state("own"), "up", "what is set up wrong is no fault of a backend");
    let lines = access_lines(&folder, 3);
    assert_eq!(lines.iter().filter(|l| l.contains(r#""reason":"loop""#)).count(), 2, "{lines:#?}");
    // Beside one that is elsewhere nobody is refused.
    let backend = Backend::named("elsewhere");
    proxy.reload(&toml(&format!(", \"{}\"", backend.addr))).unwrap();
    for _ in 0..4 {
        let mut client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        assert_eq!(client.ask("GET", "/", "").text(), "elsewhere");
    }
}

#[test]
fn a_file_whose_listener_leads_to_itself_is_refused() {
    let listener = |name: &str, bind: &str, more: &str| {
        format!("[listener.{name}]\nbind = \"{bind}\"\nprotocol = \"tcp\"\n{more}\n")
    };
    let pool = |name: &str, to: &str| format!("[pool.{name}]\nbackends = [\"{to}\"]\n");
    let one = |bind: &str, to: &str| listener("a", bind, "pool = \"a\"") + &pool("a", to);
    let through = |bind: &str, to: &str| {
        let route = "[[route]]\nname = \"r\"\nsni = \"a.test\"\npool = \"a\"\n";
        listener("a", bind, "tls = \"passthrough\"") + route + &pool("a", to)
    };
    let two = |to: &str| {
        one("127.0.0.1:7001", "127.0.0.1:7002")
            + &listener("b", "127.0.0.1:7002", "pool = \"b\"")
            + &pool("b", to)
    };
    for (toml, is_loop) in [
        (one("127.0.0.1:7001", "127.0.0.1:7001"), true),
        (one("0.0.0.0:7001", "127.0.0.9:7001"), true),
        (one("0.0.0.0:7001", "192.0.2.1:7001"), false),
        (one("127.0.0.2:7001", "127.0.0.1:7001"), false),
        (one("[::]:7001", "[::1]:7001"), true),
        (one("[::]:7001", "127.0.0.1:7001"), false),
        (one("unix:/run/a.sock", "unix:/run/a.sock"), true),
        (one("localhost:7001", "localhost:7001"), true),
        (through("127.0.0.1:7001", "127.0.0.1:7001"), true),
        (two("127.0.0.1:7001"), true),
        (two("127.0.0.1:7003"), false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, &toml).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        let done = check.arg("check").arg("-c").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.success(), !is_loop, "{toml}{said}");
        assert_eq!(said.contains("would come back to it for ever"), is_loop, "{said}");
    }
}
