//! What is kept is the last of each sort, in bounded memory, whoever asks how much.
use super::super::line::tests::access;
use super::*;

fn result(status: u16, reason: &'static str, own: bool) -> Ended {
    Ended { status, reason, own }
}

fn keep(errors: &Errors, status: u16, reason: &'static str, id: &str, seconds: u64) {
    let (result, took) = (result(status, reason, true), Duration::from_secs(seconds));
    let Some(kind) = errors.kind(result, took) else { return };
    let time = Duration::from_secs(id.parse().unwrap_or(0));
    let access = Access { time, status, reason, request_id: id.as_bytes(), ..access() };
    errors.keep(kind, (result, Spent::default()), &access, Vec::new());
}

fn ids(errors: &Errors) -> Vec<String> {
    errors.all().iter().map(|kept| kept.request_id.to_string()).collect()
}

#[test]
fn what_failed_and_what_was_slow_is_kept_and_nothing_else() {
    let errors = Errors::default();
    errors.apply(4, Some(Duration::from_secs(1)));
    let fast = Duration::from_millis(999);
    for (status, reason, own, kind) in [
        (200, "-", false, None),
        (404, "-", false, None),
        (500, "-", false, Some(Kind::Failed)),
        (503, "no_backend", true, Some(Kind::Failed)),
        (404, "no_route", true, Some(Kind::Failed)),
        (200, "upstream_cut", false, Some(Kind::Failed)),
        (499, "client_gone", false, Some(Kind::Failed)),
        (503, "respond", true, None),
        (308, "redirect", true, None),
        (204, "max_forwards", true, None),
    ] {
        assert_eq!(errors.kind(result(status, reason, own), fast), kind, "{status} {reason}");
    }
    assert_eq!(errors.kind(result(200, "-", false), Duration::from_secs(1)), Some(Kind::Slow));
    errors.apply(4, None);
    assert_eq!(errors.kind(result(200, "-", false), Duration::from_secs(1)), None);
}

#[test]
fn the_last_of_each_sort_stay_whatever_the_others_do() {
    let errors = Errors::default();
    errors.apply(3, Some(Duration::from_secs(1)));
    keep(&errors, 502, "reset", "1", 0);
    keep(&errors, 200, "-", "2", 5);
    (3..1000).for_each(|n| keep(&errors, 404, "no_route", &n.to_string(), 0));
    assert_eq!(ids(&errors), ["999", "998", "997", "2", "1"]);
    assert_eq!(errors.find("2").map(|kept| kept.kind), Some(Kind::Slow));
    assert_eq!(errors.find("3").map(|kept| kept.kind), None);
    // Fewer places keep the last, more keep all.
    errors.apply(1, None);
    assert_eq!(ids(&errors), ["999", "2", "1"]);
    errors.apply(9, None);
    keep(&errors, 502, "reset", "1000", 0);
    assert_eq!(ids(&errors), ["1000", "999", "2", "1"]);
    errors.apply(0, None);
    keep(&errors, 502, "reset", "1001", 0);
    assert!(ids(&errors).is_empty());
}

#[test]
fn one_request_keeps_no_more_than_its_share_of_memory() {
    let errors = Errors::default();
    errors.apply(1, None);
    let long = vec![0xff; 1 << 20];
    let failed = result(502, "reset", true);
    let attempt = Attempt {
        backend: "b".into(),
        at: Duration::ZERO,
        took: Duration::ZERO,
        result: "".into(),
    };
    let access = Access { target: &long, host: &long, request_id: &long, ..access() };
    errors.keep(Kind::Failed, (failed, Spent::default()), &access, vec![attempt; 1000]);
    let kept = errors.all().pop().unwrap();
    // Each byte that is no UTF-8 is one character of two bytes; that there was more is said by one more.
    assert_eq!((kept.target.chars().count(), kept.host.len()), (LONGEST + 1, 2 * LONGEST + 3));
    assert!(kept.target.ends_with('…'));
    assert_eq!(kept.attempts.len(), TRIES);
}

#[test]
fn threads_keep_what_they_say_whole() {
    let errors = Errors::default();
    errors.apply(8, None);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let errors = &errors;
            scope.spawn(move || {
                (0..2000).for_each(|n| {
                    keep(errors, 502, "reset", &(thread * 10_000 + n).to_string(), 0);
                });
            });
        }
        (0..200).for_each(|_| assert!(errors.all().len() <= 8));
    });
    assert_eq!(errors.all().len(), 8);
}
