//! Schedules that must look the same wherever B is.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::targets::noninterference::run(bytes));
