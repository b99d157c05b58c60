//! The core's tests; `no_alloc.rs` is a binary of its own, since it replaces the allocator.
#![allow(missing_docs)]

mod authentication;
mod circuit;
mod codec_properties;
mod determinism;
mod differential;
mod endings;
mod fuzz_smoke;
mod intruders;
mod media;
mod messages;
mod mobility;
mod noninterference;
mod quotas;
mod renewal;
mod requests;
mod sim;
mod strangers;
mod vectors;
mod work;
