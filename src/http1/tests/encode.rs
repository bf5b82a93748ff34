//! The bytes of chunks, trailers, and our own short answers; and what a decoder lets pass by.
use super::http1::{
    BodyLength, Decoded, Decoder, HeadLimits, Rule, chunk_size_line, last_chunk, request_head,
    response_head, short_answer,
};
use super::message::{Chunk, Fields, Head, Version};
use super::strict::{self, Delimited};

const LIMITS: HeadLimits = HeadLimits { head: 4096, fields: 20, target: 100 };

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.append(name, value.as_bytes()).unwrap();
    }
    fields
}

fn written(write: impl FnOnce(&mut Chunk)) -> String {
    let mut out = Chunk::none();
    write(&mut out);
    String::from_utf8(out.data().to_vec()).unwrap()
}

#[test]
fn a_size_line_is_hexadecimal_without_leading_zeros() {
    for n in [1, 9, 10, 15, 16, 17, 255, 256, 0xabcdef, 65_536, usize::MAX] {
        assert_eq!(written(|out| chunk_size_line(n, out)), format!("{n:x}\r\n"));
    }
}

#[test]
fn a_last_chunk_carries_trailers_but_none_that_change_the_message() {
    assert_eq!(written(|out| last_chunk(None, out)), "0\r\n\r\n");
    let forbidden = [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "X-Real-IP",
        "X-Request-Id",
        "Cookie",
        "Set-Cookie",
        "Authorization",
        "Proxy-Authorization",
        "Content-Type",
        "Content-Range",
        "Range",
        "Cache-Control",
        "X-Client-Cert-Verified",
        "x_client_cert_subject",
        "X-Forwarded-Port",
        "X_Forwarded_For",
        "x_real_ip",
    ];
    let mut lines: Vec<(&str, &str)> = forbidden.iter().map(|name| (*name, "v")).collect();
    lines.insert(3, ("Grpc-Status", "0"));
    lines.push(("x-sum", "1"));
    let trailers = fields(&lines);
    let text = written(|out| last_chunk(Some(&trailers), out));
    assert_eq!(text, "0\r\nGrpc-Status: 0\r\nx-sum: 1\r\n\r\n");
    assert_eq!(strict::chunked(text.as_bytes()), Ok((vec![], text.len())));
}

#[test]
fn what_is_written_in_chunks_is_read_as_it_was() {
    let body: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
    let mut out = Chunk::none();
    for part in body.chunks(37) {
        chunk_size_line(part.len(), &mut out);
        out.extend(part);
        out.extend(b"\r\n");
    }
    last_chunk(Some(&fields(&[("X", "y")])), &mut out);
    assert_eq!(strict::chunked(out.data()), Ok((body.clone(), out.data().len())));
    let mut decoder = Decoder::new(BodyLength::Chunked, LIMITS);
    let (mut read, mut at, mut trailers) = (Vec::<u8>::new(), 0, None);
    while let Decoded::Data(range) = decoder.decode(&out.data()[at..], true, &mut trailers).unwrap()
    {
        read.extend(&out.data()[at..][range.clone()]);
        at += range.end;
    }
    assert_eq!(read, body);
    assert_eq!(trailers.unwrap().find("x"), Some(&b"y"[..]));
}

#[test]
fn heads_are_written_with_one_framing_and_one_connection_field() {
    let mut head = Head::new();
    head.start_request(b"PUT", b"/p", Version::Http11).unwrap();
    for (name, value) in [
        ("Host", "a"),
        ("Content-Length", "9"),
        ("Transfer-Encoding", "x"),
        ("Connection", "x"),
        ("X", "1"),
    ] {
        head.append(name, value.as_bytes()).unwrap();
    }
    for (body, line) in [
        (BodyLength::None, ""),
        (BodyLength::Exact(0), "Content-Length: 0\r\n"),
        (BodyLength::Exact(u64::MAX), "Content-Length: 18446744073709551615\r\n"),
        (BodyLength::Chunked, "Transfer-Encoding: chunked\r\n"),
    ] {
        let text = written(|out| request_head(&head, Some(b"b:1"), body, Some("Upgrade"), out));
        let rest = format!("X: 1\r\n{line}Connection: Upgrade\r\n\r\n");
        assert_eq!(text, format!("PUT /p HTTP/1.1\r\nHost: b:1\r\n{rest}"));
    }
    let text = written(|out| request_head(&head, None, BodyLength::None, None, out));
    assert_eq!(text, "PUT /p HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n");
}

#[test]
fn a_response_keeps_its_own_length_only_where_it_has_no_body() {
    let write = |status: u16, body, keep_length| {
        let mut head = Head::new();
        head.start_response(status, Version::Http10);
        head.append("Content-Length", b"7").unwrap();
        written(|out| response_head(&head, body, keep_length, None, out))
    };
    let own = "Content-Length: 7\r\n";
    assert_eq!(
        write(304, BodyLength::None, true),
        format!("HTTP/1.1 304 Not Modified\r\n{own}\r\n")
    );
    assert_eq!(write(200, BodyLength::None, true), format!("HTTP/1.1 200 OK\r\n{own}\r\n"));
    assert_eq!(write(204, BodyLength::None, true), "HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(write(103, BodyLength::None, true), "HTTP/1.1 103 Early Hints\r\n\r\n");
    assert_eq!(write(200, BodyLength::UntilClose, false), "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(write(799, BodyLength::Exact(7), false), format!("HTTP/1.1 799 \r\n{own}\r\n"));
}

#[test]
fn a_short_answer_is_whole_and_says_its_length() {
    let extra = fields(&[("Content-Type", "text/plain"), ("Content-Length", "99")]);
    let answer = |status, head_only| {
        written(|out| short_answer(status, &extra, b"no\n", head_only, Some("close"), out))
    };
    assert_eq!(
        answer(503, false),
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\
         Connection: close\r\n\r\nno\n"
    );
    assert!(answer(503, true).ends_with("Content-Length: 3\r\nConnection: close\r\n\r\n"));
    for status in [204, 304] {
        let text = answer(status, false);
        assert!(!text.contains("Length") && text.ends_with("\r\n\r\n"), "{text}");
    }
    for status in [200, 301, 400, 404, 431, 599] {
        let text = answer(status, false);
        let strictly = strict::response(text.as_bytes()).expect("strictly valid");
        assert_eq!(strictly.delimited, Delimited::Length(3));
        assert_eq!(text.len(), strictly.len + 3);
    }
}

#[test]
fn bytes_past_a_decoder_count_as_its_own() {
    let mut none = None;
    let mut exact = Decoder::new(BodyLength::Exact(10), LIMITS);
    assert_eq!(exact.opaque(), 10);
    exact.advance(4);
    assert_eq!(exact.decode(b"abcdefgh", false, &mut none), Ok(Decoded::Data(0..6)));
    assert_eq!((exact.opaque(), exact.is_done()), (0, true));

    let mut chunked = Decoder::new(BodyLength::Chunked, LIMITS);
    assert_eq!((chunked.opaque(), chunked.is_done()), (0, false));
    assert_eq!(chunked.decode(b"10\r\n", false, &mut none), Ok(Decoded::Need(4)));
    assert_eq!(chunked.opaque(), 16);
    chunked.advance(16);
    assert_eq!((chunked.opaque(), chunked.is_done()), (0, false));
    assert_eq!(chunked.decode(b"\r\n0\r\n\r\n", false, &mut none), Ok(Decoded::End(7)));
    assert!(chunked.is_done());

    let mut endless = Decoder::new(BodyLength::UntilClose, LIMITS);
    endless.advance(1 << 40);
    assert_eq!(endless.opaque(), u64::MAX);
    assert_eq!(endless.decode(b"", true, &mut none), Ok(Decoded::End(0)));
}

#[test]
#[should_panic(expected = "n <= self.opaque()")]
fn more_bytes_than_a_body_has_cannot_go_past() {
    Decoder::new(BodyLength::Exact(3), LIMITS).advance(4);
}

#[test]
fn more_extension_than_data_is_refused_in_the_long_run() {
    let mut decoder = Decoder::new(BodyLength::Chunked, LIMITS);
    let line = [b"1;", &[b'e'; 900][..], b"\r\nx\r\n"].concat();
    let mut none = None;
    let refused = (0..1000).position(|_| {
        let mut at = 0;
        while at < line.len() {
            match decoder.decode(&line[at..], false, &mut none) {
                Ok(Decoded::Data(range)) => at += range.end,
                Ok(Decoded::Need(used)) => at += used,
                other => {
                    assert_eq!(other, Err(Rule::ChunkOverhead.into()));
                    return true;
                }
            }
        }
        false
    });
    // 64 KiB of it are free, at 906 bytes a chunk; its byte of data pays for 16 of them.
    assert_eq!(refused, Some(73));
    let mut decoder = Decoder::new(BodyLength::Chunked, LIMITS);
    // More data, or no extension: nothing is refused, however long it goes on.
    let data = [b"1000;", &[b'e'; 900][..], b"\r\n", &[b'd'; 4096][..], b"\r\n"].concat();
    let bytewise = b"1\r\nx\r\n".repeat(1000);
    for chunk in [data, bytewise].iter().flat_map(|chunk| vec![chunk; 200]) {
        let mut at = 0;
        while at < chunk.len() {
            match decoder.decode(&chunk[at..], false, &mut none).expect("more data than overhead") {
                Decoded::Data(range) => at += range.end,
                Decoded::Need(used) => at += used,
                Decoded::End(_) => panic!("no end was sent"),
            }
        }
    }
}

#[test]
fn a_length_keeps_its_place_where_it_says_just_that() {
    let write = |said: &str, n| {
        let mut head = Head::new();
        head.start_response(200, Version::Http11);
        head.append("Content-Length", said.as_bytes()).unwrap();
        head.append("X", b"1").unwrap();
        written(|out| response_head(&head, BodyLength::Exact(n), false, None, out))
    };
    for n in [0, 7, 10, 64, u64::MAX] {
        let line = format!("Content-Length: {n}\r\n");
        assert_eq!(write(&n.to_string(), n), format!("HTTP/1.1 200 OK\r\n{line}X: 1\r\n\r\n"));
        for other in ["", "00", &format!("0{n}"), &format!("{n}0"), &format!("1{n}"), "8"] {
            let text = write(other, n);
            assert_eq!(text, format!("HTTP/1.1 200 OK\r\nX: 1\r\n{line}\r\n"), "{other} for {n}");
        }
    }
}
