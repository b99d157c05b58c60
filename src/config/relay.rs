//! `[relay]`: its types, its defaults, and what each key takes.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::reader::Document;
use super::sections::no_list;
use super::turn_url::{TurnUrl, is_host_name};
use super::value::Moment;

/// More threads than this move packets no faster on any machine.
pub(super) const MOST_WORKERS: usize = 256;

/// `[relay]`: where clients come in, and what they are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Relay {
    /// REALM of the long-term credentials, 1 to 64 printable ASCII characters.
    pub realm: String,
    /// Addresses in the TURN URLs that clients are given; empty: detected.
    pub public_addresses: Vec<IpAddr>,
    /// Full TURN URLs in place of those made of addresses and listeners; may be empty.
    pub advertise: Vec<TurnUrl>,
    /// Name in the TURN URLs in place of the addresses; may be empty.
    pub host_name: String,
    /// UDP listeners.
    pub udp: Vec<SocketAddr>,
    /// TCP listeners.
    pub tcp: Vec<SocketAddr>,
    /// Worker threads; 0 is one per core.
    pub workers: usize,
    /// How packets travel through the machine.
    pub fast_path: FastPath,
    /// How often a worker looks for packets while they keep coming; zero: whenever one comes.
    pub coalesce: Moment,
}

/// How packets travel through the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FastPath {
    /// The fastest that works.
    #[default]
    Auto,
    /// In batches, with nothing left to the kernel or the network card to put together or to cut.
    Off,
    /// One by one.
    Portable,
}

impl Default for Relay {
    fn default() -> Self {
        let everywhere = vec![
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 3478)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 3478)),
        ];
        Self {
            realm: "vizard".into(),
            public_addresses: Vec::new(),
            advertise: Vec::new(),
            host_name: String::new(),
            udp: everywhere.clone(),
            tcp: everywhere,
            workers: 0,
            fast_path: FastPath::Auto,
            coalesce: Moment(Duration::from_micros(100)),
        }
    }
}

impl Relay {
    pub(super) fn read(document: &mut Document<'_>) -> Self {
        let d = Self::default();
        let listeners = "a list of ADDRESS:PORT, for example [\"0.0.0.0:3478\", \"[::]:3478\"]";
        let mut s = document.section("relay");
        let read = Self {
            realm: s.key(
                "realm",
                d.realm,
                "1 to 64 printable ASCII characters",
                |realm| {
                    (1..=64).contains(&realm.len())
                        && realm
                            .bytes()
                            .all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\')
                },
            ),
            public_addresses: s.key(
                "public_addresses",
                d.public_addresses,
                "a list of addresses at which clients reach this node, without ports",
                |list: &Vec<IpAddr>| {
                    list.iter()
                        .all(|ip| !ip.is_unspecified() && !ip.is_multicast())
                },
            ),
            advertise: s.key(
                "advertise",
                d.advertise,
                "a list of TURN URLs, for example [\"turn:relay.example:3478?transport=udp\"]",
                |_| true,
            ),
            host_name: s.key(
                "host_name",
                d.host_name,
                "a DNS name such as relay.example.org, or an empty string",
                |name: &String| name.is_empty() || is_host_name(name),
            ),
            udp: s.key("udp", d.udp, listeners, |list: &Vec<_>| all_different(list)),
            tcp: s.key("tcp", d.tcp, listeners, |list: &Vec<_>| all_different(list)),
            workers: s.key(
                "workers",
                d.workers,
                &format!("a number of threads, 0 to {MOST_WORKERS}"),
                |n| *n <= MOST_WORKERS,
            ),
            fast_path: s.key(
                "fast_path",
                d.fast_path,
                "\"auto\", \"off\" or \"portable\"",
                |_| true,
            ),
            coalesce: s.key(
                "coalesce",
                d.coalesce,
                "a length of time up to 10ms, for example \"100us\", or \"0\"",
                |moment: &Moment| moment.0 <= Duration::from_millis(10),
            ),
        };
        s.unserved("tls", &no_list());
        s.unserved("dtls", &no_list());
        s.finish();
        read.check(document);
        read
    }

    fn check(&self, document: &mut Document<'_>) {
        if self.udp.is_empty() && self.tcp.is_empty() {
            document.conflict(
                "relay.udp",
                "no listener at all",
                "name one in relay.udp or relay.tcp",
            );
        } else if let Some(ip) = self.unserved_address(&self.udp.iter().chain(&self.tcp)) {
            document.conflict(
                "relay.public_addresses",
                &format!("nothing listens for {ip}, so clients would be given no URL with it"),
                &format!(
                    "remove the address, or listen on {} in relay.udp or relay.tcp",
                    family(ip)
                ),
            );
        }
    }

    /// The first public address that no URL can name, because none of `listeners` has its family.
    pub fn unserved_address<'a>(
        &self,
        listeners: &(impl Iterator<Item = &'a SocketAddr> + Clone),
    ) -> Option<IpAddr> {
        if !self.host_name.is_empty() || !self.advertise.is_empty() {
            return None;
        }
        let served = |ip: &&IpAddr| {
            listeners
                .clone()
                .any(|listener| listener.is_ipv4() == ip.is_ipv4())
        };
        self.public_addresses.iter().find(|ip| !served(ip)).copied()
    }
}

/// The name of an address's family.
pub fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn all_different(listeners: &[SocketAddr]) -> bool {
    let same = |a: &SocketAddr, b: &SocketAddr| a == b && a.port() != 0;
    listeners
        .iter()
        .enumerate()
        .all(|(i, a)| !listeners[..i].iter().any(|b| same(a, b)))
}
