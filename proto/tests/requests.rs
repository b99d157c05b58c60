//! What RFC 8489 and RFC 8656 say about requests that are not as they should be.

use std::time::Duration;

use testkit::{Phone, Reaction, World, config, pair, tcp, ticket, udp};
use vizard_proto::auth::ticket::Ticket;
use vizard_proto::stun::{AttributeType as A, Class, Message, Method, Writer};
use vizard_proto::usage::DropReason;

/// Attributes as they stand in a request.
type Attributes<'a> = &'a [(A, &'a [u8])];

fn transport(writer: &mut Writer<'_>) {
    writer.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

fn phone() -> Phone {
    Phone::new(udp("198.51.100.10:5000"), &ticket(1, 0))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn allocate_refuses_what_it_must() {
    let cases: &[(u16, Attributes<'_>)] = &[
        (400, &[]),
        (442, &[(A::REQUESTED_TRANSPORT, &[6, 0, 0, 0])]),
        (400, &[(A::REQUESTED_TRANSPORT, &[17])]),
        (
            440,
            &[
                (A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                (A::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0]),
            ],
        ),
        (
            420,
            &[
                (A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                (A::DONT_FRAGMENT, &[]),
            ],
        ),
        (
            420,
            &[
                (A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                (A(0x7777), &[1, 2, 3, 4]),
            ],
        ),
        (
            200,
            &[
                (A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                (A(0xC057), &[1, 2, 3, 4]),
            ],
        ),
        (
            200,
            &[
                (A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                (A::EVEN_PORT, &[0]),
            ],
        ),
        (
            508,
            &[
                (A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                (A::EVEN_PORT, &[0x80]),
            ],
        ),
        (
            508,
            &[
                (A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                (A::RESERVATION_TOKEN, &[1; 8]),
            ],
        ),
        (
            400,
            &[
                (A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                (A::RESERVATION_TOKEN, &[1; 8]),
                (A::EVEN_PORT, &[0]),
            ],
        ),
        (
            400,
            &[
                (A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                (A::ADDITIONAL_ADDRESS_FAMILY, &[1, 0, 0, 0]),
            ],
        ),
        (
            400,
            &[
                (A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
                (A::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]),
                (A::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
            ],
        ),
    ];
    for (index, (expected, attributes)) in cases.iter().enumerate() {
        let mut world = World::new();
        let got = phone().code(&mut world, Method::ALLOCATE, |writer| {
            for (kind, value) in *attributes {
                writer.bytes(*kind, value);
            }
        });
        assert_eq!(got, *expected, "case {index}");
    }
}

#[test]
fn both_families_and_coturns_number_for_the_second() {
    for number in [
        A::ADDITIONAL_ADDRESS_FAMILY,
        A::ADDITIONAL_ADDRESS_FAMILY_COTURN,
    ] {
        let mut world = World::new();
        let mut phone = phone();
        let answer = phone.ask(&mut world, Method::ALLOCATE, |writer| {
            transport(writer);
            writer.bytes(number, &[2, 0, 0, 0]);
        });
        let message = Message::parse(&answer).expect("an answer");
        let relayed = message
            .attributes()
            .filter(|(kind, _)| *kind == A::XOR_RELAYED_ADDRESS);
        assert_eq!(relayed.count(), 2);
        let family = |number: u8| {
            move |writer: &mut Writer<'_>| {
                writer.u32(A::LIFETIME, 0);
                writer.bytes(A::REQUESTED_ADDRESS_FAMILY, &[number, 0, 0, 0]);
            }
        };
        assert_eq!(phone.code(&mut world, Method::REFRESH, family(2)), 200);
        assert_eq!(phone.code(&mut world, Method::REFRESH, family(2)), 443);
        assert_eq!(
            phone.refresh(&mut world, 600),
            200,
            "the other one still lives"
        );
        assert_eq!(phone.code(&mut world, Method::REFRESH, family(1)), 200);
        assert_eq!(phone.refresh(&mut world, 600), 437);
    }
}

#[test]
fn a_family_without_a_pool_is_440_or_said_so() {
    let mut settings = config();
    settings.masking.pool_v6 = None;
    let mut world = World::with(settings);
    let got = phone().code(&mut world, Method::ALLOCATE, |writer| {
        transport(writer);
        writer.bytes(A::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    assert_eq!(got, 440);
    let answer = phone().ask(&mut world, Method::ALLOCATE, |writer| {
        transport(writer);
        writer.bytes(A::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    let message = Message::parse(&answer).expect("an answer");
    assert_eq!(
        message.find(A::ADDRESS_ERROR_CODE),
        Some(&[2, 0, 4, 40][..])
    );
}

#[test]
fn the_families_of_peers_must_match() {
    let mut world = World::new();
    let mut a = phone();
    let mut b = Phone::new(udp("198.51.101.20:6000"), &ticket(1, 1));
    let mask_a = a.allocate(&mut world);
    let answer = b.ask(&mut world, Method::ALLOCATE, |writer| {
        transport(writer);
        writer.bytes(A::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    let message = Message::parse(&answer).expect("an answer");
    let mask_b = message
        .xor_relayed_address()
        .expect("well-formed")
        .expect("an address");
    assert!(mask_b.is_ipv6());
    assert_eq!(a.permit(&mut world, mask_b), 443);
    assert_eq!(b.bind(&mut world, 0x4000, mask_a), 443);
}

#[test]
fn allocation_mismatch_and_wrong_credentials() {
    let mut world = World::new();
    let [(mut a, _), (_, mask_b)] = pair(&mut world);
    assert_eq!(
        a.code(&mut world, Method::ALLOCATE, transport),
        437,
        "another transaction"
    );
    let mut stranger = Phone::new(a.tuple, &ticket(2, 0));
    assert_eq!(stranger.refresh(&mut world, 600), 441);
    assert_eq!(stranger.permit(&mut world, mask_b), 441);
    assert_eq!(stranger.bind(&mut world, 0x4000, mask_b), 441);
    assert_eq!(stranger.code(&mut world, Method::ALLOCATE, transport), 437);
    let mut elsewhere = Phone::new(udp("198.51.100.10:5001"), &ticket(1, 0));
    assert_eq!(elsewhere.refresh(&mut world, 600), 437);
    assert_eq!(elsewhere.permit(&mut world, mask_b), 437);
}

#[test]
fn channels_keep_their_peer_and_peers_their_channel() {
    let mut world = World::new();
    let [(mut a, _), (_, mask_b)] = pair(&mut world);
    let mut second = Phone::new(tcp("198.51.101.20:6001"), &ticket(1, 1));
    let mask_b2 = second.allocate(&mut world);
    assert_eq!(a.bind(&mut world, 0x4000, mask_b), 200);
    assert_eq!(a.bind(&mut world, 0x4000, mask_b), 200, "renewed");
    assert_eq!(a.bind(&mut world, 0x4000, mask_b2), 400);
    assert_eq!(a.bind(&mut world, 0x4001, mask_b), 400);
    assert_eq!(
        a.bind(&mut world, 0x7FFF, mask_b2),
        200,
        "what coturn's client does"
    );
    for number in [0, 0x3FFF, 0x8000, 0xFFFF] {
        assert_eq!(a.bind(&mut world, number, mask_b2), 400, "{number:#x}");
    }
    let without = |kind| {
        move |writer: &mut Writer<'_>| {
            if kind != A::CHANNEL_NUMBER {
                writer.u32(A::CHANNEL_NUMBER, 0x4000_0000);
            }
            if kind != A::XOR_PEER_ADDRESS {
                writer.xor_address(A::XOR_PEER_ADDRESS, mask_b);
            }
        }
    };
    assert_eq!(
        a.code(&mut world, Method::CHANNEL_BIND, without(A::CHANNEL_NUMBER)),
        400
    );
    assert_eq!(
        a.code(
            &mut world,
            Method::CHANNEL_BIND,
            without(A::XOR_PEER_ADDRESS)
        ),
        400
    );
    assert_eq!(a.code(&mut world, Method::CREATE_PERMISSION, |_| {}), 400);
}

#[test]
fn one_bad_peer_spoils_the_whole_permission_request() {
    let mut world = World::new();
    let [(mut a, _), (_, mask_b)] = pair(&mut world);
    let got = a.code(&mut world, Method::CREATE_PERMISSION, |writer| {
        writer.xor_address(A::XOR_PEER_ADDRESS, mask_b);
        writer.xor_address(
            A::XOR_PEER_ADDRESS,
            "10.0.0.1:1".parse().expect("an address"),
        );
    });
    assert_eq!(got, 403);
    assert_eq!(
        a.send(&mut world, mask_b, b"x"),
        Reaction::Dropped(DropReason::NoPermission)
    );
}

/// Clients renew all of their permissions in one request.
#[test]
fn a_permission_request_names_as_many_peers_as_the_limit_allows() {
    let mut world = World::new();
    let [(mut a, mask_a), (mut b, mask_b)] = pair(&mut world);
    let permit = |phone: &mut Phone, world: &mut World, count: u32| {
        phone.code(world, Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(A::XOR_PEER_ADDRESS, mask_b);
            // Each of them twice: what counts is how many there are.
            for number in (1..count).chain(1..count) {
                let ip = std::net::Ipv4Addr::from_bits(0xC612_0000 + number);
                writer.xor_address(A::XOR_PEER_ADDRESS, (ip, 9).into());
            }
        })
    };
    assert_eq!(permit(&mut a, &mut world, 129), 508);
    let lost = a.send(&mut world, mask_b, b"x");
    assert_eq!(lost, Reaction::Dropped(DropReason::NoPermission));
    assert_eq!(permit(&mut a, &mut world, 60), 200);
    assert_eq!(permit(&mut a, &mut world, 128), 200);
    assert_eq!(permit(&mut a, &mut world, 128), 200, "all of them renewed");
    assert_eq!(
        a.permit(&mut world, "198.19.0.1:1".parse().expect("an address")),
        508
    );
    assert_eq!(b.permit(&mut world, mask_a), 200);
    assert!(matches!(
        a.send(&mut world, mask_b, b"x"),
        Reaction::Arrives(..)
    ));
}

/// RFC 8489 section 14: what is known and not expected is ignored.
#[test]
fn known_attributes_in_the_wrong_place_are_ignored() {
    let mut world = World::new();
    let [(mut a, mask_a), (mut b, mask_b)] = pair(&mut world);
    let odd = |writer: &mut Writer<'_>| {
        transport(writer);
        writer.u32(A::PRIORITY, 7);
        writer.u32(A::CHANNEL_NUMBER, 1);
        writer.bytes(A::DATA, b"x");
    };
    assert_eq!(a.code(&mut world, Method::REFRESH, odd), 200);
    let permit = |writer: &mut Writer<'_>| {
        odd(writer);
        writer.xor_address(A::XOR_PEER_ADDRESS, mask_b);
    };
    assert_eq!(a.code(&mut world, Method::CREATE_PERMISSION, permit), 200);
    for unknown in [A(0x7777), A::DONT_FRAGMENT] {
        let got = a.code(&mut world, Method::REFRESH, |writer| {
            writer.bytes(unknown, &[]);
        });
        assert_eq!(got, 420);
    }
    assert_eq!(b.permit(&mut world, mask_a), 200);
    let transaction = world.transaction();
    let signed = |extra: Option<A>| {
        let put = |writer: &mut Writer<'_>| {
            writer.xor_address(A::XOR_PEER_ADDRESS, mask_b);
            writer.bytes(A::DATA, b"signed");
            if let Some(extra) = extra {
                writer.bytes(extra, &[]);
            }
        };
        a.message(Class::Indication, Method::SEND, transaction, put, true)
    };
    let Reaction::Arrives(to, wire) = world.send(a.tuple, &signed(None)) else {
        panic!("it did not arrive");
    };
    assert_eq!(to, b.tuple);
    let message = Message::parse(&wire).expect("a Data indication");
    assert_eq!(
        message.data().map(|range| &wire[range]),
        Some(&b"signed"[..])
    );
    for unknown in [A(0x7777), A::DONT_FRAGMENT] {
        let lost = world.send(a.tuple, &signed(Some(unknown)));
        assert_eq!(lost, Reaction::Dropped(DropReason::MalformedStun));
    }
}

#[test]
fn a_rate_limit_holds_on_both_ways() {
    for the_long_way in [false, true] {
        let mut world = World::new();
        let limited = Ticket {
            kbps: 100,
            ..ticket(1, 0)
        };
        let mut a = Phone::new(udp("198.51.100.10:5000"), &limited);
        let mut b = Phone::new(udp("198.51.101.20:6000"), &ticket(1, 1));
        let (mask_a, mask_b) = (a.allocate(&mut world), b.allocate(&mut world));
        assert_eq!(a.bind(&mut world, 0x4001, mask_b), 200);
        assert_eq!(b.bind(&mut world, 0x4002, mask_a), 200);
        let packet = testkit::channel_data(0x4001, &[0; 1000]);
        let mut passed = 0;
        for _ in 0..1000 {
            world.pass(Duration::from_millis(10));
            let reaction = if the_long_way {
                world.send_the_long_way(a.tuple, &packet)
            } else {
                world.send(a.tuple, &packet)
            };
            match reaction {
                Reaction::Arrives(..) => passed += 1,
                other => assert_eq!(other, Reaction::Dropped(DropReason::OverRate)),
            }
        }
        // Ten seconds at 100 kbit/s are 125 packets of 8000 bits, and half a second's burst.
        assert!((120..=135).contains(&passed), "{passed}");
    }
}
