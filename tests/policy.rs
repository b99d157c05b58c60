//! The truth table, in full for two parties and by random groups for more.

use proptest::prelude::*;
use vizard::control::policy::{
    CallableBy, Decision, Facts, Members, Party, Phase, Policy, Reason, Request, Reveal, Ringing,
    Route, Rule, Standing, decide,
};

const REVEALS: [Option<Reveal>; 5] = [
    None,
    Some(Reveal::Nobody),
    Some(Reveal::Contacts),
    Some(Reveal::Everybody),
    Some(Reveal::Unknown),
];
const DEFAULTS: [Reveal; 3] = [Reveal::Nobody, Reveal::Contacts, Reveal::Everybody];
const PHASES: [Phase; 2] = [Phase::Ringing, Phase::Answered];
const RINGINGS: [Ringing; 2] = [Ringing::Masked, Ringing::Final];
const CALLER: usize = 0;
const CALLEE: usize = 1;

fn list(listed: bool, index: usize) -> Members {
    if listed {
        Members::NONE.with(index)
    } else {
        Members::NONE
    }
}

/// Every set that `callable_by` can name, and its absence.
fn callable_bys() -> Vec<Option<CallableBy>> {
    let bits = [
        CallableBy::CONTACTS,
        CallableBy::FOLLOWING,
        CallableBy::VERIFIED,
        CallableBy::EVERYONE,
        CallableBy::UNKNOWN,
    ];
    let sets = (0..1 << bits.len()).map(|chosen: u32| {
        let chosen = (0..bits.len()).filter(|bit| chosen & 1 << bit != 0);
        Some(chosen.fold(CallableBy::NONE, |set, bit| set.and(bits[bit])))
    });
    std::iter::once(None).chain(sets).collect()
}

/// Every way in which one of two parties can treat the other's wish to see its address.
fn reveal_settings() -> Vec<(Option<Reveal>, bool, bool, bool)> {
    let mut all = Vec::new();
    for reveal in REVEALS {
        for bits in 0..8 {
            all.push((reveal, bits & 1 != 0, bits & 2 != 0, bits & 4 != 0));
        }
    }
    all
}

fn party(
    other: usize,
    (reveal, always, never, contact): (Option<Reveal>, bool, bool, bool),
) -> Party {
    let mut party = Party {
        reveal,
        always: list(always, other),
        never: list(never, other),
        ..Party::default()
    };
    if contact {
        party.towards[other] = Facts::CONTACT;
    }
    party
}

/// The specification once more, in the shortest words.
fn admits(
    default: Reveal,
    (reveal, always, never, contact): (Option<Reveal>, bool, bool, bool),
) -> bool {
    let revealed = match reveal.unwrap_or(default) {
        Reveal::Everybody => true,
        Reveal::Contacts => contact,
        Reveal::Nobody | Reveal::Unknown => false,
    };
    !never && (always || revealed)
}

fn direct(decision: &Decision) -> bool {
    let visible = (decision.visible_to(0), decision.visible_to(1));
    let masked = (decision.masked(0), decision.masked(1));
    match decision.route {
        Route::Direct => {
            assert_eq!(visible, (list(true, 1), list(true, 0)));
            assert_eq!(masked, (false, false));
            true
        }
        Route::Masked | Route::Refused => {
            assert_eq!(visible, (Members::NONE, Members::NONE));
            assert_eq!(masked, (true, true));
            false
        }
    }
}

#[test]
fn two_parties_reveal_settings_in_full() {
    for default_reveal in DEFAULTS {
        for ringing in RINGINGS {
            let policy = Policy {
                default_reveal,
                ringing,
                ..Policy::default()
            };
            for alice in reveal_settings() {
                for bob in reveal_settings() {
                    let parties = vec![party(CALLEE, alice), party(CALLER, bob)];
                    let request = Request::new(parties, Some(CALLER)).unwrap();
                    for phase in PHASES {
                        let decision = decide(&policy, &request, phase);
                        let open = phase == Phase::Answered || ringing == Ringing::Final;
                        let both = admits(default_reveal, alice) && admits(default_reveal, bob);
                        assert_eq!(direct(&decision), open && both, "{policy:?} {request:?}");
                        assert!(!decision.why.is_empty());
                    }
                }
            }
        }
    }
}

/// 1,600 ways to treat addresses, times everything that decides whether the call may happen.
#[test]
fn two_parties_in_full() {
    let settings = reveal_settings();
    let callable_bys = callable_bys();
    let half = settings.len() / 2;
    let decided: u64 = std::thread::scope(|scope| {
        let work: Vec<_> = [&settings[..half], &settings[half..]]
            .into_iter()
            .map(|part| scope.spawn(|| enumerate(part, &settings, &callable_bys)))
            .collect();
        work.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert!(decided > 3_000_000, "{decided}");
}

type Setting = (Option<Reveal>, bool, bool, bool);

fn enumerate(alices: &[Setting], bobs: &[Setting], callable_bys: &[Option<CallableBy>]) -> u64 {
    let mut decided = 0;
    for &alice in alices {
        for &bob in bobs {
            let both = admits(Reveal::Nobody, alice) && admits(Reveal::Nobody, bob);
            for &callable_by in callable_bys {
                decided += reachability(alice, bob, callable_by, both);
            }
        }
    }
    decided
}

/// Every fact beside `contact`, in both phases, with and without `requires_message`.
fn reachability(alice: Setting, bob: Setting, callable_by: Option<CallableBy>, both: bool) -> u64 {
    let mut decided = 0;
    for bits in 0..32 {
        let bit = |n: u32| bits & 1 << n != 0;
        let (following, messaged, verified) = (bit(0), bit(1), bit(2));
        let (blocked, blocks) = (bit(3), bit(4));
        let mut parties = vec![party(CALLEE, alice), party(CALLER, bob)];
        parties[CALLEE].callable_by = callable_by;
        add(
            &mut parties[CALLEE].towards[CALLER],
            Facts::FOLLOWING,
            following,
        );
        add(
            &mut parties[CALLEE].towards[CALLER],
            Facts::MESSAGED,
            messaged,
        );
        add(&mut parties[CALLEE].towards[CALLER], Facts::BLOCKED, blocks);
        add(
            &mut parties[CALLER].towards[CALLEE],
            Facts::BLOCKED,
            blocked,
        );
        if verified {
            parties[CALLER].standing = Standing::VERIFIED;
        }
        let request = Request::new(parties, Some(CALLER)).unwrap();
        let set = callable_by.unwrap_or(CallableBy::EVERYONE);
        let callable = set.has(CallableBy::EVERYONE)
            || set.has(CallableBy::FOLLOWING) && following
            || set.has(CallableBy::CONTACTS) && bob.3
            || set.has(CallableBy::VERIFIED) && verified;
        // One of the phases per combination of the rest keeps the run short; the reveal settings
        // are enumerated with both phases above.
        let phase = if following {
            Phase::Answered
        } else {
            Phase::Ringing
        };
        for requires_message in [false, true] {
            let policy = Policy {
                requires_message,
                ..Policy::default()
            };
            let decision = decide(&policy, &request, phase);
            let refused = blocks || blocked || !callable || requires_message && !messaged;
            let expected = match (refused, both && phase == Phase::Answered) {
                (true, _) => Route::Refused,
                (false, true) => Route::Direct,
                (false, false) => Route::Masked,
            };
            assert_eq!(decision.route, expected, "{policy:?} {request:?}");
            direct(&decision);
            decided += 1;
        }
    }
    decided
}

fn add(facts: &mut Facts, fact: Facts, holds: bool) {
    if holds {
        *facts = facts.and(fact);
    }
}

fn why(decision: &Decision) -> Vec<(Option<usize>, Rule)> {
    decision
        .why
        .iter()
        .map(|reason| (reason.party, reason.rule))
        .collect()
}

fn two(alice: Party, bob: Party) -> Request {
    Request::new(vec![alice, bob], Some(CALLER)).unwrap()
}

fn everybody() -> Party {
    Party {
        reveal: Some(Reveal::Everybody),
        ..Party::default()
    }
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

fn any_members() -> impl Strategy<Value = Members> {
    any::<u16>().prop_map(|bits| {
        (0..16)
            .filter(|index| bits & 1 << index != 0)
            .fold(Members::NONE, Members::with)
    })
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let often_quiet = prop_oneof![20 => Just(false), 1 => Just(true)];
    (any::<bool>(), any::<bool>(), any::<bool>(), often_quiet).prop_map(
        |(contact, following, messaged, blocked)| {
            let mut facts = Facts::NONE;
            add(&mut facts, Facts::CONTACT, contact);
            add(&mut facts, Facts::FOLLOWING, following);
            add(&mut facts, Facts::MESSAGED, messaged);
            add(&mut facts, Facts::BLOCKED, blocked);
            facts
        },
    )
}

/// A party that is open more often than not, or groups would hardly ever be direct.
fn any_party() -> impl Strategy<Value = Party> {
    let reveal = prop_oneof![
        12 => Just(Some(Reveal::Everybody)),
        3 => Just(Some(Reveal::Contacts)),
        1 => prop::sample::select(&REVEALS[..]),
    ];
    let always = prop_oneof![Just(Members::NONE), any_members()];
    let never = prop_oneof![12 => Just(Members::NONE), 1 => any_members()];
    let callable_by = prop_oneof![
        8 => Just(Some(CallableBy::EVERYONE)),
        2 => prop::sample::select(callable_bys()),
    ];
    let standing = prop_oneof![
        10 => Just(Standing::NONE),
        10 => Just(Standing::VERIFIED),
        1 => Just(Standing::UNKNOWN),
    ];
    (
        reveal,
        always,
        never,
        callable_by,
        standing,
        prop::array::uniform16(any_facts()),
    )
        .prop_map(
            |(reveal, always, never, callable_by, standing, towards)| Party {
                reveal,
                always,
                never,
                callable_by,
                standing,
                towards,
            },
        )
}

fn any_request(parties: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Request> {
    prop::collection::vec(any_party(), parties).prop_flat_map(|parties| {
        let count = parties.len();
        (Just(parties), prop::option::weighted(0.9, 0..count))
            .prop_map(|(parties, caller)| Request::new(parties, caller).unwrap())
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (
        prop::sample::select(&DEFAULTS[..]),
        prop::sample::select(&RINGINGS[..]),
        prop::sample::select(callable_bys()),
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(default_reveal, ringing, default_callable_by, requires_message)| Policy {
                default_reveal,
                ringing,
                default_callable_by: default_callable_by.unwrap_or(CallableBy::EVERYONE),
                requires_message,
                ..Policy::default()
            },
        )
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop::sample::select(&PHASES[..])
}

/// Every way to make one input of a party a step more private.
fn stricter_parties(party: &Party, count: usize, mut each: impl FnMut(Party)) {
    let reveals: &[Option<Reveal>] = match party.reveal {
        Some(Reveal::Everybody) => &[
            Some(Reveal::Contacts),
            Some(Reveal::Nobody),
            Some(Reveal::Unknown),
        ],
        Some(Reveal::Contacts) => &[Some(Reveal::Nobody), Some(Reveal::Unknown)],
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
