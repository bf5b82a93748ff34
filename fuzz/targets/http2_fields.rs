//! Compressed fields of HTTP/2: what can be read can be said again.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evenkeel_fuzz::oracle::http2::fields(input));
