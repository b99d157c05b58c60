//! Where clients reach this node: the TURN URLs that they are given.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::StartError;
use crate::config::Relay;

/// More detected addresses than this are not handed out: every one of them is an allocation that
/// each browser makes, and a second that each call takes to set up.
const MOST_DETECTED: usize = 4;

/// The listeners with their actual ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// UDP.
    pub udp: Vec<SocketAddr>,
    /// TCP.
    pub tcp: Vec<SocketAddr>,
}

/// What clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// TURN URLs (RFC 7065), UDP first.
    pub(super) urls: Vec<String>,
    /// Whether nobody but this machine can use them.
    pub(super) only_loopback: bool,
}

/// Whether each address that clients are to be given is one that these listeners serve.
pub(super) fn check(relay: &Relay, listeners: &Listeners) -> Result<(), StartError> {
    match relay.unserved_address(&listeners.udp.iter().chain(&listeners.tcp)) {
        Some(ip) => Err(StartError::unserved_address(ip)),
        None => Ok(()),
    }
}

/// What clients of a node with these settings and listeners are told.
pub(super) fn reach(relay: &Relay, listeners: &Listeners) -> Reach {
    if !relay.host_name.is_empty() {
        let urls = urls(listeners, |_| vec![relay.host_name.clone()]);
        return Reach {
            urls,
            only_loopback: false,
        };
    }
    let addresses = match relay.public_addresses.as_slice() {
        [] => detected(listeners, &interface_addresses()),
        given => given.to_vec(),
    };
    let of_family = |listener: IpAddr| {
        let same = addresses
            .iter()
            .filter(move |ip| ip.is_ipv4() == listener.is_ipv4());
        same.map(in_url).collect()
    };
    let only_loopback = addresses.iter().all(IpAddr::is_loopback);
    Reach {
        urls: urls(listeners, of_family),
        only_loopback,
    }
}

fn urls(listeners: &Listeners, hosts: impl Fn(IpAddr) -> Vec<String>) -> Vec<String> {
    let mut urls = Vec::new();
    for (transport, addresses) in [("udp", &listeners.udp), ("tcp", &listeners.tcp)] {
        for listener in addresses {
            for host in hosts(listener.ip()) {
                let url = format!("turn:{host}:{}?transport={transport}", listener.port());
                if !urls.contains(&url) {
                    urls.push(url);
                }
            }
        }
    }
    urls
}

fn in_url(ip: &IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The addresses at which `listeners` can be reached on a machine with these `interfaces`.
fn detected(listeners: &Listeners, interfaces: &[IpAddr]) -> Vec<IpAddr> {
    let mut found = BTreeSet::new();
    for listener in listeners_all(listeners) {
        if listener.is_unspecified() {
            let family = interfaces
                .iter()
                .filter(|ip| ip.is_ipv4() == listener.is_ipv4());
            found.extend(family.copied());
        } else {
            found.insert(listener);
        }
    }
    // With addresses that the internet can reach, the others (containers, VPNs) only cost time.
    if found.iter().any(|ip| is_global(*ip)) {
        found.retain(|ip| is_global(*ip) || listeners_name(listeners, *ip));
    }
    if found.is_empty() {
        let loopback = listeners_all(listeners).map(|listener| match listener {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
        found.extend(loopback);
    }
    found.into_iter().take(MOST_DETECTED).collect()
}

fn listeners_name(listeners: &Listeners, ip: IpAddr) -> bool {
    listeners_all(listeners).any(|listener| listener == ip)
}

fn listeners_all(listeners: &Listeners) -> impl Iterator<Item = IpAddr> {
    let all = listeners.udp.iter().chain(&listeners.tcp);
    all.map(SocketAddr::ip)
}

/// Whether the internet may reach the address: not private, shared, or unique local.
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private() || shared || ip.is_loopback() || ip.is_link_local())
        }
        IpAddr::V6(ip) => !(ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()),
    }
}

/// Addresses of the interfaces that are up, neither loopback nor link-local.
fn interface_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        return Vec::new();
    };
    let up = interfaces.filter(|interface| {
        interface.flags.contains(InterfaceFlags::IFF_UP)
            && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    });
    up.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    })
    .filter(|ip| match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everywhere() -> Listeners {
        let all: Vec<SocketAddr> = vec!["0.0.0.0:3478", "[::]:3478"]
            .into_iter()
            .map(parsed)
            .collect();
        Listeners {
            udp: all.clone(),
            tcp: all,
        }
    }

    fn parsed(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter()
            .map(|text| text.parse().expect("an address"))
            .collect()
    }

    #[test]
    fn addresses_of_the_internet_win() {
        let interfaces = ips(&["192.0.2.7", "172.17.0.1", "2001:db8::7", "fd00::1"]);
        assert_eq!(
            detected(&everywhere(), &interfaces),
            ips(&["192.0.2.7", "2001:db8::7"])
        );
        let private = ips(&["192.168.1.2", "fd00::1"]);
        assert_eq!(detected(&everywhere(), &private), private);
    }

    #[test]
    fn a_named_listener_is_what_it_says() {
        let listeners = Listeners {
            udp: vec![parsed("10.0.0.5:3478")],
            tcp: Vec::new(),
        };
        assert_eq!(
            detected(&listeners, &ips(&["192.0.2.7"])),
            ips(&["10.0.0.5"])
        );
    }

    #[test]
    fn without_any_address_there_is_loopback_and_a_warning() {
        assert_eq!(detected(&everywhere(), &[]), ips(&["127.0.0.1", "::1"]));
        let ipv6 = Listeners {
            udp: vec![parsed("[::]:3478")],
            tcp: Vec::new(),
        };
        assert_eq!(detected(&ipv6, &ips(&["192.0.2.7"])), ips(&["::1"]));
        let relay = Relay {
            public_addresses: ips(&["127.0.0.1"]),
            ..Relay::default()
        };
        assert!(reach(&relay, &everywhere()).only_loopback);
    }

    #[test]
    fn urls_name_each_address_by_its_listeners() {
        let relay = Relay {
            public_addresses: ips(&["192.0.2.7", "2001:db8::7"]),
            ..Relay::default()
        };
        let expected = [
            "turn:192.0.2.7:3478?transport=udp",
            "turn:[2001:db8::7]:3478?transport=udp",
            "turn:192.0.2.7:3478?transport=tcp",
            "turn:[2001:db8::7]:3478?transport=tcp",
        ];
        assert_eq!(
            reach(&relay, &everywhere()),
            Reach {
                urls: expected.map(String::from).to_vec(),
                only_loopback: false
            }
        );
    }

    #[test]
    fn a_host_name_stands_for_all_addresses() {
        let relay = Relay {
            host_name: "relay.example".into(),
            ..Relay::default()
        };
        let expected = [
            "turn:relay.example:3478?transport=udp",
            "turn:relay.example:3478?transport=tcp",
        ];
        assert_eq!(reach(&relay, &everywhere()).urls, expected);
    }
}
