#![no_std]
#![forbid(unsafe_code)]
//! The TURN core of vizard.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
pub mod channel_data;
pub mod framing;
pub mod stun;
pub mod time;
