//! Request targets: one normal form, which reads as itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evenkeel_fuzz::oracle::path(input));
