//! vizard: a TURN relay that keeps callers' addresses from each other.

pub mod config;
pub mod control;
pub mod dataplane;
pub mod state;
pub mod telemetry;
