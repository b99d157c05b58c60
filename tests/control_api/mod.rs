//! The control API over HTTP.

mod answers;
mod ending;
mod errors;
mod first_version;
mod framing;
mod harness;
mod lasting;
mod logging;
mod names;
mod node;
mod opening;
mod renewing;
mod repeating;
mod wrong_types;
