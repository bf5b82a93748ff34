//! Heartbeats of whole pools, on real sockets.
use super::*;
use crate::pool::{Change, Reason, State};
use std::sync::Weak;

/// Waits for a condition, with a deadline far beyond what it takes.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A pool that is probed, and its sets published, until it is dropped.
struct Probed {
    pool: Arc<Pool>,
    tasks: [AbortHandle; 2],
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Probed {
    fn run(health: &str, backends: &[(&str, String)]) -> Self {
        let pool = pool(health, backends);
        let publish = |pool: Arc<Pool>| async move {
            loop {
                pool.publish(Instant::now());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let tasks = [tokio::spawn(run(pool.clone())), tokio::spawn(publish(pool.clone()))];
        Self { tasks: tasks.map(|task| task.abort_handle()), pool }
    }
    fn commit(&self, health: &str, backends: &[(&str, String)]) {
        commit(&section(health, backends), Some(&self.pool));
    }
    fn backend(&self, name: &str) -> Arc<Backend> {
        let mut all = self.pool.members().into_iter();
        all.find(|m| &*m.backend.name == name).expect("it is there").backend
    }
    fn state(&self, name: &str) -> (State, Reason) {
        let member = self.pool.member(self.backend(name).id).unwrap();
        (member.state, member.reason)
    }
    /// Good and bad probes so far.
    fn probes(&self, name: &str) -> (u64, u64) {
        let cells = self.backend(name);
        (cells.cells.checks_pass.get(), cells.cells.checks_fail.get())
    }
    async fn turns(&self, name: &str, to: State) {
        until(&format!("{name} is {}", to.word()), || self.state(name).0 == to).await;
    }
}

fn answer(status: u16) -> (Vec<Vec<u8>>, End) {
    let text = format!("HTTP/1.1 {status} Word\r\nContent-Length: 0\r\n\r\n");
    (vec![text.into_bytes()], End::Close)
}

async fn good() -> Peer {
    Peer::run("\r\n\r\n", |_| answer(200)).await
}

#[tokio::test]
async fn probes_that_get_no_answer_disturb_no_other() {
    let good = good().await;
    let frozen = Peer::run("\r\n\r\n", |_| (vec![], End::Hold)).await;
    let (_sockets, full) = black_hole();
    let (_socket, refused) = nobody();
    // More of them than may begin at the same time, and none ends while the test runs.
    let names: Vec<String> = (0..300).map(|i| format!("dead{i}")).collect();
    let dead = |(i, name): (usize, &'static str)| {
        let addr = if i % 10 == 0 { full } else { frozen.addr };
        (name, addr.to_string())
    };
    let names = names.into_iter().map(|name| &*name.leak());
    let mut backends: Vec<(&str, String)> = names.enumerate().map(dead).collect();
    backends.push(("refused", refused.to_string()));
    backends.push(("good", good.addr.to_string()));
    let probed =
        Probed::run("health = { http = \"/\", interval = \"10ms\", timeout = \"1h\" }", &backends);
    probed.turns("good", State::Up).await;
    probed.turns("refused", State::Down).await;
    let before = probed.probes("good").0;
    until("the good one is probed on", || probed.probes("good").0 >= before + 10).await;
    assert_eq!(probed.probes("dead1"), (0, 0), "its first probe still waits");
    let failed = probed.probes("refused").1;
    until("the refused one is probed on", || probed.probes("refused").1 >= failed + 3).await;
    let lease = probed.pool.lease(&crate::pool::Ask::new(Instant::now(), 1)).unwrap();
    assert_eq!(&*lease.backend().name, "good");
}

#[tokio::test]
async fn rise_and_fall_are_counted_in_a_row() {
    let steady = good().await;
    // Its own state before each probe, as it was when the probe came in.
    let script = [200, 500, 200, 500, 500, 200, 500, 200, 200, 200];
    let seen: Arc<Mutex<Vec<&str>>> = Arc::default();
    let watched: Arc<Mutex<Option<Arc<Pool>>>> = Arc::default();
    let (states, of) = (seen.clone(), watched.clone());
    let scripted = Peer::run("\r\n\r\n", move |number| {
        let pool = of.lock().unwrap();
        let member = pool.as_ref().and_then(|pool| pool.member(crate::pool::BackendId(1)));
        states.lock().unwrap().push(member.map_or("", |member| member.state.word()));
        answer(*script.get(number).unwrap_or(&200))
    })
    .await;
    let backends = [("steady", steady.addr.to_string()), ("moody", scripted.addr.to_string())];
    let probed = Probed::run("", &backends);
    *watched.lock().unwrap() = Some(probed.pool.clone());
    // Probes begin here, when somebody else is up: with nobody up one good probe would suffice.
    probed.commit(
        "health = { http = \"/\", interval = \"10ms\", timeout = \"5s\", rise = 3, fall = 2 }",
        &backends,
    );
    until("the script is over", || seen.lock().unwrap().len() > script.len()).await;
    let states = seen.lock().unwrap()[..=script.len()].join(" ");
    assert_eq!(states, "up up up up up down down down down down up");
    assert_eq!(probed.state("steady").0, State::Up);
}

#[tokio::test]
async fn while_nobody_is_left_one_good_probe_suffices() {
    let healthy = Arc::new(AtomicUsize::new(0));
    let mood = healthy.clone();
    let peer = Peer::run("\r\n\r\n", move |_| answer([500, 200][mood.load(SeqCst)])).await;
    let probed = Probed::run(
        "health = { http = \"/\", interval = \"1h\", timeout = \"5s\", rise = 50, fall = 1 }",
        &[("a", peer.addr.to_string()), ("b", peer.addr.to_string())],
    );
    probed.turns("a", State::Down).await;
    probed.turns("b", State::Down).await;
    let failed = probed.probes("a").1;
    until("it is probed though an hour has not passed", || probed.probes("a").1 > failed).await;
    healthy.store(1, SeqCst);
    until("somebody is up", || !probed.pool.is_out()).await;
    assert!(probed.probes("a").0 + probed.probes("b").0 < 20, "not fifty");
}

#[tokio::test]
async fn a_removed_backends_heartbeat_ends() {
    let peer = good().await;
    let all = [("a", peer.addr.to_string()), ("b", peer.addr.to_string())];
    let health = "health = { http = \"/\", interval = \"10ms\", timeout = \"5s\" }";
    let probed = Probed::run(health, &all);
    probed.turns("a", State::Up).await;
    probed.turns("b", State::Up).await;
    let gone: Weak<Backend> = Arc::downgrade(&probed.backend("b"));
    probed.commit(health, &all[..1]);
    until("nobody holds it any more", || gone.strong_count() == 0).await;
    let before = probed.probes("a").0;
    until("the other one is probed on", || probed.probes("a").0 > before + 3).await;
}

#[tokio::test]
async fn dropping_the_run_ends_every_heartbeat() {
    let (frozen, good) = (Peer::run("\r\n\r\n", |_| (vec![], End::Hold)).await, good().await);
    let probed = Probed::run(
        "health = { http = \"/\", timeout = \"1h\", interval = \"10ms\" }",
        &[("frozen", frozen.addr.to_string()), ("good", good.addr.to_string())],
    );
    probed.turns("good", State::Up).await;
    let pool = Arc::downgrade(&probed.pool);
    drop(probed);
    until("nobody holds the pool", || pool.strong_count() == 0).await;
}

#[tokio::test]
async fn a_change_of_settings_keeps_the_phase() {
    let peer = good().await;
    let health = |interval: &str| {
        format!("health = {{ http = \"/\", interval = \"{interval}\", timeout = \"5s\" }}")
    };
    let addr = peer.addr.to_string();
    let all = [("a", addr.clone()), ("b", addr.clone()), ("c", addr)];
    // Up from the start, so that the pool is never out and its probes never hurried.
    let probed = Probed::run("", &all[..1]);
    probed.commit(&health("1h"), &all[..1]);
    until("its first probe is at once", || probed.probes("a") == (1, 0)).await;
    for (interval, count, last) in [("2h", 2, "b"), ("30m", 3, "c")] {
        probed.commit(&health(interval), &all[..count]);
        // Who is new is probed at once: by then the others have had their orders.
        probed.turns(last, State::Up).await;
        assert_eq!(probed.probes("a"), (1, 0), "it was probed a moment ago");
    }
    // A shorter interval counts from the last probe.
    probed.commit(&health("10ms"), &all);
    until("it is probed again", || probed.probes("a").0 > 3).await;
}

#[tokio::test]
async fn one_that_was_not_reached_is_brought_back_without_health() {
    let (socket, addr) = nobody();
    let other = good().await;
    // Beside another that is up, and alone.
    let backends = [("a", addr.to_string()), ("b", other.addr.to_string())];
    for count in [2, 1] {
        let probed = Probed::run("", &backends[..count]);
        let unreached = Change::Unreached { id: probed.backend("a").id, detail: "refused".into() };
        probed.pool.apply(unreached, Instant::now());
        assert_eq!(probed.state("a"), (State::Down, Reason::Connect));
        if count == 2 {
            until("it is dialled and refuses", || probed.probes("a").1 > 0).await;
            assert_eq!(probed.state("a"), (State::Down, Reason::Connect));
            socket.listen(16).unwrap();
        }
        probed.turns("a", State::Up).await;
        assert_eq!(probed.probes("a").0, 1, "and then it is left alone");
        if count == 2 {
            assert_eq!(probed.probes("b"), (0, 0), "nobody asked for probes of it");
        }
    }
}

#[tokio::test]
async fn what_the_last_probe_saw_is_shown() {
    let (_socket, addr) = nobody();
    // Whoever is asked somewhere else may be reached all the same.
    let elsewhere = format!("health = {{ tcp = true, port = {} }}", addr.port());
    let probed = Probed::run(&elsewhere, &[("a", good().await.addr.to_string())]);
    probed.turns("a", State::Down).await;
    assert_eq!(probed.state("a").1, Reason::Probe);
    let probed = Probed::run("health = { tcp = true }", &[("a", addr.to_string())]);
    probed.turns("a", State::Down).await;
    let member = probed.pool.members().remove(0);
    assert_eq!(member.reason, Reason::Connect);
    assert_eq!(member.last_probe.unwrap().1, "connect: connection refused");
    assert!(member.backend.cells.last_probe_ms.get() > 1_600_000_000_000);
}
