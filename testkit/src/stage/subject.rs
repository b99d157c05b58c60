//! The server of the stage, or something around it.

use ipnet::Ipv4Net;
use vizard_proto::address::Client;
use vizard_proto::config::{AnswerBinding, Config};
use vizard_proto::contract::Output;
use vizard_proto::time::Timestamp;

use super::script::{Pools, Rules};
pub use crate::server::{Outcome as Reaction, Path, Server};

pub const WORKERS: usize = 2;

/// What is put to the test.
pub trait Subject {
    fn packet(&mut self, now: Timestamp, from: Client, bytes: &[u8]) -> Reaction;
    fn server(&mut self) -> &mut Server;

    /// Packets that go out without one coming in.
    fn late(&mut self) -> Vec<(Client, Vec<u8>)> {
        Vec::new()
    }

    /// A step is over; these are the relay's outputs in it.
    fn after_step(&mut self, _outputs: &[Output]) {}
}

impl Subject for Server {
    fn packet(&mut self, now: Timestamp, from: Client, bytes: &[u8]) -> Reaction {
        Server::packet(self, now, from, bytes)
    }

    fn server(&mut self) -> &mut Server {
        self
    }
}

/// The configuration that the script's rules make.
pub fn config(rules: Rules) -> Config {
    let mut config = crate::config();
    let limits = &mut config.limits;
    if rules.tight_budget {
        limits.answers_burst = 2;
        limits.answers_per_second = 1;
    }
    if rules.few_allocations {
        limits.allocations_per_ticket = 2;
        limits.allocations = 6;
    }
    if rules.few_permissions {
        limits.permissions = 1;
        limits.channels = 1;
    }
    if rules.few_places {
        limits.calls = 1;
    }
    if rules.short_nonces {
        limits.nonce_lifetime = std::time::Duration::from_secs(32);
    }
    let masking = &mut config.masking;
    match rules.pools {
        Pools::Both => {}
        Pools::OnlyV4 => masking.pool_v6 = None,
        Pools::OnlyV6 => masking.pool_v4 = None,
        Pools::Tiny => {
            masking.pool_v4 = Some(Ipv4Net::new_assert([198, 18, 0, 0].into(), 30));
        }
    }
    masking.answer_binding = binding(rules.binding);
    config
}

pub fn binding(number: u8) -> AnswerBinding {
    match number % 3 {
        1 => AnswerBinding::Never,
        2 => AnswerBinding::Always,
        _ => AnswerBinding::UnlessMasked,
    }
}
