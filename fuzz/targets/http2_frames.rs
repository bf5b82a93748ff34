//! Frames of HTTP/2: they mean the same however they are cut, and nothing grows without bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evenkeel_fuzz::oracle::http2::frames(input));
