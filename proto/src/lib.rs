#![no_std]
#![forbid(unsafe_code)]
//! The TURN core of vizard: STUN and TURN (RFC 8489, RFC 8656) between the parties of a call,
//! without a socket, a clock or a thread.
//!
//! [`Relay`] is a function of its inputs. Its caller hands in packets, commands and the time, and
//! does what comes out. One call in, then drain [`Relay::poll_output`], then sleep until
//! [`Relay::poll_timeout`]:
//!
//! ```
//! # use std::sync::Arc;
//! # use vizard_proto::address::{Client, FiveTuple, Transport};
//! # use vizard_proto::auth::ticket::{TicketKey, TicketKeys};
//! # use vizard_proto::config::{Config, Limits, Masking};
//! # use vizard_proto::contract::{Output, Verdict};
//! # use vizard_proto::time::{Timestamp, WallClock};
//! # use vizard_proto::Relay;
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
//! # let (client, packet) = (Client { tuple, hand: 0 }, [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
//! # let now = Timestamp::ZERO;
//! let mut relay = Relay::new(config, [42; 32]);
//! let mut out = [0; 1024];
//!
//! match relay.handle_packet(now, client, &packet, &mut out) {
//!     Verdict::Answer(len) => println!("send {len} bytes of `out` back"),
//!     Verdict::Forward(delivery) => println!("send it on to {:?}", delivery.to),
//!     Verdict::Drop(reason) => println!("count one {}", reason.as_str()),
//! }
//! while let Some(output) = relay.poll_output() {
//!     match output {
//!         Output::InstallForward(key, forward) => println!("every hand learns {key:?} -> {forward:?}"),
//!         Output::RemoveForward(key) => println!("every hand forgets {key:?}"),
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
//!
//! Two structs are for the caller's threads, so that most packets never reach the relay:
//! [`gate::Gate`] turns strangers away, [`forward::ForwardTable`] passes media on.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
mod allocation;
pub mod auth;
mod calls;
pub mod channel_data;
pub mod config;
pub mod contract;
pub mod forward;
pub mod framing;
pub mod gate;
mod hash;
mod mask;
mod rate;
mod rng;
mod server;
pub mod stun;
pub mod time;

pub use allocation::{CHANNEL_LIFETIME, DEFAULT_LIFETIME, PERMISSION_LIFETIME};
pub use server::{Relay, SnapshotError};
