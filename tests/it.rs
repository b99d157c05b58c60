//! The tests of the whole program. Those that change the process have binaries of their own:
//! `accept_limit.rs` its limits, `no_allocation.rs` its allocator.
#![allow(missing_docs, unreachable_pub, reason = "nothing is outside of a test")]

mod bench;
mod calls;
mod cli;
mod config_errors;
mod config_example;
mod control_api;
mod daemon;
mod dataplane;
mod docs;
mod end_to_end;
mod interop;
mod loopback;
mod node;
mod openapi;
mod policy;
mod privacy;
mod serve;
mod turn_crate;
mod walls;
