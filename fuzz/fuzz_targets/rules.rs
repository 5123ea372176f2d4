//! Rules: written, described, evaluated.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| waypost_fuzz::rules(input));
