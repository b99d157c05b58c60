//! What somebody with a ticket of another call can reach: nobody.

use std::net::{IpAddr, SocketAddr};

use testkit::{Phone, Reaction, World, circuit, ticket, udp};
use vizard_proto::usage::DropReason;

/// Loopback, private, link-local, metadata, multicast, broadcast, reserved, mapped and embedded
/// IPv4, and the relay's own.
const FOREIGN: [&str; 40] = [
    "127.0.0.1:80",
    "127.0.0.1:3478",
    "127.255.255.254:53",
    "0.0.0.0:1",
    "0.1.2.3:1",
    "10.0.0.1:22",
    "10.255.255.255:1",
    "172.16.0.1:1",
    "172.31.255.255:1",
    "192.168.0.1:443",
    "192.168.255.255:1",
    "169.254.0.1:1",
    "169.254.169.254:80",
    "100.64.0.1:1",
    "100.100.100.200:80",
    "192.0.0.1:1",
    "192.0.2.1:9",
    "198.51.100.10:5000",
    "203.0.113.1:3478",
    "224.0.0.1:1",
    "239.255.255.250:1900",
    "240.0.0.1:1",
    "255.255.255.255:1",
    "8.8.8.8:53",
    "1.1.1.1:443",
    "[::]:1",
    "[::1]:80",
    "[::ffff:127.0.0.1]:80",
    "[::ffff:10.1.2.3]:80",
    "[::127.0.0.1]:80",
    "[64:ff9b::7f00:1]:80",
    "[64:ff9b::a9fe:a9fe]:80",
    "[2002:7f00:1::]:80",
    "[2002:a00:1::1]:80",
    "[fe80::1]:1",
    "[fc00::1]:1",
    "[fd00:ec2::254]:80",
    "[ff02::1]:1",
    "[2001:db8:1::1]:3478",
    "[2606:4700:4700::1111]:53",
];

#[test]
fn a_ticket_reaches_no_address_on_any_network() {
    let mut world = World::new();
    let [(mut a, _), _] = circuit(&mut world);
    for peer in FOREIGN {
        let peer: SocketAddr = peer.parse().expect("an address");
        assert_eq!(a.permit(&mut world, peer), 403, "{peer}");
        assert_eq!(a.bind(&mut world, 0x4100, peer), 403, "{peer}");
        let sent = a.send(&mut world, peer, b"x");
        assert_eq!(sent, Reaction::Dropped(DropReason::ForeignPeer), "{peer}");
    }
}

/// The parties' mask addresses are known to the intruder, who allocates within the same pool and
/// tries everything, ten thousand times.
#[test]
fn a_ticket_of_another_call_reaches_nobody() {
    let mut world = World::new();
    let [(a, mask_a), (b, mask_b)] = circuit(&mut world);
    let mut intruders: Vec<Phone> = (0..20)
        .map(|index| {
            Phone::new(
                udp(&format!("198.51.200.{index}:7000")),
                &ticket(2, index % 4),
            )
        })
        .collect();
    let masks: Vec<SocketAddr> = intruders
        .iter_mut()
        .map(|phone| phone.allocate(&mut world))
        .collect();
    // They may all talk to each other across parties, and hold permissions and channels for the
    // victims, so those are not the obstacle.
    for phone in &mut intruders {
        for victim in [mask_a, mask_b] {
            assert_eq!(phone.permit(&mut world, victim), 200);
        }
        assert_eq!(phone.bind(&mut world, 0x4001, mask_a), 200);
        assert_eq!(phone.bind(&mut world, 0x4002, mask_b), 200);
        for mask in &masks {
            assert_eq!(phone.permit(&mut world, *mask), 200);
        }
    }
    let mut delivered = 0;
    for round in 0..10_000_usize {
        let phone = &intruders[round % intruders.len()];
        let victim = if round % 2 == 0 { mask_a } else { mask_b };
        let guess = SocketAddr::new(
            victim.ip(),
            victim.port() ^ u16::try_from(round % 3).expect("small"),
        );
        let reaction = match round % 4 {
            0 => phone.send(&mut world, guess, b"intruder"),
            1 => phone.send(&mut world, victim, b"intruder"),
            2 => phone.send_on(&mut world, 0x4001, b"intruder"),
            _ => phone.send_on(&mut world, 0x4002, b"intruder"),
        };
        delivered += usize::from(
            matches!(reaction, Reaction::Arrives(to, _) if to == a.tuple || to == b.tuple),
        );
    }
    assert_eq!(delivered, 0);
}

/// Somebody who sends from a party's network, but not from its port, is nobody.
#[test]
fn a_packet_from_beside_a_party_reaches_nobody() {
    let mut world = World::new();
    let [(a, _), _] = circuit(&mut world);
    for port in (1024..=65_535)
        .step_by(7)
        .filter(|port| *port != a.tuple.remote.port())
    {
        let mut beside = a.tuple;
        beside.remote.set_port(port);
        let reaction = world.send(beside, &testkit::channel_data(0x4001, b"x"));
        assert_eq!(reaction, Reaction::Dropped(DropReason::NoAllocation));
    }
    let mut elsewhere = a.tuple;
    elsewhere.local.set_ip(IpAddr::from([203, 0, 113, 2]));
    let reaction = world.send(elsewhere, &testkit::channel_data(0x4001, b"x"));
    assert_eq!(
        reaction,
        Reaction::Dropped(DropReason::NoAllocation),
        "another local address"
    );
}
