//! Who comes, or comes back, by real sockets: a part of the work at first; and who is tried when too few
//! are left, in which tier.
use crate::support::{Backend, Proxy, until};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};

/// Backends of one pool with what else is said of each, and more of the pool.
fn words(backends: &[(&str, SocketAddr, &str)], more: &str) -> String {
    let backends: Vec<String> = backends
        .iter()
        .map(|(name, addr, more)| format!("{{ name = \"{name}\", addr = \"{addr}\"{more} }}"))
        .collect();
    format!(
        "[server]\nworkers = 1\n[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n\
         [pool.app]\nbackends = [{}]\n{more}\n",
        backends.join(", ")
    )
}

/// Counts its requests; those below `/held` are answered once they are released.
struct Counting {
    backend: Backend,
    asked: Arc<AtomicUsize>,
}

/// Whether those that are held may go.
type Gate = Arc<(Mutex<bool>, Condvar)>;

impl Counting {
    fn new(gate: &Gate) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, gate) = (asked.clone(), gate.clone());
        let backend = Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                count.fetch_add(1, SeqCst);
                if head.starts_with("GET /held") {
                    let (open, told) = &*gate;
                    drop(told.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
                }
                peer.answer("done");
            }
        });
        Self { backend, asked }
    }
    fn asked(&self) -> usize {
        self.asked.swap(0, SeqCst)
    }
}

/// With weights 3, 1 and 4: whoever is added with 4 weighs a tenth of that at first.
#[test]
fn who_is_added_gets_a_part_of_its_weight_by_every_policy() {
    let hash = |table: &str| {
        format!("{{ policy = \"consistent_hash\", key = \"header:X-User\", table = \"{table}\" }}")
    };
    let word = |policy: &str| format!("\"{policy}\"");
    for (balance, busy) in [
        (word("round_robin"), false),
        (word("random"), false),
        (hash("maglev"), false),
        (hash("ring"), false),
        (word("least_connections"), true),
        (word("p2c"), true),
        (word("peak_ewma"), true),
    ] {
        let gate = Gate::default();
        let all = [(); 3].map(|()| Counting::new(&gate));
        let said = [", weight = 3", ", weight = 1", ", weight = 4"];
        let named: Vec<_> = (["a", "b", "c"].iter().zip(&all).zip(said))
            .map(|((name, it), said)| (*name, it.backend.addr, said))
            .collect();
        let whole_at_once = format!("balance = {balance}");
        let more = format!("{whole_at_once}\nslow_start = {{ window = \"1h\", from = \"10%\" }}");
        let proxy = Proxy::start(&words(&named[..2], &more));
        assert_eq!(proxy.get("/").status, 200);
        proxy.reload(&words(&named, &more)).unwrap();
        proxy.until_state("c", "slow_start");
        assert_eq!([proxy.state("a"), proxy.state("b")], ["up", "up"], "{balance}");
        let _before = all.each_ref().map(Counting::asked);
        let whole = |n: usize| {
            let mut client = proxy.client();
            for user in 0..n {
                client.ask("GET", "/", &format!("X-User: {user}\r\n"));
            }
            all.each_ref().map(Counting::asked)
        };
        if busy {
            // What they have in work is weighed: all of these are in work at once.
            let held: Vec<_> = (0..44)
                .map(|n| {
                    let mut client = proxy.client();
                    client.send("GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n");
                    let asked = || all.iter().map(|it| it.asked.load(SeqCst)).sum::<usize>();
                    until("it is in work", || asked() == n + 1);
                    client
                })
                .collect();
            let [a, b, c] = all.each_ref().map(Counting::asked);
            assert!((1..=12).contains(&c) && a > 2 * c && a > b, "{balance}: {a} {b} {c}");
            *gate.0.lock().unwrap() = true;
            gate.1.notify_all();
            held.into_iter().for_each(|mut client| assert_eq!(client.response().status, 200));
        } else {
            let [a, b, c] = whole(440);
            assert!((15..=75).contains(&c) && a > 2 * c && a > b, "{balance}: {a} {b} {c}");
        }
        // Where nobody starts slowly any more it has all of its weight.
        proxy.reload(&words(&named, &whole_at_once)).unwrap();
        proxy.until_state("c", "up");
        if !busy {
            whole(0);
            let [a, b, c] = whole(1600);
            assert!(c > a && a > b && (600..=1000).contains(&c), "{balance}: {a} {b} {c}");
        }
    }
}

/// A backend whose probes and answers go as it is told.
struct Moody {
    backend: Backend,
    probed_well: Arc<AtomicBool>,
    answers_well: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Moody {
    fn new() -> Self {
        let (probed_well, answers_well) = (AtomicBool::new(true), AtomicBool::new(true));
        let (probed_well, answers_well) = (Arc::new(probed_well), Arc::new(answers_well));
        let asked = Arc::new(AtomicUsize::new(0));
        let (probed, answers, count) = (probed_well.clone(), answers_well.clone(), asked.clone());
        let backend = Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                let probe = head.starts_with("GET /healthz");
                count.fetch_add(usize::from(!probe), SeqCst);
                match if probe { probed.load(SeqCst) } else { answers.load(SeqCst) } {
                    true => peer.answer("well"),
                    false => peer.send("HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n"),
                }
            }
        });
        Self { backend, probed_well, answers_well, asked }
    }
}

/// Two of the first tier, two of the second: below 60 % of the tier that is in use, those that only
/// failed are tried too, whether probes or requests spoke against them.
#[test]
fn tiers_ejections_and_the_panic_threshold_go_together() {
    let all = [(); 4].map(|()| Moody::new());
    let backup = ", backup = true";
    let named: Vec<_> = (["a", "b", "c", "d"].iter().zip(&all).zip(["", "", backup, backup]))
        .map(|((name, it), said)| (*name, it.backend.addr, said))
        .collect();
    let outlier = "outlier = { consecutive_failures = 2, success_rate = \"off\", silence = \"off\", eject = \"1h\", max_ejected = \"100%\" }";
    let health = "health = { http = \"/healthz\", interval = \"20ms\", timeout = \"10s\", rise = 1, fall = 1 }";
    let retry = "retry = { attempts = 1 }\npanic_threshold = \"60%\"";
    let proxy = Proxy::start(&words(&named, &format!("{outlier}\n{health}\n{retry}")));
    ["a", "b", "c", "d"].iter().for_each(|name| proxy.until_state(name, "up"));
    let panics = || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools["app"].panic.get() == 1
    };
    let mut client = proxy.client();
    let mut shares = || {
        all.iter().for_each(|it| it.asked.store(0, SeqCst));
        (0..40).for_each(|_| drop(client.ask("GET", "/", "")));
        all.each_ref().map(|it| it.asked.load(SeqCst))
    };
    assert_eq!((shares(), panics()), ([20, 20, 0, 0], false));

    // Requests fail at the first one: it is ejected, and tried all the same.
    all[0].answers_well.store(false, SeqCst);
    assert_eq!(shares()[2..], [0, 0]);
    proxy.until_state("a", "ejected");
    assert_eq!((shares(), panics()), ([20, 20, 0, 0], true));

    // Probes speak against the second one: nobody works there, and the next tier does.
    all[1].probed_well.store(false, SeqCst);
    proxy.until_state("b", "down");
    let now = (shares(), panics());
    assert_eq!(now, ([0, 0, 20, 20], false));
}
