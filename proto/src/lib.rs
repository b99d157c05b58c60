#![no_std]
#![forbid(unsafe_code)]
//! The TURN core of vizard.

extern crate alloc;

pub mod address;
pub mod time;
