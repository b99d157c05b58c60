//! The control API over HTTP.

mod answers;
mod errors;
mod harness;
mod lasting;
mod logging;
mod opening;
mod repeating;
