//! What the path of one party shows the other: nothing that somebody else says of it changes how
//! packets leave, and large ones arrive whatever the link. On machines of the test's own.

use std::net::{SocketAddr, SocketAddrV6, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::namespaces::Namespace;
use crate::loopback::{Call, Caller, Heard, Node, Setup, wait_until};

const BOB_V4: &str = "10.2.0.2";
const BOB_V6: &str = "fd00:2::2";

/// A relay, a router where alice is, and bob after a link with its own MTU.
struct World {
    relay: Namespace,
    router: Namespace,
    bob: Namespace,
}

impl World {
    fn new(test: &str, mtu: u16) -> Option<Self> {
        let [relay, router, bob] = Namespace::several(test)?;
        relay.link("wan", &router, "lan", 1500);
        router.link("out", &bob, "in", mtu);
        for (machine, name, v4, v6, link_local) in [
            (&relay, "wan", "10.1.0.1/24", "fd00:1::1/64", "fe80::1/64"),
            (&router, "lan", "10.1.0.2/24", "fd00:1::2/64", "fe80::2/64"),
            (&router, "out", "10.2.0.1/24", "fd00:2::1/64", "fe80::1/64"),
            (&bob, "in", "10.2.0.2/24", "fd00:2::2/64", "fe80::2/64"),
        ] {
            // Neighbours are asked for from a link-local address.
            machine.address(name, link_local);
            machine.address(name, v4);
            machine.address(name, v6);
        }
        bob.address("in", "10.2.0.3/24");
        bob.address("in", "fd00:2::3/64");
        router.be_router();
        relay.ip("route add 10.2.0.0/24 via 10.1.0.2");
        relay.ip("-6 route add fd00:2::/64 via fd00:1::2");
        // What the link carries is not told: as from a network behind it.
        bob.ip("route add default via 10.2.0.1 advmss 1460");
        bob.ip("-6 route add default via fd00:2::1 advmss 1440");
        Some(Self { relay, router, bob })
    }

    fn node(&self) -> Node {
        let setup = Setup {
            udp: vec!["10.1.0.1:0", "[fd00:1::1]:0"],
            tcp: vec!["10.1.0.1:0", "[fd00:1::1]:0"],
            ..Setup::default()
        };
        self.relay.within(|| Node::start(&setup))
    }

    /// Alice and bob with channels to each other: hers 0x4001, his 0x4002.
    fn pair(&self, call: &Call<'_>, alice: SocketAddr, bob: Place) -> [Caller; 2] {
        let mut alice = self
            .router
            .within(|| Caller::udp(alice, call.credential(0)));
        let mut bob = self.bob.within(|| match bob {
            Place::Udp(server) => Caller::udp(server, call.credential(1)),
            Place::Tcp(server) => Caller::tcp(server, call.credential(1)),
        });
        let (a, b) = (alice.allocate(), bob.allocate());
        assert_eq!(alice.bind(0x4001, b), Ok(()));
        assert_eq!(bob.bind(0x4002, a), Ok(()));
        [alice, bob]
    }
}

/// Where a party turns to.
#[derive(Clone, Copy)]
enum Place {
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

/// What a forged message quotes.
#[derive(Clone, Copy)]
enum Quoted {
    /// A datagram between these ports.
    Udp(u16, u16),
    /// An echo reply, which belongs to no socket.
    Echo,
}

fn internet_checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum = words.fold(0, |sum: u32, word| {
        let sum = sum + word;
        (sum & 0xFFFF) + (sum >> 16)
    });
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}

/// Says to `relay` that what it sent to `suspect` was too large for an MTU.
fn forge(relay: SocketAddr, suspect: &str, quoted: Quoted, mtu: u16) {
    let suspect: std::net::IpAddr = suspect.parse().expect("an address");
    let (protocol, mut start) = match (quoted, relay.is_ipv4()) {
        (Quoted::Udp(from, to), _) => (17, [from.to_be_bytes(), to.to_be_bytes()].concat()),
        (Quoted::Echo, true) => (1, vec![0, 0, 0, 0]),
        (Quoted::Echo, false) => (58, vec![129, 0, 0, 0]),
    };
    start.extend([5, 0, 0, 0]);
    let [high, low] = mtu.to_be_bytes();
    let (mut message, domain, number) = match (relay.ip(), suspect) {
        (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => {
            let mut message = vec![3, 4, 0, 0, 0, 0, high, low];
            message.extend([0x45, 0, 5, 0xDC, 0, 1, 0x40, 0, 64, protocol, 0, 0]);
            message.extend([from.octets(), to.octets()].concat());
            (message, Domain::IPV4, Protocol::ICMPV4)
        }
        (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => {
            let mut message = vec![2, 0, 0, 0, 0, 0, high, low];
            message.extend([0x60, 0, 0, 0, 5, 0xB4, protocol, 64]);
            message.extend([from.octets(), to.octets()].concat());
            (message, Domain::IPV6, Protocol::ICMPV6)
        }
        _ => panic!("one family"),
    };
    message.extend(start);
    if relay.is_ipv4() {
        let checksum = internet_checksum(&message);
        message[2..4].copy_from_slice(&checksum);
    }
    let socket = Socket::new(domain, Type::RAW, Some(number)).expect("root may");
    let to = SocketAddr::new(relay.ip(), 0);
    socket.send_to(&message, &to.into()).expect("sent");
}

#[test]
fn nobody_else_tells_the_node_how_large_packets_may_be() {
    let test = "paths::nobody_else_tells_the_node_how_large_packets_may_be";
    let Some(world) = World::new(test, 1500) else {
        return;
    };
    let node = world.node();
    for (index, suspect, other, mtu) in
        [(0, BOB_V4, "10.2.0.3", 600), (1, BOB_V6, "fd00:2::3", 1280)]
    {
        let server = node.udp(index);
        let call = node.call();
        let [mut alice, mut bob] = world.pair(&call, server, Place::Udp(server));
        let port = bob.udp_socket().local_addr().expect("bound").port();
        let flow = Quoted::Udp(server.port(), port);
        world.router.within(|| forge(server, suspect, flow, mtu));
        // An ordinary socket beside it believes the same of another address: it was well forged.
        let ordinary = world.relay.within(|| UdpSocket::bind((server.ip(), 0)));
        let ordinary = ordinary.and_then(|it| it.local_addr()).expect("a socket");
        let flow = Quoted::Udp(ordinary.port(), port);
        let socket = world
            .relay
            .within(|| UdpSocket::bind(ordinary))
            .expect("free");
        world.router.within(|| forge(server, other, flow, mtu));
        wait_until("it is believed", || {
            world.relay.learned_mtu(other) == Some(mtu)
        });
        drop(socket);
        assert_eq!(world.relay.learned_mtu(suspect), None);
        // One that quotes no socket's packet the kernel believes for all; this one's must leave
        // as before.
        world
            .router
            .within(|| forge(server, suspect, Quoted::Echo, mtu));
        wait_until("it is believed", || {
            world.relay.learned_mtu(suspect) == Some(mtu)
        });
        let before = world.relay.fragments_made();
        alice.say(0x4001, &[7; 1400]);
        assert_eq!(bob.hear(), Heard::Channel(0x4002, vec![7; 1400]));
        assert_eq!(world.relay.fragments_made(), before);
    }
}

#[test]
fn large_packets_pass_narrow_links_from_the_first_on() {
    let test = "paths::large_packets_pass_narrow_links_from_the_first_on";
    for mtu in [1492, 1280] {
        let Some(world) = World::new(test, mtu) else {
            return;
        };
        let node = world.node();
        let sizes_v4: &[usize] = &[1436, 1464, 1400, 1200, 4096, 2236];
        // What an IPv6 packet of the relay's own link holds, but the narrow one does not, is lost:
        // no router fragments it.
        let sizes_v6: &[usize] = &[4096, 1180, 2236];
        for (index, bob_ip, sizes) in [(0, BOB_V4, sizes_v4), (1, BOB_V6, sizes_v6)] {
            let call = node.call();
            let server = node.udp(index);
            let [mut alice, mut bob] = world.pair(&call, server, Place::Udp(server));
            let (a, b) = (alice.mask(), bob.mask());
            for len in sizes {
                let payload = vec![1; *len];
                alice.say(0x4001, &payload);
                assert_eq!(bob.hear(), Heard::Channel(0x4002, payload.clone()));
                bob.say(0x4002, &payload);
                assert_eq!(alice.hear(), Heard::Channel(0x4001, payload));
            }
            // Many at once, which may leave as one and are cut on their way.
            let len = if index == 0 { 1400 } else { 1180 };
            for number in 0..30 {
                alice.say(0x4001, &vec![number; len]);
            }
            for number in 0..30 {
                assert_eq!(bob.hear(), Heard::Channel(0x4002, vec![number; len]));
            }
            assert_eq!(world.relay.learned_mtu(bob_ip), None);
            // The same in indications, which are longer.
            assert_eq!(alice.permit(b), Ok(()));
            let mut bob = world.bob.within(|| call.over_udp(2, server));
            let c = bob.allocate();
            assert_eq!(bob.permit(a), Ok(()));
            assert_eq!(alice.permit(c), Ok(()));
            for len in sizes {
                alice.indicate(c, &vec![2; *len]);
                assert_eq!(bob.hear(), Heard::Data(a, vec![2; *len]));
            }
        }
    }
}

#[test]
fn tcp_segments_fit_narrow_links_without_being_told() {
    let test = "paths::tcp_segments_fit_narrow_links_without_being_told";
    let Some(world) = World::new(test, 1280) else {
        return;
    };
    let node = world.node();
    for (index, bob_ip) in [(0, BOB_V4), (1, BOB_V6)] {
        let call = node.call();
        let (alice, bob) = (node.udp(index), Place::Tcp(node.tcp(index)));
        let [mut alice, mut bob] = world.pair(&call, alice, bob);
        for _ in 0..20 {
            alice.say(0x4001, &[3; 4096]);
            assert_eq!(bob.hear(), Heard::Channel(0x4002, vec![3; 4096]));
        }
        assert_eq!(world.relay.learned_mtu(bob_ip), None);
        let stream = bob.tcp_stream().expect("TCP");
        let segment = SockRef::from(stream).tcp_mss().expect("a connection");
        assert!(segment <= 1220, "{segment}");
    }
}

/// Puts a machine on a link of the relay's, with the same addresses as on its other links; the
/// interface's number on that machine.
fn neighbour(relay: &Namespace, link: &str, there: &Namespace) -> u32 {
    relay.link(link, there, "in", 1500);
    relay.address(link, "fe80::1/64");
    there.address("in", "fe80::2/64");
    let shown = there.ip("-o link show in");
    let number = shown.split(':').next().expect("a number");
    number.parse().expect("a number")
}

#[test]
fn two_links_may_have_the_same_link_local_addresses() {
    let test = "paths::two_links_may_have_the_same_link_local_addresses";
    let Some([relay, alice, bob]) = Namespace::several(test) else {
        return;
    };
    let scopes = [
        neighbour(&relay, "left", &alice),
        neighbour(&relay, "right", &bob),
    ];
    let setup = Setup {
        udp: vec!["[::]:0"],
        tcp: vec!["[::]:0"],
        ..Setup::default()
    };
    let node = relay.within(|| Node::start(&setup));
    let call = node.call();
    let server = |scope, port| SocketAddrV6::new("fe80::1".parse().expect("one"), port, 0, scope);
    let socket_on = |scope| {
        // The same port for both: only the link tells them from each other.
        let socket = UdpSocket::bind("[::]:5000").expect("free");
        socket
            .connect(server(scope, node.udp(0).port()))
            .expect("a link");
        socket
    };
    let socket = alice.within(|| socket_on(scopes[0]));
    let mut alice = Caller::udp_with(socket, call.credential(0));
    let socket = bob.within(|| socket_on(scopes[1]));
    let mut over_udp = Caller::udp_with(socket, call.credential(1));
    let server = server(scopes[1], node.tcp(0).port()).into();
    let mut over_tcp = bob.within(|| call.over_tcp(2, server));
    let a = alice.allocate();
    for (number, other) in (0x4001..).zip([&mut over_udp, &mut over_tcp]) {
        let b = other.allocate();
        assert_eq!(alice.bind(number, b), Ok(()));
        assert_eq!(other.bind(0x4000, a), Ok(()));
        alice.say(number, b"over there");
        assert_eq!(other.hear(), Heard::Channel(0x4000, b"over there".to_vec()));
        other.say(0x4000, b"and back");
        assert_eq!(alice.hear(), Heard::Channel(number, b"and back".to_vec()));
        alice.indicate(b, b"by the relay");
        assert_eq!(
            other.hear(),
            Heard::Channel(0x4000, b"by the relay".to_vec())
        );
    }
}
