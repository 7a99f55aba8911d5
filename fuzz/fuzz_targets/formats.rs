#![no_main]
//! See `logferry::fuzz`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| logferry::fuzz::run("formats", data));
