//! Where clients reach this node: the TURN URLs that they are given.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::StartError;
use super::interfaces::{Candidate, Machine};
use crate::config::{self, Relay};
use crate::control::offers::{Offer, Reach};

/// More detected addresses of one family than this are not handed out: every one of them is an
/// allocation that each browser makes, and a second that each call takes to set up.
const MOST_DETECTED: usize = 2;

/// The listeners with their actual ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// UDP.
    pub udp: Vec<SocketAddr>,
    /// TCP.
    pub tcp: Vec<SocketAddr>,
}

impl Listeners {
    /// What the configuration asks for.
    pub fn wanted(relay: &Relay) -> Self {
        Self {
            udp: relay.udp.clone(),
            tcp: relay.tcp.clone(),
        }
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let udp = self.udp.iter().map(|listener| ("udp", *listener));
        udp.chain(self.tcp.iter().map(|listener| ("tcp", *listener)))
    }
}

/// What the addresses of a host name are, if it has any.
pub(super) trait Names {
    /// The addresses of `name`.
    fn addresses(&self, name: &str) -> Vec<IpAddr>;
}

/// Whether each address that clients are to be given is one that these listeners serve.
pub(super) fn check(relay: &Relay, listeners: &Listeners) -> Result<(), StartError> {
    match relay.unserved_address(&listeners.udp.iter().chain(&listeners.tcp)) {
        Some(ip) => Err(StartError::unserved_address(ip)),
        None => Ok(()),
    }
}

/// What clients of a node with these settings and listeners are given, on a machine with these
/// addresses; UDP first.
pub(super) fn offers(
    relay: &Relay,
    listeners: &Listeners,
    machine: &Machine,
    names: &impl Names,
) -> Vec<Offer> {
    if !relay.advertise.is_empty() {
        let advertised = relay.advertise.iter().map(|url| Offer {
            url: url.to_string(),
            reach: reach(url.host(), names),
        });
        return advertised.collect();
    }
    let loopback_only = |listener: &SocketAddr| {
        listener.ip().is_unspecified() && chosen(machine, *listener).is_empty()
    };
    // Loopback is better than nothing, for whoever tries this out, and worse than anything else.
    let fall_back = machine.loopback && listeners.all().all(|(_, at)| loopback_only(&at));
    let mut offers: Vec<Offer> = Vec::new();
    for (transport, listener) in listeners.all() {
        for (host, reach) in hosts(relay, listener, machine, names, fall_back) {
            let url = format!("turn:{host}:{}?transport={transport}", listener.port());
            if offers.iter().all(|offer| offer.url != url) {
                offers.push(Offer { url, reach });
            }
        }
    }
    offers
}

fn hosts(
    relay: &Relay,
    listener: SocketAddr,
    machine: &Machine,
    names: &impl Names,
    fall_back: bool,
) -> Vec<(String, Reach)> {
    if !relay.host_name.is_empty() {
        return vec![(relay.host_name.clone(), reach(&relay.host_name, names))];
    }
    let addresses = if !relay.public_addresses.is_empty() {
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == listener.is_ipv4();
        relay
            .public_addresses
            .iter()
            .filter(of_family)
            .copied()
            .collect()
    } else if !listener.ip().is_unspecified() {
        vec![listener.ip()]
    } else if fall_back {
        vec![loopback(listener)]
    } else {
        chosen(machine, listener)
    };
    let shown = addresses.into_iter().map(|ip| (in_url(ip), Reach::of(ip)));
    shown.collect()
}

fn loopback(listener: SocketAddr) -> IpAddr {
    if listener.is_ipv4() {
        Ipv4Addr::LOCALHOST.into()
    } else {
        Ipv6Addr::LOCALHOST.into()
    }
}

/// The machine's best addresses of the listener's family: those that the internet can reach, else
/// those of its networks, else those of its tunnels.
fn chosen(machine: &Machine, listener: SocketAddr) -> Vec<IpAddr> {
    let rank = |found: &Candidate| {
        let global = Reach::of(found.ip) == Reach::Internet;
        (!global, !global && found.tunnel, !found.lasting)
    };
    let family = || {
        let all = machine.candidates.iter();
        all.filter(|found| found.ip.is_ipv4() == listener.is_ipv4())
    };
    let best = family().map(rank).min();
    let chosen = family().filter(|found| Some(rank(found)) == best);
    chosen.map(|found| found.ip).take(MOST_DETECTED).collect()
}

fn reach(host: &str, names: &impl Names) -> Reach {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = literal.parse() {
        return Reach::of(ip);
    }
    let addresses = names.addresses(host).into_iter();
    addresses.map(Reach::of).max().unwrap_or(Reach::Nobody)
}

fn in_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// What an operator should know of `offers`; nothing where everybody can use them.
pub(super) fn warnings(offers: &[Offer]) -> Vec<String> {
    let best = offers.iter().map(|offer| offer.reach).max();
    let all = match best {
        None => Some(
            "CLIENTS CAN'T BE GIVEN ANY URL, AND NO CALL CAN BE OPENED: this machine has no \
             address that lasts. Set relay.public_addresses, relay.host_name or relay.advertise",
        ),
        Some(Reach::Nobody) => Some(
            "NO CLIENT CAN REACH THIS NODE: the name that it gives them has no address. Correct \
             relay.host_name or relay.advertise, or the name's DNS records",
        ),
        Some(Reach::Machine) => Some(
            "CLIENTS CAN REACH THIS NODE FROM THIS MACHINE ONLY: it gives them a loopback address. \
             Set relay.public_addresses, relay.host_name or relay.advertise",
        ),
        Some(Reach::Network | Reach::Internet) => None,
    };
    if let Some(all) = all {
        return vec![all.into()];
    }
    let mut warnings = Vec::new();
    for family in [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()] {
        let of_family = offers.iter().filter(|offer| is_of(offer, family));
        if of_family.map(|offer| offer.reach).max() == Some(Reach::Network) {
            warnings.push(format!(
                "{}: clients are given an address that only this network can reach. Behind a NAT \
                 or in a container, set relay.public_addresses or relay.advertise",
                config::family(family)
            ));
        }
    }
    let named = offers.iter().filter(|offer| host(offer).is_none());
    let named = named.map(|offer| offer.reach).min();
    if named.is_some_and(|reach| reach < Reach::Internet) {
        warnings.push(
            "the name that clients are given has no address, or one that only this network can \
             reach: correct its DNS records, relay.host_name or relay.advertise"
                .into(),
        );
    }
    warnings
}

fn is_of(offer: &Offer, family: IpAddr) -> bool {
    host(offer).is_some_and(|ip| ip.is_ipv4() == family.is_ipv4())
}

/// The address in a URL, if that is no name.
fn host(offer: &Offer) -> Option<IpAddr> {
    let (_, rest) = offer.url.split_once(':')?;
    let host = match rest.strip_prefix('[') {
        Some(literal) => literal.split_once(']')?.0,
        None => rest.split([':', '?']).next()?,
    };
    host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Names for Vec<(&str, &str)> {
        fn addresses(&self, name: &str) -> Vec<IpAddr> {
            let of = self.iter().filter(|(known, _)| *known == name);
            of.map(|(_, ip)| ip.parse().expect("an address")).collect()
        }
    }

    fn everywhere() -> Listeners {
        listeners(&["0.0.0.0:3478", "[::]:3478"])
    }

    fn listeners(udp: &[&str]) -> Listeners {
        let parsed = udp.iter().map(|text| text.parse().expect("an address"));
        Listeners {
            udp: parsed.collect(),
            tcp: Vec::new(),
        }
    }

    fn machine(ips: &[&str]) -> Machine {
        let candidates = ips.iter().map(|ip| Candidate {
            ip: ip.parse().expect("an address"),
            tunnel: false,
            lasting: true,
        });
        Machine {
            candidates: candidates.collect(),
            loopback: true,
        }
    }

    fn given(relay: &Relay, listeners: &Listeners, machine: &Machine) -> Vec<String> {
        let names: Vec<(&str, &str)> = Vec::new();
        let offers = offers(relay, listeners, machine, &names);
        let hosts = offers.iter().map(|offer| {
            let host = offer.url.strip_prefix("turn:").expect("a TURN URL");
            host.replace(":3478?transport=udp", "")
        });
        hosts.collect()
    }

    fn detected(listeners: &Listeners, machine: &Machine) -> Vec<String> {
        given(&Relay::default(), listeners, machine)
    }

    #[test]
    fn each_family_has_its_best_addresses() {
        let host = machine(&["10.0.0.5", "2001:db8::7", "fd00::1"]);
        assert_eq!(
            detected(&everywhere(), &host),
            ["10.0.0.5", "[2001:db8::7]"]
        );
        let host = machine(&["192.0.2.7", "10.0.0.5"]);
        assert_eq!(detected(&everywhere(), &host), ["192.0.2.7"]);
    }

    #[test]
    fn tunnels_and_short_leases_are_the_second_choice() {
        let mut host = machine(&["10.8.0.1", "192.168.1.2", "192.168.1.3"]);
        host.candidates[0].tunnel = true;
        host.candidates[1].lasting = false;
        assert_eq!(detected(&everywhere(), &host), ["192.168.1.3"]);
        host.candidates.truncate(2);
        assert_eq!(detected(&everywhere(), &host), ["192.168.1.2"]);
        host.candidates.truncate(1);
        assert_eq!(detected(&everywhere(), &host), ["10.8.0.1"]);
    }

    #[test]
    fn a_named_listener_is_what_it_says() {
        let named = listeners(&["10.0.0.5:3478"]);
        assert_eq!(detected(&named, &machine(&["192.0.2.7"])), ["10.0.0.5"]);
    }

    #[test]
    fn without_any_address_there_is_loopback_and_without_that_nothing() {
        assert_eq!(
            detected(&everywhere(), &machine(&[])),
            ["127.0.0.1", "[::1]"]
        );
        let ipv4 = machine(&["192.0.2.7"]);
        assert_eq!(detected(&everywhere(), &ipv4), ["192.0.2.7"]);
        assert_eq!(detected(&listeners(&["[::]:3478"]), &ipv4), ["[::1]"]);
        assert!(detected(&everywhere(), &Machine::default()).is_empty());
    }

    #[test]
    fn urls_name_each_address_by_its_listeners() {
        let relay = Relay {
            public_addresses: vec!["192.0.2.7".parse().expect("valid")],
            ..Relay::default()
        };
        let mut both = everywhere();
        both.tcp = both.udp.clone();
        let names: Vec<(&str, &str)> = Vec::new();
        let offers = offers(&relay, &both, &machine(&["192.168.1.1"]), &names);
        let urls: Vec<&str> = offers.iter().map(|offer| offer.url.as_str()).collect();
        assert_eq!(
            urls,
            [
                "turn:192.0.2.7:3478?transport=udp",
                "turn:192.0.2.7:3478?transport=tcp"
            ]
        );
    }

    #[test]
    fn a_host_name_stands_for_all_addresses() {
        let relay = Relay {
            host_name: "relay.example".into(),
            ..Relay::default()
        };
        let reach = |ip| {
            let names = vec![("relay.example", ip)];
            let offers = offers(&relay, &everywhere(), &machine(&[]), &names);
            assert_eq!(offers.len(), 1);
            assert_eq!(offers[0].url, "turn:relay.example:3478?transport=udp");
            (offers[0].reach, warnings(&offers).len())
        };
        assert_eq!(reach("192.0.2.7"), (Reach::Internet, 0));
        assert_eq!(reach("10.0.0.7"), (Reach::Network, 1));
        let names: Vec<(&str, &str)> = Vec::new();
        let unknown = offers(&relay, &everywhere(), &machine(&["192.0.2.7"]), &names);
        assert_eq!(unknown[0].reach, Reach::Nobody);
    }

    #[test]
    fn what_is_advertised_is_all_that_clients_get() {
        let advertise = [
            "turn:192.0.2.7:13478?transport=udp",
            "turns:relay.example:443?transport=tcp",
        ];
        let relay = Relay {
            advertise: advertise.map(|url| url.parse().expect("a URL")).to_vec(),
            public_addresses: vec!["2001:db8::1".parse().expect("valid")],
            ..Relay::default()
        };
        let names = vec![("relay.example", "192.0.2.7")];
        let offers = offers(&relay, &everywhere(), &machine(&[]), &names);
        let urls: Vec<&str> = offers.iter().map(|offer| offer.url.as_str()).collect();
        assert_eq!(urls, advertise);
        assert!(warnings(&offers).is_empty());
    }

    #[test]
    fn there_is_a_warning_for_each_family_that_only_this_network_can_reach() {
        let names: Vec<(&str, &str)> = Vec::new();
        let of = |host: &Machine| warnings(&offers(&Relay::default(), &everywhere(), host, &names));
        assert_eq!(of(&machine(&["192.0.2.7", "2001:db8::7"])), [""; 0]);
        let docker = of(&machine(&["172.17.0.2", "2001:db8::7"]));
        assert!(
            docker.len() == 1 && docker[0].starts_with("IPv4: "),
            "{docker:?}"
        );
        assert_eq!(of(&machine(&["172.17.0.2", "fd00::1"])).len(), 2);
        assert!(of(&machine(&[]))[0].contains("FROM THIS MACHINE ONLY"));
        assert!(of(&Machine::default())[0].contains("CAN'T BE GIVEN ANY URL"));
    }
}
