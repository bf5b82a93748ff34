//! Streams of a backend's responses: cut anywhere they say the same, and go out strictly valid.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evenkeel_fuzz::oracle::response(input));
