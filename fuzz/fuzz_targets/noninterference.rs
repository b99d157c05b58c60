//! Schedules that must look the same wherever B is.
#![no_main]

#[path = "../../proto/tests/kit/mod.rs"]
mod kit;
#[path = "../../proto/tests/stage/mod.rs"]
mod stage;
#[path = "../../proto/tests/targets/noninterference.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
