//! The control API over HTTP.

mod answers;
mod errors;
mod framing;
mod harness;
mod lasting;
mod logging;
mod opening;
mod repeating;
