//! PROXY headers: cut anywhere they say the same, and they are said again in the same words.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evenkeel_fuzz::oracle::proxy_header(input));
