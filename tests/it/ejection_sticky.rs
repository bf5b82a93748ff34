//! Passive health where clients come back by a cookie: whose failures speak against their backend.
use crate::support::{Backend, Client, Proxy, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

const THREE: &str = "outlier = { consecutive_failures = 3, success_rate = \"off\", silence = \"off\", eject = \"1h\" }";

/// Two backends that answer with their names, and to pages that begin with `/bug` with 500; the second one, where
/// it is ill, to all.
fn two(outlier: &str, ill: &Arc<AtomicBool>) -> (Proxy, [Backend; 2], NamedTempFile) {
    let secret = NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a secret that nobody can guess").unwrap();
    let backends = ["b1", "b2"].map(|name| {
        let ill = ill.clone();
        Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                let fails = head.starts_with("GET /bug") || name == "b2" && ill.load(SeqCst);
                let status = if fails { "500 No" } else { "200 OK" };
                peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{name}"));
            }
        })
    });
    let sticky = format!("sticky = {{ secret_files = [{:?}] }}", secret.path());
    let more = format!("balance = \"round_robin\"\n{outlier}\n{sticky}");
    let proxy = Proxy::http(&backends.each_ref().map(|backend| backend.addr), &more);
    (proxy, backends, secret)
}

/// A cookie for a backend, as a field.
fn cookie(client: &mut Client, page: &str, backend: &str) -> String {
    loop {
        let first = client.ask("GET", page, "");
        if first.text() == backend {
            let given = first.field("Set-Cookie").unwrap().split(';').next().unwrap();
            return format!("Cookie: {given}\r\n");
        }
    }
}

fn states(proxy: &Proxy) -> [String; 2] {
    ["b1", "b2"].map(|name| proxy.state(name))
}

#[test]
fn one_cookie_ejects_nobody_beside_pages_that_fail_now_and_then_and_requests_without_one() {
    let (proxy, _backends, _secret) = two(THREE, &Arc::default());
    let mut client = proxy.client();
    let others: Vec<String> = (0..6).map(|_| cookie(&mut client, "/page", "b1")).collect();
    let theirs = cookie(&mut client, "/page", "b2");
    let own = cookie(&mut client, "/bug", "b1");
    let (begun, mut round) = (Instant::now(), 0);
    assert_eq!(client.ask("GET", "/page", &others[0]).status, 200);
    // Beyond the time after which one alone would be believed.
    while begun.elapsed() < Duration::from_secs(5) {
        for _ in 0..20 {
            assert_eq!(client.ask("GET", "/bug", &own).text(), "b1");
        }
        for (n, other) in others.iter().enumerate() {
            let page = if round % 7 == n + 1 { "/bug" } else { "/page" };
            assert_eq!(client.ask("GET", page, other).text(), "b1");
        }
        for _ in 0..4 {
            assert_eq!(client.ask("GET", "/bug", "").status, 500);
            assert_eq!(client.ask("GET", "/page", &theirs).text(), "b2");
            assert_eq!(client.ask("GET", "/page", &others[0]).text(), "b1");
        }
        round += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(states(&proxy), ["up", "up"]);
}

/// One that was just restarted has no clients yet: it gets what comes without cookies, and little else.
#[test]
fn requests_without_a_cookie_are_compared_with_their_like() {
    let rate = "outlier = { consecutive_failures = \"off\", success_rate = { window = \"1s\", requests = 40 }, silence = \"off\", eject = \"1h\" }";
    for outlier in [THREE, rate] {
        let ill = Arc::new(AtomicBool::new(false));
        let (proxy, _backends, _secret) = two(outlier, &ill);
        let mut client = proxy.client();
        let others: Vec<String> = (0..4).map(|_| cookie(&mut client, "/page", "b1")).collect();
        let theirs: Vec<String> = (0..12).map(|_| cookie(&mut client, "/page", "b2")).collect();
        let begun = Instant::now();
        let ask = |client: &mut Client, rounds| {
            for _ in 0..rounds {
                (0..2).for_each(|_| assert_eq!(client.ask("GET", "/bug", "").status, 500));
                for other in &others {
                    assert_eq!(client.ask("GET", "/page", other).text(), "b1");
                }
            }
        };
        while begun.elapsed() < Duration::from_secs(3) {
            ask(&mut client, 5);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(states(&proxy), ["up", "up"]);
        // Such requests hide nobody that fails those who come back.
        ill.store(true, SeqCst);
        until("it is ejected", || {
            ask(&mut client, 1);
            theirs.iter().for_each(|own| drop(client.ask("GET", "/page", own)));
            states(&proxy) == ["up", "ejected"]
        });
    }
}
