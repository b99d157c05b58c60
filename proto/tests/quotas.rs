//! How much a ticket, an allocation and a node may have, and what gives way at the limit.

use std::time::Duration;

use testkit::{Phone, World, config, tcp, ticket, udp};
use vizard_proto::auth::ticket::{CallId, Ticket};
use vizard_proto::contract::{Command, CommandError, EndReason, Event};
use vizard_proto::stun::{AttributeType as A, Method, Writer};

fn transport(writer: &mut Writer<'_>) {
    writer.bytes(A::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

#[test]
fn quotas() {
    let mut settings = config();
    settings.limits.allocations_per_ticket = 2;
    settings.limits.allocations = 3;
    settings.limits.permissions = 1;
    settings.limits.channels = 1;
    settings.limits.calls = 1;
    let mut world = World::with(settings);
    let at = |port: u16| udp(&format!("198.51.100.10:{port}"));
    let anybody = "198.18.0.1:1".parse().expect("an address");
    let mut first = Phone::new(at(1000), &ticket(1, 0));
    first.allocate(&mut world);
    assert_eq!(first.bind(&mut world, 0x4000, anybody), 200);
    let mut second = Phone::new(at(1001), &ticket(1, 0));
    second.allocate(&mut world);
    assert_eq!(second.bind(&mut world, 0x4000, anybody), 200);
    let mut third = Phone::new(at(1002), &ticket(1, 0));
    assert_eq!(third.code(&mut world, Method::ALLOCATE, transport), 486);
    let mask = Phone::new(at(2000), &ticket(1, 1)).allocate(&mut world);
    let mut fourth = Phone::new(at(2001), &ticket(1, 1));
    assert_eq!(fourth.code(&mut world, Method::ALLOCATE, transport), 508);
    assert_eq!(first.refresh(&mut world, 0), 200);
    let mask2 = fourth.allocate(&mut world);
    assert_eq!(fourth.bind(&mut world, 0x4000, mask), 200);
    assert_eq!(fourth.bind(&mut world, 0x4001, mask2), 508);
    let open = |call: u8| Command::OpenCall {
        call: CallId([call; 16]),
        until: testkit::START + 60,
        usernames: vec![],
    };
    let mut other = World::with({
        let mut settings = config();
        settings.limits.calls = 1;
        settings
    });
    other.command(open(1));
    let now = other.now;
    assert_eq!(
        other.server.relay.handle_command(now, open(2)),
        Err(CommandError::Capacity)
    );
    assert_eq!(
        other.server.relay.handle_command(now, open(1)),
        Ok(()),
        "it has its place"
    );
    other.pass(Duration::from_secs(100));
    assert_eq!(
        other.server.relay.call_count(),
        0,
        "its tickets have run out"
    );
    other.command(open(2));
}

/// What was left behind makes room, the longest idle first; what is in use does not.
#[test]
fn one_allocation_too_many_takes_the_place_of_an_idle_one() {
    let mut settings = config();
    settings.limits.allocations_per_ticket = 3;
    let mut world = World::with(settings);
    let anybody = "198.18.0.1:1".parse().expect("an address");
    let mut phones: Vec<Phone> = (0..3)
        .map(|port| {
            Phone::new(
                udp(&format!("198.51.100.10:{}", 1000 + port)),
                &ticket(1, 0),
            )
        })
        .collect();
    for phone in &mut phones {
        phone.allocate(&mut world);
        world.pass(Duration::from_secs(1));
    }
    assert_eq!(phones[0].bind(&mut world, 0x4000, anybody), 200);
    world.pass(Duration::from_secs(1));
    assert_eq!(phones[1].permit(&mut world, anybody), 200);
    let mut other = Phone::new(udp("198.51.100.10:2000"), &ticket(1, 1));
    other.allocate(&mut world);
    let mut fourth = Phone::new(tcp("198.51.100.10:3000"), &ticket(1, 0));
    let got = fourth.code(&mut world, Method::ALLOCATE, |writer| {
        transport(writer);
        writer.bytes(A::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0]);
    });
    assert_eq!(got, 440);
    assert_eq!(phones[2].refresh(&mut world, 600), 200, "nothing in vain");
    world.pass(Duration::from_secs(1));
    assert_eq!(phones[1].permit(&mut world, anybody), 200);
    fourth.allocate(&mut world);
    let left: Vec<u16> = phones
        .iter_mut()
        .map(|phone| phone.refresh(&mut world, 600))
        .collect();
    assert_eq!(left, [200, 200, 437]);
    assert_eq!(other.refresh(&mut world, 600), 200, "another ticket's");
    let evicted = |event: &&Event| matches!(event, Event::AllocationEnded { reason, .. } if *reason == EndReason::Evicted);
    assert_eq!(world.events.iter().filter(evicted).count(), 1);
    assert_eq!(world.server.relay.allocation_count(), 4);
}

/// A client in a mesh makes its allocations for each of the others.
#[test]
fn the_quota_grows_with_the_devices_of_the_call() {
    let mut settings = config();
    settings.limits.allocations_per_ticket = 4;
    let mut world = World::with(settings);
    let usernames = |devices: std::ops::Range<u8>| {
        devices
            .map(|device| {
                let ticket = Ticket {
                    device: device % 2,
                    ..ticket(1, device / 2)
                };
                testkit::credential(&ticket).username
            })
            .collect()
    };
    let open = |world: &mut World, devices| {
        world.command(Command::OpenCall {
            call: CallId([1; 16]),
            until: testkit::START + 7200,
            usernames: usernames(devices),
        });
    };
    let mut ports = 1000_u16..;
    let mut fill = |world: &mut World| {
        let anybody = "198.18.0.1:1".parse().expect("an address");
        let mut made = 0;
        for port in ports.by_ref() {
            let tuple = udp(&format!("198.51.100.10:{port}"));
            let mut phone = Phone::new(tuple, &ticket(1, 0));
            if phone.code(world, Method::ALLOCATE, transport) == 486 {
                break;
            }
            assert_eq!(phone.bind(world, 0x4000, anybody), 200);
            made += 1;
        }
        made
    };
    open(&mut world, 0..2);
    open(&mut world, 0..2);
    assert_eq!(fill(&mut world), 4);
    open(&mut world, 2..10);
    assert_eq!(fill(&mut world), 8, "one more for each further device");
}
