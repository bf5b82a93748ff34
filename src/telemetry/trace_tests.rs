//! A trace goes on or begins, is drawn by its share, and no parent of a client breaks anything.
use super::super::line::tests::access;
use super::*;
use crate::message::Version;
use proptest::prelude::*;
use std::path::Path;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn tracer(sample: &str, queue: usize) -> (Tracer, Receiver<Vec<Span>>) {
    let text = format!(
        "[trace]\notlp = \"http://127.0.0.1:1\"\nsample = \"{sample}\"\nqueue = {queue}\n\
         [listener.a]\nbind = \"127.0.0.1:0\"\n"
    );
    let config = config::parse(&text, Path::new("proxy.toml")).unwrap();
    let tracer = Tracer::default();
    let receiver = tracer.apply(config.trace.as_ref()).unwrap();
    (tracer, receiver)
}

fn head(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new();
    head.start_request(b"GET", b"/", Version::Http11).unwrap();
    fields.iter().for_each(|(name, value)| head.append(name, value.as_bytes()).unwrap());
    head
}

fn said(head: &Head, name: &str) -> Vec<String> {
    head.find_all(name).map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

#[test]
fn parents_are_read_as_the_recommendation_says() {
    let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
    for (text, sampled) in [
        (GOOD, Some(true)),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", Some(false)),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", Some(true)),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some(true)),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what", Some(true)),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01what", None),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what", None),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", None),
        (zeros, None),
        ("", None),
    ] {
        assert_eq!(parse(text.as_bytes()).map(|p| p.flags & SAMPLED == 1), sampled, "{text}");
    }
    let read = parse(GOOD.as_bytes()).unwrap();
    assert_eq!(written(&read.trace, read.span, read.flags), *GOOD.as_bytes());
}

proptest! {
    #[test]
    fn whatever_comes_as_a_parent_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let read = parse(&bytes);
        prop_assert!(read.is_none_or(|read| read.trace != [0; 16] && read.span != [0; 8]));
    }
}

#[test]
fn a_parent_decides_and_else_the_share_does() {
    let (none, _keep) = tracer("0%", 1);
    let (all, _keep) = tracer("100%", 1);
    let unsampled = GOOD.replace("-01", "-00");
    // Drawn by its parent, whatever the share.
    let mut traced = head(&[(PARENT, GOOD), (STATE, "a=1"), (STATE, "b=2")]);
    let trace = none.begin(&mut traced).expect("its parent says so");
    assert_eq!((&*trace.state, trace.parent.is_some()), ("a=1,b=2", true));
    // Not drawn, and passed on as it came.
    let mut passed = head(&[(PARENT, &unsampled), (STATE, "a=1")]);
    assert!(all.begin(&mut passed).is_none());
    assert_eq!(
        (said(&passed, PARENT), said(&passed, STATE)),
        (vec![unsampled], vec!["a=1".into()])
    );
    // Begun here; a state without a good parent is nobody's.
    for fields in
        [&[(STATE, "a=1")][..], &[(PARENT, "x"), (STATE, "a=1")], &[(PARENT, GOOD), (PARENT, GOOD)]]
    {
        let mut fresh = head(fields);
        assert!(none.begin(&mut fresh).is_none());
        let parent = said(&fresh, PARENT);
        let read = parse(parent[0].as_bytes()).unwrap();
        assert!(
            parent.len() == 1 && read.flags == 0 && said(&fresh, STATE).is_empty(),
            "{parent:?}"
        );
        assert!(all.begin(&mut head(fields)).is_some_and(|trace| trace.parent.is_none()));
    }
    let (some, _keep) = tracer("10%", 1);
    let drawn = (0..20_000).filter(|_| some.begin(&mut head(&[])).is_some()).count();
    assert!((1_700..2_300).contains(&drawn), "{drawn}");
    // Nothing at all where there are no traces.
    let mut plain = head(&[(STATE, "a=1")]);
    assert!(Tracer::default().begin(&mut plain).is_none());
    assert_eq!((said(&plain, PARENT).len(), said(&plain, STATE).len()), (0, 1));
}

#[test]
fn each_try_is_a_span_of_its_own_below_the_requests() {
    let (tracer, mut spans) = tracer("100%", 1);
    let mut head = head(&[(PARENT, GOOD)]);
    let mut trace = tracer.begin(&mut head).unwrap();
    let begun = Instant::now();
    let first = trace.attempt(&head, ("b1", "127.0.0.1:1"), begun);
    trace.attempted(None, Some("connect"), Moment::now());
    let second = trace.attempt(&head, ("b2", "[::1]:2"), Instant::now());
    assert_ne!(said(&first, PARENT), said(&second, PARENT));
    let ended = Ended { status: 200, reason: "-", own: false };
    tracer.end(trace.end(&access(), ended, "http", Moment::now()));
    let all = spans.try_recv().unwrap();
    let [one, two, server] = &all[..] else { panic!("{all:?}") };
    assert_eq!((one.failed, two.failed, server.failed), (true, false, false));
    for (span, head) in [(one, first), (two, second)] {
        assert_eq!(span.parent, Some(server.id));
        assert_eq!(said(&head, PARENT)[0].as_bytes(), written(&span.trace, span.id, SAMPLED));
        assert!(span.begun <= span.ended);
        assert!(server.begun <= span.begun && span.ended <= server.ended, "{span:?} {server:?}");
    }
    assert_eq!(server.parent, Some(parse(GOOD.as_bytes()).unwrap().span));
    assert!(all.iter().all(|span| span.trace == parse(GOOD.as_bytes()).unwrap().trace));
    let text = format!("{:?}", server.attributes);
    assert!(text.contains("\"/p\"") && !text.contains("q=1"), "a query stays here: {text}");
}

#[test]
fn a_random_id_is_said_to_be_one_further_on_and_nothing_that_nobody_knows() {
    let (tracer, _keep) = tracer("0%", 1);
    for (came, goes) in [("-01", "-01"), ("-03", "-03"), ("-ff", "-03")] {
        let mut head = head(&[(PARENT, &GOOD.replace("-01", came))]);
        let mut trace = tracer.begin(&mut head).unwrap();
        let sent = trace.attempt(&head, ("b", "b:1"), Instant::now());
        assert!(said(&sent, PARENT)[0].ends_with(goes), "{came}: {:?}", said(&sent, PARENT));
    }
}

#[test]
fn whom_was_spoken_to_and_what_went_wrong_have_the_names_of_the_conventions() {
    let (tracer, mut spans) = tracer("100%", 1);
    let mut head = head(&[]);
    for (host, addr, address, port) in [
        ("a.test:80", "127.0.0.1:81", ["a.test", "127.0.0.1"], [Some(80), Some(81)]),
        ("a.test", "[::1]:82", ["a.test", "::1"], [None, Some(82)]),
        ("[::1]:1", "/run/app.sock", ["::1", "/run/app.sock"], [Some(1), None]),
    ] {
        let mut trace = tracer.begin(&mut head).unwrap();
        trace.attempt(&head, ("b1", addr), Instant::now());
        let ended = Ended { status: 500, reason: "-", own: false };
        let told = Access { status: 500, reason: "-", host: host.as_bytes(), ..access() };
        tracer.end(trace.end(&told, ended, "http", Moment::now()));
        let all = spans.try_recv().unwrap();
        let [client, server] = &all[..] else { panic!("{all:?}") };
        for (n, span) in [server, client].into_iter().enumerate() {
            let of = |name| span.attributes.iter().find(|(key, _)| *key == name).map(|(_, v)| v);
            assert_eq!(of("server.address"), Some(&Attribute::Text(address[n].into())));
            assert_eq!(of("server.port"), port[n].map(Attribute::Number).as_ref());
            assert_eq!(of("error.type"), Some(&Attribute::Text("500".into())));
            assert!(span.failed);
        }
    }
}

#[test]
fn a_full_queue_drops_and_counts_and_never_waits() {
    let (tracer, mut spans) = tracer("100%", 2);
    for _ in 0..5 {
        let trace = tracer.begin(&mut head(&[])).unwrap();
        let ended = Ended { status: 200, reason: "-", own: true };
        tracer.end(trace.end(&access(), ended, "http", Moment::now()));
    }
    assert_eq!(tracer.cells.dropped.load(Relaxed), 3);
    assert_eq!((0..5).filter(|_| spans.try_recv().is_ok()).count(), 2);
    assert!(tracer.apply(None).is_none() && tracer.begin(&mut head(&[])).is_none());
}
