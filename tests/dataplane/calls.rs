//! Two parties hold a call: over every pair of transports and families, on any number of workers,
//! on channels and in indications.

use std::net::SocketAddr;

use testkit::Report;
use vizard_proto::contract::{EndReason, Event};
use vizard_proto::usage::Usage;

use crate::loopback::{Call, Caller, Heard, Node, Setup, wait_until};

/// How a party reaches the node.
#[derive(Clone, Copy, Debug)]
enum Way {
    Udp4,
    Udp6,
    Tcp4,
    Tcp6,
}

const WAYS: [Way; 4] = [Way::Udp4, Way::Udp6, Way::Tcp4, Way::Tcp6];

fn join(node: &Node, call: &Call<'_>, party: u8, way: Way) -> Caller {
    match way {
        Way::Udp4 => call.over_udp(party, node.udp(0)),
        Way::Udp6 => call.over_udp(party, node.udp(1)),
        Way::Tcp4 => call.over_tcp(party, node.tcp(0)),
        Way::Tcp6 => call.over_tcp(party, node.tcp(1)),
    }
}

/// Two callers with channels to each other: 0x4001 of the first, 0x4002 of the second.
fn connect(node: &Node, call: &Call<'_>, ways: [Way; 2]) -> [Caller; 2] {
    let mut alice = join(node, call, 0, ways[0]);
    let mut bob = join(node, call, 1, ways[1]);
    let (a, b) = (alice.allocate(), bob.allocate());
    assert_eq!(alice.bind(0x4001, b), Ok(()));
    assert_eq!(bob.bind(0x4002, a), Ok(()));
    [alice, bob]
}

/// How often the relay's lock was taken for a packet.
fn packet_locks(node: &Node) -> u64 {
    node.metric("vizard_relay_locks_total{purpose=\"packet\"}")
}

/// Says something on a channel until the other hears it: over UDP anything may be lost.
fn talk(from: &mut Caller, channel: u16, to: &mut Caller, heard: u16, payload: &[u8]) {
    from.say(channel, payload);
    assert_eq!(to.hear(), Heard::Channel(heard, payload.to_vec()));
}

#[test]
fn every_pair_of_ways_on_one_to_four_workers() {
    for workers in 1..=4 {
        let node = Node::start(&Setup {
            workers,
            ..Setup::default()
        });
        // Callers stay, so that no port is used again while its allocation lives.
        let mut callers = Vec::new();
        for (first, second) in WAYS.into_iter().flat_map(|a| WAYS.map(|b| (a, b))) {
            let call = node.call();
            let [mut alice, mut bob] = connect(&node, &call, [first, second]);
            for len in [0, 1, 2, 3, 4, 172, 1200, 4096] {
                talk(&mut alice, 0x4001, &mut bob, 0x4002, &vec![0xA1; len]);
                talk(&mut bob, 0x4002, &mut alice, 0x4001, &vec![0xB2; len]);
            }
            callers.push([alice, bob]);
        }
        node.has_forwarded("table", 16 * 16);
        assert_eq!(node.forwarded("relay"), 0);
    }
}

#[test]
fn indications_need_no_channel() {
    let node = Node::start(&Setup::default());
    let mut callers = Vec::new();
    for (first, second) in [
        (Way::Udp4, Way::Udp4),
        (Way::Udp4, Way::Tcp4),
        (Way::Tcp6, Way::Udp6),
    ] {
        let call = node.call();
        let mut alice = join(&node, &call, 0, first);
        let mut bob = join(&node, &call, 1, second);
        let (a, b) = (alice.allocate(), bob.allocate());
        assert_eq!(alice.permit(b), Ok(()));
        assert_eq!(bob.permit(a), Ok(()));
        let locks = packet_locks(&node);
        for len in [1, 2, 3, 4, 1200, 4096] {
            alice.indicate(b, &vec![1; len]);
            assert_eq!(bob.hear(), Heard::Data(a, vec![1; len]));
            bob.indicate(a, &vec![2; len]);
            assert_eq!(alice.hear(), Heard::Data(b, vec![2; len]));
        }
        assert_eq!(packet_locks(&node), locks, "media meets no lock");
        callers.push([alice, bob]);
    }
    node.has_forwarded("table", 36);
    assert_eq!(node.forwarded("relay"), 0);
}

#[test]
fn a_channel_on_one_side_alone() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let mut alice = join(&node, &call, 0, Way::Udp4);
    let mut bob = join(&node, &call, 1, Way::Tcp4);
    let (a, b) = (alice.allocate(), bob.allocate());
    assert_eq!(alice.bind(0x4001, b), Ok(()));
    assert_eq!(bob.permit(a), Ok(()));
    let locks = packet_locks(&node);
    alice.say(0x4001, b"hello");
    assert_eq!(bob.hear(), Heard::Data(a, b"hello".to_vec()));
    bob.indicate(a, b"you");
    assert_eq!(alice.hear(), Heard::Channel(0x4001, b"you".to_vec()));
    alice.indicate(b, b"too");
    assert_eq!(bob.hear(), Heard::Data(a, b"too".to_vec()));
    node.has_forwarded("table", 3);
    assert_eq!(packet_locks(&node), locks, "media meets no lock");
}

#[test]
fn a_wildcard_answers_from_where_it_was_asked() {
    let setup = Setup {
        udp: vec!["0.0.0.0:0", "[::]:0"],
        tcp: vec!["0.0.0.0:0", "[::]:0"],
        workers: 3,
        ..Setup::default()
    };
    let node = Node::start(&setup);
    let mut callers = Vec::new();
    let at = |ip: &str, port: u16| SocketAddr::new(ip.parse().expect("an address"), port);
    for (udp, tcp) in [("127.0.0.2", "127.0.0.3"), ("::1", "::1")] {
        let index = usize::from(udp == "::1");
        let call = node.call();
        let mut alice = call.over_udp(0, at(udp, node.udp(index).port()));
        let mut bob = call.over_tcp(1, at(tcp, node.tcp(index).port()));
        let mut carol = call.over_udp(2, at("127.0.0.4", node.udp(0).port()));
        let (a, b) = (alice.allocate(), bob.allocate());
        let c = carol.allocate();
        assert_eq!(alice.bind(0x4001, b), Ok(()));
        assert_eq!(bob.bind(0x4002, a), Ok(()));
        assert_eq!(alice.bind(0x4003, c), Ok(()));
        assert_eq!(carol.bind(0x4004, a), Ok(()));
        // Their sockets are connected: what came from another address they would not hear.
        talk(&mut alice, 0x4001, &mut bob, 0x4002, b"over there");
        talk(&mut bob, 0x4002, &mut alice, 0x4001, b"and back");
        talk(&mut carol, 0x4004, &mut alice, 0x4003, b"me too");
        talk(&mut alice, 0x4003, &mut carol, 0x4004, b"yes");
        callers.push([alice, bob, carol]);
    }
}

#[test]
fn usage_and_events_are_reported_once() {
    let mut node = Node::start(&Setup {
        workers: 3,
        ..Setup::default()
    });
    let call = node.call();
    let id = call.id;
    let [mut alice, mut bob] = connect(&node, &call, [Way::Udp4, Way::Tcp6]);
    for _ in 0..10 {
        talk(&mut alice, 0x4001, &mut bob, 0x4002, &[0; 100]);
    }
    alice.indicate(bob.mask(), &[0; 11]);
    assert_eq!(bob.hear(), Heard::Channel(0x4002, vec![0; 11]));
    assert_eq!(node.handle.load().allocations, 2);
    assert_eq!(alice.refresh(0), Ok(()));
    drop(bob);
    wait_until("both allocations are gone", || {
        node.handle.load().allocations == 0
    });
    node.stop();

    let mut used = Usage::default();
    let mut ends = Vec::new();
    let mut created = Vec::new();
    for report in node.reports().iter() {
        match *report {
            Report::Event(Event::AllocationCreated {
                allocation,
                call,
                party,
                ..
            }) => {
                created.push((allocation, call, party));
            }
            Report::Event(Event::AllocationEnded {
                call,
                party,
                reason,
                ..
            }) => {
                ends.push((call, party, reason));
            }
            Report::Usage(allocation, usage) => {
                assert_eq!(created[0].0, allocation, "only alice said anything");
                used += usage;
            }
        }
    }
    assert_eq!(
        used,
        Usage {
            packets: 11,
            bytes: 1011
        }
    );
    assert_eq!(
        created.iter().map(|it| (it.1, it.2)).collect::<Vec<_>>(),
        [(id, 0), (id, 1)]
    );
    assert_eq!(
        ends,
        [
            (id, 0, EndReason::Deleted),
            (id, 1, EndReason::Disconnected)
        ]
    );
    assert_eq!(node.metric("vizard_allocations{family=\"v4\"}"), 0);
    assert_eq!(
        node.metric("vizard_allocations_ended_total{reason=\"deleted\"}"),
        1
    );
}

#[test]
fn packets_and_answers_are_counted() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let [mut alice, mut bob] = connect(&node, &call, [Way::Udp4, Way::Tcp4]);
    talk(&mut alice, 0x4001, &mut bob, 0x4002, &[9; 50]);
    node.has_forwarded("table", 1);
    // Allocate twice (one is challenged), ChannelBind, ChannelData; the last without padding.
    let received = |transport: &str| {
        node.metric(&format!(
            "vizard_packets_received_total{{transport=\"{transport}\"}}"
        ))
    };
    // Each worker counts for itself and adds up once per round.
    wait_until("all that came in is counted", || {
        (received("udp"), received("tcp")) == (4, 3)
    });
    assert_eq!(
        node.metric("vizard_forwarded_bytes_total{path=\"table\"}"),
        50
    );
    let answers_of = |method: &str, code: &str| {
        node.metric(&format!(
            "vizard_answers_total{{code=\"{code}\",method=\"{method}\"}}"
        ))
    };
    assert_eq!(answers_of("allocate", "401"), 2);
    assert_eq!(answers_of("allocate", "success"), 2);
    assert_eq!(answers_of("channel_bind", "success"), 2);
    assert_eq!(
        alice.bind(0x4009, "192.0.2.77:9".parse().expect("an address")),
        Err(403)
    );
    assert_eq!(answers_of("channel_bind", "403"), 1);
    wait_until("the entries are counted", || {
        node.metric("vizard_forwards") == 4
    });
    assert_eq!(node.metric("vizard_tcp_connections"), 1);
    assert_eq!(node.metric("vizard_worker_panics_total"), 0);
}
