//! The control API over HTTP.

mod answers;
mod errors;
mod harness;
mod lasting;
mod opening;
mod repeating;
