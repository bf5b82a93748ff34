//! Heads of HTTP/2: what is let in goes out as one request of HTTP/1 that says the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evenkeel_fuzz::oracle::http2::request(input));
