//! Who may log in, and how: RFC 8489 section 9.2.

use std::time::Duration;

use testkit::{Phone, Reaction, World, code, credential, ticket, udp};
use vizard_proto::auth::login::PASSWORD_ALGORITHMS;
use vizard_proto::auth::ticket::{CallId, Ticket};
use vizard_proto::auth::userhash;
use vizard_proto::contract::Command;
use vizard_proto::stun::{
    AttributeType as A, Class, Integrity, Message, Method, PasswordAlgorithm, Writer,
};

/// Attributes as they stand in a request.
type Attributes<'a> = &'a [(A, &'a [u8])];

fn transport(writer: &mut Writer<'_>) {
    writer.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

fn phone() -> Phone {
    Phone::new(udp("198.51.100.10:5000"), &ticket(1, 0))
}

#[test]
fn both_algorithms_and_integrities() {
    let mut world = World::new();
    for (algorithm, integrity) in [
        (None, Integrity::Sha1),
        (Some(PasswordAlgorithm::Md5), Integrity::Sha1),
        (Some(PasswordAlgorithm::Sha256), Integrity::Sha256),
        (Some(PasswordAlgorithm::Sha256), Integrity::Sha1),
    ] {
        let mut phone = phone();
        phone.client.algorithm = algorithm;
        phone.client.integrity = integrity;
        let answer = phone.ask(&mut world, Method::ALLOCATE, transport);
        assert_eq!(code(&answer), 200);
        assert_eq!(
            Message::parse(&answer).expect("an answer").integrity(),
            integrity
        );
        assert_eq!(phone.refresh(&mut world, 0), 200);
    }
}

#[test]
fn userhash_works_for_calls_opened_here() {
    let mut world = World::new();
    let mut phone = phone();
    phone.knock(&mut world);
    let hash = userhash(
        phone.client.credential.username.as_bytes(),
        testkit::REALM.as_bytes(),
    );
    let request = |world: &mut World| {
        let mut bytes = vec![0; 512];
        let id = world.transaction();
        let mut writer = Writer::new(&mut bytes, Class::Request, Method::ALLOCATE, id);
        transport(&mut writer);
        writer.bytes(A::USERHASH, &hash);
        writer.bytes(A::REALM, testkit::REALM.as_bytes());
        writer.bytes(A::NONCE, &phone.client.nonce);
        writer.integrity(Integrity::Sha1, phone.client.key().as_bytes());
        let len = writer.finish().expect("it fits");
        bytes.truncate(len);
        bytes
    };
    let packet = request(&mut world);
    let Reaction::Answer(answer) = world.send(phone.tuple, &packet) else {
        panic!("no answer")
    };
    assert_eq!(code(&answer), 401, "nobody has told the relay of it");
    world.command(Command::OpenCall {
        call: CallId([1; 16]),
        until: testkit::START + 7200,
        usernames: vec![phone.client.credential.username.clone()],
    });
    let packet = request(&mut world);
    let Reaction::Answer(answer) = world.send(phone.tuple, &packet) else {
        panic!("no answer")
    };
    assert_eq!(code(&answer), 200);
}

#[test]
fn bidding_down_is_refused() {
    let mut world = World::new();
    let mut phone = phone();
    phone.knock(&mut world);
    let other_list = [0, 1, 0, 0];
    let md5 = PasswordAlgorithm::Md5.to_bytes();
    let cases: [(Attributes<'_>, u16); 5] = [
        (
            &[
                (A::PASSWORD_ALGORITHMS, &other_list),
                (A::PASSWORD_ALGORITHM, &md5),
            ],
            400,
        ),
        (&[(A::PASSWORD_ALGORITHM, &md5)], 400),
        (&[(A::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS)], 400),
        (
            &[
                (A::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS),
                (A::PASSWORD_ALGORITHM, &[0, 9, 0, 0]),
            ],
            400,
        ),
        (
            &[
                (A::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS),
                (A::PASSWORD_ALGORITHM, &md5),
            ],
            200,
        ),
    ];
    for (attributes, expected) in cases {
        let id = world.transaction();
        let packet = phone.request(Method::ALLOCATE, id, |writer| {
            transport(writer);
            for (kind, value) in attributes {
                writer.bytes(*kind, value);
            }
        });
        let Reaction::Answer(answer) = world.send(phone.tuple, &packet) else {
            panic!("no answer")
        };
        assert_eq!(code(&answer), expected);
    }
}

#[test]
fn unknown_users_and_wrong_passwords_get_the_same_answer() {
    let mut world = World::new();
    let mut right = phone();
    right.knock(&mut world);
    let mut wrong = right.clone();
    wrong.client.credential.password = "not this one".into();
    let mut unknown = right.clone();
    unknown.client.credential.username = "alice".into();
    let mut foreign = right.clone();
    let other = vizard_proto::auth::ticket::TicketKey {
        id: 1,
        secret: [8; 32],
    };
    foreign.client.credential =
        vizard_proto::auth::ticket::TicketKeys::new(&other, &[]).mint(&ticket(1, 0));
    let mut expired = right.clone();
    expired.client.credential = credential(&Ticket {
        expires_at: testkit::START,
        ..ticket(1, 0)
    });
    let id = world.transaction();
    let answers: Vec<Reaction> = [&wrong, &unknown, &foreign, &expired]
        .into_iter()
        .map(|phone| world.send(right.tuple, &phone.request(Method::ALLOCATE, id, transport)))
        .collect();
    let Reaction::Answer(first) = &answers[0] else {
        panic!("no answer")
    };
    assert_eq!(code(first), 401);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[test]
fn nonces_go_stale_and_belong_to_an_address() {
    let mut world = World::new();
    let mut a = phone();
    a.allocate(&mut world);
    let old = a.client.nonce.clone();
    world.pass(Duration::from_secs(500));
    assert_eq!(a.refresh(&mut world, 3600), 200);
    assert_eq!(a.client.nonce, old);
    world.pass(Duration::from_secs(3300));
    assert_eq!(
        a.refresh(&mut world, 3600),
        200,
        "after a 438 that the client followed"
    );
    assert_ne!(a.client.nonce, old);
    let mut b = Phone::new(udp("198.51.101.20:6000"), &ticket(1, 1));
    b.client.nonce.clone_from(&a.client.nonce);
    let id = world.transaction();
    let packet = b.request(Method::ALLOCATE, id, transport);
    let Reaction::Answer(answer) = world.send(b.tuple, &packet) else {
        panic!("no answer")
    };
    assert_eq!(code(&answer), 438);
}
