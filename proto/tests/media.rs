//! What media passes, and what it is charged: sizes, rates, the forms, and who asks the relay.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Phone, Reaction, World, channel_data, config, pair, tcp, ticket, udp};
use vizard_proto::address::{Client, FiveTuple};
use vizard_proto::auth::login::PASSWORD_ALGORITHMS;
use vizard_proto::auth::ticket::Ticket;
use vizard_proto::stun::{
    AttributeType as A, Class, Integrity, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};
use vizard_proto::usage::DropReason;
use vizard_proto::{Step, Worker};

fn is_heard(reaction: &Reaction) -> bool {
    matches!(reaction, Reaction::Arrives(..))
}

/// Two parties with channels bound to each other: the sender over each transport, the receiver
/// over each.
fn circuits() -> impl Iterator<Item = (FiveTuple, FiveTuple)> {
    let from = [udp("198.51.100.10:5000"), tcp("198.51.100.10:5000")];
    let to = [
        udp("198.51.101.20:6000"),
        tcp("198.51.101.20:6000"),
        udp("[2001:db8:5::1]:6000"),
    ];
    from.into_iter()
        .flat_map(move |from| to.map(move |to| (from, to)))
}

fn bound(
    world: &mut World,
    tuples: [FiveTuple; 2],
    tickets: [Ticket; 2],
) -> ([Phone; 2], SocketAddr) {
    let mut a = Phone::new(tuples[0], &tickets[0]);
    let mut b = Phone::new(tuples[1], &tickets[1]);
    let (mask_a, mask_b) = (a.allocate(world), b.allocate(world));
    assert_eq!(a.bind(world, 0x4001, mask_b), 200);
    assert_eq!(b.bind(world, 0x4002, mask_a), 200);
    ([a, b], mask_b)
}

#[test]
fn one_cap_holds_whatever_the_transports() {
    for (from, to) in circuits() {
        for cap in [1200, 4096] {
            let mut settings = config();
            settings.masking.payload_cap = cap;
            let mut world = World::with(settings);
            let ([a, _], mask_b) = bound(&mut world, [from, to], [ticket(1, 0), ticket(1, 1)]);
            for (len, passes) in [(0, true), (1200, true), (cap, true), (cap + 1, false)] {
                // The first byte of SRTP.
                let payload = vec![0x80; len];
                for reaction in [
                    a.send_on(&mut world, 0x4001, &payload),
                    a.send(&mut world, mask_b, &payload),
                    world.send_the_long_way(a.tuple, &channel_data(0x4001, &payload)),
                ] {
                    let dropped = Reaction::Dropped(DropReason::TooLarge);
                    assert_eq!(is_heard(&reaction), passes, "{len} of {cap}");
                    assert!(passes || reaction == dropped);
                }
            }
        }
    }
}

#[test]
fn above_the_cap_a_handshake_has_an_allowance_which_all_ways_share() {
    let mut settings = config();
    settings.masking.payload_cap = 1200;
    let mut world = World::with(settings);
    let tuples = [udp("198.51.100.10:5000"), tcp("198.51.101.20:6000")];
    let ([a, b], mask_b) = bound(&mut world, tuples, [ticket(1, 0), ticket(1, 1)]);
    for first in [19, 23, 0x80] {
        let reaction = a.send_on(&mut world, 0x4001, &[first; 2236]);
        assert_eq!(reaction, Reaction::Dropped(DropReason::TooLarge));
    }
    let mut passed = 0;
    for round in 0..100 {
        let flight = [20 + round % 3; 2236];
        passed += usize::from(is_heard(&match round % 3 {
            0 => a.send_on(&mut world, 0x4001, &flight),
            1 => a.send(&mut world, mask_b, &flight),
            _ => world.send_the_long_way(a.tuple, &channel_data(0x4001, &flight)),
        }));
    }
    assert_eq!(passed, 64);
    assert!(is_heard(&a.send_on(&mut world, 0x4001, &[22; 1200])));
    assert!(
        is_heard(&b.send_on(&mut world, 0x4002, &[22; 2236])),
        "each has its own"
    );
}

fn limited(kbps: u32) -> [Ticket; 2] {
    let limited = |party| Ticket {
        kbps,
        ..ticket(1, party)
    };
    [limited(0), limited(1)]
}

/// Headers cost as well: of empty packets none could ever be too many.
#[test]
fn empty_packets_are_charged() {
    let mut world = World::new();
    let tuples = [udp("198.51.100.10:5000"), udp("198.51.101.20:6000")];
    let ([a, _], _) = bound(&mut world, tuples, limited(8));
    let mut passed = 0;
    for _ in 0..100_000 {
        passed += usize::from(is_heard(&a.send_on(&mut world, 0x4001, b"")));
    }
    // At once as much as one packet of the largest size, in packets of 480 bits.
    assert!((1..=70).contains(&passed), "{passed}");
}

/// Neither another way nor another allocation makes another rate.
#[test]
fn a_ticket_has_one_rate() {
    let mut world = World::new();
    let tuples = [udp("198.51.100.10:5000"), udp("198.51.101.20:6000")];
    let tickets = limited(100);
    let ([a, mut b], mask_b) = bound(&mut world, tuples, tickets);
    let mut second = Phone::new(udp("198.51.100.10:5001"), &tickets[0]);
    let mask = second.allocate(&mut world);
    assert_eq!(second.bind(&mut world, 0x4003, mask_b), 200);
    assert_eq!(b.permit(&mut world, mask), 200);
    let packet = [0x80; 940];
    let mut passed = 0;
    for round in 0..3000 {
        world.pass(Duration::from_millis(10));
        passed += usize::from(is_heard(&match round % 4 {
            0 => a.send_on(&mut world, 0x4001, &packet),
            1 => a.send(&mut world, mask_b, &packet),
            2 => world.send_the_long_way(a.tuple, &channel_data(0x4001, &packet)),
            _ => second.send_on(&mut world, 0x4003, &packet),
        }));
    }
    // Thirty seconds at 100 kbit/s are 375 packets of 8000 bits, and half a second's burst.
    assert!((370..=385).contains(&passed), "{passed}");
    // What one has left behind counts for the next.
    assert_eq!(second.refresh(&mut world, 0), 200);
    let mut third = Phone::new(udp("198.51.100.10:5002"), &tickets[0]);
    let mask = third.allocate(&mut world);
    assert_eq!(third.bind(&mut world, 0x4003, mask_b), 200);
    assert_eq!(b.permit(&mut world, mask), 200);
    let burst = (0..100).filter(|_| is_heard(&third.send_on(&mut world, 0x4003, &packet)));
    assert!(burst.count() <= 1);
}

/// Whatever has no ticket is turned away by the worker, without the relay's lock. A few packets of
/// senders that it does not know may be asked about: the system may have moved a client to it.
#[test]
fn strangers_do_not_reach_the_relay() {
    let settings = config();
    let mut world = World::with(settings.clone());
    let [(a, _), (_, mask_b)] = pair(&mut world);
    let mut worker = Worker::new(&settings, 1, testkit::SEED);
    let mut asks = |packet: &[u8], tuple: FiveTuple| {
        let (from, mut out) = (Client { tuple, worker: 0 }, [0; 1024]);
        let step = worker.handle(world.now, from, packet, &mut out);
        usize::from(matches!(step, Step::Ask(_)))
    };
    let mut bytes = [0; 256];
    let id = TransactionId([5; 12]);
    let mut send = Writer::new(&mut bytes, Class::Indication, Method::SEND, id);
    send.xor_address(A::XOR_PEER_ADDRESS, mask_b);
    send.bytes(A::DATA, b"hello");
    let len = send.finish().expect("it fits");
    let strange = [channel_data(0x4001, b""), bytes[..len].to_vec()];
    let mut binding = [0; 20];
    let writer = Writer::new(&mut binding, Class::Request, Method::BINDING, id);
    let len = writer.finish().expect("it fits");
    // Its nonce is fresh, its ticket is none of ours.
    let mut forger = Phone::new(udp("203.0.113.99:1"), &ticket(1, 0));
    forger.client.nonce.clone_from(&a.client.nonce);
    forger.client.credential.password.push('x');
    let mut asked = 0;
    for port in 1..=10_000 {
        let tuple = udp(&format!("203.0.113.9:{port}"));
        asked += strange
            .iter()
            .map(|packet| asks(packet, tuple))
            .sum::<usize>();
        assert_eq!(asks(&binding[..len], tuple), 0);
        let transaction = TransactionId([6; 12]);
        let request = forger.request(Method::ALLOCATE, transaction, |writer| {
            writer.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        });
        assert_eq!(asks(&request, a.tuple), 0);
    }
    assert!((1..=50).contains(&asked), "{asked} of 20,000");
}

/// Only the relay can tell whose USERHASH a request has, so it is asked: not by strangers all day.
#[test]
fn a_userhash_over_tcp_is_a_question_that_has_a_bound() {
    let settings = config();
    let mut world = World::with(settings.clone());
    let mut stranger = Phone::new(tcp("203.0.113.9:7"), &ticket(1, 0));
    stranger.knock(&mut world);
    let mut bytes = [0; 512];
    let id = TransactionId([7; 12]);
    let mut writer = Writer::new(&mut bytes, Class::Request, Method::ALLOCATE, id);
    writer.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    writer.bytes(A::USERHASH, &[9; 32]);
    writer.bytes(A::REALM, testkit::REALM.as_bytes());
    writer.bytes(A::NONCE, &stranger.client.nonce);
    writer.bytes(A::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
    writer.bytes(A::PASSWORD_ALGORITHM, &PasswordAlgorithm::Sha256.to_bytes());
    writer.integrity(Integrity::Sha256, b"a guess");
    let len = writer.finish().expect("it fits");
    let mut worker = Worker::new(&settings, 1, testkit::SEED);
    let (tuple, mut out) = (stranger.tuple, [0; 1024]);
    let from = Client { tuple, worker: 0 };
    let asked = (0..10_000).filter(|_| {
        let step = worker.handle(world.now, from, &bytes[..len], &mut out);
        matches!(step, Step::Ask(_))
    });
    assert_eq!(asked.count(), 200);
}

/// Nor can a party keep the relay's lock busy with what it may not send.
#[test]
fn a_party_that_talks_to_strangers_asks_the_relay_seldom() {
    let mut world = World::new();
    let [(mut a, mask_a), (mut b, mask_b)] = pair(&mut world);
    let foreign = "198.18.99.99:9".parse().expect("an address");
    let mut reasons = [0; 3];
    for round in 0..10_000 {
        let peer = if round % 2 == 0 { foreign } else { mask_b };
        match a.send(&mut world, peer, b"hello") {
            Reaction::Dropped(DropReason::ForeignPeer) => reasons[0] += 1,
            Reaction::Dropped(DropReason::NoPermission) => reasons[1] += 1,
            Reaction::Dropped(DropReason::NoForward) => reasons[2] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reasons, [500, 500, 9000]);
    // A permission makes entries, by which nobody asks.
    assert_eq!(a.permit(&mut world, mask_b), 200);
    assert_eq!(b.permit(&mut world, mask_a), 200);
    assert!(is_heard(&a.send(&mut world, mask_b, b"hello")));
}

/// All workers together answer a prefix as often as one alone would.
#[test]
fn the_budget_is_one_however_many_workers() {
    for workers in [1, 2, 4] {
        let mut settings = config();
        settings.limits.answers_burst = 100;
        let mut world = World::with_workers(settings, workers);
        let mut bytes = [0; 64];
        let id = TransactionId([5; 12]);
        let mut knock = Writer::new(&mut bytes, Class::Request, Method::ALLOCATE, id);
        knock.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        let len = knock.finish().expect("it fits");
        let mut answered = 0;
        for port in 1..=4000_u16 {
            let tuple = udp(&format!("198.51.100.7:{port}"));
            let worker = port % u16::try_from(workers).expect("few");
            let reaction: Reaction = world.send_by(worker, tuple, &bytes[..len]).into();
            answered += usize::from(matches!(reaction, Reaction::Answer(_)));
        }
        assert_eq!(answered, 100, "{workers} workers");
    }
}

/// The same payload in all four forms, by the entry and by the relay: what arrives is the same.
#[test]
fn entries_and_the_relay_deliver_the_same() {
    for (from, to) in circuits() {
        for receiver_binds in [false, true] {
            let mut world = World::new();
            let mut a = Phone::new(from, &ticket(1, 0));
            let mut b = Phone::new(to, &ticket(1, 1));
            let (mask_a, mask_b) = (a.allocate(&mut world), b.allocate(&mut world));
            assert_eq!(a.bind(&mut world, 0x4001, mask_b), 200);
            if receiver_binds {
                assert_eq!(b.bind(&mut world, 0x4002, mask_a), 200);
            } else {
                assert_eq!(b.permit(&mut world, mask_a), 200);
            }
            for len in [0, 1, 2, 3, 172, 1200] {
                let payload = vec![0x80; len];
                let on_channel = channel_data(0x4001, &payload);
                let by_entry = a.send_on(&mut world, 0x4001, &payload);
                let by_relay = world.send_the_long_way(from, &on_channel);
                assert_eq!(gist(by_entry), gist(by_relay));
            }
        }
    }
}

/// What arrives, without the numbers that Data indications carry.
fn gist(reaction: Reaction) -> (FiveTuple, Vec<u8>, Option<SocketAddr>) {
    let Reaction::Arrives(to, bytes) = reaction else {
        panic!("{reaction:?}");
    };
    match Message::parse(&bytes) {
        Ok(message) => {
            let data = message.find(A::DATA).expect("data").to_vec();
            (to, data, message.xor_peer_address().expect("well-formed"))
        }
        Err(_) => (to, bytes, None),
    }
}
