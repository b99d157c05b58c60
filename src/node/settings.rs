//! From what the operator wrote to what the relay and the policy take.

use std::sync::Arc;
use vizard_proto::auth::ticket::{TicketKey, TicketKeys};
use vizard_proto::config as core;
use vizard_proto::time::WallClock;

use crate::config::{AnswerBinding, Config, Limits, Masking};
use crate::state::{Secrets, StoredKey};

/// The relay's settings. Its clock is set by the data plane.
pub(super) fn relay(config: &Config, secrets: &Secrets) -> core::Config {
    core::Config {
        realm: config.relay.realm.clone(),
        clock: WallClock::new(0),
        tickets: ticket_keys(&secrets.ticket_keys),
        nonce_secret: *secrets.nonce_secret,
        masking: masking(&config.masking),
        limits: limits(&config.limits),
    }
}

/// The keys of the tickets; the first mints.
pub(super) fn ticket_keys(stored: &[StoredKey]) -> Arc<TicketKeys> {
    let mut keys = stored.iter().map(|key| TicketKey { id: key.id, secret: *key.secret });
    let current = keys.next().expect("a key file without a key is refused");
    Arc::new(TicketKeys::new(&current, &keys.collect::<Vec<_>>()))
}

pub(super) fn masking(masking: &Masking) -> core::Masking {
    core::Masking {
        pool_v4: masking.pool_v4.0,
        pool_v6: masking.pool_v6.0,
        mapped_v4: masking.mapped_address_v4,
        mapped_v6: masking.mapped_address_v6,
        answer_binding: match masking.answer_binding {
            AnswerBinding::UnlessMasked => core::AnswerBinding::UnlessMasked,
            AnswerBinding::Never => core::AnswerBinding::Never,
            AnswerBinding::Always => core::AnswerBinding::Always,
        },
    }
}

pub(super) fn limits(limits: &Limits) -> core::Limits {
    core::Limits {
        calls: limits.calls,
        allocations: limits.allocations,
        allocations_per_ticket: limits.allocations_per_ticket,
        permissions: limits.permissions,
        channels: limits.channels,
        max_lifetime: limits.max_lifetime.0,
        nonce_lifetime: limits.nonce_lifetime.0,
        answers_per_second: limits.answers_per_second,
        answers_burst: limits.answers_burst,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_core() {
        assert_eq!(masking(&Masking::default()), core::Masking::default());
        assert_eq!(limits(&Limits::default()), core::Limits::default());
    }
}
