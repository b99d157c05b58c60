//! Reading STUN messages and `ChannelData`.
#![no_main]

#[path = "../../proto/tests/targets/message.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
