//! Settings of parties, and what the specification says of them in the shortest words.

use vizard::control::policy::{
    CallableBy, Decision, Facts, Members, Party, Phase, Request, Reveal, Ringing, Route,
};

pub(crate) const REVEALS: [Option<Reveal>; 5] = [
    None,
    Some(Reveal::Nobody),
    Some(Reveal::Contacts),
    Some(Reveal::Everybody),
    Some(Reveal::Unknown),
];
pub(crate) const DEFAULTS: [Reveal; 3] = [Reveal::Nobody, Reveal::Contacts, Reveal::Everybody];
pub(crate) const PHASES: [Phase; 2] = [Phase::Ringing, Phase::Answered];
pub(crate) const RINGINGS: [Ringing; 2] = [Ringing::Masked, Ringing::Final];
pub(crate) const CALLER: usize = 0;
pub(crate) const CALLEE: usize = 1;

pub(crate) fn list(listed: bool, index: usize) -> Members {
    if listed {
        Members::NONE.with(index)
    } else {
        Members::NONE
    }
}

/// Every set that `callable_by` can name, an unknown word, and its absence.
pub(crate) fn callable_bys() -> Vec<Option<CallableBy>> {
    let bits = [
        CallableBy::CONTACTS,
        CallableBy::FOLLOWING,
        CallableBy::VERIFIED,
        CallableBy::EVERYONE,
    ];
    let sets = (0..1 << bits.len()).map(|chosen: u32| {
        let chosen = (0..bits.len()).filter(|bit| chosen & 1 << bit != 0);
        Some(chosen.fold(CallableBy::NONE, |set, bit| set.and(bits[bit])))
    });
    [None, Some(CallableBy::UNKNOWN)]
        .into_iter()
        .chain(sets)
        .collect()
}

/// Every way in which one of two parties can treat the other's wish to see its address.
pub(crate) fn reveal_settings() -> Vec<Setting> {
    let mut all = Vec::new();
    for reveal in REVEALS {
        for bits in 0..8 {
            all.push((reveal, bits & 1 != 0, bits & 2 != 0, bits & 4 != 0));
        }
    }
    all
}

pub(crate) fn party(other: usize, (reveal, always, never, contact): Setting) -> Party {
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
pub(crate) fn admits(default: Reveal, (reveal, always, never, contact): Setting) -> bool {
    let revealed = match reveal.unwrap_or(default) {
        Reveal::Everybody => true,
        Reveal::Contacts => contact,
        Reveal::Nobody | Reveal::Unknown => false,
    };
    !never && (always || revealed)
}

pub(crate) fn direct(decision: &Decision) -> bool {
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

pub(crate) type Setting = (Option<Reveal>, bool, bool, bool);

pub(crate) fn add(facts: &mut Facts, fact: Facts, holds: bool) {
    if holds {
        *facts = facts.and(fact);
    }
}

pub(crate) fn two(alice: Party, bob: Party) -> Request {
    Request::new(vec![alice, bob], Some(CALLER)).unwrap()
}

pub(crate) fn everybody() -> Party {
    Party {
        reveal: Some(Reveal::Everybody),
        ..Party::default()
    }
}
