//! The control API over HTTP.

mod answers;
mod errors;
mod framing;
mod harness;
mod lasting;
mod logging;
mod names;
mod opening;
mod repeating;
mod wrong_types;
