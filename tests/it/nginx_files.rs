//! What a real nginx serves and takes passes unchanged.
use crate::support::{Client, Nginx, Proxy, Response};

/// What an answer says, without what differs from moment to moment and from hop to hop.
fn said(response: &Response) -> (u16, Vec<String>, Vec<u8>) {
    let own = ["date:", "connection:", "via:", "http/1.1"];
    let lower = |line: &str| line.to_ascii_lowercase();
    let is_own = |line: &&str| own.iter().any(|own| lower(line).starts_with(own));
    let mut fields: Vec<_> = response.head.lines().filter(|l| !is_own(l)).map(lower).collect();
    // What delimits the body is written anew, at the end.
    fields.sort();
    (response.status, fields, response.body.clone())
}

#[test]
fn what_nginx_serves_passes_unchanged() {
    let gzip = "location /packed/ { alias {folder}/files/; gzip on; gzip_types text/plain; }";
    let nginx = Nginx::start("one", gzip);
    let text = "a line that packs well\n".repeat(20_000);
    std::fs::write(nginx.files().join("text"), &text).unwrap();
    std::fs::write(nginx.files().join("empty"), "").unwrap();
    let proxy = Proxy::http(&[nginx.addr], "");
    // Asked on a connection each: after a 412 nginx closes although it says that it will not.
    let direct = |method: &str, path: &str, fields: &str| {
        Client::connect(nginx.addr).ask(method, path, fields)
    };
    let mut through = proxy.client();
    let tag = direct("HEAD", "/files/text", "").field("ETag").unwrap().to_string();
    let fresh = format!("If-None-Match: {tag}\r\n");
    let asked = [
        ("GET", "/name", "", 200),
        ("GET", "/files/text", "", 200),
        ("HEAD", "/files/text", "", 200),
        ("GET", "/files/empty", "", 200),
        ("GET", "/files/nothing", "", 404),
        ("GET", "/files", "", 301),
        ("GET", "/files/text", fresh.as_str(), 304),
        ("GET", "/files/text", "If-None-Match: \"other\"\r\n", 200),
        ("GET", "/files/text", "If-Match: \"other\"\r\n", 412),
        ("GET", "/files/text", "Range: bytes=7-99999\r\n", 206),
        ("GET", "/files/text", "Range: bytes=-1\r\n", 206),
        ("GET", "/files/text", "Range: bytes=99999999-\r\n", 416),
        ("HEAD", "/files/text", "Range: bytes=0-9\r\n", 206),
        ("GET", "/packed/text", "Accept-Encoding: gzip\r\n", 200),
        ("HEAD", "/packed/text", "Accept-Encoding: gzip\r\n", 200),
        ("GET", "/packed/text", "", 200),
    ];
    // Twice, all on one connection: nothing that was left over shows in what comes next.
    for (method, path, fields, status) in asked.iter().chain(&asked) {
        let wanted = direct(method, path, fields);
        let got = through.ask(method, path, fields);
        assert_eq!(got.status, *status, "{method} {path} {fields}");
        assert!(got.complete && said(&got) == said(&wanted), "{method} {path}: {}", got.head);
    }
    let packed = through.ask("GET", "/packed/text", "Accept-Encoding: gzip\r\n");
    assert_eq!(packed.field("Transfer-Encoding"), Some("chunked"));
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < text.len() / 10);
    let several = through.ask("GET", "/files/text", "Range: bytes=0-4, 7-11\r\n");
    assert_eq!(several.status, 206);
    assert!(several.field("Content-Type").unwrap().starts_with("multipart/byteranges"));
    assert!(several.text().contains("Content-Range: bytes 7-11/460000\r\n\r\nthat "));
}

#[test]
fn uploads_arrive_byte_for_byte() {
    let nginx = Nginx::start("one", "");
    let proxy = Proxy::http(&[nginx.addr], "");
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    let mut client = proxy.client();
    let length = body.len();
    client.send(format!(
        "PUT /files/plain HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(client.response().status, 100);
    client.send(&body);
    assert_eq!(client.response().status, 201);
    client.send("PUT /files/chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(70_001) {
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().status, 201);
    for name in ["plain", "chunked"] {
        assert!(std::fs::read(nginx.files().join(name)).unwrap() == body, "{name}");
    }
    // Too long for it: it says so at once and closes; the client hears it.
    let long = "PUT /files/long HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n";
    client.send(long);
    assert_eq!(client.response().status, 413);
}

#[test]
fn its_odd_answers_are_told_apart() {
    let odd = "location = /none { return 444; }
    location = /few { keepalive_requests 2; return 200 few; }
    location = /slow { limit_rate 2000000; alias {folder}/files/long; }";
    let nginx = Nginx::start("one", odd);
    let long = vec![7; 1_000_000];
    std::fs::write(nginx.files().join("long"), &long).unwrap();
    let proxy = Proxy::http(&[nginx.addr], "");
    let mut client = proxy.client();
    // It closes without a word: that is no answer.
    assert_eq!(client.ask("GET", "/none", "").status, 502);
    // It closes after every second request: not even a POST is lost by that.
    for _ in 0..20 {
        let response = client.ask("POST", "/few", "Content-Length: 0\r\n");
        assert_eq!((response.status, response.text().as_str()), (200, "few"));
    }
    let slow = client.ask("GET", "/slow", "");
    assert!(slow.complete && slow.body == long);
    assert_eq!(proxy.state("b1"), "up");
}
