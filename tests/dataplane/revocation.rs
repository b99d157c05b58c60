//! Once a revocation has returned, no packet received later is forwarded by any worker.

use testkit::Report;
use vizard_proto::contract::{EndReason, Event, Scope};

use crate::loopback::{Call, Caller, Heard, Node, Setup, wait_until};

const PAIRS: usize = 24;

/// Callers enough that every worker has some, all talking to each other in pairs.
fn pairs(node: &Node) -> Vec<(Call<'_>, [Caller; 2])> {
    (0..PAIRS).map(|index| pair(node, index % 3 == 0)).collect()
}

fn pair(node: &Node, over_tcp: bool) -> (Call<'_>, [Caller; 2]) {
    let call = node.call();
    let mut alice = call.over_udp(0, node.udp(0));
    let mut bob = if over_tcp {
        call.over_tcp(1, node.tcp(0))
    } else {
        call.over_udp(1, node.udp(0))
    };
    let (a, b) = (alice.allocate(), bob.allocate());
    assert_eq!(alice.bind(0x4000, b), Ok(()));
    assert_eq!(bob.bind(0x4000, a), Ok(()));
    alice.say(0x4000, b"before");
    assert_eq!(bob.hear(), Heard::Channel(0x4000, b"before".to_vec()));
    (call, [alice, bob])
}

/// Says something after the end, and waits until all of it was refused for that reason.
fn speak_in_vain(node: &Node, callers: &mut [(Call<'_>, [Caller; 2])]) {
    let before = PAIRS as u64;
    let all = || node.forwarded("table") + node.forwarded("relay");
    wait_until("all that was said before is counted", || all() == before);
    let refused = node.dropped("no_allocation");
    let mut said = 0;
    for (_, parties) in callers.iter_mut() {
        for party in parties {
            if is_cut_off(party) {
                continue;
            }
            for _ in 0..10 {
                party.say(0x4000, b"after");
                said += 1;
            }
        }
    }
    wait_until("all was refused", || {
        node.dropped("no_allocation") == refused + said
    });
    assert_eq!(all(), before);
}

/// Whether the party came over TCP; then its connection must have been closed.
fn is_cut_off(party: &mut Caller) -> bool {
    let over_tcp = party.tcp_stream().is_some();
    assert!(!over_tcp || party.is_closed_by_node());
    over_tcp
}

fn revoked_calls_are_silent(setup: &Setup) -> Node {
    let node = Node::start(setup);
    let mut callers = pairs(&node);
    for (call, _) in &callers {
        call.revoke(Scope::Call);
    }
    speak_in_vain(&node, &mut callers);
    for (_, [alice, bob]) in &mut callers {
        assert_eq!(alice.refresh(600), Err(401));
        if !is_cut_off(bob) {
            assert_eq!(bob.try_allocate(), Err(401));
        }
    }
    drop(callers);
    node
}

#[test]
fn on_all_workers() {
    let node = revoked_calls_are_silent(&Setup {
        workers: 4,
        ..Setup::default()
    });
    assert_eq!(node.metric("vizard_table_rebuilds_total"), 0);
}

#[test]
fn when_the_queues_overflow() {
    let node = revoked_calls_are_silent(&Setup {
        workers: 4,
        changes: 1,
        ..Setup::default()
    });
    assert!(
        node.metric("vizard_table_rebuilds_total") > 0,
        "the queues were too small"
    );
}

#[test]
fn one_call_at_a_time_with_others_coming_and_going() {
    let node = Node::start(&Setup {
        workers: 4,
        changes: 2,
        ..Setup::default()
    });
    let mut callers = Vec::new();
    for round in 0..8 {
        let mut staying = pair(&node, round % 2 == 0);
        let mut leaving = [pair(&node, round % 2 == 1)];
        leaving[0].0.revoke(Scope::Party(1));
        let refused = node.dropped("no_allocation");
        let (_, [alice, bob]) = &mut leaving[0];
        if !is_cut_off(bob) {
            bob.say(0x4000, b"after");
            wait_until("bob was refused", || {
                node.dropped("no_allocation") == refused + 1
            });
        }
        let foreign = node.dropped("foreign_peer");
        alice.say(0x4000, b"anybody there?");
        wait_until("alice speaks to nobody", || {
            node.dropped("foreign_peer") == foreign + 1
        });

        let (_, [carol, dave]) = &mut staying;
        dave.say(0x4000, b"still here");
        assert_eq!(carol.hear(), Heard::Channel(0x4000, b"still here".to_vec()));
        callers.push((staying, leaving));
    }
}

#[test]
fn a_ticket_runs_out_though_nobody_says_anything() {
    let node = Node::start(&Setup {
        workers: 3,
        ..Setup::default()
    });
    let call = node.call_for(2);
    let mut alice = call.over_udp(0, node.udp(0));
    alice.allocate();
    wait_until("the allocation is gone", || {
        node.handle.load().allocations == 0
    });
    let ended = |report: &Report| match report {
        Report::Event(Event::AllocationEnded { reason, .. }) => Some(*reason),
        _ => None,
    };
    assert_eq!(
        node.reports().iter().find_map(ended),
        Some(EndReason::TicketExpired)
    );
    assert_eq!(alice.refresh(600), Err(401));
}
