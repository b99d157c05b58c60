//! The load generator: `vizard bench`.
//!
//! It measures any TURN server from outside, with calls of a vizard or with plain credentials.
//! Every packet carries who sent it, its number and the time, so that loss, duplicates, order,
//! latency and misdelivery are counted and not estimated; and where the generator itself was the
//! limit, the report says so.
//!
//! - `plan`: what is to be measured, against which server.
//! - `engine`: one thread; its clients (`client`), sockets (`sockets`), schedule (`pace`) and
//!   books (`media`, `ledger`).
//! - `crew`: the threads of one server; `run` tells them what to do.
//! - `report`: what was found, as text, JSON and HTML.

mod client;
mod crew;
mod engine;
mod frames;
mod ledger;
mod media;
mod pace;
mod payload;
mod plan;
mod probe;
mod process;
mod report;
mod run;
pub mod sockets;
mod stats;

pub(crate) use client::Login;
pub(crate) use frames::Form;
pub(crate) use plan::{Load, Logins, Mode, Plan, Trains, read_url, rest_login};
pub(crate) use process::Process;
pub(crate) use report::Report;
pub(crate) use run::{Settings, Target, What, run};
pub(crate) use sockets::Sources;

/// Why there is nothing to measure, or no more of it, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What was asked for makes no sense.
    Usage(String),
    /// It did not work.
    Failed(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Usage(text) | Self::Failed(text)) = self;
        to.write_str(text)
    }
}
