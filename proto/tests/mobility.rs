//! Clients whose network changes in the middle of a call: RFC 8016, and without it.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Phone, Reaction, World, channel_data, code, config, pair, tcp, ticket, udp};
use vizard_proto::Relay;
use vizard_proto::address::FiveTuple;
use vizard_proto::auth::ticket::{CallId, Ticket};
use vizard_proto::contract::{Command, Scope};
use vizard_proto::stun::{AttributeType as A, Message, Method, TransactionId, Writer};
use vizard_proto::usage::DropReason;

fn allocate(world: &mut World, phone: &mut Phone) -> (SocketAddr, Vec<u8>) {
    let answer = phone.ask(world, Method::ALLOCATE, |writer| {
        writer.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        writer.bytes(A::MOBILITY_TICKET, &[]);
    });
    let message = Message::parse(&answer).expect("an answer");
    let mask = message.xor_relayed_address().expect("well-formed");
    (
        mask.expect("a mask address"),
        ticket_in(&answer).expect("a ticket"),
    )
}

fn ticket_in(answer: &[u8]) -> Option<Vec<u8>> {
    let message = Message::parse(answer).expect("an answer");
    message.find(A::MOBILITY_TICKET).map(<[u8]>::to_vec)
}

fn refresh(world: &mut World, phone: &mut Phone, ticket: &[u8]) -> Vec<u8> {
    phone.ask(world, Method::REFRESH, |writer| {
        writer.u32(A::LIFETIME, 900);
        writer.bytes(A::MOBILITY_TICKET, ticket);
    })
}

/// Two parties with channels bound to each other, the first with a ticket to move.
fn roamer(world: &mut World, tuple: FiveTuple) -> [(Phone, SocketAddr, Vec<u8>); 2] {
    let mut a = Phone::new(tuple, &ticket(1, 0));
    let mut b = Phone::new(tcp("198.51.101.20:6000"), &ticket(1, 1));
    let (mask_a, ticket_a) = allocate(world, &mut a);
    let (mask_b, ticket_b) = allocate(world, &mut b);
    assert_eq!(a.bind(world, 0x4001, mask_b), 200);
    assert_eq!(b.bind(world, 0x4002, mask_a), 200);
    [(a, mask_a, ticket_a), (b, mask_b, ticket_b)]
}

#[test]
fn a_client_moves_and_the_other_party_sees_nothing_of_it() {
    for (from, to) in [
        (udp("198.51.100.10:5000"), udp("198.51.100.10:5001")),
        (udp("198.51.100.10:5000"), udp("[2001:db8:9::1]:5000")),
        (tcp("198.51.100.10:5000"), udp("198.51.107.1:5000")),
        (udp("198.51.100.10:5000"), tcp("198.51.107.1:5000")),
    ] {
        let mut world = World::new();
        let [(mut a, _, first), (b, mask_b, _)] = roamer(&mut world, from);
        let before = [
            a.send_on(&mut world, 0x4001, b"word"),
            a.send(&mut world, mask_b, b"word"),
        ];
        let events = world.events.len();
        a.tuple = to;
        let answer = refresh(&mut world, &mut a, &first);
        assert_eq!(code(&answer), 200);
        let second = ticket_in(&answer).expect("another ticket");
        let after = [
            a.send_on(&mut world, 0x4001, b"word"),
            a.send(&mut world, mask_b, b"word"),
        ];
        assert_eq!(after, before);
        assert_eq!(
            world.forward_count(),
            4,
            "both directions, and none of before"
        );
        let heard = b.send_on(&mut world, 0x4002, b"word");
        assert_eq!(heard, Reaction::Arrives(to, channel_data(0x4001, b"word")));
        let old = world.send(from, &channel_data(0x4001, b"word"));
        assert_eq!(old, Reaction::Dropped(DropReason::NoAllocation));
        assert_eq!(world.server.relay.allocation_count(), 2);
        assert_eq!(world.events.len(), events, "no one is told");
        a.tuple = udp("198.51.109.1:1");
        a.client.nonce.clear();
        assert_eq!(code(&refresh(&mut world, &mut a, &first)), 405, "used");
        assert_eq!(code(&refresh(&mut world, &mut a, &second)), 200);
        assert_eq!(a.permit(&mut world, mask_b), 200);
        world.pass(Duration::from_secs(890));
        assert_eq!(a.refresh(&mut world, 600), 200, "its lifetime was renewed");
    }
}

#[test]
fn a_lost_answer_is_given_again() {
    let mut world = World::new();
    let [(mut a, _, first), _] = roamer(&mut world, udp("198.51.100.10:5000"));
    a.tuple = udp("198.51.107.1:5000");
    a.client.nonce.clear();
    a.knock(&mut world);
    let request = |a: &Phone, number: u8| {
        a.request(Method::REFRESH, TransactionId([number; 12]), |writer| {
            writer.bytes(A::MOBILITY_TICKET, &first);
        })
    };
    let once = world.send(a.tuple, &request(&a, 1));
    let Reaction::Answer(answer) = &once else {
        panic!("no answer");
    };
    assert_eq!(code(answer), 200);
    assert_eq!(world.send(a.tuple, &request(&a, 1)), once);
    let Reaction::Answer(other) = world.send(a.tuple, &request(&a, 2)) else {
        panic!("no answer");
    };
    assert_eq!(code(&other), 405);
    let second = ticket_in(answer).expect("a ticket");
    assert_eq!(code(&refresh(&mut world, &mut a, &second)), 200);
}

#[test]
fn a_ticket_is_its_owners_and_good_once() {
    let mut world = World::new();
    let [(a, _, ticket_a), (mut b, _, ticket_b)] = roamer(&mut world, udp("198.51.100.10:5000"));
    let elsewhere = udp("198.51.107.1:5000");
    for other in [
        ticket(1, 1),
        ticket(2, 0),
        Ticket {
            device: 1,
            ..ticket(1, 0)
        },
    ] {
        let mut thief = Phone::new(elsewhere, &other);
        assert_eq!(code(&refresh(&mut world, &mut thief, &ticket_a)), 441);
    }
    let mut garbled = ticket_a.clone();
    garbled[20] ^= 1;
    let mut owner = Phone::new(elsewhere, &ticket(1, 0));
    for broken in [&garbled[..], &ticket_a[1..], b""] {
        assert_eq!(code(&refresh(&mut world, &mut owner, broken)), 405);
    }
    assert_eq!(code(&refresh(&mut world, &mut b, &ticket_a)), 441);
    let mut taken = Phone::new(elsewhere, &ticket(1, 0));
    taken.allocate(&mut world);
    assert_eq!(
        code(&refresh(&mut world, &mut taken, &ticket_a)),
        437,
        "in use"
    );
    let before = world.send(a.tuple, &channel_data(0x4001, b"word"));
    assert!(matches!(before, Reaction::Arrives(..)), "nothing has moved");
    let full = owner.code(&mut world, Method::ALLOCATE, |writer: &mut Writer<'_>| {
        writer.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        writer.bytes(A::MOBILITY_TICKET, &[1]);
    });
    assert_eq!(full, 437, "the socket is taken");
    let mut third = Phone::new(udp("198.51.107.2:5000"), &ticket(1, 0));
    let full = third.code(&mut world, Method::ALLOCATE, |writer: &mut Writer<'_>| {
        writer.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        writer.bytes(A::MOBILITY_TICKET, &[1]);
    });
    assert_eq!(full, 400);
    let (call, scope, until) = (CallId([1; 16]), Scope::Party(1), testkit::START + 7200);
    world.command(Command::Revoke { call, scope, until });
    b.tuple = udp("198.51.107.3:5000");
    b.client.nonce.clear();
    assert_eq!(code(&refresh(&mut world, &mut b, &ticket_b)), 401);
}

#[test]
fn who_asked_for_none_has_none() {
    let mut world = World::new();
    let [(mut a, _), _] = pair(&mut world);
    assert_eq!(a.refresh(&mut world, 600), 200);
    // The ticket of an allocation with the same number in another process of the same keys.
    let mut other = World::new();
    let [(_, _, ticket_a), _] = roamer(&mut other, udp("198.51.100.10:5000"));
    a.tuple = udp("198.51.107.1:5000");
    assert_eq!(code(&refresh(&mut world, &mut a, &ticket_a)), 405);
}

#[test]
fn a_restored_relay_knows_the_tickets() {
    let mut world = World::new();
    let [(mut a, mask_a, first), _] = roamer(&mut world, udp("198.51.100.10:5000"));
    world.server.relay =
        Relay::restore(config(), testkit::SEED, &world.server.relay.snapshot()).expect("ours");
    a.tuple = udp("198.51.107.1:5000");
    assert_eq!(code(&refresh(&mut world, &mut a, &first)), 200);
    a.client.nonce.clear();
    assert_eq!(a.refresh(&mut world, 600), 200);
    assert_eq!(a.permit(&mut world, mask_a), 200);
}

/// Without RFC 8016 a client makes another allocation with the same ticket, and the other party is
/// told of its new mask address; the old one goes by itself.
#[test]
fn a_client_may_start_over_from_another_network() {
    let mut world = World::new();
    let [(mut a, mask_a), (mut b, mask_b)] = pair(&mut world);
    assert_eq!(b.permit(&mut world, mask_a), 200);
    let mut moved = Phone::new(udp("198.51.107.1:5000"), &ticket(1, 0));
    let mask = moved.allocate(&mut world);
    assert_ne!(mask, mask_a);
    assert_eq!(moved.permit(&mut world, mask_b), 200);
    assert_eq!(b.permit(&mut world, mask), 200);
    let heard = b.send(&mut world, mask, b"x");
    assert!(matches!(heard, Reaction::Arrives(to, _) if to == moved.tuple));
    assert_eq!(world.server.relay.allocation_count(), 3);
    for phone in [&mut moved, &mut b] {
        assert_eq!(phone.refresh(&mut world, 3600), 200);
    }
    world.pass(Duration::from_secs(601));
    assert_eq!(
        world.server.relay.allocation_count(),
        2,
        "what was left behind"
    );
    assert_eq!(a.refresh(&mut world, 600), 437);
}
