//! Keys, tickets, addresses and a configuration that most tests are content with.

use std::net::SocketAddr;
use std::sync::Arc;

use vizard_proto::address::{FiveTuple, Transport};
use vizard_proto::auth::ticket::{CallId, Credential, Ticket, TicketKey, TicketKeys};
use vizard_proto::config::{Config, Limits, Masking};
use vizard_proto::time::WallClock;

/// Unix time at the start of every test.
pub const START: u64 = 1_790_000_000;
pub const REALM: &str = "vizard";
pub const SEED: [u8; 32] = [42; 32];

pub fn ticket_key() -> TicketKey {
    TicketKey {
        id: 1,
        secret: [7; 32],
    }
}

pub fn ticket_keys() -> Arc<TicketKeys> {
    Arc::new(TicketKeys::new(&ticket_key(), &[]))
}

pub fn config() -> Config {
    Config {
        realm: REALM.into(),
        clock: WallClock::new(START),
        tickets: ticket_keys(),
        nonce_secret: [1; 32],
        masking: Masking::default(),
        limits: Limits::default(),
    }
}

/// A ticket of party `party` in call number `call`, good for two hours.
pub fn ticket(call: u8, party: u8) -> Ticket {
    Ticket {
        call: CallId([call; 16]),
        party,
        device: 0,
        expires_at: START + 7200,
        kbps: 0,
        masked: true,
    }
}

pub fn credential(ticket: &Ticket) -> Credential {
    ticket_keys().mint(ticket)
}

pub fn udp(remote: &str) -> FiveTuple {
    let remote: SocketAddr = remote.parse().expect("an address");
    let local = if remote.is_ipv4() {
        "203.0.113.1:3478"
    } else {
        "[2001:db8:1::1]:3478"
    };
    FiveTuple {
        transport: Transport::Udp,
        local: local.parse().expect("an address"),
        remote,
    }
}

pub fn tcp(remote: &str) -> FiveTuple {
    FiveTuple {
        transport: Transport::Tcp,
        ..udp(remote)
    }
}
