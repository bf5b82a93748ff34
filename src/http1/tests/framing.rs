//! How a body is delimited, and what else a head says about its connection.
use super::http1::{
    BodyLength, HeadLimits, RequestVerdict, ResponseVerdict, Rule, of_request, of_response,
    request, response,
};
use super::message::{Head, Method};

const LIMITS: HeadLimits = HeadLimits { head: 4096, fields: 20, target: 100 };

fn asked(line: &str, fields: &str) -> Result<RequestVerdict, Rule> {
    let wire = format!("{line}\r\n{fields}\r\n");
    let mut head = Head::new();
    request(wire.as_bytes(), 0, &LIMITS, &mut head).expect("the syntax is good");
    of_request(&head).map_err(|refusal| refusal.rule)
}

fn get(fields: &str) -> RequestVerdict {
    asked("GET / HTTP/1.1", &format!("Host: a\r\n{fields}")).expect("good")
}

fn old(fields: &str) -> RequestVerdict {
    asked("GET / HTTP/1.0", fields).expect("good")
}

fn answered(line: &str, fields: &str, to: Method) -> Result<ResponseVerdict, Rule> {
    let wire = format!("{line}\r\n{fields}\r\n");
    let mut head = Head::new();
    response(wire.as_bytes(), 0, &LIMITS, &mut head).expect("the syntax is good");
    of_response(&head, to).map_err(|refusal| refusal.rule)
}

#[test]
fn a_request_without_framing_has_no_body() {
    assert_eq!(get("").body, BodyLength::None);
    assert_eq!(get("Content-Length: 0\r\n").body, BodyLength::Exact(0));
    assert_eq!(get("Content-Length:  12\t\r\n").body, BodyLength::Exact(12));
    let most = get("Content-Length: 9223372036854775807\r\n").body;
    assert_eq!(most, BodyLength::Exact(i64::MAX as u64));
    assert_eq!(get("Transfer-Encoding: chunKED\r\n").body, BodyLength::Chunked);
    assert_eq!(old("Content-Length: 3\r\n").body, BodyLength::Exact(3));
}

#[test]
fn a_connection_is_kept_as_its_version_and_options_say() {
    for (fields, kept) in [
        ("", true),
        ("Connection: keep-alive\r\n", true),
        ("Connection: Close\r\n", false),
        ("Connection: x,close ,y\r\n", false),
        ("Connection: keep-alive\r\nConnection: close\r\n", false),
        ("Connection: closed\r\n", true),
    ] {
        assert_eq!(get(fields).keep_alive, kept, "{fields:?}");
    }
    for (fields, kept) in [
        ("", false),
        ("Connection: Keep-Alive\r\n", true),
        ("Connection: keep-alive, close\r\n", false),
        ("Proxy-Connection: keep-alive\r\n", false),
    ] {
        assert_eq!(old(fields).keep_alive, kept, "{fields:?}");
    }
}

#[test]
fn an_expectation_is_known_or_refused_and_old_clients_have_none() {
    assert!(!get("").expect_continue);
    assert!(get("Expect: 100-Continue\r\n").expect_continue);
    assert!(get("Expect: 100-continue\r\nExpect: 100-continue\r\n").expect_continue);
    assert!(!old("Expect: 100-continue\r\n").expect_continue);
    let two = "Host: a\r\nExpect: 100-continue\r\nExpect: x\r\n";
    assert_eq!(asked("GET / HTTP/1.1", two), Err(Rule::Expectation));
}

#[test]
fn a_websocket_handshake_is_a_get_without_body_that_says_both() {
    let both = "Connection: keep-alive, UPGRADE\r\nUpgrade: WebSocket\r\n";
    assert!(get(both).websocket);
    for fields in [
        "Connection: upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgraded\r\nUpgrade: websocket\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert!(!get(fields).websocket, "{fields:?}");
    }
    assert!(!old(both).websocket);
    let post = asked("POST / HTTP/1.1", &format!("Host: a\r\n{both}"));
    assert!(!post.expect("good").websocket);
}

#[test]
fn a_host_may_be_absent_only_in_http_1_0() {
    assert_eq!(asked("GET / HTTP/1.1", ""), Err(Rule::HostMissing));
    assert_eq!(asked("GET http://a/ HTTP/1.1", ""), Err(Rule::HostMissing));
    assert!(asked("GET / HTTP/1.0", "").is_ok());
    assert!(asked("GET http://b/ HTTP/1.1", "Host: a\r\n").is_ok());
    for host in ["a", "A.b-c_d", "a:80", "a:", "[::1]", "[::ffff:1.2.3.4]:80", "1.2.3.4", "%41"] {
        assert!(asked("GET / HTTP/1.1", &format!("Host: {host}\r\n")).is_ok(), "{host}");
    }
}

#[test]
fn an_answer_is_delimited_by_its_status_its_request_and_its_fields() {
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (line, fields, to, body, keep_alive) in [
        ("HTTP/1.1 200 OK", length, Method::Get, BodyLength::Exact(5), true),
        ("HTTP/1.1 200 OK", chunked, Method::Post, BodyLength::Chunked, true),
        ("HTTP/1.1 200 OK", "", Method::Get, BodyLength::UntilClose, false),
        (
            "HTTP/1.1 200 OK",
            "Connection: keep-alive\r\n",
            Method::Get,
            BodyLength::UntilClose,
            false,
        ),
        ("HTTP/1.1 200 OK", length, Method::Head, BodyLength::None, true),
        ("HTTP/1.1 200 OK", "", Method::Head, BodyLength::None, true),
        ("HTTP/1.1 204 No", length, Method::Get, BodyLength::None, true),
        ("HTTP/1.1 204 No", chunked, Method::Get, BodyLength::None, true),
        ("HTTP/1.1 304 Not", length, Method::Get, BodyLength::None, true),
        ("HTTP/1.1 205 Reset", "", Method::Get, BodyLength::UntilClose, false),
        ("HTTP/1.1 200 OK", length, Method::Connect, BodyLength::None, true),
        ("HTTP/1.1 407 No", length, Method::Connect, BodyLength::Exact(5), true),
        ("HTTP/1.0 200 OK", length, Method::Get, BodyLength::Exact(5), false),
        ("HTTP/1.0 200 OK", "", Method::Get, BodyLength::UntilClose, false),
        (
            "HTTP/1.0 200 OK",
            "Connection: keep-alive\r\nContent-Length: 5\r\n",
            Method::Get,
            BodyLength::Exact(5),
            true,
        ),
        (
            "HTTP/1.1 200 OK",
            "Connection: close\r\nContent-Length: 5\r\n",
            Method::Get,
            BodyLength::Exact(5),
            false,
        ),
    ] {
        let verdict = answered(line, fields, to);
        assert_eq!(verdict, Ok(ResponseVerdict { body, keep_alive }), "{line} {fields:?} {to:?}");
    }
}

#[test]
fn an_ambiguous_answer_is_refused_even_where_no_body_can_be() {
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    for line in ["HTTP/1.1 200 OK", "HTTP/1.1 204 No", "HTTP/1.1 304 Not"] {
        assert_eq!(answered(line, both, Method::Head), Err(Rule::BothLengths));
    }
}
