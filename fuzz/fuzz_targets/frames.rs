//! Cutting a stream into messages.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::targets::frames::run(bytes));
