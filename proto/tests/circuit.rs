//! What two parties of a call can do, and nobody else.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{
    Phone, Reaction, World, channel_data, circuit, code, config, pair, tcp, ticket, udp,
};
use vizard_proto::auth::ticket::CallId;
use vizard_proto::contract::{Command, EndReason, Event, Scope};
use vizard_proto::stun::{AttributeType, Class, Message, Method};
use vizard_proto::time::WallClock;
use vizard_proto::usage::DropReason;

#[test]
fn channel_data_becomes_the_same_with_the_other_number() {
    let mut world = World::new();
    let [(a, _), (b, _)] = circuit(&mut world);
    assert_eq!(world.forward_count(), 4);
    for payload in [&b"hello"[..], b"", &[0x5a; 1400]] {
        let arrived = Reaction::Arrives(b.tuple, channel_data(0x4002, payload));
        assert_eq!(a.send_on(&mut world, 0x4001, payload), arrived);
        let long = world.send_the_long_way(a.tuple, &channel_data(0x4001, payload));
        assert_eq!(long, arrived, "the table and the relay agree");
        let arrived = Reaction::Arrives(a.tuple, channel_data(0x4001, payload));
        assert_eq!(b.send_on(&mut world, 0x4002, payload), arrived);
    }
}

#[test]
fn send_becomes_a_data_indication_or_channel_data() {
    let mut world = World::new();
    let [(mut a, mask_a), (mut b, mask_b)] = pair(&mut world);
    assert_eq!(
        a.send(&mut world, mask_b, b"hi"),
        Reaction::Dropped(DropReason::NoPermission)
    );
    assert_eq!(a.permit(&mut world, mask_b), 200);
    assert_eq!(
        a.send(&mut world, mask_b, b"hi"),
        Reaction::Dropped(DropReason::NotPermittedByPeer)
    );
    assert_eq!(b.permit(&mut world, mask_a), 200);
    let Reaction::Arrives(to, wire) = a.send(&mut world, mask_b, b"hi") else {
        panic!("it did not arrive");
    };
    assert_eq!(to, b.tuple);
    let message = Message::parse(&wire).expect("a Data indication");
    assert_eq!(
        (message.class(), message.method()),
        (Class::Indication, Method::DATA)
    );
    assert_eq!(message.xor_peer_address(), Ok(Some(mask_a)));
    assert_eq!(message.data().map(|range| &wire[range]), Some(&b"hi"[..]));
    assert_eq!(b.bind(&mut world, 0x4ABC, mask_a), 200);
    assert_eq!(
        a.send(&mut world, mask_b, b"hi"),
        Reaction::Arrives(b.tuple, channel_data(0x4ABC, b"hi"))
    );
}

#[test]
fn stream_receivers_get_padding() {
    let mut world = World::new();
    let mut a = Phone::new(udp("198.51.100.10:5000"), &ticket(1, 0));
    let mut b = Phone::new(tcp("198.51.101.20:6000"), &ticket(1, 1));
    let (mask_a, mask_b) = (a.allocate(&mut world), b.allocate(&mut world));
    assert_eq!(a.bind(&mut world, 0x4001, mask_b), 200);
    assert_eq!(b.bind(&mut world, 0x4002, mask_a), 200);
    let mut padded = channel_data(0x4002, b"12345");
    padded.resize(12, 0);
    assert_eq!(
        a.send_on(&mut world, 0x4001, b"12345"),
        Reaction::Arrives(b.tuple, padded)
    );
    assert_eq!(
        world.send(
            b.tuple,
            &[&channel_data(0x4002, b"12345")[..], &[0; 3]].concat()
        ),
        Reaction::Arrives(a.tuple, channel_data(0x4001, b"12345"))
    );
}

#[test]
fn a_masked_client_is_told_a_documentation_address() {
    let mut world = World::new();
    for (remote, family, masked, told) in [
        ("198.51.100.10:5000", 1, true, "192.0.2.1:9"),
        ("198.51.100.12:5000", 2, true, "[2001:db8::1]:9"),
        ("[2001:db8:5::1]:5000", 1, true, "192.0.2.1:9"),
        ("[2001:db8:5::2]:5000", 2, true, "[2001:db8::1]:9"),
        ("198.51.100.11:5000", 2, false, "198.51.100.11:5000"),
    ] {
        let ticket = vizard_proto::auth::ticket::Ticket {
            masked,
            ..ticket(1, 0)
        };
        let mut phone = Phone::new(udp(remote), &ticket);
        let answer = phone.ask(&mut world, Method::ALLOCATE, |writer| {
            writer.bytes(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            writer.bytes(AttributeType::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
        });
        let message = Message::parse(&answer).expect("an answer");
        assert_eq!(
            message.xor_mapped_address(),
            Ok(Some(told.parse().expect("an address")))
        );
        let binding = world.send(phone.tuple, &binding_request());
        let Reaction::Answer(binding) = binding else {
            panic!("no answer")
        };
        assert_eq!(code(&binding), if masked { 403 } else { 200 });
    }
}

fn binding_request() -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    bytes.resize(20, 9);
    bytes
}

#[test]
fn permissions_ignore_the_port_and_channels_do_not() {
    let mut world = World::new();
    let [(mut a, mask_a), (mut b, mask_b)] = pair(&mut world);
    let mut other_port = mask_b;
    other_port.set_port(mask_b.port() ^ 1);
    assert_eq!(b.permit(&mut world, mask_a), 200);
    assert_eq!(a.bind(&mut world, 0x4001, other_port), 200);
    let lost = a.send_on(&mut world, 0x4001, b"x");
    assert_eq!(lost, Reaction::Dropped(DropReason::ForeignPeer));
    let arrives = |reaction| matches!(reaction, Reaction::Arrives(to, _) if to == b.tuple);
    assert!(
        arrives(a.send(&mut world, mask_b, b"x")),
        "the permission that came with the channel is for the IP address"
    );
    world.pass(Duration::from_secs(301));
    assert_eq!(b.permit(&mut world, mask_a), 200);
    let lost = a.send(&mut world, mask_b, b"x");
    assert_eq!(lost, Reaction::Dropped(DropReason::NoPermission));
}

#[test]
fn devices_of_one_party_do_not_meet() {
    let mut world = World::new();
    let [(mut a, mask_a), _] = pair(&mut world);
    let second = vizard_proto::auth::ticket::Ticket {
        device: 1,
        ..ticket(1, 0)
    };
    let mut a2 = Phone::new(udp("198.51.100.10:5001"), &second);
    let mask_a2 = a2.allocate(&mut world);
    for (phone, peer) in [(&mut a, mask_a2), (&mut a2, mask_a)] {
        assert_eq!(phone.bind(&mut world, 0x4001, peer), 200);
    }
    assert!(world.forward_count() == 0);
    for (phone, peer) in [(&a, mask_a2), (&a2, mask_a), (&a, mask_a)] {
        let lost = phone.send(&mut world, peer, b"x");
        assert_eq!(lost, Reaction::Dropped(DropReason::ForeignPeer));
    }
}

#[test]
fn revocation_cuts_at_once_and_for_good() {
    let mut world = World::new();
    let [(mut a, mask_a), (mut b, _)] = circuit(&mut world);
    let until = testkit::START + 7200;
    let revoke = |scope| Command::Revoke {
        call: CallId([1; 16]),
        scope,
        until,
    };
    world.command(revoke(Scope::Party(1)));
    assert!(world.forward_count() == 0);
    assert_eq!(
        a.send_on(&mut world, 0x4001, b"x"),
        Reaction::Dropped(DropReason::ForeignPeer)
    );
    assert_eq!(
        b.send_on(&mut world, 0x4002, b"x"),
        Reaction::Dropped(DropReason::NoAllocation)
    );
    assert_eq!(b.refresh(&mut world, 600), 401);
    assert_eq!(b.permit(&mut world, mask_a), 401);
    let transport = |writer: &mut vizard_proto::stun::Writer<'_>| {
        writer.bytes(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    };
    assert_eq!(b.code(&mut world, Method::ALLOCATE, transport), 401);
    assert_eq!(
        a.refresh(&mut world, 600),
        200,
        "the other party is not concerned"
    );
    world.command(revoke(Scope::Call));
    assert_eq!(a.code(&mut world, Method::ALLOCATE, transport), 401);
    assert_eq!(world.server.relay.allocation_count(), 0);
    assert_eq!(world.cut_off, [], "datagrams have no connection");
    let ended = |event: &&Event| {
        matches!(
            event,
            Event::AllocationEnded {
                reason: EndReason::Revoked,
                ..
            }
        )
    };
    assert_eq!(world.events.iter().filter(ended).count(), 2);
    world.pass(Duration::from_secs(7300));
    assert_eq!(
        a.code(&mut world, Method::ALLOCATE, transport),
        401,
        "expired by then"
    );
    assert_eq!(
        world.server.relay.poll_timeout(),
        None,
        "nothing is kept for it"
    );
}

#[test]
fn permissions_end_by_the_clock() {
    let mut world = World::new();
    let [(mut a, mask_a), (mut b, mask_b)] = pair(&mut world);
    for (phone, mask) in [(&mut a, mask_b), (&mut b, mask_a)] {
        assert_eq!(phone.permit(&mut world, mask), 200);
    }
    world.pass(Duration::from_secs(290));
    assert_eq!(a.permit(&mut world, mask_b), 200);
    world.pass(Duration::from_secs(15));
    assert_eq!(
        a.send(&mut world, mask_b, b"x"),
        Reaction::Dropped(DropReason::NotPermittedByPeer)
    );
    assert_eq!(b.permit(&mut world, mask_a), 200);
    world.pass(Duration::from_secs(290));
    assert_eq!(
        a.send(&mut world, mask_b, b"x"),
        Reaction::Dropped(DropReason::NoPermission)
    );
}

#[test]
fn channels_are_consent_for_as_long_as_they_live() {
    let mut world = World::new();
    let [(mut a, mask_a), (mut b, mask_b)] = circuit(&mut world);
    let arrives = |reaction| matches!(reaction, Reaction::Arrives(..));
    world.pass(Duration::from_secs(590));
    assert_eq!(
        world.forward_count(),
        4,
        "both permissions ran out at 300 s"
    );
    assert!(arrives(a.send_on(&mut world, 0x4001, b"x")));
    assert!(arrives(a.send(&mut world, mask_b, b"x")));
    for phone in [&mut a, &mut b] {
        assert_eq!(phone.refresh(&mut world, 3600), 200);
    }
    assert_eq!(b.bind(&mut world, 0x4002, mask_a), 200);
    world.pass(Duration::from_secs(15));
    assert!(world.forward_count() == 0, "a's channel has run out");
    assert_eq!(
        a.send_on(&mut world, 0x4001, b"x"),
        Reaction::Dropped(DropReason::NoChannel)
    );
    assert_eq!(
        b.send_on(&mut world, 0x4002, b"x"),
        Reaction::Dropped(DropReason::NotPermittedByPeer)
    );
    assert_eq!(
        a.bind(&mut world, 0x4003, mask_b),
        200,
        "the peer is free for another channel"
    );
    assert_eq!(world.forward_count(), 4);
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.server.relay.allocation_count(), 0);
}

/// One mask IP address for all: a channel to one peer's port is a permission for every peer there.
#[test]
fn a_channel_renews_the_permission_of_every_peer_at_its_address() {
    let mut settings = config();
    settings.masking.pool_v4 = Some("198.18.0.0/32".parse().expect("a network"));
    let mut world = World::with(settings);
    let [(mut a, mask_a), (_, mask_b)] = pair(&mut world);
    let mut c = Phone::new(udp("198.51.102.30:7000"), &ticket(1, 2));
    c.allocate(&mut world);
    for _ in 0..2 {
        assert_eq!(a.bind(&mut world, 0x4001, mask_b), 200);
        assert_eq!(c.permit(&mut world, mask_a), 200);
        let heard = c.send(&mut world, mask_a, b"x");
        assert!(matches!(heard, Reaction::Arrives(to, _) if to == a.tuple));
        world.pass(Duration::from_secs(301));
        assert_eq!(c.permit(&mut world, mask_a), 200);
        let lost = c.send(&mut world, mask_a, b"x");
        assert_eq!(lost, Reaction::Dropped(DropReason::NotPermittedByPeer));
        for phone in [&mut a, &mut c] {
            assert_eq!(phone.refresh(&mut world, 3600), 200);
        }
    }
}

#[test]
fn expiry_of_the_ticket_ends_the_session() {
    let mut world = World::new();
    let short = vizard_proto::auth::ticket::Ticket {
        expires_at: testkit::START + 60,
        ..ticket(1, 0)
    };
    let mut phone = Phone::new(udp("198.51.100.10:5000"), &short);
    phone.allocate(&mut world);
    world.pass(Duration::from_secs(49));
    assert_eq!(phone.refresh(&mut world, 600), 200);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.server.relay.allocation_count(), 0);
    assert_eq!(phone.refresh(&mut world, 600), 401);
}

#[test]
fn lifetime_zero_frees_the_tuple_at_once() {
    let mut world = World::new();
    let [(mut a, mask), _] = circuit(&mut world);
    assert_eq!(a.refresh(&mut world, 0), 200);
    assert!(world.forward_count() == 0);
    let again = a.allocate(&mut world);
    assert_ne!(again, mask);
}

#[test]
fn a_retransmitted_allocate_is_answered_alike() {
    let mut world = World::new();
    let mut a = Phone::new(udp("198.51.100.10:5000"), &ticket(1, 0));
    a.knock(&mut world);
    let transaction = world.transaction();
    let request = a.request(Method::ALLOCATE, transaction, |writer| {
        writer.bytes(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    });
    let first = world.send(a.tuple, &request);
    world.pass(Duration::from_millis(500));
    assert_eq!(world.send(a.tuple, &request), first);
    assert_eq!(world.server.relay.allocation_count(), 1);
}

#[test]
fn a_restored_relay_goes_on() {
    let mut world = World::new();
    let [(mut a, mask_a), (b, _)] = circuit(&mut world);
    let snapshot = world.server.relay.snapshot();
    let mut restored = World::with(config());
    restored.server.relay =
        vizard_proto::Relay::restore(config(), testkit::SEED, &snapshot).expect("ours");
    restored.now = world.now;
    restored.server.rebuild();
    assert_eq!(restored.forward_count(), 4);
    assert_eq!(restored.server.relay.snapshot(), snapshot);
    assert_eq!(
        restored.server.relay.poll_timeout(),
        world.server.relay.poll_timeout()
    );
    assert_eq!(
        b.send_on(&mut restored, 0x4002, b"on"),
        Reaction::Arrives(a.tuple, channel_data(0x4001, b"on"))
    );
    assert_eq!(a.refresh(&mut restored, 600), 200);
    let mut c = Phone::new(udp("198.51.102.1:1000"), &ticket(1, 2));
    let (there, here) = (c.clone().allocate(&mut restored), c.allocate(&mut world));
    assert_eq!(there, here, "the random numbers go on as well");
    assert_ne!(there, mask_a);
    for broken in [&snapshot[..snapshot.len() / 2], b"", b"\x02\x00"] {
        assert!(vizard_proto::Relay::restore(config(), testkit::SEED, broken).is_err());
    }
}

#[test]
fn a_stream_is_cut_off_when_its_call_ends_and_not_when_its_client_leaves() {
    let mut world = World::new();
    let mut a = Phone::new(tcp("198.51.100.10:5000"), &ticket(1, 0));
    let mut b = Phone::new(tcp("198.51.101.20:6000"), &ticket(1, 1));
    a.allocate(&mut world);
    b.allocate(&mut world);
    assert_eq!(b.refresh(&mut world, 0), 200);
    assert_eq!(world.cut_off, []);
    let (call, scope, until) = (CallId([1; 16]), Scope::Call, testkit::START + 7200);
    world.command(Command::Revoke { call, scope, until });
    assert_eq!(world.cut_off, [a.tuple]);
}

/// What is answered depends on nothing but the asking client's own state: not on whether anybody is
/// there, or in which call.
#[test]
fn permissions_and_channels_are_had_for_every_mask_address() {
    let mut world = World::new();
    let [(mut a, mask_a), (mut b, mask_b)] = circuit(&mut world);
    let mut stranger = Phone::new(udp("198.51.102.1:1000"), &ticket(2, 0));
    let foreign = stranger.allocate(&mut world);
    assert_eq!(b.refresh(&mut world, 0), 200);
    let free: Vec<SocketAddr> = ["198.18.0.0:1", "198.19.255.255:65535", "198.18.0.1:0"]
        .map(|address| address.parse().expect("an address"))
        .to_vec();
    let all = [free, vec![foreign, mask_a, mask_b]].concat();
    for (peer, number) in all.iter().zip(0x4100..) {
        assert_eq!(a.permit(&mut world, *peer), 200, "{peer}");
        if *peer != mask_b {
            assert_eq!(a.bind(&mut world, number, *peer), 200, "{peer}");
        }
        let lost = a.send(&mut world, *peer, b"x");
        assert_eq!(lost, Reaction::Dropped(DropReason::ForeignPeer), "{peer}");
    }
    assert_eq!(a.bind(&mut world, 0x4001, mask_b), 200, "renewed");
    assert!(world.forward_count() == 0);
}

/// Signalling may be faster than the other's Allocate.
#[test]
fn what_was_permitted_before_the_peer_came_holds_when_it_does() {
    let mut future = World::new();
    let [_, (_, mask_b)] = pair(&mut future);
    let mut world = World::new();
    let mut a = Phone::new(udp("198.51.100.10:5000"), &ticket(1, 0));
    let mask_a = a.allocate(&mut world);
    assert_eq!(a.bind(&mut world, 0x4001, mask_b), 200);
    let mut b = Phone::new(udp("198.51.101.20:6000"), &ticket(1, 1));
    assert_eq!(b.allocate(&mut world), mask_b, "the same seed");
    assert_eq!(b.permit(&mut world, mask_a), 200);
    let Reaction::Arrives(to, _) = a.send_on(&mut world, 0x4001, b"x") else {
        panic!("it did not arrive");
    };
    assert_eq!(to, b.tuple);
    assert_eq!(b.bind(&mut world, 0x4002, mask_a), 200);
    assert_eq!(world.forward_count(), 4);
}

#[test]
fn tickets_follow_the_wall_clock_when_it_is_set() {
    let mut world = World::new();
    let [(mut a, mask_a), (b, _)] = circuit(&mut world);
    world.command(Command::SetClock(WallClock::new(testkit::START - 86_400)));
    world.pass(Duration::from_secs(1));
    assert_eq!(
        a.refresh(&mut world, 3600),
        200,
        "its nonce is from the future"
    );
    world.command(Command::SetClock(WallClock::new(testkit::START + 7200)));
    world.pass(Duration::ZERO);
    assert_eq!(world.server.relay.allocation_count(), 0);
    assert_eq!(
        b.send(&mut world, mask_a, b"x"),
        Reaction::Dropped(DropReason::NoAllocation)
    );
    world.pass(Duration::from_secs(2 * 86_400));
    assert_eq!(world.server.relay.poll_timeout(), None);
}
