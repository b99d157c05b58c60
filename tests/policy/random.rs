//! Parties and policies at random.

use proptest::prelude::*;
use vizard::control::policy::{
    CallableBy, Facts, Members, Party, Phase, Policy, Request, Reveal, Standing,
};

use super::words::{DEFAULTS, PHASES, REVEALS, RINGINGS, add, callable_bys};

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

pub(crate) fn any_request(
    parties: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Request> {
    prop::collection::vec(any_party(), parties).prop_flat_map(|parties| {
        let count = parties.len();
        (Just(parties), prop::option::weighted(0.9, 0..count))
            .prop_map(|(parties, caller)| Request::new(parties, caller).unwrap())
    })
}

pub(crate) fn any_policy() -> impl Strategy<Value = Policy> {
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

pub(crate) fn any_phase() -> impl Strategy<Value = Phase> {
    prop::sample::select(&PHASES[..])
}
