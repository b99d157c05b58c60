//! A life over a network: the node and its clients in two network namespaces with a cable between
//! them, and addresses of both families.

use std::net::IpAddr;

use super::life::Place;
use super::{LEVELS, canaries, nothing_comes_out};
use crate::daemon::world::{self, shell};

const SERVERS: [&str; 2] = ["192.168.77.1", "fd00:77::1"];

#[test]
fn nothing_comes_out_over_a_network() {
    world::enter(concat!(module_path!(), "::inside"), &["--net", "--mount"]);
}

#[test]
#[ignore = "runs in the namespaces that the test above makes"]
fn inside() {
    if !world::is_inside() {
        return;
    }
    lay_cable();
    nothing_comes_out(place, "text", "trace");
    for level in LEVELS {
        nothing_comes_out(place, "json", level);
    }
}

fn lay_cable() {
    shell(&format!(
        "mount -t tmpfs none /run
         ip netns add relay
         ip link add clients type veth peer name node netns relay
         ip link set lo up
         ip link set clients up
         ip -n relay link set lo up
         ip -n relay link set node up
         ip -n relay addr add {}/32 dev node
         ip -n relay addr add {}/128 dev node nodad
         ip -n relay route add default dev node
         ip -n relay -6 route add default dev node
         ip route add {} dev clients
         ip -6 route add {} dev clients",
        SERVERS[0], SERVERS[1], SERVERS[0], SERVERS[1]
    ));
}

/// The same cable, with new people at its other end.
fn place() -> Place {
    let clients = vec![
        canaries::ipv4(81),
        canaries::ipv6(),
        canaries::ipv4(93),
        canaries::ipv6(),
    ];
    let platform = canaries::ipv4(172);
    for ip in clients.iter().chain([&platform]) {
        shell(&match ip {
            IpAddr::V4(ip) => format!("ip addr add {ip}/32 dev clients"),
            IpAddr::V6(ip) => format!("ip addr add {ip}/128 dev clients nodad"),
        });
    }
    Place {
        wrapper: vec![
            "nsenter".into(),
            "--net=/run/netns/relay".into(),
            "--".into(),
        ],
        servers: SERVERS.map(|ip| ip.parse().expect("an address")).to_vec(),
        clients,
        platform,
        foreign: vec![canaries::ipv4(203), canaries::ipv6()],
    }
}
