//! Kept connections, on real sockets: what is handed out, what is not, and what is counted.
use super::*;
use crate::config;
use crate::net::proxy_protocol::{Ends, Header, Version};
use crate::net::{self, Stream, Target};
use crate::pool::{Ask, Outcome, Policies, Pool};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A pool of two backends at one listener, and the shelf of one worker.
struct Scene {
    pool: Arc<Pool>,
    listener: TcpListener,
    idle: Idle,
    now: Instant,
    /// What was taken is in use until the scene ends.
    taken: std::cell::RefCell<Vec<Kept>>,
}

/// Two ends of a connection. The third is a second name for the near one: it sees what the kernel
/// has, without the runtime.
struct Pair {
    near: Stream,
    far: TcpStream,
    port: u16,
    kernel: OwnedFd,
}

/// Where the backend of a lease is dialled now.
fn place(lease: &Lease) -> crate::pool::Place {
    lease.backend().dial().unwrap().1
}

impl Scene {
    async fn new(keep_alive: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let config = section(keep_alive, listener.local_addr().unwrap());
        let pool = Pool::prepare(&config.name, &config, &Policies::default(), None).unwrap();
        Self {
            pool: pool.commit().0,
            listener,
            idle: Idle::default(),
            now: Instant::now(),
            taken: Default::default(),
        }
    }
    fn commit(&self, change: impl FnOnce(&mut config::Pool)) {
        let mut config = (*self.pool.config()).clone();
        change(&mut config);
        Pool::prepare(&config.name, &config, &Policies::default(), Some(&self.pool))
            .unwrap()
            .commit();
    }
    /// Both backends have been in use for a while.
    fn knows(&self) {
        (0..2 * KNOWN).for_each(|_| drop(self.lease("a")));
        (0..KNOWN).for_each(|_| drop(self.lease("b")));
    }
    /// What may be sent again is gone, by something else.
    fn spend(&self) {
        let all = Allowance { share: 2.0 * HALF.share, floor: 2.0 * HALF.floor, ..HALF };
        while self.pool.take_try(all, self.now) {}
    }
    fn lease(&self, name: &str) -> Lease {
        loop {
            let lease = self.pool.lease(&Ask::new(self.now, 1)).unwrap();
            if &*lease.backend().name == name {
                return lease;
            }
        }
    }
    fn backend(&self, name: &str) -> Arc<Backend> {
        self.lease(name).backend().clone()
    }
    async fn connect(&self) -> Pair {
        let addr = self.listener.local_addr().unwrap();
        let near = net::connect(&Target::Ip(addr)).await.unwrap();
        let (far, peer) = self.listener.accept().await.unwrap();
        let kernel = near.as_fd().try_clone_to_owned().unwrap();
        Pair { near, far, port: peer.port(), kernel }
    }
    /// Keeps a connection, as one that was just dialled and used; the far end and its port.
    async fn keep(&self, name: &str) -> (TcpStream, u16, OwnedFd) {
        self.keep_after(name, Last::Framed).await
    }
    /// The same, of one whose last answer was this.
    async fn keep_after(&self, name: &str, last: Last) -> (TcpStream, u16, OwnedFd) {
        self.keep_all(name, last, 0).await
    }
    /// The same, with so many bytes written to it at the most.
    async fn keep_all(&self, name: &str, last: Last, most: usize) -> (TcpStream, u16, OwnedFd) {
        let Pair { near, far, port, kernel } = self.connect().await;
        let lease = self.lease(name);
        let (reach, place) = (lease.pool().reach_number(), place(&lease));
        let mut link = Link::new(near, lease.backend(), reach, place, None, self.now);
        let (tcp, mut left) = (link.tcp().expect("it is TCP"), most);
        while left > 0
            && let Ok(n) = tcp.try_write(&vec![0; left.min(1 << 20)])
        {
            left -= n;
        }
        link.carried(last);
        self.idle.give(&lease, link, self.now);
        lease.settle(Outcome::Answered(200));
        (far, port, kernel)
    }
    fn take(&self, name: &str, reuse: Reuse) -> Option<u16> {
        let backend = self.backend(name);
        let kept = self.idle.take(&backend, reuse, self.now)?;
        let port = kept.link.tcp().expect("it was TCP").local_addr().unwrap().port();
        self.taken.borrow_mut().push(kept);
        Some(port)
    }
    /// As `keep`, of one whose backend was told of this client.
    async fn keep_for(&self, name: &str, client: &str) -> (TcpStream, u16) {
        let Pair { near, far, port, .. } = self.connect().await;
        let lease = self.lease(name);
        let reach = lease.pool().reach_number();
        let link =
            Link::new(near, lease.backend(), reach, place(&lease), Some(header(client)), self.now);
        self.idle.give(&lease, link, self.now);
        lease.settle(Outcome::Answered(200));
        (far, port)
    }
    fn take_for(&self, name: &str, client: &str) -> Option<u16> {
        let backend = self.backend(name);
        let kept = self.idle.take_for(&header(client), &backend, Reuse::Any, self.now)?;
        let port = kept.link.tcp().expect("it was TCP").local_addr().unwrap().port();
        self.taken.borrow_mut().push(kept);
        Some(port)
    }
    /// Whether any shelf is.
    fn is_wary(&self) -> bool {
        let shelves = self.idle.0.lock();
        shelves.values().any(|shelf| shelf.wary.is_some_and(|wary| self.now < wary.until))
    }
    /// Idle and open connections to a backend, as they are counted.
    fn counted(&self, name: &str) -> (i64, i64) {
        let cells = self.backend(name);
        (cells.cells.idle.get(), cells.cells.open.get())
    }
}

/// What a backend is told of a client.
fn header(client: &str) -> Written {
    let addr = client.parse().unwrap();
    let ends = Ends::Ip { source: addr, destination: addr };
    Header { ends, ..Header::default() }.write(Version::V1)
}

fn section(keep_alive: &str, addr: SocketAddr) -> config::Pool {
    let text = format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [pool.app]\nkeep_alive = {keep_alive}\n\
         backends = [{{ name = \"a\", addr = \"{addr}\" }}, {{ name = \"b\", addr = \"{addr}\" }}]\n",
    );
    config::parse(&text, Path::new("proxy.toml")).unwrap().pools["app"].clone()
}

/// Waits until the kernel has something to say of a connection, then lets the runtime hear of it.
async fn heard(kernel: &OwnedFd) {
    let deadline = Instant::now() + 20 * SECOND;
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    let mut byte = [0u8; 1];
    while rustix::net::recv(kernel, &mut byte[..], flags) == Err(rustix::io::Errno::AGAIN) {
        assert!(Instant::now() < deadline, "nothing came");
        tokio::time::sleep(MS).await;
    }
    tokio::time::sleep(MS).await;
}

/// Whether our side closed a connection, seen from the other.
async fn is_closed(far: &mut TcpStream) -> bool {
    matches!(far.read(&mut [0; 8]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn a_kept_connection_is_handed_out_once_the_youngest_first() {
    let scene = Scene::new("{ idle = \"30s\" }").await;
    scene.knows();
    let (_far, first, _) = scene.keep("a").await;
    let (_far, second, _) = scene.keep("a").await;
    let (_far, other, _) = scene.keep("b").await;
    assert_eq!((scene.counted("a"), scene.counted("b")), ((2, 2), (1, 1)));
    assert_eq!(scene.take("a", Reuse::Any), Some(second));
    assert_eq!(scene.take("a", Reuse::Sure), Some(first));
    assert_eq!(scene.take("a", Reuse::Any), None, "another backend's is not its own");
    assert_eq!(scene.take("b", Reuse::Any), Some(other));
    assert_eq!(scene.counted("a"), (0, 2), "open still, in use");
}

#[tokio::test]
async fn one_that_was_made_for_a_client_is_handed_out_for_it_alone() {
    let scene = Scene::new("{ idle = \"30s\", max_idle = 3 }").await;
    let [one, two, three] = ["192.0.2.1:1", "192.0.2.1:2", "[2001:db8::1]:1"];
    let (_far, first) = scene.keep_for("a", one).await;
    let (_far, second) = scene.keep_for("a", two).await;
    let (_far, again) = scene.keep_for("a", one).await;
    assert_eq!(scene.take_for("a", three), None);
    assert_eq!(scene.take_for("b", one), None, "another backend's is not its own");
    assert_eq!(scene.take_for("a", two), Some(second));
    assert_eq!(scene.take_for("a", two), None);
    assert_eq!(scene.take_for("a", one), Some(again), "the youngest");
    assert_eq!(scene.counted("a"), (1, 3), "what was not its own is still kept");
    assert_eq!(scene.take_for("a", one), Some(first));
    // When there is no room the oldest gives way.
    let mut all = Vec::new();
    for client in [one, two, three, three] {
        all.push(scene.keep_for("a", client).await);
    }
    assert_eq!((scene.counted("a").0, scene.take_for("a", one)), (3, None));
    assert_eq!(scene.take_for("a", two), Some(all[1].1));
    assert_eq!(scene.take("a", Reuse::Any), None, "nobody's request is another one's");
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_is_not_handed_out() {
    for reuse in [Reuse::Any, Reuse::Sure] {
        let scene = Scene::new("{ idle = \"30s\" }").await;
        scene.knows();
        let (_far, open, _) = scene.keep("a").await;
        let (far, _, kernel) = scene.keep("a").await;
        drop(far);
        heard(&kernel).await;
        assert_eq!(scene.take("a", reuse), Some(open), "{reuse:?}: the older one, still open");
        assert_eq!(scene.counted("a"), (0, 1), "the closed one is counted no more");
    }
}

#[tokio::test]
async fn a_reset_connection_is_not_handed_out() {
    let scene = Scene::new("{ idle = \"30s\" }").await;
    let (far, _, kernel) = scene.keep("a").await;
    far.set_zero_linger().unwrap();
    drop(far);
    heard(&kernel).await;
    assert_eq!(scene.take("a", Reuse::Any), None);
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_make_it_unusable() {
    for reuse in [Reuse::Any, Reuse::Sure] {
        let scene = Scene::new("{ idle = \"30s\" }").await;
        scene.knows();
        let (mut far, _, kernel) = scene.keep("a").await;
        far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        heard(&kernel).await;
        assert_eq!(scene.take("a", reuse), None, "{reuse:?}: it would answer the next request");
        drop(kernel);
        assert!(is_closed(&mut far).await);
        assert_eq!(scene.counted("a"), (0, 0));
    }
}

/// Of who closes in order the kernel keeps the port for a minute.
#[tokio::test]
async fn where_many_are_closed_their_ports_are_free_at_once_if_their_requests_are_there() {
    async fn end(far: &mut TcpStream) -> Result<u64, std::io::ErrorKind> {
        tokio::io::copy(far, &mut tokio::io::sink()).await.map_err(|error| error.kind())
    }
    let reset = Err(std::io::ErrorKind::ConnectionReset);
    let mut scene = Scene::new("{ idle = \"30s\", max_idle = 1, renew = \"1/s\" }").await;
    let (mut first, _, kernel) = scene.keep_after("a", Last::Framed).await;
    drop(kernel);
    for n in 0..503 {
        let (mut surplus, _, kernel) = scene.keep_all("a", Last::Framed, 0).await;
        drop(kernel);
        assert_eq!(end(&mut surplus).await, if n < 500 { Ok(0) } else { reset }, "{n}");
    }
    // More than both kernels have room for, unless their backend reads.
    let (mut surplus, _, kernel) = scene.keep_all("a", Last::Framed, 100 << 20).await;
    drop(kernel);
    let got = end(&mut surplus).await.expect("an end in order");
    assert!(got > 1 << 16, "{got}");
    scene.now += 30 * SECOND;
    scene.idle.sweep(scene.now);
    assert_eq!((end(&mut first).await, scene.counted("a")), (Ok(0), (0, 0)), "few are");
}

/// The backend has each port itself then.
#[tokio::test]
async fn what_the_backend_closed_counts_for_none() {
    let scene = Scene::new("{ idle = \"30s\", renew = \"1/s\" }").await;
    for _ in 0..1000 {
        let (far, _, kernel) = scene.keep("a").await;
        drop((far, kernel));
        tokio::task::yield_now().await;
        assert_eq!(scene.take("a", Reuse::Any), None);
    }
    let backend = scene.backend("a");
    assert!(backend.closes_in_order(crate::config::Rate::every(SECOND), false, scene.now));
}

#[tokio::test]
async fn what_is_unusable_is_swept() {
    let scene = Scene::new("{ idle = \"30s\" }").await;
    let (closed, _, one) = scene.keep("a").await;
    let (mut speaks, _, two) = scene.keep("a").await;
    let (_far, open, _) = scene.keep("a").await;
    drop(closed);
    speaks.write_all(b"x").await.unwrap();
    heard(&one).await;
    heard(&two).await;
    scene.idle.sweep(scene.now);
    assert_eq!(scene.counted("a"), (1, 1));
    assert_eq!(scene.take("a", Reuse::Any), Some(open));
}

#[tokio::test]
async fn no_more_are_kept_than_max_idle_for_each_backend() {
    let scene = Scene::new("{ idle = \"30s\", max_idle = 2 }").await;
    let (_first, ..) = scene.keep("a").await;
    let (_second, ..) = scene.keep("a").await;
    let (mut third, _, kernel) = scene.keep("a").await;
    drop(kernel);
    assert!(is_closed(&mut third).await, "there is no room");
    let (_other, ..) = scene.keep("b").await;
    assert_eq!((scene.counted("a"), scene.counted("b")), ((2, 2), (1, 1)));
}

#[tokio::test]
async fn nothing_is_kept_where_keeping_is_off() {
    for keep_alive in ["\"off\"", "{ idle = \"30s\", max_idle = 0 }"] {
        let scene = Scene::new(keep_alive).await;
        let (mut far, _, kernel) = scene.keep("a").await;
        drop(kernel);
        assert!(is_closed(&mut far).await);
        assert_eq!((scene.take("a", Reuse::Any), scene.counted("a")), (None, (0, 0)));
    }
}

#[tokio::test]
async fn an_idle_one_is_closed_when_its_time_is_over() {
    for swept in [true, false] {
        let mut scene = Scene::new("{ idle = \"30s\", max_age = \"10m\" }").await;
        let (mut far, _, kernel) = scene.keep("a").await;
        drop(kernel);
        scene.now += 30 * SECOND - MS;
        scene.idle.sweep(scene.now);
        assert_eq!(scene.counted("a"), (1, 1), "not yet");
        scene.now += MS;
        match swept {
            true => scene.idle.sweep(scene.now),
            false => assert_eq!(scene.take("a", Reuse::Any), None, "nor is it handed out"),
        }
        assert_eq!(scene.counted("a"), (0, 0));
        assert!(is_closed(&mut far).await);
    }
}

#[tokio::test]
async fn an_old_one_is_closed_however_busy_it_was() {
    let mut scene = Scene::new("{ idle = \"30s\", max_age = \"10m\" }").await;
    let born = scene.now;
    let Pair { near, far: mut peer, kernel, .. } = scene.connect().await;
    drop(kernel);
    let lease = scene.lease("a");
    let (reach, place) = (lease.pool().reach_number(), place(&lease));
    let link = Link::new(near, lease.backend(), reach, place, None, born);
    scene.now += 599 * SECOND;
    scene.idle.give(&lease, link, scene.now);
    assert_eq!(scene.counted("a"), (1, 1));
    let kept = scene.idle.take(lease.backend(), Reuse::Any, scene.now).unwrap();
    assert_eq!(kept.link.born(), born);
    scene.now += SECOND;
    scene.idle.give(&lease, kept.link, scene.now);
    assert_eq!(scene.counted("a"), (0, 0), "not kept again");
    assert!(is_closed(&mut peer).await);
}

#[tokio::test]
async fn what_cannot_be_sent_again_takes_a_young_one_only() {
    let mut scene = Scene::new("{ idle = \"30s\" }").await;
    let (_one, first, _) = scene.keep("a").await;
    assert_eq!(scene.take("a", Reuse::Sure), None, "nobody knows it yet");
    scene.knows();
    scene.now += SECOND - MS;
    assert_eq!(scene.take("a", Reuse::Sure), Some(first));
    let (_two, ..) = scene.keep("a").await;
    let (_three, third, _) = scene.keep("b").await;
    scene.now += SECOND;
    assert_eq!(scene.take("a", Reuse::Sure), None, "servers close after whole seconds");
    assert_eq!(scene.take("b", Reuse::Any), Some(third));
}

#[tokio::test]
async fn a_backend_that_closed_one_under_us_is_not_trusted_for_a_minute() {
    let mut scene = Scene::new("{ idle = \"5m\" }").await;
    scene.knows();
    let (_far, port, _) = scene.keep("a").await;
    scene.backend("a").raced(scene.now);
    assert_eq!(scene.take("a", Reuse::Sure), None);
    assert_eq!(scene.counted("a"), (1, 1), "it stays for what can be sent again");
    assert_eq!(scene.take("a", Reuse::Any), Some(port));
    // The memory stays while nothing is kept, and ends.
    scene.idle.sweep(scene.now);
    scene.now += 59 * SECOND;
    let (_far, port, _) = scene.keep("a").await;
    assert_eq!(scene.take("a", Reuse::Sure), None);
    scene.now += SECOND;
    let (_far, young, _) = scene.keep("a").await;
    assert_eq!(scene.take("a", Reuse::Sure), Some(young));
    assert_eq!(scene.take("a", Reuse::Any), Some(port));
}

#[tokio::test]
async fn new_ones_for_want_of_trust_have_a_bound() {
    let mut scene = Scene::new("{ idle = \"5m\", renew = \"100/s\" }").await;
    scene.knows();
    let (_far, port, _) = scene.keep("a").await;
    let backend = scene.backend("a");
    backend.raced(scene.now);
    for _ in 0..10_000 {
        assert_eq!(scene.take("a", Reuse::Sure), None);
    }
    assert_eq!(
        scene.take("a", Reuse::Sure),
        Some(port),
        "beyond it a kept one is better than none"
    );
    // Nothing is spent where nothing is kept.
    (0..10).for_each(|_| assert_eq!(scene.take("a", Reuse::Sure), None));
    assert_eq!((backend.cells.renewed.get(), backend.cells.unrenewed.get()), (10_000, 1));
    let (_far, port, _) = scene.keep("a").await;
    scene.now += SECOND / 2;
    (0..50).for_each(|_| assert_eq!(scene.take("a", Reuse::Sure), None));
    assert_eq!(scene.take("a", Reuse::Sure), Some(port));
}

/// So many tries of a pool, of which half is so many.
const HALF: Allowance = Allowance { share: 0.1, floor: 1.0, window: Duration::from_secs(10) };

#[tokio::test]
async fn a_backend_that_closes_too_many_under_us_gets_new_ones_for_a_while() {
    let mut scene = Scene::new("{ idle = \"5m\", renew = \"1/s\" }").await;
    let (_far, port, _) = scene.keep("a").await;
    let (_other, other, _) = scene.keep("b").await;
    let lease = scene.lease("a");
    let raced = |scene: &Scene| {
        lease.backend().raced(scene.now);
        scene.idle.raced(&lease, HALF, scene.now);
    };
    // As long as the budget has room it costs nothing.
    (0..10).for_each(|_| raced(&scene));
    assert_eq!(scene.take("a", Reuse::Any), Some(port));
    scene.spend();
    raced(&scene);
    let (_far, port, _) = scene.keep("a").await;
    for length in [1, 2, 4, 8, 10, 10] {
        // Others that were on their way do not make it longer.
        (0..5).for_each(|_| raced(&scene));
        assert_eq!(scene.take("b", Reuse::Any).is_some(), length == 1, "{other}");
        scene.now += length * SECOND - MS;
        scene.idle.sweep(scene.now);
        // However many ask: such connections are worse than none.
        let take = || scene.idle.take(lease.backend(), Reuse::Any, scene.now);
        assert!((0..15_000).all(|_| take().is_none()), "{length}");
        scene.now += MS;
        scene.idle.sweep(scene.now);
        scene.spend();
        assert!(!scene.is_wary());
        raced(&scene);
        assert!(scene.is_wary());
    }
    // It is remembered while nothing is kept, and no longer.
    scene.now += 10 * SECOND;
    assert_eq!(scene.take("a", Reuse::Any), Some(port));
    scene.idle.sweep(scene.now);
    assert!(scene.idle.0.lock().values().any(|shelf| shelf.wary.is_some()));
    scene.now += 10 * SECOND;
    scene.idle.sweep(scene.now);
    assert!(scene.idle.0.lock().values().all(|shelf| shelf.wary.is_none()));
}

#[tokio::test]
async fn one_that_closes_few_is_not_blamed_for_a_budget_that_others_spent() {
    let scene = Scene::new("{ idle = \"5m\" }").await;
    scene.knows();
    scene.spend();
    let (_far, port, _) = scene.keep("a").await;
    let lease = scene.lease("a");
    for _ in 0..20 {
        (0..50).for_each(|_| drop(scene.lease("a")));
        lease.backend().raced(scene.now);
        scene.idle.raced(&lease, HALF, scene.now);
    }
    assert_eq!(scene.take("a", Reuse::Any), Some(port));
}

#[tokio::test]
async fn those_of_a_removed_backend_are_closed() {
    let scene = Scene::new("{ idle = \"30s\" }").await;
    let (mut far, _, kernel) = scene.keep("a").await;
    drop(kernel);
    let gone = scene.backend("a");
    scene.commit(|config| config.backends.retain(|b| &*b.name != "a"));
    scene.idle.sweep(scene.now);
    assert!(is_closed(&mut far).await);
    assert_eq!((gone.cells.idle.get(), gone.cells.open.get()), (0, 0));
    assert!(scene.idle.0.lock().is_empty(), "nor does a shelf stay for it");
}

#[tokio::test]
async fn other_settings_hold_from_the_next_sweep() {
    let mut scene = Scene::new("{ idle = \"30s\" }").await;
    let mut far = Vec::new();
    for _ in 0..4 {
        far.push(scene.keep("a").await);
    }
    scene.commit(|config| config.keep_alive.max_idle = 2);
    scene.idle.sweep(scene.now);
    assert_eq!(scene.counted("a"), (2, 2), "the two youngest stay");
    assert_eq!(scene.take("a", Reuse::Any), Some(far[3].1));
    scene.now += 2 * SECOND;
    scene.commit(|config| config.keep_alive.idle = config::Timeout::secs(2));
    scene.idle.sweep(scene.now);
    assert_eq!(scene.counted("a").0, 0);
    far.push(scene.keep("a").await);
    scene.commit(|config| config.keep_alive.idle = config::Timeout::OFF);
    scene.idle.sweep(scene.now);
    assert_eq!(scene.counted("a").0, 0, "off keeps none, those from before neither");
}

#[tokio::test]
async fn a_worker_that_ends_leaves_no_count_behind() {
    let scene = Scene::new("{ idle = \"30s\" }").await;
    let (mut far, _, kernel) = scene.keep("a").await;
    let (_other, ..) = scene.keep("b").await;
    drop(kernel);
    let both = [scene.backend("a"), scene.backend("b")];
    drop(scene);
    assert!(both.iter().all(|b| (b.cells.idle.get(), b.cells.open.get()) == (0, 0)));
    assert!(is_closed(&mut far).await);
}

#[tokio::test]
async fn one_that_carried_head_is_handed_out_after_the_others_and_a_moment_of_quiet() {
    let mut scene = Scene::new("{ idle = \"30s\" }").await;
    let (_far, first, _) = scene.keep_after("a", Last::Head).await;
    scene.now += QUIET / 2;
    let (_far, second, _) = scene.keep_after("a", Last::Head).await;
    let (_far, third, _) = scene.keep_after("a", Last::Bare).await;
    assert_eq!(scene.take("a", Reuse::Any), Some(third));
    assert_eq!((scene.take("a", Reuse::Any), scene.counted("a").0), (None, 2));
    scene.now += QUIET / 2;
    assert_eq!(scene.take("a", Reuse::Any), Some(first));
    assert_eq!(scene.take("a", Reuse::Any), None);
    scene.now += QUIET / 2;
    assert_eq!(scene.take("a", Reuse::Any), Some(second));
}

#[tokio::test]
async fn a_backend_that_sent_a_body_where_there_is_none_has_no_connection_kept_after_such_answers()
{
    let keeps = async |scene: &Scene| {
        let mut kept = Vec::new();
        for last in [Last::Framed, Last::Bare, Last::Head] {
            let before = scene.counted("a").0;
            let _far = scene.keep_after("a", last).await;
            kept.push(scene.counted("a").0 > before);
        }
        kept
    };
    for (last, bytes, caught) in [
        (Last::Head, "HTTP/1.1 200 OK", true),
        (Last::Bare, "x", true),
        // One that says why it closes an idle connection, and one that closes it.
        (Last::Framed, "HTTP/1.1 408 Request Timeout", false),
        (Last::Head, "", false),
    ] {
        let mut scene = Scene::new("{ idle = \"30s\" }").await;
        assert_eq!(keeps(&scene).await, [true; 3]);
        scene.now += SECOND;
        let (mut far, port, kernel) = scene.keep_after("a", last).await;
        far.write_all(bytes.as_bytes()).await.unwrap();
        drop(far);
        heard(&kernel).await;
        scene.now += SECOND;
        scene.idle.sweep(scene.now);
        assert_ne!(scene.take("a", Reuse::Any), Some(port));
        assert_eq!(keeps(&scene).await, [true, !caught, !caught], "{bytes}");
        scene.now += 61 * SECOND;
        assert_eq!(keeps(&scene).await, [true; 3]);
    }
}
