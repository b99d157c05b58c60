//! Reading STUN messages and `ChannelData`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::targets::message::run(bytes));
