//! Calls that go on for longer than their first tickets.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Phone, Reaction, START, World, circuit, credential, ticket, udp};
use vizard_proto::Relay;
use vizard_proto::auth::ticket::{CallId, Ticket};
use vizard_proto::contract::{Command, Scope};
use vizard_proto::stun::{AttributeType, Method, Writer};
use vizard_proto::time::WallClock;

const FIRST_END: u64 = START + 7200;
const LATER_END: u64 = START + 14_400;
const MINUTE: Duration = Duration::from_secs(60);

fn open(until: u64) -> Command {
    let tickets = [0, 1].map(|party| Ticket {
        expires_at: until,
        ..ticket(1, party)
    });
    Command::OpenCall {
        call: CallId([1; 16]),
        until,
        usernames: tickets.map(|it| credential(&it).username).into(),
    }
}

fn transport(writer: &mut Writer<'_>) {
    writer.bytes(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

/// A call in which both talk, renewed if `renewed`; both with their mask addresses.
fn world(renewed: bool) -> (World, [Phone; 2], [SocketAddr; 2]) {
    let mut world = World::new();
    world.command(open(FIRST_END));
    let [(alice, mask_a), (bob, mask_b)] = circuit(&mut world);
    if renewed {
        world.command(open(LATER_END));
    }
    (world, [alice, bob], [mask_a, mask_b])
}

/// Keeps the call up for so many minutes; how many there were with media in both directions.
fn talk(world: &mut World, phones: &mut [Phone; 2], masks: &[SocketAddr; 2], minutes: u32) -> u32 {
    let mut heard = 0;
    for _ in 0..minutes {
        world.pass(MINUTE);
        let mut both = true;
        for (at, phone) in phones.iter_mut().enumerate() {
            let channel = 0x4001 + u16::try_from(at).expect("small");
            let refreshed = phone.refresh(world, 600) == 200
                && phone.bind(world, channel, masks[1 - at]) == 200;
            let reaction = phone.send_on(world, channel, b"media");
            both &= refreshed && matches!(reaction, Reaction::Arrives(..));
        }
        heard += u32::from(both);
    }
    heard
}

#[test]
fn media_goes_on_past_the_first_tickets_without_new_ones() {
    let (mut world, mut phones, masks) = world(true);
    assert_eq!(talk(&mut world, &mut phones, &masks, 230), 230);
    // At the end that it was renewed to it ends.
    assert_eq!(talk(&mut world, &mut phones, &masks, 20), 9);
    assert_eq!(world.server.relay.allocation_count(), 0);
}

#[test]
fn without_a_renewal_it_ends_with_them() {
    let (mut world, mut phones, masks) = world(false);
    assert_eq!(talk(&mut world, &mut phones, &masks, 130), 119);
}

#[test]
fn an_expired_ticket_makes_no_new_allocation() {
    let (mut world, mut phones, masks) = world(true);
    talk(&mut world, &mut phones, &masks, 121);
    let mut old = Phone::new(udp("198.51.100.10:77"), &ticket(1, 0));
    assert_eq!(old.code(&mut world, Method::ALLOCATE, transport), 401);
    let fresh = Ticket {
        expires_at: LATER_END,
        ..ticket(1, 0)
    };
    let mut new = Phone::new(udp("198.51.100.10:78"), &fresh);
    assert_eq!(new.code(&mut world, Method::ALLOCATE, transport), 200);
    // Whoever has the socket of another device's allocation gets nothing by it.
    for stranger in [ticket(1, 1), ticket(2, 0)] {
        let mut stranger = Phone::new(phones[0].tuple, &stranger);
        assert_eq!(stranger.refresh(&mut world, 600), 401);
    }
}

#[test]
fn a_fresh_ticket_takes_an_allocation_over() {
    let (mut world, mut phones, masks) = world(true);
    let fresh = Ticket {
        expires_at: LATER_END,
        ..ticket(1, 0)
    };
    phones[0] = Phone::new(phones[0].tuple, &fresh);
    assert_eq!(talk(&mut world, &mut phones, &masks, 200), 200);
    let other_device = Ticket { device: 1, ..fresh };
    let mut other = Phone::new(phones[0].tuple, &other_device);
    assert_eq!(other.refresh(&mut world, 600), 441);
}

#[test]
fn an_end_and_a_lost_race_hold_after_a_renewal() {
    let (mut world, mut phones, masks) = world(true);
    talk(&mut world, &mut phones, &masks, 121);
    let revoke = |scope| Command::Revoke {
        call: CallId([1; 16]),
        scope,
        until: LATER_END,
    };
    world.command(revoke(Scope::Device(0, 0)));
    assert_eq!(phones[0].refresh(&mut world, 600), 401);
    assert_eq!(phones[1].refresh(&mut world, 600), 200);
    world.command(revoke(Scope::Call));
    assert_eq!(phones[1].refresh(&mut world, 600), 401);
    assert_eq!(world.server.relay.allocation_count(), 0);
}

#[test]
fn a_renewal_survives_a_set_clock_and_a_snapshot() {
    let (mut world, mut phones, masks) = world(true);
    world.command(Command::SetClock(WallClock::new(START + 5)));
    let snapshot = world.server.relay.snapshot();
    let config = world.server.config.clone();
    world.server.relay = Relay::restore(config, testkit::SEED, &snapshot).expect("ours");
    world.server.rebuild();
    assert_eq!(talk(&mut world, &mut phones, &masks, 180), 180);
}
