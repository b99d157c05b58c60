//! From what the operator wrote to what the parts of a node take.

use std::path::PathBuf;
use std::sync::Arc;
use vizard_proto::auth::ticket::{TicketKey, TicketKeys};
use vizard_proto::config as core;
use vizard_proto::time::WallClock;

use super::{ApiKey, StartError};
use crate::config::{
    AnswerBinding, CallableBy, Config, Control, Limits, Listen, Masking, Period, Policy, Reveal,
    Ringing, Store,
};
use crate::control::api::Address;
use crate::control::keys::ApiKeys;
use crate::control::offers::Offer;
use crate::control::policy;
use crate::control::switchboard::Live;
use crate::dataplane::FastPath;
use crate::state::{Secrets, StateDirectory, StoredKey};

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
fn ticket_keys(stored: &[StoredKey]) -> Arc<TicketKeys> {
    let mut keys = stored.iter().map(|key| TicketKey {
        id: key.id,
        secret: *key.secret,
    });
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
        payload_cap: masking.payload_cap,
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

/// What the control side takes and a reload can change.
pub(super) fn live(
    config: &Config,
    offers: &[Offer],
    stored_keys: &[StoredKey],
    api_keys: ApiKeys,
) -> Live {
    Live {
        policy: policy(&config.policy),
        api_keys,
        tickets: ticket_keys(stored_keys),
        offers: offers.to_vec(),
        host_names: host_names(config),
        calls_limit: config.limits.calls,
        kbps_limit: config.limits.kbps_per_ticket,
    }
}

/// The names that the node was given; none is empty.
fn host_names(config: &Config) -> Vec<String> {
    let names = config
        .control
        .host_names
        .iter()
        .chain([&config.relay.host_name]);
    names.filter(|name| !name.is_empty()).cloned().collect()
}

fn policy(given: &Policy) -> policy::Policy {
    let callable_by = given.default_callable_by.iter().map(|by| match by {
        CallableBy::Contacts => policy::CallableBy::CONTACTS,
        CallableBy::Following => policy::CallableBy::FOLLOWING,
        CallableBy::Verified => policy::CallableBy::VERIFIED,
        CallableBy::Everyone => policy::CallableBy::EVERYONE,
    });
    policy::Policy {
        default_reveal: match given.default_reveal {
            Reveal::Nobody => policy::Reveal::Nobody,
            Reveal::Contacts => policy::Reveal::Contacts,
            Reveal::Everybody => policy::Reveal::Everybody,
        },
        ringing: match given.ringing {
            Ringing::Masked => policy::Ringing::Masked,
            Ringing::Final => policy::Ringing::Final,
        },
        default_callable_by: callable_by.fold(policy::CallableBy::NONE, policy::CallableBy::and),
        requires_message: given.requires_message,
        ticket_ttl: seconds(given.ticket_ttl),
        max_call: seconds(given.max_call),
    }
}

fn seconds(period: Period) -> u32 {
    period.0.as_secs().try_into().unwrap_or(policy::MAX_TTL)
}

/// Where the API listens.
pub(super) fn listen(control: &Control) -> Address {
    match &control.listen {
        Listen::Tcp(address) => Address::Tcp(*address),
        Listen::Unix(path) => Address::Unix(path.clone()),
    }
}

/// Whether other machines may reach the API.
pub(super) fn api_is_open(control: &Control) -> bool {
    matches!(&control.listen, Listen::Tcp(address) if !address.ip().is_loopback())
}

/// The API keys in force: those of `api_keys_file`, else the one in the state directory.
pub(super) fn api_keys(
    control: &Control,
    state: &StateDirectory,
) -> Result<(ApiKeys, ApiKey), StartError> {
    if let Some(keys) = given_api_keys(control)? {
        return Ok((
            keys,
            ApiKey::Given {
                file: control.api_keys_file.clone(),
            },
        ));
    }
    let (lines, fresh) = state.api_keys()?;
    let file = state.api_key_file();
    let keys = ApiKeys::parse("api.keys in the state directory", &lines)?;
    let place = match fresh {
        Some(key) => ApiKey::Fresh { key, file },
        None => ApiKey::Kept { file },
    };
    Ok((keys, place))
}

/// The keys of `api_keys_file`, if it names a file.
pub fn given_api_keys(control: &Control) -> Result<Option<ApiKeys>, StartError> {
    let file = &control.api_keys_file;
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file).map_err(|error| StartError::key_file(file, &error))?;
    Ok(Some(ApiKeys::parse(&file.display().to_string(), &text)?))
}

/// The embedded store's file.
pub(super) fn store_file(store: &Store, state: &StateDirectory) -> PathBuf {
    if store.path.as_os_str().is_empty() {
        state.store_file()
    } else {
        store.path.clone()
    }
}

/// A name that is the same after a restart, tells nodes apart, and says nothing of the machine:
/// host names are often made of addresses.
pub(super) fn node_name(secrets: &Secrets) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new()
        .chain_update(b"vizard node name")
        .chain_update(*secrets.nonce_secret)
        .finalize();
    digest[..4]
        .iter()
        .fold(String::from("node-"), |name, byte| {
            format!("{name}{byte:02x}")
        })
}

/// How datagrams travel, as the data plane is told.
pub(super) fn fast_path(wanted: crate::config::FastPath) -> FastPath {
    match wanted {
        crate::config::FastPath::Auto => FastPath::Auto,
        crate::config::FastPath::Off => FastPath::Off,
        crate::config::FastPath::Portable => FastPath::Portable,
    }
}

macro_rules! held_from_start {
    ($($section:ident.$key:ident),*) => {
        /// Keys that differ between the two and can't be changed in a running node.
        pub(super) fn waiting_for_restart(running: &Config, wanted: &Config) -> Vec<&'static str> {
            let mut waiting = Vec::new();
            $(if running.$section.$key != wanted.$section.$key {
                waiting.push(concat!(stringify!($section), ".", stringify!($key)));
            })*
            waiting
        }

        /// Makes `running` what `wanted` is, in everything that can be changed in a running node.
        pub(super) fn take_over(running: &mut Config, wanted: &Config) {
            let started = std::mem::replace(running, wanted.clone());
            $(running.$section.$key = started.$section.$key;)*
        }
    };
}

held_from_start!(
    relay.realm,
    relay.udp,
    relay.tcp,
    relay.workers,
    masking.pool_v4,
    masking.pool_v6,
    control.listen,
    limits.tcp_connections,
    limits.tcp_connections_per_prefix,
    limits.tcp_idle_time,
    store.path,
    log.format
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_parts() {
        assert_eq!(masking(&Masking::default()), core::Masking::default());
        assert_eq!(limits(&Limits::default()), core::Limits::default());
        assert_eq!(policy(&Policy::default()), policy::Policy::default());
    }

    #[test]
    fn a_reload_says_what_it_could_not_change() {
        let mut running = Config::default();
        let mut wanted = Config::default();
        wanted.relay.workers = 3;
        wanted.relay.host_name = "relay.example".into();
        wanted.relay.fast_path = crate::config::FastPath::Off;
        assert_eq!(waiting_for_restart(&running, &wanted), ["relay.workers"]);
        take_over(&mut running, &wanted);
        assert_eq!(running.relay.workers, 0);
        assert_eq!(running.relay.fast_path, crate::config::FastPath::Off);
        assert_eq!(running.relay.host_name, "relay.example");
        assert_eq!(waiting_for_restart(&running, &wanted), ["relay.workers"]);
    }
}
