//! What the core is told once, through its constructor.

use alloc::string::String;
use alloc::sync::Arc;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::auth::ticket::TicketKeys;
use crate::time::WallClock;

/// Settings of a [`Relay`](crate::Relay).
#[derive(Clone)]
pub struct Config {
    /// REALM, 1 to 128 characters. Up to 12, every unauthenticated answer stays within 88 bytes.
    pub realm: String,
    /// What time it is.
    pub clock: WallClock,
    /// Keys of the tickets.
    pub tickets: Arc<TicketKeys>,
    /// Key of the nonces: 32 random bytes, the same after a restart.
    pub nonce_secret: [u8; 32],
    /// Masking.
    pub masking: Masking,
    /// Limits.
    pub limits: Limits,
}

/// Mask addresses, and what a masked client is told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masking {
    /// Pool of IPv4 mask addresses.
    pub pool_v4: Option<Ipv4Net>,
    /// Pool of IPv6 mask addresses.
    pub pool_v6: Option<Ipv6Net>,
    /// XOR-MAPPED-ADDRESS for a masked client whose first mask address is of IPv4, whatever its own
    /// is. Browsers make no relay candidate without one.
    pub mapped_v4: Ipv4Addr,
    /// XOR-MAPPED-ADDRESS for a masked client that has mask addresses of IPv6 only.
    pub mapped_v6: Ipv6Addr,
    /// Who gets an answer to a plain STUN Binding.
    pub answer_binding: AnswerBinding,
    /// The largest payload that parties may send each other, 1200 to [`LARGEST_PAYLOAD`] bytes,
    /// whatever their transports. With 1200 nothing of a receiver's path that carries 1300 bytes
    /// can be told. DTLS handshakes may be larger: each allocation has an allowance.
    pub payload_cap: usize,
}

/// The largest payload that is ever passed on, in bytes.
pub const LARGEST_PAYLOAD: usize = 4096;
/// The smallest value of [`Masking::payload_cap`]: what every ICE stack sends must pass.
pub const SMALLEST_CAP: usize = 1200;

impl Default for Masking {
    fn default() -> Self {
        Self {
            pool_v4: Some(Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15)),
            pool_v6: Some(Ipv6Net::new_assert(
                Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0),
                48,
            )),
            mapped_v4: Ipv4Addr::new(192, 0, 2, 1),
            mapped_v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
            answer_binding: AnswerBinding::UnlessMasked,
            payload_cap: LARGEST_PAYLOAD,
        }
    }
}

/// Who gets an answer to a plain STUN Binding (RFC 8489 section 12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerBinding {
    /// Everybody but a transport address that holds a masked allocation, which gets 403.
    /// Only that exact address, not its whole IP: otherwise whoever shares a NAT with a masked
    /// party could find that out.
    #[default]
    UnlessMasked,
    /// Nobody.
    Never,
    /// Everybody.
    Always,
}

/// Bounds on what clients can make us keep or send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open calls on this node.
    pub calls: usize,
    /// Allocations on this node.
    pub allocations: usize,
    /// Allocations per ticket in a call of two devices; for each further one a quarter as many
    /// again, since clients make theirs for each connection: Firefox five per URL, and all of them
    /// anew at an ICE restart. One more takes the place of an idle one.
    pub allocations_per_ticket: usize,
    /// Permissions per allocation.
    pub permissions: usize,
    /// Channels per allocation.
    pub channels: usize,
    /// Longest allocation lifetime granted (RFC 8656 section 7.2 suggests an hour).
    pub max_lifetime: Duration,
    /// How long a nonce is good for.
    pub nonce_lifetime: Duration,
    /// Unauthenticated answers per second and source prefix (/24, /64).
    pub answers_per_second: u32,
    /// How many of them may come in one burst.
    pub answers_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 100_000,
            allocations: 1_000_000,
            allocations_per_ticket: 64,
            permissions: 128,
            channels: 128,
            max_lifetime: Duration::from_secs(3600),
            nonce_lifetime: Duration::from_secs(3600),
            answers_per_second: 50,
            answers_burst: 500,
        }
    }
}
