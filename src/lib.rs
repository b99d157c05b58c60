//! vizard: a TURN relay that keeps callers' addresses from each other.

pub mod control;
pub mod telemetry;
