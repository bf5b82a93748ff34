//! Configuration files: read to a configuration or to problems that have a place.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evenkeel_fuzz::oracle::config(input));
