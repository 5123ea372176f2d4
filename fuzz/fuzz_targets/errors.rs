//! Errors of providers: whatever their headers and bodies are.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| waypost_fuzz::errors(input));
