//! Answers of HTTP/1 to clients of HTTP/2: nothing is said that HTTP/2 does not allow.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evenkeel_fuzz::oracle::http2::response(input));
