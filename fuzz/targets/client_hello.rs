//! The first message of TLS: cut anywhere it asks for the same name.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evenkeel_fuzz::oracle::client_hello(input));
