//! Arbitrary and signed packets into the gate and the relay.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::targets::relay::run(bytes));
