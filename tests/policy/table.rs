//! The truth table for two parties, in full.

use vizard::control::policy::{
    CallableBy, Facts, Phase, Policy, Request, Reveal, Ringing, Route, Standing, decide,
};

use super::words::{
    CALLEE, CALLER, DEFAULTS, PHASES, RINGINGS, Setting, add, admits, callable_bys, direct, party,
    reveal_settings,
};

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
    assert!(decided > 1_500_000, "{decided}");
}

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
