//! Single rules, told as examples.

use vizard::control::policy::{
    CallableBy, Decision, Facts, Party, Phase, Policy, Request, Reveal, Ringing, Route, Rule,
    Standing, decide,
};

use super::words::{CALLEE, CALLER, everybody, two};

fn why(decision: &Decision) -> Vec<(Option<usize>, Rule)> {
    decision
        .why
        .iter()
        .map(|reason| (reason.party, reason.rule))
        .collect()
}

#[test]
fn nothing_said_is_masked() {
    let decision = decide(
        &Policy::default(),
        &two(Party::default(), Party::default()),
        Phase::Answered,
    );
    assert_eq!(decision.route, Route::Masked);
    assert_eq!(
        why(&decision),
        [
            (Some(0), Rule::DefaultRevealNobody),
            (Some(1), Rule::DefaultRevealNobody)
        ]
    );
}

#[test]
fn ringing_is_masked_even_where_everybody_may_see_everybody() {
    let request = two(everybody(), everybody());
    let ringing = decide(&Policy::default(), &request, Phase::Ringing);
    assert_eq!(
        (ringing.route, why(&ringing)),
        (Route::Masked, vec![(None, Rule::Ringing)])
    );
    let answered = decide(&Policy::default(), &request, Phase::Answered);
    assert_eq!(answered.route, Route::Direct);
    let open = Policy {
        ringing: Ringing::Final,
        ..Policy::default()
    };
    assert_eq!(decide(&open, &request, Phase::Ringing).route, Route::Direct);
}

#[test]
fn a_refusal_names_the_party_and_the_rule() {
    let cases = [
        (
            Party {
                callable_by: Some(CallableBy::NONE),
                ..everybody()
            },
            Rule::CallableByNobody,
        ),
        (
            Party {
                callable_by: Some(CallableBy::FOLLOWING),
                ..everybody()
            },
            Rule::CallableBy,
        ),
        (
            Party {
                callable_by: Some(CallableBy::UNKNOWN),
                ..everybody()
            },
            Rule::CallableByUnknown,
        ),
    ];
    for (bob, rule) in cases {
        let decision = decide(&Policy::default(), &two(everybody(), bob), Phase::Answered);
        assert_eq!(decision.route, Route::Refused);
        assert_eq!(why(&decision), [(Some(CALLEE), rule)]);
    }
    let strict = Policy {
        default_callable_by: CallableBy::CONTACTS,
        requires_message: true,
        ..Policy::default()
    };
    let decision = decide(&strict, &two(everybody(), everybody()), Phase::Answered);
    assert_eq!(
        why(&decision),
        [
            (Some(CALLEE), Rule::DefaultCallableBy),
            (Some(CALLEE), Rule::RequiresMessage)
        ]
    );
}

#[test]
fn whom_the_caller_takes_calls_from_does_not_matter() {
    let alice = Party {
        callable_by: Some(CallableBy::NONE),
        ..everybody()
    };
    let decision = decide(
        &Policy::default(),
        &two(alice, everybody()),
        Phase::Answered,
    );
    assert_eq!(decision.route, Route::Direct);
}

#[test]
fn without_a_caller_everybody_must_be_callable_by_everybody() {
    let alice = Party {
        callable_by: Some(CallableBy::NONE),
        ..everybody()
    };
    let request = Request::new(vec![alice, everybody()], None).unwrap();
    let decision = decide(&Policy::default(), &request, Phase::Answered);
    assert_eq!(why(&decision), [(Some(CALLER), Rule::CallableByNobody)]);
}

#[test]
fn facts_are_directed() {
    let mut contacts = Party {
        reveal: Some(Reveal::Contacts),
        ..Party::default()
    };
    let request = two(contacts.clone(), everybody());
    assert_eq!(
        decide(&Policy::default(), &request, Phase::Answered).route,
        Route::Masked
    );
    let mut knows_alice = everybody();
    knows_alice.towards[CALLER] = Facts::CONTACT;
    let request = two(contacts.clone(), knows_alice);
    assert_eq!(
        decide(&Policy::default(), &request, Phase::Answered).route,
        Route::Masked
    );
    contacts.towards[CALLEE] = Facts::CONTACT;
    let request = two(contacts, everybody());
    assert_eq!(
        decide(&Policy::default(), &request, Phase::Answered).route,
        Route::Direct
    );
}

#[test]
fn an_unknown_fact_masks() {
    let mut alice = everybody();
    alice.towards[CALLEE] = Facts::UNKNOWN;
    let bob = Party {
        standing: Standing::UNKNOWN,
        ..everybody()
    };
    for request in [two(alice, everybody()), two(everybody(), bob)] {
        let decision = decide(&Policy::default(), &request, Phase::Answered);
        assert_eq!(decision.route, Route::Masked);
        assert_eq!(decision.why[0].rule, Rule::FactUnknown);
    }
}

#[test]
fn a_call_has_two_to_sixteen_parties_and_its_own_caller() {
    for count in [0, 1, 17] {
        assert!(Request::new(vec![Party::default(); count], None).is_err());
    }
    assert!(Request::new(vec![Party::default(); 16], Some(15)).is_ok());
    assert!(Request::new(vec![Party::default(); 16], Some(16)).is_err());
}
