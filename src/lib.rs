//! vizard: a TURN relay that keeps callers' addresses from each other.

pub mod dataplane;
pub mod telemetry;
