//! A step towards privacy never adds an exposure; groups of up to sixteen.

use proptest::prelude::*;
use vizard::control::policy::{
    CallableBy, Decision, Facts, Members, Party, Phase, Policy, Reason, Request, Reveal, Ringing,
    Route, Standing, decide,
};

use super::random::{any_phase, any_policy, any_request};
use super::words::{
    CALLEE, CALLER, DEFAULTS, REVEALS, RINGINGS, admits, everybody, party, reveal_settings, two,
};

/// Every way to make one input of a party a step more private.
fn stricter_parties(party: &Party, count: usize, mut each: impl FnMut(Party)) {
    let reveals: &[Option<Reveal>] = match party.reveal {
        Some(Reveal::Everybody) => &[
            Some(Reveal::Contacts),
            Some(Reveal::Nobody),
            Some(Reveal::Unknown),
        ],
        _ => &[Some(Reveal::Nobody), Some(Reveal::Unknown)],
    };
    for &reveal in reveals {
        each(Party {
            reveal,
            ..party.clone()
        });
    }
    if let Some(set) = party.callable_by {
        for less in [
            CallableBy::CONTACTS,
            CallableBy::FOLLOWING,
            CallableBy::VERIFIED,
            CallableBy::EVERYONE,
        ] {
            let callable_by = Some(set.without(less).and(CallableBy::UNKNOWN));
            each(Party {
                callable_by: Some(set.without(less)),
                ..party.clone()
            });
            each(Party {
                callable_by,
                ..party.clone()
            });
        }
    } else {
        each(Party {
            callable_by: Some(CallableBy::NONE),
            ..party.clone()
        });
    }
    for standing in [Standing::NONE, party.standing.and(Standing::UNKNOWN)] {
        // An unknown word masks; taking it away would not be a step towards privacy.
        if !party.standing.has(Standing::UNKNOWN) || standing.has(Standing::UNKNOWN) {
            each(Party {
                standing,
                ..party.clone()
            });
        }
    }
    for other in 0..count {
        each(Party {
            always: party.always.without(other),
            ..party.clone()
        });
        each(Party {
            never: party.never.with(other),
            ..party.clone()
        });
        let facts = party.towards[other];
        for stricter in [
            facts.without(Facts::CONTACT),
            facts.without(Facts::FOLLOWING),
            facts.without(Facts::MESSAGED),
            facts.and(Facts::BLOCKED),
            facts.and(Facts::UNKNOWN),
        ] {
            let mut moved = party.clone();
            moved.towards[other] = stricter;
            each(moved);
        }
    }
}

fn stricter_policies(policy: &Policy) -> Vec<Policy> {
    let mut all = vec![
        Policy {
            ringing: Ringing::Masked,
            ..policy.clone()
        },
        Policy {
            requires_message: true,
            ..policy.clone()
        },
        Policy {
            default_reveal: Reveal::Nobody,
            ..policy.clone()
        },
    ];
    if policy.default_reveal == Reveal::Everybody {
        all.push(Policy {
            default_reveal: Reveal::Contacts,
            ..policy.clone()
        });
    }
    for less in [
        CallableBy::EVERYONE,
        CallableBy::CONTACTS,
        CallableBy::FOLLOWING,
    ] {
        let default_callable_by = policy.default_callable_by.without(less);
        all.push(Policy {
            default_callable_by,
            ..policy.clone()
        });
    }
    all
}

/// Who can reach whom and who can see whom, before and after a step towards privacy.
fn assert_no_more(count: usize, before: &Decision, after: &Decision) {
    let openness = |route| match route {
        Route::Refused => 0,
        Route::Masked => 1,
        Route::Direct => 2,
    };
    assert!(
        openness(after.route) <= openness(before.route),
        "{before:?} {after:?}"
    );
    for index in 0..count {
        assert!(
            after
                .visible_to(index)
                .is_subset_of(before.visible_to(index))
        );
        assert!(after.masked(index) || !before.masked(index));
    }
}

fn assert_monotone(policy: &Policy, request: &Request, phase: Phase) {
    let before = decide(policy, request, phase);
    let count = request.parties().len();
    let check = |after: Decision| assert_no_more(count, &before, &after);
    check(decide(policy, request, Phase::Ringing));
    for stricter in stricter_policies(policy) {
        check(decide(&stricter, request, phase));
    }
    let parties = request.parties();
    check(decide(
        policy,
        &Request::new(parties.to_vec(), None).unwrap(),
        phase,
    ));
    for (index, party) in parties.iter().enumerate() {
        stricter_parties(party, count, |moved| {
            let mut moved_parties = parties.to_vec();
            moved_parties[index] = moved;
            let request = Request::new(moved_parties, request.caller()).unwrap();
            check(decide(policy, &request, phase));
        });
    }
}

#[test]
fn two_parties_never_expose_more_by_a_step_towards_privacy() {
    for default_reveal in DEFAULTS {
        for ringing in RINGINGS {
            let policy = Policy {
                default_reveal,
                ringing,
                ..Policy::default()
            };
            for alice in reveal_settings() {
                for bob in reveal_settings() {
                    let request = two(party(CALLEE, alice), party(CALLER, bob));
                    assert_monotone(&policy, &request, Phase::Answered);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn groups_never_expose_more_by_a_step_towards_privacy(
        policy in any_policy(),
        request in any_request(2..=6),
        phase in any_phase(),
    ) {
        assert_monotone(&policy, &request, phase);
    }

    #[test]
    fn a_group_is_direct_only_if_everybody_admits_everybody(
        request in any_request(3..=16),
        phase in any_phase(),
    ) {
        let policy = Policy::default();
        let decision = decide(&policy, &request, phase);
        let parties = request.parties();
        let everybody_open = parties.iter().enumerate().all(|(index, owner)| {
            (0..parties.len()).filter(|other| *other != index).all(|other| {
                let contact = owner.towards[other].has(Facts::CONTACT);
                let clear = !owner.standing.has(Standing::UNKNOWN);
                clear && admits(Reveal::Nobody, (
                    owner.reveal,
                    owner.always.contains(other),
                    owner.never.contains(other),
                    contact,
                ))
            })
        });
        let blocked = parties.iter().enumerate().any(|(index, owner)| {
            (0..parties.len()).any(|other| other != index && owner.towards[other].has(Facts::BLOCKED))
        });
        if decision.route == Route::Direct {
            prop_assert!(everybody_open && !blocked && phase == Phase::Answered);
        }
        if blocked {
            prop_assert_eq!(decision.route, Route::Refused);
        }
        for index in 0..parties.len() {
            let others = Members::first(parties.len()).without(index);
            let expected = if decision.route == Route::Direct { others } else { Members::NONE };
            prop_assert_eq!(decision.visible_to(index), expected);
        }
    }

    #[test]
    fn one_wish_masks_a_whole_group(
        count in 3_usize..=16,
        who in any::<prop::sample::Index>(),
        wish in prop::sample::select(&REVEALS[..2]),
    ) {
        let mut parties = vec![everybody(); count];
        let open = Request::new(parties.clone(), Some(0)).unwrap();
        prop_assert_eq!(decide(&Policy::default(), &open, Phase::Answered).route, Route::Direct);
        let who = who.index(count);
        parties[who].reveal = wish;
        let request = Request::new(parties, Some(0)).unwrap();
        let decision = decide(&Policy::default(), &request, Phase::Answered);
        prop_assert_eq!(decision.route, Route::Masked);
        prop_assert!(decision.why.iter().all(|reason: &Reason| reason.party == Some(who)));
        prop_assert!((0..count).all(|index| decision.masked(index)));
    }
}
