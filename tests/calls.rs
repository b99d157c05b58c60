//! A call from its opening to its end, and the registry of those that go on, without any I/O.

use std::slice;

use proptest::prelude::*;
use vizard::control::calls::{
    AnswerError, Call, EndReason, Generation, Happening, Outcome, Party, Phase, Traffic,
};
use vizard::control::clock::Now;
use vizard::control::names;
use vizard::control::policy::{self, Policy, Request, Reveal, Ringing, Route};
use vizard::control::registry::{Registry, SETTLING};
use vizard_proto::auth::ticket::CallId;
use vizard_proto::contract::Scope;
use vizard_proto::id::AllocationId;

const NOW: u64 = 1_000;
const TTL: u64 = 60;

fn open(policy: &Policy, reveal: Reveal, devices: &[&[&str]]) -> Call {
    let party = policy::Party {
        reveal: Some(reveal),
        ..policy::Party::default()
    };
    let request = Request::new(vec![party; devices.len()], Some(0)).unwrap();
    let decide = |phase| Outcome::new(NOW, policy::decide(policy, &request, phase));
    let (opened, if_answered) = (
        decide(policy::Phase::Ringing),
        decide(policy::Phase::Answered),
    );
    let parties = devices.iter().enumerate().map(|(index, devices)| {
        let devices = devices.iter().map(|&device| device.to_owned()).collect();
        Party::new(format!("p{index}"), devices)
    });
    Call {
        id: names::new(),
        opened_at: NOW,
        expires_at: NOW + TTL,
        kbps: 0,
        parties: parties.collect(),
        request,
        opened,
        if_answered,
        answered: None,
        end: None,
    }
}

/// Two parties, the callee with two devices; direct once answered.
fn ringing() -> Call {
    open(
        &Policy::default(),
        Reveal::Everybody,
        &[&[], &["phone", "laptop"]],
    )
}

fn answer(
    call: &mut Call,
    party: &str,
    device: Option<&str>,
    now: u64,
) -> Result<bool, AnswerError> {
    let answered = call.answer(&Policy::default(), party, device, now);
    answered.map(|answered| answered.changed)
}

#[test]
fn ringing_answered_ended() {
    let mut call = ringing();
    assert_eq!(
        (call.phase(), call.outcome().route),
        (Phase::Ringing, Route::Masked)
    );
    let answered = call
        .answer(&Policy::default(), "p1", Some("laptop"), NOW + 1)
        .unwrap();
    assert!(answered.changed && answered.became_direct);
    assert_eq!(answered.lost, [Scope::Device(1, 0)]);
    assert_eq!(
        (call.phase(), call.outcome().route),
        (Phase::Answered, Route::Direct)
    );
    call.finish(NOW + 9);
    call.finish(NOW + 10);
    assert_eq!(call.phase(), Phase::Ended);
    assert_eq!(
        call.end.map(|end| (end.at, end.reason)),
        Some((NOW + 9, EndReason::Requested))
    );
    let happened: Vec<_> = call
        .timeline()
        .iter()
        .map(|moment| (moment.at, moment.what))
        .collect();
    assert_eq!(
        happened,
        [
            (NOW, Happening::Ringing),
            (NOW + 1, Happening::Answered),
            (NOW + 1, Happening::Direct),
            (NOW + 9, Happening::Ended),
        ]
    );
}

#[test]
fn an_error_changes_nothing() {
    let mut call = ringing();
    let before = call.clone();
    for (party, device, error) in [
        ("p2", None, AnswerError::NoSuchParty),
        ("p0", None, AnswerError::IsCaller),
        ("p1", None, AnswerError::DeviceRequired),
        ("p1", Some("fridge"), AnswerError::NoSuchDevice),
    ] {
        assert_eq!(answer(&mut call, party, device, NOW), Err(error));
        assert_eq!(call, before);
    }
    assert_eq!(answer(&mut call, "p1", Some("phone"), NOW), Ok(true));
    let before = call.clone();
    assert_eq!(answer(&mut call, "p1", Some("phone"), NOW + 1), Ok(false));
    assert_eq!(
        answer(&mut call, "p1", Some("laptop"), NOW + 1),
        Err(AnswerError::Elsewhere)
    );
    assert_eq!(call, before);
}

#[test]
fn no_answer_after_the_end() {
    let mut call = ringing();
    assert_eq!(
        answer(&mut call, "p1", Some("phone"), NOW + TTL),
        Err(AnswerError::Ended)
    );
    assert_eq!(call.end.map(|end| end.reason), Some(EndReason::Expired));
    let mut call = ringing();
    call.finish(NOW);
    assert_eq!(
        answer(&mut call, "p1", Some("phone"), NOW),
        Err(AnswerError::Ended)
    );
}

#[test]
fn a_second_generation_of_tickets_is_for_those_who_go_on() {
    let mut call = ringing();
    let serials = |call: &Call| -> Vec<_> {
        let tickets = call.tickets().into_iter();
        tickets
            .map(|ticket| (ticket.party, ticket.device, ticket.masked))
            .collect()
    };
    let opened = [(0, 0, true), (1, 0, true), (1, 1, true)];
    assert_eq!(serials(&call), opened);
    answer(&mut call, "p1", Some("phone"), NOW).unwrap();
    let all = [
        (0, 0, true),
        (0, 1, false),
        (1, 0, true),
        (1, 1, true),
        (1, 2, false),
    ];
    assert_eq!(serials(&call), all);
    assert_eq!(call.all_lost(), [Scope::Device(1, 1)]);
    assert_eq!(call.devices(1, Generation::Answered), [0]);
}

#[test]
fn a_masked_call_has_one_generation_of_tickets() {
    let mut call = open(&Policy::default(), Reveal::Contacts, &[&[], &[]]);
    answer(&mut call, "p1", None, NOW).unwrap();
    assert!(
        call.tickets()
            .iter()
            .all(|ticket| ticket.masked && ticket.device == 0)
    );
    assert_eq!((call.restarted(), call.direct_since()), (false, None));
}

#[test]
fn open_ringing_needs_no_new_tickets() {
    let policy = Policy {
        ringing: Ringing::Final,
        ..Policy::default()
    };
    let mut call = open(&policy, Reveal::Everybody, &[&[], &[]]);
    assert!(call.tickets().iter().all(|ticket| !ticket.masked));
    // What has been revealed can't be taken back by a policy that came later.
    call.answer(&Policy::default(), "p1", None, NOW + 5)
        .unwrap();
    assert_eq!((call.restarted(), call.direct_since()), (false, Some(NOW)));
}

#[test]
fn a_group_is_direct_when_everybody_has_answered() {
    let mut call = open(
        &Policy::default(),
        Reveal::Everybody,
        &[&[], &["x", "y"], &[]],
    );
    answer(&mut call, "p1", Some("y"), NOW + 1).unwrap();
    assert_eq!(
        (call.phase(), call.outcome().route),
        (Phase::Answered, Route::Masked)
    );
    answer(&mut call, "p2", None, NOW + 2).unwrap();
    assert_eq!(call.direct_since(), Some(NOW + 2));
}

#[test]
fn names_have_one_way_to_be_written() {
    let id = names::new();
    let text = names::written(id).to_string();
    assert_eq!(names::read(&text), Some(id));
    assert!(names::new() > id);
    let bare = text.replace('-', "");
    let shifted = format!(" {text}");
    for other in [
        "",
        "x",
        &text.to_uppercase(),
        &bare,
        &shifted,
        &format!("{{{text}}}"),
    ] {
        assert_eq!(names::read(other), None, "{other}");
    }
}

/// The same moment on both clocks.
fn at(seconds: u64) -> Now {
    Now {
        wall: seconds,
        steady: seconds,
    }
}

fn traffic(packets: u64) -> Traffic {
    Traffic {
        packets,
        bytes: packets * 100,
    }
}

fn sent(registry: &Registry, id: CallId) -> u64 {
    registry.get(id).unwrap().parties[0].sent.packets
}

#[test]
fn the_registry_keeps_an_ended_call_until_its_last_reports_came() {
    let (mut registry, call) = (Registry::new(), ringing());
    let id = call.id;
    registry.insert(call, at(NOW));
    registry.allocated(AllocationId(1), id, 0, at(NOW + 1));
    registry.used(AllocationId(1), traffic(1));
    registry.finish(id, at(NOW + 2));
    registry.released(AllocationId(1), at(NOW + 2));
    let saved = registry.unsaved(id).unwrap();
    registry.used(AllocationId(1), traffic(2));
    registry.saved(&saved);
    assert!(registry.unsaved(id).is_some(), "it has sent more since");
    assert!(registry.settled(at(NOW + 1 + SETTLING)).is_empty());
    let settled = registry.settled(at(NOW + 2 + SETTLING));
    assert!(settled[0].unsaved);
    assert_eq!(settled[0].call.parties[0].sent, traffic(3));
    let again = registry.settled(at(NOW + 9 + SETTLING));
    assert_eq!(again.len(), 1, "until it is removed");
    registry.remove(&settled[0].call);
    assert!(registry.get(id).is_none());
    assert!(registry.settled(at(u64::MAX)).is_empty());
}

#[test]
fn the_registry_names_what_has_expired_by_either_clock() {
    let (mut registry, call) = (Registry::new(), ringing());
    let id = call.id;
    registry.insert(call, at(NOW));
    let early = at(NOW + TTL - 1);
    assert!(registry.expired(early).is_empty());
    let set_ahead = Now {
        wall: NOW + TTL,
        ..early
    };
    let set_back = Now {
        wall: NOW - TTL,
        ..at(NOW + TTL)
    };
    for now in [at(NOW + TTL), set_ahead, set_back] {
        assert_eq!(registry.expired(now)[0].id, id);
    }
    registry.expire(id, set_back);
    let end = registry.get(id).unwrap().end;
    assert_eq!(
        end.map(|end| (end.at, end.reason)),
        Some((NOW - TTL, EndReason::Expired))
    );
    assert_eq!(registry.counts(), [0, 0, 1]);
    assert!(registry.expired(at(NOW + TTL)).is_empty());
    let settled = registry.settled(at(NOW + TTL + SETTLING));
    assert_eq!(settled[0].call.id, id);
}

#[test]
fn a_renewed_call_expires_later() {
    let (mut registry, mut call) = (Registry::new(), ringing());
    registry.insert(call.clone(), at(NOW));
    call.renew(NOW + TTL - 1, 100, 86_400);
    assert_eq!(call.expires_at, NOW + TTL + 99);
    registry.replace(call.clone(), at(NOW + TTL - 1));
    assert!(registry.expired(at(NOW + TTL + 98)).is_empty());
    assert_eq!(registry.expired(at(NOW + TTL + 99)).len(), 1);
    // Never earlier than before, and never longer than calls may go on.
    call.renew(NOW, 30, 86_400);
    assert_eq!(call.expires_at, NOW + TTL + 99);
    call.renew(NOW + TTL, 1_000, 200);
    assert_eq!(call.expires_at, NOW + 200);
}

#[test]
fn a_call_that_is_being_opened_can_be_ended_and_is_not_shown() {
    let (mut registry, call) = (Registry::new(), ringing());
    let id = call.id;
    registry.open(call.clone(), at(NOW));
    assert!(registry.get(id).is_none() && registry.page(Phase::Ringing, None, 9).is_empty());
    assert_eq!(registry.living(id), Some(&call));
    assert_eq!(registry.opened(id, at(NOW)), Some(call.clone()));
    assert_eq!(
        registry.page(Phase::Ringing, None, 9),
        slice::from_ref(&call)
    );
    registry.open(call.clone(), at(NOW));
    registry.finish(id, at(NOW + 1));
    assert!(registry.ended_unsaved().is_empty());
    let opened = registry.opened(id, at(NOW + 2)).unwrap();
    assert_eq!(opened.phase(), Phase::Ended);
    assert_eq!(registry.ended_unsaved(), [opened]);
    registry.open(call, at(NOW));
    registry.discard(id);
    assert!(registry.living(id).is_none() && registry.expired(at(u64::MAX)).is_empty());
}

#[test]
fn usage_is_told_in_turns() {
    let mut registry = Registry::new();
    for name in 0..5 {
        let call = Call {
            id: CallId([name; 16]),
            ..ringing()
        };
        registry.insert(call, at(NOW));
        registry.allocated(AllocationId(name.into()), CallId([name; 16]), 0, at(NOW));
    }
    let mut take = |after: u8| -> Vec<u8> {
        let calls = registry.take_used(CallId([after; 16]), 2);
        for number in 0..5 {
            registry.used(AllocationId(number), traffic(1));
        }
        calls.iter().map(|call| call.id.0[0]).collect()
    };
    assert_eq!(take(1), [2, 3]);
    assert_eq!(take(3), [4, 0]);
    assert_eq!(take(0), [1, 2]);
}

#[test]
fn a_change_of_a_call_leaves_its_traffic_alone() {
    let (mut registry, mut call) = (Registry::new(), ringing());
    let id = call.id;
    registry.insert(call.clone(), at(NOW));
    registry.allocated(AllocationId(1), id, 0, at(NOW + 1));
    registry.used(AllocationId(1), traffic(5));
    answer(&mut call, "p1", Some("phone"), NOW + 2).unwrap();
    registry.replace(call, at(NOW + 2));
    let call = registry.get(id).unwrap();
    assert_eq!(
        (call.phase(), call.parties[0].connected_at),
        (Phase::Answered, Some(NOW + 1))
    );
    assert_eq!(sent(&registry, id), 5);
}

#[test]
fn reports_about_nobody_are_ignored() {
    let (mut registry, call) = (Registry::new(), ringing());
    let id = call.id;
    registry.insert(call, at(NOW));
    registry.allocated(AllocationId(1), CallId([9; 16]), 0, at(NOW));
    registry.allocated(AllocationId(2), id, 15, at(NOW));
    registry.allocated(AllocationId(3), id, 0, at(NOW));
    registry.released(AllocationId(3), at(NOW));
    registry.released(AllocationId(4), at(NOW));
    for allocation in 1..9 {
        registry.used(AllocationId(allocation), traffic(1));
    }
    registry.settled(at(NOW + SETTLING));
    registry.used(AllocationId(3), traffic(1));
    assert_eq!(sent(&registry, id), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is tried in whatever order: phases only go forward, a call is direct only when
    /// everybody has answered, and no party has two devices that go on.
    #[test]
    fn a_call_goes_only_forward(
        open_ringing in any::<bool>(),
        reveal in prop::sample::select(&[Reveal::Nobody, Reveal::Everybody][..]),
        steps in prop::collection::vec((0_u8..6, 0_usize..4, 0_usize..3, 0_u64..20), 1..30),
    ) {
        let ringing = if open_ringing { Ringing::Final } else { Ringing::Masked };
        let policy = Policy { ringing, ..Policy::default() };
        let mut call = open(&policy, reveal, &[&[], &["a", "b", "c"], &[]]);
        let mut now = NOW;
        for (what, party, device, later) in steps {
            let before = call.clone();
            now += later;
            match what {
                0 => call.finish(now),
                1 => call.settle(now),
                _ => {
                    let device = ["a", "b", "c"].get(device).copied().filter(|_| party == 1);
                    let _ = call.answer(&policy, &format!("p{party}"), device, now);
                }
            }
            prop_assert!(call.phase() as u8 >= before.phase() as u8);
            prop_assert!(before.end.is_none() || call.end == before.end);
            for (party, before) in call.parties.iter().zip(&before.parties) {
                prop_assert!(before.answer.is_none() || party.answer == before.answer);
            }
            let everybody = call.parties[1..].iter().all(|party| party.answer.is_some());
            if call.direct_since().is_some() {
                prop_assert!(reveal == Reveal::Everybody && (open_ringing || everybody));
            }
            prop_assert!(now < NOW + TTL || call.answer(&policy, "p2", None, now) == Err(AnswerError::Ended));
            prop_assert!(call.all_lost().len() <= 2);
            let moments = call.timeline();
            prop_assert!(moments.is_sorted_by_key(|moment| moment.at));
        }
    }
}
