//! The seeds of the fuzz targets hold on every run of the tests, not only while somebody fuzzes.
use crate::oracle;
use proptest::prelude::*;
use std::path::Path;

fn every_seed(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let seeds = std::fs::read_dir(&folder).unwrap().flatten();
    let count = seeds.map(|seed| check(&std::fs::read(seed.path()).unwrap())).count();
    assert!(count >= 5, "{} holds {count} seeds", folder.display());
}

#[test]
fn requests_are_cut_anywhere_and_go_out_strictly_valid() {
    every_seed("request", oracle::request);
}

#[test]
fn responses_are_cut_anywhere_and_go_out_strictly_valid() {
    every_seed("response", oracle::response);
}

#[test]
fn configurations_end_with_a_configuration_or_with_placed_problems() {
    every_seed("config", oracle::config);
}

#[test]
fn proxy_headers_are_cut_anywhere_and_said_again() {
    every_seed("proxy_header", oracle::proxy_header);
}

#[test]
fn client_hellos_are_cut_anywhere() {
    every_seed("client_hello", oracle::client_hello);
}

#[test]
fn requests_of_http_2_go_out_as_one_of_http_1() {
    every_seed("http2_request", oracle::http2::request);
}

#[test]
fn answers_of_http_1_become_what_http_2_allows() {
    every_seed("http2_response", oracle::http2::response);
}

#[test]
fn frames_are_cut_anywhere() {
    every_seed("http2_frames", oracle::http2::frames);
}

#[test]
fn fields_are_said_again() {
    every_seed("http2_fields", oracle::http2::fields);
}

/// Words that mean something somewhere, and bytes that mean nothing.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "GET",
        "POST",
        "CONNECT",
        "OPTIONS",
        "http",
        "https",
        "a.test",
        "a.test:80",
        "[::1]",
        "/",
        "/p?q=1",
        "*",
        "host",
        "cookie",
        "te",
        "trailers",
        "connection",
        "transfer-encoding",
        "chunked",
        "content-length",
        "0",
        "5",
        "expect",
        "100-continue",
        "upgrade",
        "websocket",
        "sec-websocket-version",
        "13",
        "x-a",
        "a=1",
        "",
    ];
    prop_oneof![
        4 => proptest::sample::select(known.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => "[ -~]{0,20}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    /// Whatever head of HTTP/2 is let in, its bytes are one request of HTTP/1 with the same fields.
    #[test]
    fn any_head_of_http_2_goes_out_as_one_request_or_not_at_all(
        flags in 0u8..4,
        method in prop_oneof![Just(b"GET".to_vec()), Just(b"POST".to_vec()), word()],
        scheme in prop_oneof![Just(b"http".to_vec()), Just(b"https".to_vec()), word()],
        authority in prop_oneof![Just(b"a.test".to_vec()), word()],
        path in prop_oneof![Just(b"/p".to_vec()), word(), "/[!-~]{0,30}".prop_map(String::into_bytes)],
        fields in proptest::collection::vec((word(), word()), 0..6),
    ) {
        let mut input = [&[flags], &*method, b"\n", &scheme, b"\n", &authority, b"\n", &path].concat();
        for (name, value) in fields {
            input.extend([b"\n", &*name, b": ", &value].concat());
        }
        oracle::http2::request(&input);
    }
}

#[test]
fn paths_have_one_normal_form() {
    every_seed("path", oracle::path);
}
