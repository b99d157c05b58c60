//! What has ended stays ended, whatever the clock shows.

use std::time::Duration;

use testkit::{Phone, START, World, config, ticket, udp};
use vizard_proto::Relay;
use vizard_proto::auth::ticket::{CallId, Ticket};
use vizard_proto::contract::{Command, EndReason, Event, Scope};
use vizard_proto::stun::{AttributeType, Method, Writer};
use vizard_proto::time::WallClock;

const THREE_HOURS: u64 = 3 * 3600;

fn transport(writer: &mut Writer<'_>) {
    writer.bytes(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

/// The answer to an Allocate of `call`'s first party on a socket of its own.
fn try_ticket(world: &mut World, port: u16, ticket: &Ticket) -> u16 {
    let mut phone = Phone::new(udp(&format!("198.51.100.10:{port}")), ticket);
    phone.code(world, Method::ALLOCATE, transport)
}

fn open(call: u8, until: u64) -> Command {
    Command::OpenCall {
        call: CallId([call; 16]),
        until,
        usernames: Vec::new(),
    }
}

fn end(call: u8) -> Command {
    Command::Revoke {
        call: CallId([call; 16]),
        scope: Scope::Call,
        until: START + 7200,
    }
}

/// The clock is set three hours later for three seconds.
fn leap(world: &mut World) {
    world.command(Command::SetClock(WallClock::new(START + THREE_HOURS)));
    world.pass(Duration::from_secs(3));
    world.command(Command::SetClock(WallClock::new(START)));
    world.pass(Duration::from_secs(1));
}

#[test]
fn a_clock_that_leaps_and_comes_back_revives_nobody() {
    let mut world = World::new();
    world.command(open(1, START + 7200));
    world.command(open(2, START + 7200));
    assert_eq!(try_ticket(&mut world, 1, &ticket(1, 0)), 200);
    assert_eq!(try_ticket(&mut world, 2, &ticket(2, 0)), 200);
    world.command(end(1));
    leap(&mut world);
    assert_eq!(
        world.server.relay.call_count(),
        0,
        "the leap has ended call 2"
    );
    assert_eq!(world.server.relay.allocation_count(), 0);
    for (port, call) in [(3, 1), (4, 2)] {
        assert_eq!(try_ticket(&mut world, port, &ticket(call, 0)), 401);
    }
    let ended = |event: &&Event| {
        matches!(
            event,
            Event::AllocationEnded {
                reason: EndReason::TicketExpired,
                ..
            }
        )
    };
    assert_eq!(world.events.iter().filter(ended).count(), 1);
    world.command(open(3, START + 7200));
    assert_eq!(try_ticket(&mut world, 5, &ticket(3, 0)), 200, "a new call");
    world.pass(Duration::from_secs(7300));
    assert_eq!(
        world.server.relay.poll_timeout(),
        None,
        "nothing is kept for it"
    );
}

#[test]
fn a_call_nobody_opened_ends_with_its_last_ticket_too() {
    let mut world = World::new();
    assert_eq!(try_ticket(&mut world, 1, &ticket(1, 0)), 200);
    let longer = Ticket {
        expires_at: START + 4 * 3600,
        ..ticket(1, 2)
    };
    leap(&mut world);
    assert_eq!(try_ticket(&mut world, 2, &ticket(1, 0)), 401);
    assert_eq!(try_ticket(&mut world, 3, &ticket(1, 1)), 401);
    assert_eq!(
        try_ticket(&mut world, 4, &longer),
        200,
        "it has not run out"
    );
    assert_eq!(try_ticket(&mut world, 5, &ticket(1, 0)), 401);
}

#[test]
fn what_was_forgotten_is_refused_by_the_floor() {
    let mut world = World::new();
    world.command(end(1));
    world.pass(Duration::from_secs(7300));
    assert_eq!(world.server.relay.poll_timeout(), None, "forgotten");
    let snapshot = world.server.relay.snapshot();
    world.command(Command::SetClock(WallClock::new(START - 7300)));
    let later = Ticket {
        expires_at: START + 7201,
        ..ticket(3, 0)
    };
    let judge = |world: &mut World| {
        assert_eq!(try_ticket(world, 1, &ticket(1, 0)), 401);
        assert_eq!(try_ticket(world, 2, &ticket(2, 0)), 401, "who knows");
        world.command(open(2, START + 7200));
        assert_eq!(try_ticket(world, 3, &ticket(2, 0)), 200, "it was opened");
        assert_eq!(try_ticket(world, 4, &later), 200, "above the floor");
    };
    judge(&mut world);
    let mut heir = World::new();
    heir.server.relay = Relay::restore(config(), testkit::SEED, &snapshot).expect("ours");
    judge(&mut heir);
}

#[test]
fn the_control_side_says_what_was_forgotten_before() {
    let mut world = World::new();
    world.command(Command::EndedBefore(START + 7200));
    world.command(Command::EndedBefore(START));
    assert_eq!(try_ticket(&mut world, 1, &ticket(1, 0)), 401);
    world.command(open(1, START + 7200));
    assert_eq!(try_ticket(&mut world, 1, &ticket(1, 0)), 200);
    world.command(end(1));
    assert_eq!(try_ticket(&mut world, 2, &ticket(1, 0)), 401);
}

#[test]
fn a_ticket_from_too_far_ahead_is_refused() {
    let mut world = World::new();
    let far = |expires_at| Ticket {
        expires_at,
        ..ticket(1, 0)
    };
    let two_days = START + 10 + 2 * 86_400;
    assert_eq!(try_ticket(&mut world, 1, &far(two_days + 1)), 401);
    assert_eq!(try_ticket(&mut world, 2, &far(u64::MAX)), 401);
    assert_eq!(try_ticket(&mut world, 3, &far(two_days)), 200);
}
