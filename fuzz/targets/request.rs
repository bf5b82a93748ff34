//! Streams of requests: cut anywhere they say the same, and what goes out is strictly valid.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evenkeel_fuzz::oracle::request(input));
