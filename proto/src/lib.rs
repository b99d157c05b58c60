#![no_std]
#![forbid(unsafe_code)]
//! The TURN core of vizard: STUN and TURN (RFC 8489, RFC 8656) between the parties of a call,
//! without a socket, a clock or a thread.
//!
//! [`Relay`] and [`Worker`] are functions of their inputs. Their caller hands in packets, commands
//! and the time, and does what comes out. There is one relay, and a worker for each of the caller's
//! threads, which passes media on by itself, turns strangers away, and asks the relay for the rest.
//! One call into the relay, then drain [`Relay::poll_output`], then sleep until
//! [`Relay::poll_timeout`]:
//!
//! ```
//! # use std::sync::Arc;
//! # use vizard_proto::address::{Client, FiveTuple, Transport};
//! # use vizard_proto::auth::ticket::{TicketKey, TicketKeys};
//! # use vizard_proto::config::{Config, Limits, Masking};
//! # use vizard_proto::contract::Output;
//! # use vizard_proto::time::{Timestamp, WallClock};
//! # use vizard_proto::{Relay, Step, Worker};
//! # let key = TicketKey { id: 1, secret: [7; 32] };
//! # let config = Config {
//! #     realm: "vizard".into(),
//! #     clock: WallClock::new(1_790_000_000),
//! #     tickets: Arc::new(TicketKeys::new(&key, &[])),
//! #     nonce_secret: [1; 32],
//! #     masking: Masking::default(),
//! #     limits: Limits::default(),
//! # };
//! # let tuple = FiveTuple {
//! #     transport: Transport::Udp,
//! #     local: "203.0.113.1:3478".parse().unwrap(),
//! #     remote: "198.51.100.7:5000".parse().unwrap(),
//! # };
//! # let (from, packet) = (Client { tuple, worker: 0 }, [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
//! # let now = Timestamp::ZERO;
//! let mut relay = Relay::new(config.clone(), [42; 32]);
//! let mut worker = Worker::new(&config, 1, [42; 32]);
//! let mut out = [0; 1024];
//!
//! let mut step = worker.handle(now, from, &packet, &mut out);
//! if let Step::Ask(admitted) = step {
//!     let verdict = relay.handle(now, admitted, &mut out);
//!     step = worker.settle(now, &from, verdict, &mut out);
//! }
//! match step {
//!     Step::Answer(len) => println!("send {len} bytes of `out` back"),
//!     Step::Transmit(transmit) => println!("send a part of it on to {:?}", transmit.to),
//!     Step::Drop(reason) => println!("count one {}", reason.as_str()),
//!     Step::Ask(_) => unreachable!("it was settled"),
//! }
//! while let Some(output) = relay.poll_output() {
//!     match output {
//!         Output::Change(0, change) => worker.apply(change),
//!         Output::Change(other, _) => unreachable!("there is no worker {other}"),
//!         Output::Disconnect(client) => println!("close the connection of {client:?}"),
//!         Output::Event(event) => println!("the control side hears {event:?}"),
//!     }
//! }
//! if let Some(due) = relay.poll_timeout() {
//!     // ... sleep until `due`, unless something comes in earlier, then:
//!     relay.handle_timeout(due);
//! }
//! ```
//!
//! The same inputs give the same outputs, bit for bit; settings, seed and wall clock come in
//! through the constructor. Bad bytes are a counted drop or a protocol error, never a panic.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod account;
pub mod address;
mod allocation;
pub mod auth;
mod calls;
pub mod channel_data;
pub mod config;
pub mod contract;
pub mod forward;
pub mod framing;
mod gate;
mod hash;
pub mod id;
mod mask;
pub mod rate;
mod rng;
mod server;
mod sorted;
pub mod stun;
pub mod time;
pub mod transmit;
pub mod usage;
pub mod worker;

pub use allocation::{CHANNEL_LIFETIME, DEFAULT_LIFETIME, PERMISSION_LIFETIME};
pub use gate::Admitted;
pub use server::{Relay, SnapshotError};
pub use worker::{Step, Worker};
