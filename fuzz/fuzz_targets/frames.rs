//! Cutting a stream into messages.
#![no_main]

#[path = "../../proto/tests/targets/frames.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
