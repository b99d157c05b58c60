//! How much one input can make the relay do at once: counted, not timed.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Phone, START, World, ticket, udp};
use vizard_proto::Relay;
use vizard_proto::auth::ticket::CallId;
use vizard_proto::contract::{Command, Output, Scope};

const PARTIES: u8 = 16;
const SOCKETS: u8 = 4;
/// Outputs of one call into the relay: two for each of 512 steps, and what the last of them was in
/// the middle of.
const MOST: usize = 1300;

/// Sixteen parties with four allocations each, and channels between any two of different parties.
fn mesh(world: &mut World) -> Vec<Phone> {
    let all = || (0..PARTIES).flat_map(|party| (0..SOCKETS).map(move |socket| (party, socket)));
    let mut phones: Vec<_> = all()
        .map(|(party, socket)| {
            let tuple = udp(&format!("198.51.{party}.{socket}:5000"));
            let mut phone = Phone::new(tuple, &ticket(1, party));
            let mask = phone.allocate(world);
            (party, phone, mask)
        })
        .collect();
    let masks: Vec<(u8, SocketAddr)> = phones
        .iter()
        .map(|(party, _, mask)| (*party, *mask))
        .collect();
    for (party, phone, _) in &mut phones {
        let others = masks.iter().filter(|(other, _)| other != party);
        for ((_, mask), number) in others.zip(0x4000..) {
            assert_eq!(phone.bind(world, number, *mask), 200);
        }
    }
    assert_eq!(world.forward_count(), 2 * 64 * 60);
    phones.into_iter().map(|(_, phone, _)| phone).collect()
}

/// Drains the relay until it has nothing to do at once; the largest number of outputs of one call,
/// and the number of calls.
fn drain(world: &mut World) -> (usize, usize) {
    let (mut most, mut calls) = (count(world), 1);
    while world
        .server
        .relay
        .poll_timeout()
        .is_some_and(|due| due <= world.now)
    {
        world.server.relay.handle_timeout(world.now);
        most = most.max(count(world));
        calls += 1;
    }
    (most, calls)
}

fn count(world: &mut World) -> usize {
    let mut outputs = 0;
    while let Some(output) = world.server.relay.poll_output() {
        outputs += 1;
        if let Output::Change(worker, change) = output {
            world.server.workers[usize::from(worker)].apply(change);
        }
    }
    outputs
}

#[test]
fn tickets_that_expire_together_are_ended_bit_by_bit() {
    let mut world = World::new();
    mesh(&mut world);
    world.now = world.now + Duration::from_secs(7200);
    let (most, calls) = drain(&mut world);
    assert!(most <= MOST, "{most} outputs of one call");
    assert!(calls > 4, "{calls} calls");
    assert_eq!(
        (world.server.relay.allocation_count(), world.forward_count()),
        (0, 0)
    );
    assert_eq!(world.server.relay.poll_timeout(), None);
}

#[test]
fn a_revoked_call_is_ended_bit_by_bit() {
    let mut world = World::new();
    let mut phones = mesh(&mut world);
    let revoke = |scope| Command::Revoke {
        call: CallId([1; 16]),
        scope,
        until: START + 7200,
    };
    for (scope, bit_by_bit) in [(Scope::Party(15), false), (Scope::Call, true)] {
        let now = world.now;
        let done = world.server.relay.handle_command(now, revoke(scope));
        assert_eq!(done, Ok(()));
        let due = |relay: &Relay| relay.poll_timeout().is_some_and(|due| due <= now);
        assert_eq!(due(&world.server.relay), bit_by_bit, "the rest at once");
        let most = count(&mut world);
        assert!(most <= MOST, "{most} outputs of the command");
        let restored = Relay::restore(
            testkit::config(),
            testkit::SEED,
            &world.server.relay.snapshot(),
        );
        let restored = restored.expect("ours");
        assert_eq!(due(&restored), bit_by_bit, "whoever does it");
        let (most, _) = drain(&mut world);
        assert!(most <= MOST, "{most} outputs of one call");
        let phone = phones.last_mut().expect("one of party 15");
        assert_eq!(phone.refresh(&mut world, 600), 401);
        if scope == Scope::Party(15) {
            assert_eq!(world.server.relay.allocation_count(), 60);
            assert_eq!(world.forward_count(), 2 * 60 * 56);
            assert_eq!(phones[0].refresh(&mut world, 600), 200);
        }
    }
    assert_eq!(
        (world.server.relay.allocation_count(), world.forward_count()),
        (0, 0)
    );
}
