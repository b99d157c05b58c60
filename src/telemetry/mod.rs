//! What the daemon says of itself: metrics, log lines, and the types that keep addresses out of both.
//!
//! Uses nothing else of ours, so that everything may use it.

pub mod log;
pub mod metrics;
pub mod redact;

pub use metrics::Metrics;
pub use redact::Redacted;
