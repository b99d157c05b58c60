//! What the tests, the benchmarks and the fuzz targets share.
//!
//! - [`client`]: a TURN client without I/O. Three skins put it to use: [`Phone`] in a [`World`]
//!   without sockets, [`Caller`] with a real one, and [`stage::endpoint::Endpoint`], which
//!   misbehaves on demand.
//! - [`server`]: the relay and its workers, as a thread of the data plane drives them.
//! - [`stage`]: generated schedules for several clients, played before a server.
//! - [`targets`]: what the fuzzer runs, and the tests as well.
#![allow(missing_docs, reason = "the names of a test language say it")]

pub mod caller;
pub mod client;
pub mod defaults;
pub mod report;
pub mod server;
pub mod stage;
pub mod targets;
pub mod world;

pub use caller::{Caller, Heard, PATIENCE};
pub use client::{TurnClient, channel_data, code};
pub use defaults::{
    REALM, SEED, START, config, credential, tcp, ticket, ticket_key, ticket_keys, udp,
};
pub use report::Report;
pub use server::{Outcome, Path, Server};
pub use world::{Phone, Reaction, World, circuit, pair};
