//! Who has a ticket reaches the other parties of its call, and nobody and nothing else.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use vizard_proto::stun::{AttributeType, Method};

use super::{Server, hold_call, servers, talk};
use crate::daemon::{Daemon, LOOPBACK, PATIENCE, wait_until};
use crate::loopback::{Caller, Heard};

/// Packets that mallory sends, in this many rounds of [`ROUND`].
const ROUNDS: usize = 200;
const ROUND: usize = 50;

/// Somebody with a ticket of another call, and sockets without any.
struct Mallory {
    caller: Caller,
    stream: Caller,
    stranger: UdpSocket,
}

impl Mallory {
    /// `count` packets for two parties of another call, by every means that there is.
    fn inject(&mut self, targets: [SocketAddr; 2], count: usize) {
        for index in 0..count {
            let target = targets[index % 2];
            let words = format!("injected {index}");
            match index % 5 {
                0 | 1 => self.caller.indicate(target, words.as_bytes()),
                2 => self.caller.say(0x4001, words.as_bytes()),
                3 => self.stream.indicate(target, words.as_bytes()),
                _ => {
                    let packet = [b"\x40\x01\x00\x08", &b"injected"[..]].concat();
                    self.stranger.send(&packet).expect("sent");
                }
            }
        }
        // The node keeps up: nothing of it is lost on the way.
        self.caller.binding();
        self.stream.binding();
    }
}

fn dropped(daemon: &Daemon) -> u64 {
    let reasons = [
        "foreign_peer",
        "no_channel",
        "no_allocation",
        "no_permission",
        "no_forward",
    ];
    let name = |reason| format!("vizard_packets_dropped_total{{reason=\"{reason}\"}}");
    reasons.iter().map(|it| daemon.metric(&name(it))).sum()
}

#[test]
fn none_of_10_000_packets_of_another_calls_ticket_is_delivered() {
    let daemon = Daemon::start(LOOPBACK);
    let all = servers(&daemon.open());
    let (udp, tcp) = (all[0], all[2]);
    let (_, [mut alice, mut bob]) = hold_call(&daemon, [udp, tcp]);
    let (_, [mut caller, mut stream]) = hold_call(&daemon, [udp, tcp]);
    let targets = [alice.mask(), bob.mask()];
    for target in targets {
        assert_eq!(
            (caller.permit(target), stream.permit(target)),
            (Ok(()), Ok(()))
        );
    }
    for phone in [&mut caller, &mut stream] {
        assert_eq!(phone.bind(0x4005, targets[0]), Ok(()));
        assert_eq!(phone.bind(0x4006, targets[1]), Ok(()));
    }
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    stranger
        .connect(udp.address)
        .expect("loopback is reachable");
    // A channel of the same number as alice's, and not bound to anybody.
    let ticket = daemon.open().of("alice");
    let mut lonely = udp.join(ticket);
    lonely.allocate();
    caller = std::mem::replace(&mut lonely, caller);
    let mut mallory = Mallory {
        caller,
        stream,
        stranger,
    };
    let forwarded = daemon.metric("vizard_packets_forwarded_total");
    for _ in 0..ROUNDS {
        mallory.inject(targets, ROUND);
    }
    wait_until("all of them were refused", || {
        dropped(&daemon) == (ROUNDS * ROUND) as u64
    });
    // What comes first is what was said last.
    talk(&mut bob, 0x4002, &mut alice, 0x4001, b"still there?");
    talk(&mut alice, 0x4001, &mut bob, 0x4002, b"and nobody else");
    wait_until("the two are counted", || {
        daemon.metric("vizard_packets_forwarded_total") == forwarded + 2
    });
    assert_eq!((alice.unheard(), bob.unheard()), (vec![], vec![]));
}

/// Peers that no ticket may reach: with those of the relay itself, which are added, 40 and more.
const PEERS: &[&str] = &[
    // Loopback, this host, this network.
    "127.0.0.1:80",
    "127.0.0.2:3478",
    "127.255.255.254:9",
    "0.0.0.0:80",
    "0.1.2.3:80",
    "[::1]:80",
    "[::]:80",
    // Private and shared.
    "10.0.0.1:80",
    "10.255.255.255:80",
    "172.16.0.1:80",
    "172.31.255.1:80",
    "192.168.0.1:80",
    "192.168.255.254:53",
    "100.64.0.1:80",
    "[fc00::1]:80",
    "[fd12:3456:789a::1]:80",
    // Link-local, metadata of clouds.
    "169.254.0.1:80",
    "169.254.169.254:80",
    "[fe80::1]:80",
    "[fd00:ec2::254]:80",
    "168.63.129.16:80",
    // Multicast, broadcast, reserved.
    "224.0.0.1:80",
    "239.255.255.250:1900",
    "[ff02::1]:80",
    "255.255.255.255:80",
    "240.0.0.1:80",
    // IPv4 in IPv6: mapped, compatible, translated, 6to4, Teredo.
    "[::ffff:127.0.0.1]:80",
    "[::ffff:10.1.2.3]:80",
    "[::ffff:169.254.169.254]:80",
    "[::127.0.0.1]:80",
    "[64:ff9b::7f00:1]:80",
    "[64:ff9b::a9fe:a9fe]:80",
    "[64:ff9b:1::a00:1]:80",
    "[2002:7f00:1::]:80",
    "[2002:a00:1::1]:80",
    "[2001:0:7f00:1::]:80",
    // Documentation and the internet.
    "192.0.2.1:9",
    "[2001:db8::1]:9",
    "1.1.1.1:53",
    "[2606:4700:4700::1111]:53",
];

/// A caller with a mask address of each family, so that no peer is refused for its family.
fn join_with_both_families(daemon: &Daemon, server: Server) -> Caller {
    let mut caller = server.join(daemon.open().of("alice"));
    let both = caller.request(Method::ALLOCATE, |request| {
        request.u8(AttributeType::REQUESTED_TRANSPORT, 17);
        request.bytes(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    both.expect("an allocation");
    caller
}

#[test]
fn no_ticket_reaches_anything_but_the_other_parties() {
    let daemon = Daemon::start(LOOPBACK);
    let victim = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let service = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut peers: Vec<SocketAddr> = PEERS.iter().map(|it| it.parse().expect("a peer")).collect();
    peers.extend([
        victim.local_addr().expect("bound"),
        service.local_addr().expect("bound"),
        daemon.udp(0),
        daemon.udp(1),
        daemon.tcp(0),
        daemon.http().api,
    ]);
    assert!(peers.len() >= 40);
    for server in servers(&daemon.open()) {
        let mut caller = join_with_both_families(&daemon, server);
        for peer in &peers {
            assert_eq!(caller.permit(*peer), Err(403), "{server:?} {peer}");
            assert_eq!(caller.bind(0x4001, *peer), Err(403), "{server:?} {peer}");
            caller.indicate(*peer, b"hello");
            caller.say(0x4001, b"hello");
        }
        assert_eq!(
            (caller.binding(), caller.binding()),
            (403, 403),
            "it has seen them all"
        );
        assert_eq!(caller.unheard(), []);
    }
    assert_eq!(daemon.metric("vizard_packets_forwarded_total"), 0);
    nothing_came(&victim, &service);
}

/// The first that arrives is what we send ourselves.
fn nothing_came(victim: &UdpSocket, service: &TcpListener) {
    let own = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    own.send_to(b"own", victim.local_addr().expect("bound"))
        .expect("sent");
    victim
        .set_read_timeout(Some(PATIENCE))
        .expect("a positive time");
    let mut buffer = [0; 100];
    let (len, from) = victim.recv_from(&mut buffer).expect("our own");
    assert_eq!(
        (&buffer[..len], from),
        (&b"own"[..], own.local_addr().expect("bound"))
    );
    let stream = std::net::TcpStream::connect(service.local_addr().expect("bound"));
    let stream = stream.expect("it listens");
    let (_, from) = service.accept().expect("our own");
    assert_eq!(from, stream.local_addr().expect("connected"));
}

/// A party's own mask address and another allocation of the same party may be permitted like any
/// mask address, and nothing passes.
#[test]
fn nobody_talks_to_oneself() {
    let daemon = Daemon::start(LOOPBACK);
    let server = servers(&daemon.open())[0];
    let tickets = daemon.open();
    let mut once = server.join(tickets.of("alice"));
    let mut twice = server.join(tickets.of("alice"));
    let (first, second) = (once.allocate(), twice.allocate());
    assert_eq!(once.bind(0x4001, second), Ok(()));
    assert_eq!(twice.bind(0x4001, first), Ok(()));
    once.say(0x4001, b"myself");
    for peer in [first, second] {
        assert_eq!(once.permit(peer), Ok(()));
        once.indicate(peer, b"myself");
    }
    let heard: [Heard; 0] = [];
    assert_eq!(
        (once.binding(), once.binding(), twice.binding()),
        (403, 403, 403)
    );
    assert_eq!(once.unheard(), heard);
    assert_eq!(twice.unheard(), heard);
}
