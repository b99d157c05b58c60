//! What somebody without a ticket can make the relay do: little, and nothing that is kept.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use testkit::{Phone, Reaction, World, config, pair, ticket, udp};
use vizard_proto::address::{Client, FiveTuple};
use vizard_proto::stun::{AttributeType as A, Class, Integrity, Message, Method, Writer};
use vizard_proto::usage::DropReason;
use vizard_proto::{Step, Worker};

/// The largest unauthenticated answer for a realm of up to twelve characters.
const MOST: usize = 88;

fn long_realm() -> World {
    let mut settings = config();
    settings.realm = "twelve-chars".into();
    settings.limits.answers_burst = 1_000_000;
    World::with(settings)
}

fn request(method: Method, attributes: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    let id = vizard_proto::stun::TransactionId([3; 12]);
    let mut writer = Writer::new(&mut bytes, Class::Request, method, id);
    attributes(&mut writer);
    let len = writer.finish().expect("it fits");
    bytes.truncate(len);
    bytes
}

fn methods() -> Vec<Method> {
    (0..=0xfff).filter_map(Method::new).collect()
}

#[test]
fn every_answer_to_a_stranger_fits_the_budget() {
    let mut world = long_realm();
    let phone = Phone::new(udp("[2001:db8:77::1]:5000"), &ticket(1, 0));
    let mut stale = phone.clone();
    stale.client.nonce = b"obMatJos2wAAAabcdefghijklmno".to_vec();
    let mut packets = Vec::new();
    for method in methods() {
        packets.push(request(method, |_| {}));
        packets.push(request(method, |writer| {
            for kind in 0x7000..0x7030 {
                writer.bytes(A(kind), &[]);
            }
        }));
        packets.push(request(method, |writer| {
            writer.integrity(Integrity::Sha1, b"guess");
        }));
        packets.push(request(method, |writer| {
            writer.bytes(A::USERNAME, b"alice");
            writer.integrity(Integrity::Sha1, b"guess");
        }));
        let id = world.transaction();
        packets.push(stale.request(method, id, |_| {}));
        let mut overrun = request(method, |writer| writer.bytes(A::REALM, b"abcd"));
        overrun[23] = 200;
        packets.push(overrun);
    }
    let mut known = phone.clone();
    known.knock(&mut world);
    for password in ["wrong", "right"] {
        known.client.credential.password = password.into();
        for method in methods() {
            let id = world.transaction();
            packets.push(known.request(method, id, |_| {}));
        }
    }
    let mut codes = std::collections::BTreeMap::<u16, usize>::new();
    for packet in &packets {
        if let Reaction::Answer(answer) = world.send(phone.tuple, packet) {
            assert!(
                answer.len() <= MOST,
                "{} bytes: {answer:02x?}",
                answer.len()
            );
            let message = Message::parse(&answer).expect("an answer");
            assert!(!message.has(A::SOFTWARE));
            *codes.entry(testkit::code(&answer)).or_default() += 1;
        }
    }
    for code in [200, 400, 401, 420, 438] {
        assert!(codes.contains_key(&code), "{code} was reached: {codes:?}");
    }
    assert_eq!(world.server.relay.allocation_count(), 0);
}

/// RFC 8489 section 6.3.
#[test]
fn what_does_not_hold_together_is_discarded_in_silence() {
    let mut world = World::new();
    let from = udp("198.51.100.1:1");
    let sound = request(Method::ALLOCATE, |writer| {
        writer.bytes(A::REALM, b"abcd");
        writer.fingerprint();
    });
    let mut packets = vec![
        sound[..sound.len() - 4].to_vec(),
        sound[..sound.len() - 1].to_vec(),
        [&sound[..], &[0; 4]].concat(),
        request(Method::ALLOCATE, |writer| {
            for kind in 0xC000..0xC041 {
                writer.bytes(A(kind), &[]);
            }
        }),
        request(Method::ALLOCATE, |writer| {
            writer.bytes(A::MESSAGE_INTEGRITY, &[1; 4]);
        }),
    ];
    // The value of REALM, its length, FINGERPRINT, the length of all.
    for (at, value) in [
        (24, b'x'),
        (23, 200),
        (sound.len() - 1, sound[35] ^ 1),
        (3, 18),
    ] {
        let mut broken = sound.clone();
        broken[at] = value;
        packets.push(broken);
    }
    for packet in &packets {
        let lost = Reaction::Dropped(DropReason::MalformedStun);
        assert_eq!(world.send(from, packet), lost, "{packet:02x?}");
    }
    let known = [
        Method::BINDING,
        Method::ALLOCATE,
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
    ];
    for method in methods() {
        let answered = matches!(
            world.send(from, &request(method, |_| {})),
            Reaction::Answer(_)
        );
        assert_eq!(answered, known.contains(&method), "{method:?}");
    }
    assert!(matches!(world.send(from, &sound), Reaction::Answer(_)));
}

/// FINGERPRINT is answered with FINGERPRINT where the sender is known, and nowhere else.
#[test]
fn a_fingerprint_is_not_echoed_to_strangers() {
    let mut world = World::new();
    let mut phone = Phone::new(udp("198.51.100.10:5000"), &ticket(1, 0));
    let has_fingerprint = |reaction: Reaction| {
        let Reaction::Answer(answer) = reaction else {
            panic!("{reaction:?}");
        };
        let message = Message::parse(&answer).expect("an answer");
        (message.has(A::FINGERPRINT), answer.len())
    };
    for method in [Method::BINDING, Method::ALLOCATE, Method::REFRESH] {
        let (echoed, len) = has_fingerprint(world.send(
            phone.tuple,
            &request(method, |writer| {
                writer.u32(A::LIFETIME, 600);
                writer.fingerprint();
            }),
        ));
        assert!(!echoed && len <= MOST, "{method:?}: {len} bytes");
    }
    phone.allocate(&mut world);
    let refresh = world.transaction();
    let plain = phone.request(Method::REFRESH, refresh, |_| {});
    assert!(!has_fingerprint(world.send(phone.tuple, &plain)).0);
    let mut wrong = phone.clone();
    for password in [phone.client.credential.password.clone(), "wrong".into()] {
        wrong.client.credential.password.clone_from(&password);
        let signed = wrong.request_with_fingerprint(Method::REFRESH, refresh);
        let known = password == phone.client.credential.password;
        let (echoed, len) = has_fingerprint(world.send(phone.tuple, &signed));
        assert_eq!(echoed, known);
        assert!(known || len <= MOST);
    }
}

/// A request that somebody has captured is bound to the socket that it was made for.
#[test]
fn a_captured_allocate_is_of_no_use_elsewhere() {
    let mut world = World::new();
    let mut phone = Phone::new(udp("198.51.100.10:5000"), &ticket(1, 0));
    phone.knock(&mut world);
    let transaction = world.transaction();
    let captured = phone.request(Method::ALLOCATE, transaction, |writer| {
        writer.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    });
    let beside = (5001..5064).map(|port| udp(&format!("198.51.100.10:{port}")));
    for from in beside.chain([testkit::tcp("198.51.100.10:5000")]) {
        let Reaction::Answer(answer) = world.send(from, &captured) else {
            panic!("no answer");
        };
        assert_eq!(testkit::code(&answer), 438);
    }
    assert_eq!(world.server.relay.allocation_count(), 0);
    assert!(matches!(
        world.send(phone.tuple, &captured),
        Reaction::Answer(_)
    ));
    assert_eq!(world.server.relay.allocation_count(), 1);
}

#[test]
fn a_prefix_has_a_budget_and_the_next_one_its_own() {
    let mut world = World::new();
    let burst = usize::try_from(config().limits.answers_burst).expect("small");
    let knock = request(Method::ALLOCATE, |_| {});
    let mut answered = 0;
    for port in 1..=2000 {
        let from = udp(&format!("198.51.100.{}:{port}", port % 256));
        match world.send(from, &knock) {
            Reaction::Answer(_) => answered += 1,
            other => assert_eq!(other, Reaction::Dropped(DropReason::AnswerBudget)),
        }
    }
    assert_eq!(answered, burst);
    assert!(matches!(
        world.send(udp("198.51.99.1:1"), &knock),
        Reaction::Answer(_)
    ));
    world.pass(Duration::from_secs(1));
    assert!(matches!(
        world.send(udp("198.51.100.1:1"), &knock),
        Reaction::Answer(_)
    ));
}

#[test]
fn connections_and_holders_of_a_nonce_have_no_budget_to_lose() {
    let mut world = World::new();
    let [(mut a, _), _] = pair(&mut world);
    let knock = request(Method::ALLOCATE, |_| {});
    while matches!(world.send(a.tuple, &knock), Reaction::Answer(_)) {}
    let over_tcp = testkit::tcp("198.51.100.10:5000");
    assert!(matches!(world.send(over_tcp, &knock), Reaction::Answer(_)));
    assert_eq!(a.refresh(&mut world, 3600), 200);
    world.pass(Duration::from_secs(3590));
    assert_eq!(a.refresh(&mut world, 3600), 200);
    world.pass(Duration::from_secs(30));
    while matches!(world.send(a.tuple, &knock), Reaction::Answer(_)) {}
    assert_eq!(
        a.refresh(&mut world, 600),
        200,
        "told that its nonce is stale"
    );
}

#[test]
fn a_budget_used_up_does_not_lock_parties_out() {
    let mut world = World::new();
    let [(mut a, _), (_, mask_b)] = pair(&mut world);
    let knock = request(Method::ALLOCATE, |_| {});
    while matches!(world.send(a.tuple, &knock), Reaction::Answer(_)) {}
    assert_eq!(a.permit(&mut world, mask_b), 200);
    assert_eq!(a.refresh(&mut world, 600), 200);
}

#[test]
fn responses_and_foreign_indications_get_silence() {
    let mut world = World::new();
    for class in [Class::Success, Class::Error, Class::Indication] {
        for method in methods() {
            let mut packet = request(method, |_| {});
            let id = vizard_proto::stun::TransactionId([3; 12]);
            let len = Writer::new(&mut packet, class, method, id)
                .finish()
                .expect("it fits");
            let reaction = world.send(udp("198.51.100.1:1"), &packet[..len]);
            assert!(
                matches!(reaction, Reaction::Dropped(_)),
                "{class:?} {method:?}"
            );
        }
    }
}

#[test]
fn a_hundred_thousand_sources_leave_nothing_behind() {
    let mut world = World::new();
    let mut worker = Worker::new(&config(), 1, testkit::SEED);
    let knock = request(Method::ALLOCATE, |_| {});
    let binding = request(Method::BINDING, |_| {});
    let mut phone = Phone::new(udp("198.51.100.1:1"), &ticket(1, 0));
    phone.client.nonce = vec![b'x'; 28];
    let id = world.transaction();
    let forged = phone.request(Method::ALLOCATE, id, |_| {});
    let before = world.server.relay.snapshot();
    let mut out = [0; 1024];
    for source in 0..100_000_u32 {
        let ip = Ipv4Addr::from_bits(0x0b00_0000 + source * 131);
        let remote = SocketAddr::new(ip.into(), 1024);
        let tuple = FiveTuple {
            remote,
            ..phone.tuple
        };
        for packet in [&knock, &binding, &forged] {
            world.send(tuple, packet);
        }
        let client = Client { tuple, worker: 0 };
        for packet in [&knock, &forged] {
            let step = worker.handle(world.now, client, packet, &mut out);
            assert!(!matches!(step, Step::Ask(_)));
        }
    }
    assert_eq!(
        world.server.relay.snapshot(),
        before,
        "not one byte of state"
    );
    assert_eq!(world.server.relay.poll_timeout(), None);
}

/// A packet that was good until somebody damaged it.
fn damaged(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let cuts = (
        0..=good.len(),
        prop::collection::vec((any::<usize>(), any::<u8>()), 0..6),
    );
    cuts.prop_map(move |(len, changes)| {
        let mut packet = good[..len].to_vec();
        for (at, value) in changes {
            if let Some(byte) = at
                .checked_rem(packet.len())
                .and_then(|at| packet.get_mut(at))
            {
                *byte = value;
            }
        }
        packet
    })
}

fn good_packets() -> Vec<Vec<u8>> {
    let mut world = World::new();
    let [(mut a, mask_a), (_, mask_b)] = pair(&mut world);
    a.permit(&mut world, mask_b);
    let id = vizard_proto::stun::TransactionId([5; 12]);
    let peer = |writer: &mut Writer<'_>| {
        writer.u32(A::CHANNEL_NUMBER, 0x4000_0000);
        writer.xor_address(A::XOR_PEER_ADDRESS, mask_b);
    };
    let mut send = request(Method::SEND, |writer| {
        writer.xor_address(A::XOR_PEER_ADDRESS, mask_a);
        writer.bytes(A::DATA, b"hello");
    });
    send[1] |= 0x10;
    vec![
        a.request(Method::ALLOCATE, id, |writer| {
            writer.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            writer.bytes(A::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]);
        }),
        a.request(Method::REFRESH, id, |writer| writer.u32(A::LIFETIME, 600)),
        a.request(Method::CREATE_PERMISSION, id, peer),
        a.request(Method::CHANNEL_BIND, id, peer),
        send,
        testkit::channel_data(0x4001, b"hello"),
        request(Method::BINDING, |_| {}),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes to the public door: no panic, no answer above the budget unless it is signed,
    /// and nobody else's packet.
    #[test]
    fn malformed_packets_do_no_harm(
        packets in prop::collection::vec(
            prop_oneof![
                prop::sample::select(good_packets()).prop_flat_map(damaged),
                prop::collection::vec(any::<u8>(), 0..1500),
            ],
            1..40,
        ),
    ) {
        let mut world = World::new();
        let [(a, _), _] = pair(&mut world);
        for packet in packets {
            match world.send(a.tuple, &packet) {
                Reaction::Answer(answer) => {
                    let message = Message::parse(&answer).expect("what we send is well-formed");
                    prop_assert!(message.integrity() != Integrity::None || answer.len() <= MOST);
                }
                Reaction::Arrives(..) => prop_assert!(false, "b has permitted nothing"),
                Reaction::Dropped(_) => {}
            }
        }
    }
}
