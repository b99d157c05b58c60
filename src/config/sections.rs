//! The sections of `vizard.toml`: types, defaults, and what each key takes.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use vizard_proto::config::{LARGEST_PAYLOAD, SMALLEST_CAP};

use super::reader::Document;
use super::turn_url::is_host_name;
use super::value::{Listen, Maybe, Period};
use crate::telemetry::log::{Format, Level};

const ONE_DAY: Period = Period::from_secs(86_400);

/// `[masking]`: mask addresses, and what a masked client is told of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Masking {
    /// Pool of IPv4 mask addresses.
    pub pool_v4: Maybe<Ipv4Net>,
    /// Pool of IPv6 mask addresses.
    pub pool_v6: Maybe<Ipv6Net>,
    /// XOR-MAPPED-ADDRESS of every masked client that has an IPv4 mask address.
    pub mapped_address_v4: Ipv4Addr,
    /// XOR-MAPPED-ADDRESS of every masked client that has IPv6 mask addresses only.
    pub mapped_address_v6: Ipv6Addr,
    /// Who gets an answer to a plain STUN Binding.
    pub answer_binding: AnswerBinding,
    /// The largest payload in bytes that parties may send each other, DTLS handshakes excepted.
    pub payload_cap: usize,
}

/// Who gets an answer to a plain STUN Binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerBinding {
    /// Everybody but a transport address that holds a masked allocation.
    #[default]
    UnlessMasked,
    /// Nobody.
    Never,
    /// Everybody.
    Always,
}

impl Default for Masking {
    fn default() -> Self {
        Self {
            pool_v4: Maybe(Some(Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15))),
            pool_v6: Maybe(Some(Ipv6Net::new_assert(
                Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0),
                48,
            ))),
            mapped_address_v4: Ipv4Addr::new(192, 0, 2, 1),
            mapped_address_v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
            answer_binding: AnswerBinding::UnlessMasked,
            payload_cap: LARGEST_PAYLOAD,
        }
    }
}

impl Masking {
    pub(super) fn read(document: &mut Document<'_>) -> Self {
        let d = Self::default();
        let mut s = document.section("masking");
        let read = Self {
            pool_v4: s.key(
                "pool_v4",
                d.pool_v4,
                "a network of /8 to /24 that nobody uses, such as 198.18.0.0/15, or \"\" for none",
                |pool: &Maybe<Ipv4Net>| pool.0.is_none_or(|net| (8..=24).contains(&net.prefix_len())),
            ),
            pool_v6: s.key(
                "pool_v6",
                d.pool_v6,
                "a network of /16 to /96 that nobody uses, such as 2001:2::/48, or \"\" for none",
                |pool: &Maybe<Ipv6Net>| pool.0.is_none_or(|net| (16..=96).contains(&net.prefix_len())),
            ),
            mapped_address_v4: s.key(
                "mapped_address_v4",
                d.mapped_address_v4,
                "an address out of a documentation network, such as 192.0.2.1 (0.0.0.0 breaks Firefox)",
                |ip: &Ipv4Addr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
            ),
            mapped_address_v6: s.key(
                "mapped_address_v6",
                d.mapped_address_v6,
                "an address out of a documentation network, such as 2001:db8::1",
                |ip: &Ipv6Addr| !ip.is_unspecified() && !ip.is_multicast(),
            ),
            answer_binding: s.key(
                "answer_binding",
                d.answer_binding,
                "\"unless-masked\", \"never\" or \"always\"",
                |_| true,
            ),
            payload_cap: s.key(
                "payload_cap",
                d.payload_cap,
                "a number of bytes from 1200 to 4096",
                |cap| (SMALLEST_CAP..=LARGEST_PAYLOAD).contains(cap),
            ),
        };
        s.finish();
        read.check(document);
        read
    }

    fn check(&self, document: &mut Document<'_>) {
        let help = "a masked call needs addresses: name a network in masking.pool_v4 or pool_v6";
        if self.pool_v4.0.is_none() && self.pool_v6.0.is_none() {
            document.conflict("masking.pool_v4", "both pools are empty", help);
        }
        let help = "choose an address outside of the pool, or libnice drops its relay candidates";
        if self
            .pool_v4
            .0
            .is_some_and(|net| net.contains(&self.mapped_address_v4))
        {
            document.conflict("masking.mapped_address_v4", "lies in masking.pool_v4", help);
        }
        if self
            .pool_v6
            .0
            .is_some_and(|net| net.contains(&self.mapped_address_v6))
        {
            document.conflict("masking.mapped_address_v6", "lies in masking.pool_v6", help);
        }
    }
}

/// `[policy]`: what holds for a party that does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Who may see a party's address.
    pub default_reveal: Reveal,
    /// Whether a ringing call may be anything but masked.
    pub ringing: Ringing,
    /// Who may call a party; empty: nobody.
    pub default_callable_by: Vec<CallableBy>,
    /// Whether the callee must have messaged the caller before.
    pub requires_message: bool,
    /// How long tickets live when the call does not say.
    pub ticket_ttl: Period,
    /// How long a call may go on, renewals included.
    pub max_call: Period,
}

/// Who may see a party's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reveal {
    /// Nobody.
    #[default]
    Nobody,
    /// Whom the party has among its contacts.
    Contacts,
    /// Everybody.
    Everybody,
}

/// What a call is while it rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ringing {
    /// Masked, whatever it may become when answered.
    #[default]
    Masked,
    /// What it would be when answered.
    Final,
}

/// Who may call a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallableBy {
    /// Whom it has among its contacts.
    Contacts,
    /// Whom it follows.
    Following,
    /// Verified callers.
    Verified,
    /// Everyone.
    Everyone,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_reveal: Reveal::Nobody,
            ringing: Ringing::Masked,
            default_callable_by: vec![CallableBy::Everyone],
            requires_message: false,
            ticket_ttl: Period::from_secs(7200),
            max_call: ONE_DAY,
        }
    }
}

impl Policy {
    pub(super) fn read(document: &mut Document<'_>) -> Self {
        let d = Self::default();
        let mut s = document.section("policy");
        let read = Self {
            default_reveal: s.key(
                "default_reveal",
                d.default_reveal,
                "\"nobody\", \"contacts\" or \"everybody\"",
                |_| true,
            ),
            ringing: s.key("ringing", d.ringing, "\"masked\" or \"final\"", |_| true),
            default_callable_by: s.key(
                "default_callable_by",
                d.default_callable_by,
                "a list of \"contacts\", \"following\", \"verified\", \"everyone\"; empty for nobody",
                |_| true,
            ),
            requires_message: s.key("requires_message", d.requires_message, "true or false", |_| true),
            ticket_ttl: s.key(
                "ticket_ttl",
                d.ticket_ttl,
                "a length of time of 30s to 1d, such as \"2h\"",
                |ttl| (Period::from_secs(30)..=ONE_DAY).contains(ttl),
            ),
            max_call: s.key(
                "max_call",
                d.max_call,
                "a length of time of 30s to 1d, such as \"1d\"",
                |most| (Period::from_secs(30)..=ONE_DAY).contains(most),
            ),
        };
        s.finish();
        if read.ticket_ttl > read.max_call {
            document.conflict(
                "policy.ticket_ttl",
                "longer than policy.max_call",
                "tickets can't outlive their call: make one shorter or the other longer",
            );
        }
        read
    }
}

/// `[control]`: the control API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Control {
    /// Where it listens.
    pub listen: Listen,
    /// Names that a Host header may have on a loopback listener, beside localhost and addresses.
    pub host_names: Vec<String>,
    /// File of API keys; empty: one key, generated in the state directory.
    pub api_keys_file: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        let listen = Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
        Self {
            listen,
            host_names: Vec::new(),
            api_keys_file: PathBuf::new(),
        }
    }
}

impl Control {
    pub(super) fn read(document: &mut Document<'_>) -> Self {
        let d = Self::default();
        let mut s = document.section("control");
        let read = Self {
            listen: s.key(
                "listen",
                d.listen,
                "ADDRESS:PORT, for example 127.0.0.1:8080, or unix:/path/of/the/socket",
                |_| true,
            ),
            host_names: s.key(
                "host_names",
                d.host_names,
                "a list of host names without ports, such as [\"relay.example\"]",
                |names: &Vec<String>| names.iter().all(|name| is_host_name(name)),
            ),
            api_keys_file: s.key(
                "api_keys_file",
                d.api_keys_file,
                "the path of a file",
                |_| true,
            ),
        };
        s.unserved("webhooks", &no_list());
        s.finish();
        read
    }
}

/// `[store]`: where calls are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Store {
    /// File of the embedded store; empty: in the state directory.
    pub path: PathBuf,
}

impl Store {
    pub(super) fn read(document: &mut Document<'_>) -> Self {
        let mut s = document.section("store");
        let read = Self {
            path: s.key("path", PathBuf::new(), "the path of a file", |_| true),
        };
        s.unserved("url", &no_text());
        s.finish();
        read
    }
}

/// `[log]`: log lines on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Log {
    /// How lines are written.
    pub format: Format,
    /// The least important events that are written.
    pub level: Level,
}

impl Log {
    pub(super) fn read(document: &mut Document<'_>) -> Self {
        let mut s = document.section("log");
        let levels = "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
        let read = Self {
            format: s.key("format", Format::Text, "\"text\" or \"json\"", |_| true),
            level: s.key("level", Level::Info, levels, |_| true),
        };
        s.unserved("raw_addresses_file", &no_text());
        s.finish();
        read
    }
}

/// Sections of which this version serves nothing, so that a complete file of defaults is accepted.
pub(super) fn read_unserved(document: &mut Document<'_>) {
    let mut s = document.section("open");
    for list in [
        "relay_addresses",
        "external_addresses",
        "denied_peers",
        "allowed_peers",
    ] {
        s.unserved(list, &no_list());
    }
    for list in ["rest_secrets", "users"] {
        s.unserved(list, &no_list());
    }
    for file in ["rest_secrets_file", "users_file"] {
        s.unserved(file, &no_text());
    }
    for switch in ["enabled", "tcp_relay", "mobility"] {
        s.unserved(switch, &toml::Value::Boolean(false));
    }
    s.unserved("strict_expiry", &toml::Value::Boolean(true));
    s.unserved("relay_ports", &toml::Value::String("49152-65535".into()));
    s.finish();
    let mut s = document.section("tls");
    s.unserved("certificate", &no_text());
    s.unserved("key", &no_text());
    s.finish();
}

pub(super) fn no_list() -> toml::Value {
    toml::Value::Array(Vec::new())
}

fn no_text() -> toml::Value {
    toml::Value::String(String::new())
}
