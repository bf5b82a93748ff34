//! However a stream is cut, it says the same.
use super::corpus::{GET, REQUESTS, RESPONSES};
use super::message::Method;
use super::replay::{Arrivals, Said, requests, responses};

/// Plays a stream in every way and returns what it says in all of them.
fn every_way(wire: &[u8], play: &dyn Fn(&Arrivals) -> Vec<Said>) -> Vec<Said> {
    let len = wire.len();
    let said = play(&Arrivals::whole(len, false));
    let same = |arrivals: &Arrivals| {
        let other = play(arrivals);
        assert_eq!(other, said, "{arrivals:?} of {:?}", wire.escape_ascii().to_string());
    };
    same(&Arrivals::whole(len, true));
    same(&Arrivals::bytes(len));
    for at in 0..len {
        same(&Arrivals::two(at, len, false));
        same(&Arrivals::two(at, len, true));
    }
    said
}

pub(super) fn requests_in_every_way(wire: &[u8]) -> Vec<Said> {
    every_way(wire, &|arrivals| requests(wire, arrivals))
}

pub(super) fn responses_in_every_way(wire: &[u8], asked: &[(Method, bool)]) -> Vec<Said> {
    every_way(wire, &|arrivals| responses(wire, asked, arrivals))
}

#[test]
fn good_requests_say_the_same_however_they_are_cut() {
    for wire in REQUESTS {
        let said = requests_in_every_way(wire);
        assert!(!said.iter().any(|s| matches!(s, Said::Refused(_))), "{said:?}");
        assert!(matches!(said[0], Said::Request(..)), "{said:?}");
        assert!(matches!(said.last(), Some(Said::Closed | Said::Tunnel(_))), "{said:?}");
    }
}

#[test]
fn good_responses_say_the_same_however_they_are_cut() {
    for (wire, asked) in RESPONSES {
        let said = responses_in_every_way(wire, asked);
        assert!(!said.iter().any(|s| matches!(s, Said::Refused(_))), "{said:?}");
        let ends = said.iter().filter(|s| matches!(s, Said::End(_) | Said::Tunnel(_))).count();
        assert_eq!(ends, asked.len(), "{said:?}");
    }
}

#[test]
fn pipelined_requests_are_told_apart() {
    let said = requests_in_every_way(
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST /2 HTTP/1.1\r\nHost: a\r\n\
          Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\nX: y\r\n\r\n\
          GET /3 HTTP/1.0\r\n\r\nGET /4 HTTP/1.1\r\n\r\n",
    );
    let told: Vec<String> = said
        .iter()
        .map(|said| match said {
            Said::Request(head, _) => head.lines().next().unwrap().to_string(),
            Said::Body(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            Said::End(trailers) => format!("end {}", trailers.as_deref().unwrap_or("-").trim()),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "POST /1 Http11",
            "abc",
            "end -",
            "POST /2 Http11",
            "def",
            "end X: y",
            "GET /3 Http10",
            "end -",
            "Closed",
        ]
    );
}

#[test]
fn an_interim_answer_and_a_switch_are_told_apart_from_a_final_one() {
    let wire = b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 101 S\r\nUpgrade: WebSocket\r\n\r\nraw\r\n";
    let said = responses_in_every_way(wire, &[(Method::Get, true)]);
    assert!(matches!(
        &said[..],
        [Said::Interim(_), Said::Switched(_), Said::Tunnel(rest)] if rest == b"raw\r\n"
    ));
    let refused = responses_in_every_way(wire, GET);
    assert!(matches!(&refused[..], [Said::Interim(_), Said::Refused(_)]), "{refused:?}");
}
